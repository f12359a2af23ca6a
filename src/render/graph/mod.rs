//! The lock-order graph: "this was taken while that was held", by levels of the hierarchy.
//!
//! Drawn by ourselves as SVG, and written as DOT and Mermaid. The same graph gives the same bytes.

mod dot;
mod layers;
mod mermaid;
mod places;
mod routes;
mod svg;

#[cfg(test)]
mod tests;

use crate::analysis::order::{Class, Graph, GraphEdge, GraphNode};
use crate::model::{Mode, Session};
use crate::render::frames::headline;
use crate::render::style::printable;
use crate::render::units::{count, plural};

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::{part, svg};

/// A picture with more locks than this is a wall.
pub const MOST_NODES: usize = 60;
/// And with more orders than this, a carpet.
pub const MOST_EDGES: usize = 200;

/// A graph that fits a picture, and what was left out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fitted {
    /// What is shown.
    pub graph: Graph,
    /// Locks left out.
    pub nodes_left: usize,
    /// Orders left out.
    pub edges_left: usize,
}

impl Fitted {
    /// The part that a picture has room for: locks of cycles first, then the busiest.
    pub fn of(graph: &Graph, most_nodes: usize, most_edges: usize) -> Self {
        let mut weight = vec![0u64; graph.nodes.len()];
        let mut worst: Vec<Option<Class>> = vec![None; graph.nodes.len()];
        for edge in &graph.edges {
            for end in [edge.from as usize, edge.to as usize] {
                weight[end] = weight[end].saturating_add(edge.count);
                worst[end] = [worst[end], edge.cycle].into_iter().flatten().min();
            }
        }
        let mut order: Vec<usize> = (0..graph.nodes.len()).collect();
        let key = |at: usize| {
            let told = worst[at].map_or(u8::MAX, |class| class as u8);
            (told, graph.nodes[at].component.is_none(), std::cmp::Reverse(weight[at]), at)
        };
        order.sort_by_key(|at| key(*at));
        order.truncate(most_nodes);
        order.sort_unstable();
        let mut new_place = vec![None; graph.nodes.len()];
        order.iter().enumerate().for_each(|(place, at)| new_place[*at] = Some(place as u32));
        let mut edges: Vec<GraphEdge> = (graph.edges.iter())
            .filter_map(|edge| {
                let (from, to) = (new_place[edge.from as usize]?, new_place[edge.to as usize]?);
                Some(GraphEdge { from, to, ..edge.clone() })
            })
            .collect();
        edges.sort_by_key(|edge| {
            let told = edge.cycle.map_or(u8::MAX, |class| class as u8);
            (told, std::cmp::Reverse(edge.count), edge.from, edge.to)
        });
        edges.truncate(most_edges);
        edges.sort_by_key(|edge| (edge.from, edge.to));
        let nodes: Vec<GraphNode> = order.iter().map(|at| graph.nodes[*at].clone()).collect();
        Self {
            nodes_left: graph.nodes.len() - nodes.len(),
            edges_left: graph.edges.len() - edges.len(),
            graph: Graph { nodes, edges },
        }
    }

    /// What a person has to know who sees only a part.
    pub fn notice(&self) -> Option<String> {
        if self.nodes_left == 0 && self.edges_left == 0 {
            return None;
        }
        Some(format!(
            "{} and {} are left out, the least used first: --cycles-only shows what is part of a cycle, --by class \
             merges locks of one kind, and --format json has everything",
            plural(self.nodes_left as u64, "lock", "locks"),
            plural(self.edges_left as u64, "order", "orders")
        ))
    }
}

/// Words around a graph.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The heading.
    pub title: String,
    /// One node stands for all locks of a class.
    pub by_class: bool,
    /// Only what is part of a cycle was asked for.
    pub cycles_only: bool,
}

/// How loud an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tone {
    Plain,
    /// Part of a cycle that does not fail.
    Quiet,
    /// Part of a cycle that fails.
    Loud,
}

fn tone(edge: &GraphEdge) -> Tone {
    match edge.cycle {
        Some(Class::Hung | Class::Confirmed | Class::Feasible | Class::Possible) => Tone::Loud,
        Some(_) => Tone::Quiet,
        None => Tone::Plain,
    }
}

/// `5 locks in 3 levels, 7 orders, 2 of them part of a cycle`.
fn facts(fitted: &Fitted, options: &Options) -> String {
    let graph = &fitted.graph;
    let mut levels: Vec<u32> = graph.nodes.iter().map(|node| node.level).collect();
    levels.sort_unstable();
    levels.dedup();
    let what = if options.by_class { ("class of locks", "classes of locks") } else { ("lock", "locks") };
    let looping = graph.edges.iter().filter(|edge| edge.cycle.is_some()).count() as u64;
    let mut parts = vec![
        format!(
            "{} on {}",
            plural(graph.nodes.len() as u64, what.0, what.1),
            plural(levels.len() as u64, "level", "levels")
        ),
        plural(graph.edges.len() as u64, "order", "orders"),
    ];
    parts.push(match looping {
        0 => "no cycle".into(),
        _ => format!("{} part of a cycle", count(looping)),
    });
    parts.extend(options.cycles_only.then(|| "only cycles are shown".to_owned()));
    parts.join(" · ")
}

/// What a lock is: `mutex ×12`.
fn kind(session: &Session, node: &GraphNode) -> String {
    let kind = session.lock(node.lock).kind.name();
    if node.locks > 1 { format!("{kind} ×{}", count(node.locks)) } else { kind.to_owned() }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "",
        Mode::Shared => " for reading",
    }
}

/// What an edge means, in full: for tooltips.
fn story(session: &Session, graph: &Graph, edge: &GraphEdge) -> String {
    let name = |at: u32| printable(&graph.nodes[at as usize].name);
    let (from, to) = (name(edge.from), name(edge.to));
    let mut lines = vec![format!(
        "{to} was taken{} {} while {from} was held{}, by {}",
        mode(edge.modes.1),
        plural(edge.count, "time", "times"),
        mode(edge.modes.0),
        plural(edge.threads, "thread", "threads")
    )];
    if let Some(class) = edge.cycle {
        lines.push(format!("part of a cycle: {}", class.name()));
    }
    for (verb, lock, stack) in [("holds", &from, edge.stacks.0), ("wants", &to, edge.stacks.1)] {
        lines.push(format!("{verb} {lock}:"));
        let frames = crate::render::frames::lines(session, stack);
        if frames.is_empty() {
            lines.push(format!("  {}", headline(session, stack)));
        }
        lines.extend(frames.iter().take(8).map(|line| format!("  {}", line.one())));
    }
    lines.join("\n")
}
