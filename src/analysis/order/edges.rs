//! The lock-order graph, and what of it lies on cycles.
//!
//! A request under n locks stands for n edges. To find the strongly connected components they are not needed: each
//! list of held locks is a node of its own, behind its lock and behind the list that it grew from, and the request
//! leads from its list to the wanted lock. What reaches what among the locks is the same, and the graph is no larger
//! than the recording, however deep locks are nested.

use super::components::{Rows, components};
use super::requests::{RequestView, Requests, holds};
use crate::model::order::{How, Link};
use crate::model::{LockId, Mode, Session, StackId};

/// A node held while another one is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub from: u32,
    pub to: u32,
    pub want: u32,
    pub held_mode: Mode,
    pub held_stack: StackId,
}

/// What may be part of a cycle.
#[derive(Debug, Default)]
pub(super) struct CyclicEdges {
    /// Edges within a component of several nodes: by component, then by `from`, `to` and `want`.
    pub edges: Vec<Edge>,
    /// Where each component begins in `edges`, and the end.
    pub starts: Vec<usize>,
    /// Requests for a lock that the thread holds already.
    pub own: Vec<u32>,
    /// There were too many edges to keep all.
    pub cut: bool,
}

/// Edges within components that are kept: 320 MB.
const MOST_EDGES: usize = 16 << 20;

const NONE: u32 = u32::MAX;

/// Finds them.
pub(super) fn cyclic_edges(session: &Session, requests: &Requests<'_>) -> CyclicEdges {
    let chains = &session.order.chains;
    let mut cyclic = CyclicEdges::default();
    let mut targets: Vec<u32> = Vec::with_capacity(requests.len() as usize);
    for number in 0..requests.len() {
        let want = requests.get(number);
        let own = want.as_ref().is_some_and(|want| chains.walk(want.held).any(|link| link.lock == want.lock));
        if own {
            cyclic.own.push(number);
        }
        targets.push(want.filter(|_| !own).map_or(NONE, |want| want.node));
    }
    let nodes = requests.nodes();
    let is_lock = |lock: LockId| session.locks.get(lock.index()).is_some_and(holds);
    let graph = Rows::new(nodes + chains.len(), |edge| {
        for (at, link) in chains.links().iter().enumerate() {
            let list = (nodes + at) as u32;
            if is_lock(link.lock) {
                edge(link.lock.0, list);
            }
            if let Some(outer) = link.outer.index().checked_sub(1) {
                edge((nodes + outer) as u32, list);
            }
        }
        for (number, target) in (0u32..).zip(&targets) {
            if *target == NONE {
                continue;
            }
            if let Some(want) = requests.get(number) {
                if let Some(list) = want.held.index().checked_sub(1) {
                    edge((nodes + list) as u32, *target);
                }
                if want.child {
                    edge(requests.end_of(want.thread), *target);
                }
            }
        }
    });
    let component = components(&graph);
    drop(graph);
    // Components with several nodes.
    let mut members = vec![0u32; component.iter().max().map_or(0, |most| *most as usize + 1)];
    for of in &component[..nodes] {
        members[*of as usize] += 1;
    }
    let mut keyed: Vec<(u32, Edge)> = Vec::new();
    for (number, target) in (0u32..).zip(targets) {
        if target == NONE || members[component[target as usize] as usize] < 2 {
            continue;
        }
        let of = component[target as usize];
        let Some(want) = requests.get(number) else { continue };
        for edge in edges_of(session, requests, number, &want) {
            if component[edge.from as usize] != of {
                continue;
            }
            if keyed.len() >= MOST_EDGES {
                cyclic.cut = true;
                break;
            }
            keyed.push((of, edge));
        }
    }
    keyed.sort_unstable_by_key(|(of, edge)| (*of, edge.from, edge.to, edge.want));
    let mut last = NONE;
    for (at, (of, _)) in keyed.iter().enumerate() {
        if *of != last {
            cyclic.starts.push(at);
            last = *of;
        }
    }
    cyclic.starts.push(keyed.len());
    cyclic.edges = keyed.into_iter().map(|(_, edge)| edge).collect();
    cyclic
}

/// The edges of a want: one from each lock that is held.
pub(super) fn edges_of<'a>(
    session: &'a Session,
    requests: &'a Requests<'a>,
    number: u32,
    want: &RequestView<'_>,
) -> impl Iterator<Item = Edge> + 'a {
    let chains = &session.order.chains;
    let (to, held) = (want.node, want.held);
    let end = want.child.then(|| {
        let held_stack = session.order.created_at(want.thread);
        Edge { from: requests.end_of(want.thread), to, want: number, held_mode: Mode::Exclusive, held_stack }
    });
    // A reader may hold a lock twice: reported once.
    let again = move |link: &Link| {
        let row = session.locks.get(link.lock.index());
        row.is_some_and(|row| row.kind.has_readers()) && chains.walk(link.outer).any(|outer| outer.lock == link.lock)
    };
    let links = chains.walk(held);
    let locks = links.filter(move |link| session.locks.get(link.lock.index()).is_some_and(holds) && !again(link));
    end.into_iter().chain(locks.map(move |link| Edge {
        from: link.lock.0,
        to,
        want: number,
        held_mode: link.mode,
        held_stack: link.stack,
    }))
}

/// A read lock that is read again by its reader.
pub(super) fn reads_again(session: &Session, want: &RequestView<'_>) -> Option<Link> {
    let row = session.locks.get(want.lock.index())?;
    if !row.kind.has_readers() || want.mode != Mode::Shared || want.how == How::Try || row.merged > 1 {
        return None;
    }
    let mut held = session.order.chains.walk(want.held).filter(|link| link.lock == want.lock);
    held.next().filter(|link| link.mode == Mode::Shared).copied()
}
