//! Ways of using locks that cost time. Each is a detector in a file of its own; what is said of it stands in its row.
//!
//! None fails the gate by default. All ask [`TimeLost`] what lost time weighs, so that nothing is said where it is little.

pub mod catalog;
mod convoy;
mod held_across;
mod hot_lock;
mod long_hold;
mod never_shared;
mod pending_writer;
mod rwlock_not_worth_it;
mod saturating;
mod shared_cache_line;
mod slow_once;
mod starvation;
#[cfg(test)]
mod tests;
mod thundering_herd;
mod tiny_section;

use super::Rule;
use crate::analysis::findings::cost::{Cost, What};
use crate::analysis::findings::{Collector, Costing, Scope, Severity};
use crate::analysis::time_lost::{ClassTime, TimeLost, Weight};
use crate::model::{LockId, Session, StackId, Stacks, ThreadId};

/// A lock that is held at most so long is held for less than it costs to take it when others want it, ns.
const TINY_NS: u64 = 1_000;
/// A hold is long where those who wait for it certainly sleep, ns.
const LONG_NS: u64 = 100_000;

/// Adds what costs time.
pub(super) fn find(scope: &Scope<'_>, collector: &mut Collector<'_>) {
    let session = scope.session;
    if session.coverage.contended_only {
        // Nothing is known of holds.
        return;
    }
    let lost = TimeLost::of(session);
    let nested = held_across::find(session, &lost, collector);
    let initialised = slow_once::find(&lost, collector);
    for class in lost.classes(|row| row.kind.is_lock()) {
        let is_part = initialised.iter().any(|once| is_part(session, class.hottest(), *once));
        if is_part || lost.scale.are_gates(&class.row.members) {
            continue;
        }
        rwlock_not_worth_it::find(&class, collector);
        // What explains most of the waiting makes other explanations of the same lock superfluous.
        let is_told = pending_writer::find(&class, &lost, collector)
            || nested.contains(&class.hottest())
            || (saturating::find(&class, collector) && !class.weight.much);
        let is_starved = starvation::find(&class, &lost, collector);
        if !is_told {
            let _ = long_hold::find_few(&class, collector)
                || hot_lock::find(&class, collector)
                || (!is_starved && long_hold::find(&class, collector))
                || convoy::find(&class, collector)
                || tiny_section::find(&class, collector)
                || hot_lock::find_one_place(&class, collector);
        }
    }
    thundering_herd::find(session, &lost, collector);
    shared_cache_line::find(session, &lost, collector);
    never_shared::find(session, &lost, collector);
}

/// Whether the lock is a part of this initialisation, as in Go's `sync.Once`.
fn is_part(session: &Session, lock: LockId, once: LockId) -> bool {
    const LONGEST: u64 = 16;
    let (lock, once) = (session.lock(lock), session.lock(once));
    let within = once.address..once.address.saturating_add(LONGEST);
    once.address != 0 && lock.process == once.process && within.contains(&lock.address)
}

/// A finding about the hottest lock of a class: where it is held, and where it is waited for.
fn about(
    rule: &'static Rule,
    class: &ClassTime<'_>,
    weight: Weight,
    what: What,
    (held, waited): (StackId, StackId),
) -> Costing {
    let places = |stack: StackId| (stack != Stacks::UNKNOWN).then_some(stack).into_iter().collect();
    Costing {
        rule,
        severity: severity(weight),
        locks: vec![class.hottest()],
        threads: Vec::new(),
        at: places(held),
        related: places(waited),
        by_place: false,
        count: class.row.contended,
        cost: Cost::of(weight, what),
    }
}

fn severity(weight: Weight) -> Severity {
    if weight.much { Severity::Warning } else { Severity::Note }
}

/// Each thread once.
fn distinct(threads: impl Iterator<Item = ThreadId>) -> Vec<ThreadId> {
    let mut threads: Vec<ThreadId> = threads.collect();
    threads.sort_unstable();
    threads.dedup();
    threads
}
