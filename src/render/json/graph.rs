//! `graph --format json`: the whole graph, nothing left out.

use serde::Serialize;

use super::check::mode;
use super::{CallStack, SCHEMA_VERSION, layout};
use crate::analysis::order::Graph;
use crate::model::Session;

#[derive(Serialize)]
struct Whole<'a> {
    schema_version: u32,
    by: &'static str,
    nodes: Vec<Node<'a>>,
    edges: Vec<Edge<'a>>,
}

#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    class: &'a str,
    kind: &'static str,
    /// Locks that it stands for.
    locks: u64,
    level: u32,
    /// The number of its component, where that has a cycle.
    component: Option<u32>,
}

#[derive(Serialize)]
struct Edge<'a> {
    /// Positions in `nodes`: the lock held, and the one wanted.
    from: u32,
    to: u32,
    count: u64,
    threads: u64,
    held_mode: &'static str,
    wanted_mode: &'static str,
    /// The most serious class of the cycles that it is part of.
    cycle: Option<&'static str>,
    held_stack: CallStack<'a>,
    wanted_stack: CallStack<'a>,
}

/// The graph, ending in a line break.
pub fn graph(session: &Session, graph: &Graph, by_class: bool) -> String {
    layout::to_string(&Whole {
        schema_version: SCHEMA_VERSION,
        by: if by_class { "class" } else { "instance" },
        nodes: (graph.nodes.iter())
            .map(|node| {
                let lock = session.lock(node.lock);
                Node {
                    name: &node.name,
                    class: &lock.class,
                    kind: lock.kind.name(),
                    locks: node.locks,
                    level: node.level,
                    component: node.component,
                }
            })
            .collect(),
        edges: (graph.edges.iter())
            .map(|edge| Edge {
                from: edge.from,
                to: edge.to,
                count: edge.count,
                threads: edge.threads,
                held_mode: mode(edge.modes.0),
                wanted_mode: mode(edge.modes.1),
                cycle: edge.cycle.map(crate::analysis::order::Class::name),
                held_stack: CallStack::of(session, edge.stacks.0),
                wanted_stack: CallStack::of(session, edge.stacks.1),
            })
            .collect(),
    })
}
