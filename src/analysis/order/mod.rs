//! What the order in which locks were taken means: cycles, how serious each is, and why, as facts ([`Cause`]).
//!
//! The verdicts are those of `docs/lock-order.md`. Nothing here fails: what was cut, dropped or cannot be known is
//! part of the result and makes a verdict more careful, never less.

mod cause;
mod clocks;
mod closure;
mod components;
mod cross_run;
mod cycle_report;
mod cycles;
mod edges;
mod entries;
mod feasibility;
mod graph;
mod guard_locks;
mod links;
mod observed_deadlock;
pub(super) mod requests;
mod search;
mod trace;
mod types;
mod verdict;
mod writers;

pub use cause::{Cause, Link};
pub use guard_locks::LegGuard;
pub use types::{Action, By, Class, Cycle, Graph, GraphEdge, GraphNode, Held, Leg, Note, Orders, Step};

use super::fingerprint::identities::Identities;
use super::fingerprint::{of_cycle, written};
use crate::model::Session;

/// Classifies the cycles in the order in which locks were taken.
pub fn orders(session: &Session) -> Orders {
    orders_of(session, &Identities::new(session))
}

/// The same, with identities that somebody else needs as well.
pub(super) fn orders_of(session: &Session, identities: &Identities<'_>) -> Orders {
    let requests = requests::Requests::new(session);
    let cyclic = edges::cyclic_edges(session, &requests);
    let mut orders = Orders { requested_again: cyclic.own.clone(), complete: true, ..Orders::default() };
    if session.order.dropped > 0 {
        orders.complete = false;
        orders.notes.push(Note::RequestsDropped);
    }
    if session.coverage.contended_only {
        orders.complete = false;
        orders.notes.push(Note::ContendedOnly);
    }
    let cross_runs = cross_run::find(session, &requests, identities);
    if !cyclic.edges.is_empty() || !cyclic.own.is_empty() || !cross_runs.is_empty() {
        predict(session, &requests, identities, (&cyclic, cross_runs), &mut orders);
    }
    observed_deadlock::add(session, identities, &mut orders.cycles);
    orders
}

/// Adds the cycles of the graph.
fn predict(
    session: &Session,
    requests: &requests::Requests<'_>,
    identities: &Identities<'_>,
    (cyclic, cross_runs): (&edges::CyclicEdges, Vec<cross_run::CrossRun>),
    orders: &mut Orders,
) {
    let (hard, soft) = (links::Links::new(session, false), links::Links::new(session, true));
    let mut reporter = cycle_report::Reporter::new(session, requests, identities, &hard, &soft);
    reporter.report_all(cyclic);
    for entry in cross_runs {
        reporter.add(false, entry.fingerprint, entry.verdict, None, |_| entry.legs);
    }
    let pairs = &reporter.classifier.pairs;
    orders.cycles = entries::written_out(session, identities, pairs, &reporter.entries);
    if reporter.cut {
        orders.complete = false;
        orders.notes.push(Note::TooManyCombinations);
    }
    if pairs.hard.exhausted() || pairs.soft.exhausted() {
        orders.notes.push(Note::TooManyLinks);
    }
}

/// The lock-order graph, with the classes of the cycles that were found; `cycles_only`: without what lies on none.
pub fn graph<'a>(session: &Session, cycles: impl IntoIterator<Item = &'a Cycle>, by: By, cycles_only: bool) -> Graph {
    graph::graph(session, &mut cycles.into_iter(), by, cycles_only)
}

/// The fingerprint that a cycle had before fingerprints were made without the names of files.
pub(super) fn former_fingerprint(session: &Session, cycle: &Cycle) -> String {
    let identities = Identities::new(session);
    let legs: Vec<u64> = cycle.legs.iter().map(|leg| entries::former_leg_hash(&identities, leg)).collect();
    written(of_cycle(&legs))
}

#[cfg(test)]
pub(super) mod tests;
