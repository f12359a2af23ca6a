//! Locks that are waited for on purpose: waiting at them is idle, and costs nobody anything.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Scale;
use crate::analysis::contention::share;
use crate::analysis::{add, sum_of};
use crate::model::{LockId, ThreadId};

/// What is known of a lock that may be a gate.
#[derive(Default)]
struct Gate {
    /// How long each thread waited, ns, and how often.
    waiters: FxHashMap<ThreadId, (u64, u64)>,
    longest_ns: u64,
    held: FxHashMap<ThreadId, u64>,
}

impl Gate {
    const ONE: f64 = 0.95;
    const ONCE: f64 = 0.9;
    const SOME: u64 = 50;
    const MOST: f64 = 0.8;
}

impl Scale<'_> {
    /// Whether each of these locks keeps one thread from going on until another lets it: a gate, and waiting at it is idle.
    ///
    /// One wait is nearly all waiting for it; or one thread waits most of its life, for a lock that another one holds most of
    /// the run. A lock with readers is none.
    pub fn are_gates(&self, locks: &[LockId]) -> bool {
        if locks.first().is_some_and(|lock| self.session.lock(*lock).kind.has_readers()) {
            return false;
        }
        if self.are_turns(locks) {
            return true;
        }
        let profile = &self.session.profile;
        let mut gates: FxHashMap<LockId, Gate> = locks.iter().map(|lock| (*lock, Gate::default())).collect();
        for (key, stats) in &profile.waits {
            if let Some(gate) = gates.get_mut(&key.lock) {
                let waits = gate.waiters.entry(key.thread).or_default();
                add(&mut waits.0, stats.wait_ns);
                add(&mut waits.1, stats.count);
                gate.longest_ns = gate.longest_ns.max(stats.max_ns);
            }
        }
        for ((thread, site), part) in &profile.by_thread {
            let lock = profile.sites.get(site.index()).map(|site| site.key.lock);
            if let Some(gate) = lock.and_then(|lock| gates.get_mut(&lock)) {
                add(gate.held.entry(*thread).or_default(), part.hold_ns);
            }
        }
        let is_gate = |(lock, gate): (&LockId, &Gate)| {
            let all_ns = sum_of(gate.waiters.values().map(|(ns, _)| *ns));
            let Some((thread, (wait_ns, waits))) = gate.waiters.iter().max_by_key(|(_, waits)| **waits) else {
                return true;
            };
            let held_ns = gate.held.values().copied().max().unwrap_or(0);
            let run_ns = self.run_ns(self.session.lock(*lock).process);
            let is_life = share(held_ns, run_ns) >= Gate::MOST && share(*wait_ns, self.life_ns(*thread)) >= Gate::MOST;
            let is_once = share(gate.longest_ns, all_ns) >= Gate::ONCE;
            is_once || (share(*wait_ns, all_ns) >= Gate::ONE && *waits <= Gate::SOME && is_life)
        };
        gates.iter().all(is_gate)
    }

    /// Whether these locks are held to wait for work, and waited for by those whose turn comes next: that is idle, too.
    fn are_turns(&self, locks: &[LockId]) -> bool {
        let profile = &self.session.profile;
        let locks: FxHashSet<LockId> = locks.iter().copied().collect();
        let (mut took_ns, mut blocked_ns) = (0, 0);
        for (key, stats) in profile.calls.iter().filter(|(key, _)| locks.contains(&key.lock)) {
            if profile.waits_for_work(key.call) {
                add(&mut took_ns, stats.took_ns);
                add(&mut blocked_ns, stats.blocked_ns);
            }
        }
        if took_ns == 0 {
            return false;
        }
        let sites = || profile.sites.iter().filter(|site| locks.contains(&site.key.lock));
        let (hold_ns, wait_ns) = (sum_of(sites().map(|site| site.hold.sum)), sum_of(sites().map(|site| site.wait.sum)));
        share(took_ns, hold_ns) >= Gate::MOST && share(blocked_ns, wait_ns) < 1.0 - Gate::MOST
    }
}
