//! A lock that one thread alone takes, very often, in a program of many threads.

use rustc_hash::FxHashMap;

use super::catalog::NEVER_SHARED;
use super::distinct;
use crate::analysis::findings::cost::{Cost, What};
use crate::analysis::findings::{Collector, Costing, Severity};
use crate::analysis::time_lost::{LEAST_NS, TimeLost};
use crate::model::lock_class::is_programs;
use crate::model::{LockId, Session, StackId, Stacks, ThreadId};

/// What it costs to take and give back a lock that nobody else wants, ns; an estimate.
const PAIR_NS: u64 = 20;

pub(super) fn find(session: &Session, lost: &TimeLost<'_>, collector: &mut Collector<'_>) {
    let rows: Vec<_> = (lost.rows().iter())
        .filter(|row| row.kind.is_lock() && row.contended == 0 && row.owner_changes == 0 && is_programs(&row.class))
        .filter(|row| row.acquisitions.saturating_mul(PAIR_NS) >= LEAST_NS)
        .filter(|row| session.process(row.process).threads > 1)
        .collect();
    if rows.is_empty() {
        return;
    }
    let mut owners: FxHashMap<LockId, Option<ThreadId>> = FxHashMap::default();
    for row in &rows {
        owners.extend(row.members.iter().map(|lock| (*lock, None)));
    }
    let mut shared: Vec<LockId> = Vec::new();
    for (thread, site) in session.profile.by_thread.keys() {
        let Some(lock) = session.profile.sites.get(site.index()).map(|site| site.key.lock) else { continue };
        if let Some(owner) = owners.get_mut(&lock) {
            match owner {
                Some(known) if known != thread => shared.push(lock),
                _ => *owner = Some(*thread),
            }
        }
    }
    for row in rows.into_iter().filter(|row| !row.members.iter().any(|lock| shared.contains(lock))) {
        if row.members.len() > 1 || has_siblings(session, row.members[0]) {
            // A lock for each thread, on purpose.
            continue;
        }
        let threads = distinct(row.members.iter().filter_map(|lock| owners.get(lock).copied().flatten()));
        let lost_ns = row.acquisitions.saturating_mul(PAIR_NS);
        let Some(weight) = lost.scale.weigh(lost_ns, &threads, lost.scale.run_ns(row.process)) else { continue };
        let place = row.sites.first().map_or(Stacks::UNKNOWN, |site| site.stack);
        let known = |stack: &StackId| *stack != Stacks::UNKNOWN;
        let what = What::NeverShared { acquisitions: row.acquisitions };
        collector.add_cost(Costing {
            rule: &NEVER_SHARED,
            severity: Severity::Note,
            locks: row.members.first().copied().into_iter().collect(),
            threads,
            at: [place].into_iter().filter(known).collect(),
            related: Vec::new(),
            by_place: false,
            count: row.acquisitions,
            cost: Cost::of(weight, what),
        });
    }
}

/// Whether the variable that the lock is in has other locks.
fn has_siblings(session: &Session, lock: LockId) -> bool {
    let variable = |lock: LockId| {
        let row = session.lock(lock);
        let name = row.name.as_ref().map_or("", |name| name.text.as_str());
        (row.process, name.split(['.', '[']).next().unwrap_or_default().to_owned())
    };
    let own = variable(lock);
    let others = (0..session.locks.len()).map(LockId::from).filter(|other| *other != lock);
    !own.1.is_empty() && others.filter(|other| session.lock(*other).kind.is_lock()).any(|other| variable(other) == own)
}
