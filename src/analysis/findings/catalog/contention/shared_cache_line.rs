//! Two busy locks lie in one cache line: who takes one takes the line from those who take the other.

use rustc_hash::{FxHashMap, FxHashSet};

use super::catalog::SHARED_CACHE_LINE;
use crate::analysis::contention::share;
use crate::analysis::findings::cost::{Cost, What};
use crate::analysis::findings::{Collector, Costing, Severity};
use crate::analysis::time_lost::{LEAST_NS, LEAST_OF_RUN, TimeLost};
use crate::model::{LockId, ProcessId, Session, StackId, Stacks, ThreadId};

/// Bytes of a cache line.
const LINE: u64 = 64;
/// What it costs to fetch a line from another processor, ns; an estimate.
const FETCH_NS: u64 = 50;
/// So much of a lock's acquisitions are by a thread that the other lock has less to do with.
const OWN: f64 = 0.3;

pub(super) fn find(session: &Session, lost: &TimeLost<'_>, collector: &mut Collector<'_>) {
    let mut counts: FxHashMap<LockId, (u64, u64, StackId)> = FxHashMap::default();
    for site in &session.profile.sites {
        let count = counts.entry(site.key.lock).or_default();
        count.0 = count.0.saturating_add(site.acquisitions);
        if site.acquisitions > count.1 {
            (count.1, count.2) = (site.acquisitions, site.key.stack);
        }
    }
    let is_busy = |lock: LockId, process: ProcessId| {
        let ns = counts.get(&lock).map_or(0, |count| count.0).saturating_mul(FETCH_NS);
        ns >= LEAST_NS && share(ns, lost.scale.run_ns(process)) >= LEAST_OF_RUN
    };
    let mut lines: FxHashMap<(ProcessId, u64), Vec<LockId>> = FxHashMap::default();
    for (at, lock) in session.locks.iter().enumerate() {
        let id = LockId::from(at);
        if lock.kind.is_lock() && lock.address != 0 && lock.merged <= 1 && is_busy(id, lock.process) {
            lines.entry((lock.process, lock.address / LINE)).or_default().push(id);
        }
    }
    lines.retain(|_, locks| locks.len() > 1);
    if lines.is_empty() {
        return;
    }
    let shared: FxHashSet<LockId> = lines.values().flatten().copied().collect();
    let users = users(session, &shared);
    let nested: FxHashSet<(LockId, LockId)> = (session.order.requests.iter())
        .flat_map(|request| session.order.chains.walk(request.key.held).map(|link| (link.lock, request.key.lock)))
        .collect();
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_unstable();
    for (_, mut locks) in lines {
        let taken = |lock: &LockId| counts.get(lock).copied().unwrap_or_default();
        locks.sort_by_key(|lock| (std::cmp::Reverse(taken(lock).0), *lock));
        let [first, second] = [locks[0], locks[1]];
        if nested.contains(&(first, second)) || nested.contains(&(second, first)) || !is_apart(&users, first, second) {
            continue;
        }
        let (acquisitions, _, other_at) = taken(&second);
        let apart = session.lock(first).address.abs_diff(session.lock(second).address);
        let lost_ns = acquisitions.saturating_mul(FETCH_NS);
        let known = |stack: &StackId| *stack != Stacks::UNKNOWN;
        collector.add_cost(Costing {
            rule: &SHARED_CACHE_LINE,
            severity: Severity::Note,
            locks: vec![first, second],
            threads: Vec::new(),
            at: [taken(&first).2].into_iter().filter(known).collect(),
            related: [other_at].into_iter().filter(known).collect(),
            by_place: false,
            count: 1,
            cost: Cost { lost_ns, of_threads: 0.0, what: What::SharedCacheLine { other: second, apart, acquisitions } },
        });
    }
}

/// Who took each of these locks how often.
fn users(session: &Session, locks: &FxHashSet<LockId>) -> FxHashMap<LockId, FxHashMap<ThreadId, u64>> {
    let mut users: FxHashMap<LockId, FxHashMap<ThreadId, u64>> = FxHashMap::default();
    for ((thread, site), part) in &session.profile.by_thread {
        let lock = session.profile.sites.get(site.index()).map(|site| site.key.lock);
        if let Some(lock) = lock.filter(|lock| locks.contains(lock)) {
            *users.entry(lock).or_default().entry(*thread).or_default() += part.acquisitions;
        }
    }
    users
}

/// Whether different threads take the two: some thread takes much of one and hardly any of the other.
fn is_apart(users: &FxHashMap<LockId, FxHashMap<ThreadId, u64>>, one: LockId, other: LockId) -> bool {
    let part = |lock: LockId, thread: ThreadId| {
        let of = users.get(&lock);
        let all = of.map_or(0, |of| of.values().sum());
        share(of.and_then(|of| of.get(&thread)).copied().unwrap_or(0), all)
    };
    let own = |lock: LockId, than: LockId| {
        let threads = users.get(&lock).into_iter().flat_map(|of| of.keys());
        threads.copied().any(|thread| part(lock, thread) >= OWN && part(than, thread) < part(lock, thread) / 2.0)
    };
    own(one, other) && own(other, one)
}
