//! The lock-order graph for people: locks or classes of locks, in levels.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::components::{Rows, components};
use super::edges::edges_of;
use super::requests::Requests;
use super::{By, Class, Cycle, Graph, GraphEdge, GraphNode};
use crate::analysis::fingerprint::identities::Identities;
use crate::model::{LockId, Mode, Session, StackId, ThreadId};

/// What is known of an edge.
#[derive(Default)]
struct Sum {
    count: u64,
    threads: FxHashSet<ThreadId>,
    /// How often with which stacks and modes.
    pairs: BTreeMap<(StackId, StackId, Mode, Mode), u64>,
}

/// Edges that are looked at: beyond them nobody reads a picture.
const MOST_EDGES: u64 = 50_000_000;

/// Makes the graph. With `cycles_only` it shows only what lies on cycles.
pub(super) fn graph(session: &Session, cycles: &mut dyn Iterator<Item = &Cycle>, by: By, cycles_only: bool) -> Graph {
    let requests = Requests::new(session);
    let identities = Identities::new(session);
    let mut keys =
        Keys { requests: &requests, identities: &identities, by, numbers: FxHashMap::default(), rows: Vec::new() };
    let mut sums: BTreeMap<(u32, u32), Sum> = BTreeMap::new();
    let mut left = MOST_EDGES;
    for number in 0..requests.len() {
        let Some(want) = requests.get(number) else { continue };
        if session.order.chains.walk(want.held).any(|link| link.lock == want.lock) {
            continue;
        }
        let count = want.runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.count));
        for edge in edges_of(session, &requests, number, &want) {
            left = left.saturating_sub(1);
            let (Some(from), Some(to)) = (keys.number(edge.from), keys.number(edge.to)) else { continue };
            if left == 0 {
                break;
            }
            let sum = sums.entry((from, to)).or_default();
            sum.count = sum.count.saturating_add(count);
            sum.threads.insert(want.thread);
            let pair = sum.pairs.entry((edge.held_stack, want.stack, edge.held_mode, want.mode)).or_default();
            *pair = pair.saturating_add(count);
        }
    }
    let rows = keys.rows;
    let links = |edge: &mut dyn FnMut(u32, u32)| sums.keys().for_each(|(from, to)| edge(*from, *to));
    let succ = Rows::new(rows.len(), links);
    let component = components(&succ);
    let mut members: FxHashMap<u32, u64> = FxHashMap::default();
    component.iter().for_each(|of| *members.entry(*of).or_default() += 1);
    let looped: FxHashSet<u32> =
        sums.keys().filter(|(from, to)| from == to).map(|(from, _)| component[*from as usize]).collect();
    let reported = classes(cycles, &identities);
    let classes_of =
        |from: u32, to: u32| (identities.class(rows[from as usize].lock), identities.class(rows[to as usize].lock));
    // Classes come round where their locks do not: a list whose nodes are locked from the first to the last. So there the
    // cycles that were found decide.
    let inside = sums.keys().filter(|(from, to)| component[*from as usize] == component[*to as usize]);
    let found: FxHashSet<u32> = inside
        .filter(|(from, to)| reported.contains_key(&classes_of(*from, *to)))
        .map(|(from, _)| component[*from as usize])
        .collect();
    let knotted = |of: u32| match by {
        By::Class => found.contains(&of),
        By::Instance => members.get(&of).is_some_and(|count| *count > 1) || looped.contains(&of),
    };
    let levels = levels(&succ, &component);
    // Places in the graph that is reported: by level, then by name.
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.retain(|at| !cycles_only || knotted(component[*at as usize]));
    order.sort_by(|a, b| {
        let key = |at: u32| (levels[component[at as usize] as usize], &rows[at as usize].name, rows[at as usize].lock);
        key(*a).cmp(&key(*b))
    });
    let place: FxHashMap<u32, u32> = (0..).zip(&order).map(|(place, at)| (*at, place)).collect();
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for of in order.iter().map(|at| component[*at as usize]).filter(|of| knotted(*of)) {
        let next = numbers.len() as u32;
        numbers.entry(of).or_insert(next);
    }
    let nodes = order.iter().map(|at| {
        let (of, row) = (component[*at as usize], &rows[*at as usize]);
        let (level, component) = (levels[of as usize], numbers.get(&of).copied());
        GraphNode { lock: row.lock, name: row.name.clone(), locks: row.locks.max(1), level, component }
    });
    let edges = sums.iter().filter_map(|((from, to), sum)| {
        let inside = component[*from as usize] == component[*to as usize] && knotted(component[*from as usize]);
        if cycles_only && !inside {
            return None;
        }
        let cycle = reported.get(&classes_of(*from, *to)).copied().filter(|_| inside);
        let ((held, wanted, held_mode, wanted_mode), _) =
            sum.pairs.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)))?;
        Some(GraphEdge {
            from: *place.get(from)?,
            to: *place.get(to)?,
            count: sum.count,
            threads: sum.threads.len() as u64,
            stacks: (*held, *wanted),
            modes: (*held_mode, *wanted_mode),
            cycle,
        })
    });
    let mut graph = Graph { nodes: nodes.collect(), edges: edges.collect() };
    graph.edges.sort_by_key(|edge| (edge.from, edge.to));
    graph
}

struct Row {
    lock: LockId,
    name: String,
    locks: u64,
}

/// Numbers of nodes of the reported graph.
struct Keys<'a> {
    requests: &'a Requests<'a>,
    identities: &'a Identities<'a>,
    by: By,
    numbers: FxHashMap<u64, u32>,
    rows: Vec<Row>,
}

impl Keys<'_> {
    fn number(&mut self, node: u32) -> Option<u32> {
        let lock = self.requests.lock_of(node)?;
        let of_node = u64::from(node) << 1 | 1;
        if let Some(known) = self.numbers.get(&of_node) {
            return Some(*known);
        }
        let class = (self.by == By::Class).then(|| self.identities.class(lock) & !1);
        let known = class.and_then(|class| self.numbers.get(&class).copied());
        let number = known.unwrap_or_else(|| {
            let (name, next) = (self.identities.bare(lock), self.rows.len() as u32);
            self.rows.push(Row { lock, name, locks: 0 });
            class.map(|class| self.numbers.insert(class, next));
            next
        });
        self.numbers.insert(of_node, number);
        let row = &mut self.rows[number as usize];
        row.locks += 1;
        row.lock = row.lock.min(lock);
        Some(number)
    }
}

/// By component: how many edges lead to it at most. Edges between components lead to lower numbers.
fn levels(succ: &Rows, component: &[u32]) -> Vec<u32> {
    let count = component.iter().max().map_or(0, |most| *most as usize + 1);
    let mut levels = vec![0u32; count];
    let mut nodes: Vec<u32> = (0..component.len() as u32).collect();
    nodes.sort_by_key(|node| std::cmp::Reverse(component[*node as usize]));
    for node in nodes {
        let of = component[node as usize];
        for to in succ.of(node).iter().map(|to| component[*to as usize]).filter(|to| *to != of) {
            levels[to as usize] = levels[to as usize].max(levels[of as usize] + 1);
        }
    }
    levels
}

/// The most serious class of the reported cycles, by the classes of a leg's locks.
fn classes(cycles: &mut dyn Iterator<Item = &Cycle>, identities: &Identities<'_>) -> FxHashMap<(u64, u64), Class> {
    let mut reported: FxHashMap<(u64, u64), Class> = FxHashMap::default();
    for cycle in cycles {
        for leg in &cycle.legs {
            let key = (identities.class(leg.held.lock), identities.class(leg.wanted));
            let known = reported.entry(key).or_insert(cycle.class);
            *known = (*known).min(cycle.class);
        }
    }
    reported
}
