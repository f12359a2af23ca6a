//! Locks used as they may not be, and threads that wait for themselves.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    DESTROYED_WHILE_HELD, Fails, LOCK_HELD_AT_THREAD_EXIT, SELF_DEADLOCK, SELF_DEADLOCK_REFUSED, UNLOCK_NOT_LOCKED,
    UNLOCK_NOT_OWNER,
};
use crate::analysis::findings::{Collector, Evidence, Scope, Sighting};
use crate::analysis::order::requests::holds;
use crate::model::order::{How, Misuse as Recorded, MisuseKind, Request, SyncWhat};
use crate::model::{Exit, Hang, LockId, Mode, ProcessId, Session, StackId, Stacks, ThreadId};

/// What was done with a lock that may not be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// What.
    pub deed: Deed,
    /// Where.
    pub at: StackId,
    /// Where the lock had been taken; [`Stacks::UNKNOWN`] where nobody saw it.
    pub taken: StackId,
}

/// See [`Misuse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A thread asks for a lock that it holds, and waits for itself.
    TakesAgain,
    /// The same of a read-write lock: it reads, and wants to write.
    WritesWhatItReads,
    /// It writes, and wants to read.
    ReadsWhatItWrites,
    /// The same as [`Self::TakesAgain`], and the call said no.
    IsRefused,
    /// It unlocks what another thread holds.
    UnlocksAnothers,
    /// It unlocks what nobody holds.
    UnlocksFree,
    /// It waits on a condition with a mutex that another thread holds.
    WaitsWithAnothers,
    /// It waits on a condition with a mutex that nobody holds.
    WaitsWithFree,
    /// It destroys a lock that is held.
    DestroysHeld,
    /// It ends and holds a lock still.
    EndsHolding {
        /// Nobody asked for the lock any more, as the process was about to end.
        harmless: bool,
    },
}

/// Adds misuses and requests of a thread that waits for itself.
pub(super) fn find(scope: &Scope<'_>, collector: &mut Collector<'_>) {
    let Scope { session, requested_again } = *scope;
    for request in requested_again.iter().filter_map(|number| session.order.requests.get(*number as usize)) {
        if let Some(deed) = takes_again(session, request) {
            let key = &request.key;
            let held = session.order.chains.walk(key.held).find(|link| link.lock == key.lock);
            let misuse = Misuse { deed, at: key.stack, taken: held.map_or(Stacks::UNKNOWN, |link| link.stack) };
            collector.add(Sighting {
                rule: &SELF_DEADLOCK,
                fails: true,
                lock: key.lock,
                thread: key.thread,
                stacks: vec![misuse.at, misuse.taken],
                count: request.count(),
                evidence: Evidence::Misuse(misuse),
            });
        }
    }
    // A lock that was destroyed while held and is held at its thread's end: that is one mistake.
    let is_destroyed = |misuse: &&Recorded| misuse.kind == MisuseKind::DestroyedWhileHeld;
    let destroyed: FxHashSet<_> =
        session.order.misuses.keys().filter(is_destroyed).map(|misuse| (misuse.lock, misuse.holder)).collect();
    let is_reported = |misuse: &Recorded| {
        misuse.kind == MisuseKind::HeldAtThreadExit && destroyed.contains(&(misuse.lock, misuse.stack))
    };
    // A thread that ended with a lock that others wait for is reported as the hang that this became.
    let is_hang = |misuse: &Recorded, thread: ThreadId, count: u64| {
        let left_behind = || session.hangs.iter().filter_map(Hang::left_behind);
        misuse.kind == MisuseKind::HeldAtThreadExit
            && count == 1
            && left_behind().any(|left| left == (thread, misuse.lock))
    };
    let kept_to_the_end = KeptToTheEnd::new(session);
    let mut misuses: Vec<_> = session.order.misuses.iter().collect();
    misuses.sort_unstable_by_key(|(misuse, _)| **misuse);
    for (misuse, (thread, count)) in misuses {
        if misuse.lock.index() >= session.locks.len() || is_reported(misuse) || is_hang(misuse, *thread, *count) {
            continue;
        }
        let harmless = misuse.kind == MisuseKind::HeldAtThreadExit && kept_to_the_end.is(misuse, *thread, *count);
        let (rule, deed) = match misuse.kind {
            MisuseKind::UnlockNotOwner => (&UNLOCK_NOT_OWNER, Deed::UnlocksAnothers),
            MisuseKind::UnlockNotLocked => (&UNLOCK_NOT_LOCKED, Deed::UnlocksFree),
            MisuseKind::DestroyedWhileHeld => (&DESTROYED_WHILE_HELD, Deed::DestroysHeld),
            MisuseKind::HeldAtThreadExit => (&LOCK_HELD_AT_THREAD_EXIT, Deed::EndsHolding { harmless }),
            MisuseKind::WaitNotOwner => (&UNLOCK_NOT_OWNER, Deed::WaitsWithAnothers),
            MisuseKind::WaitNotLocked => (&UNLOCK_NOT_LOCKED, Deed::WaitsWithFree),
            MisuseKind::Refused => (&SELF_DEADLOCK_REFUSED, Deed::IsRefused),
        };
        collector.add(Sighting {
            rule,
            fails: rule.fails != Fails::Never && !harmless,
            lock: misuse.lock,
            thread: *thread,
            stacks: vec![misuse.stack, misuse.holder],
            count: *count,
            evidence: Evidence::Misuse(Misuse { deed, at: misuse.stack, taken: misuse.holder }),
        });
    }
}

/// Tells which locks an ended thread kept on purpose: some programs have a thread of their own take a lock for good, to
/// stop all others, when the process is about to end.
struct KeptToTheEnd<'a> {
    session: &'a Session,
    joined: FxHashSet<ThreadId>,
    /// When each process created its last thread, ns.
    last_creation_ns: FxHashMap<ProcessId, u64>,
    /// Locks that somebody waited for in vain, or still waits for, or tried while the one hold that ever was went on.
    missed: FxHashSet<LockId>,
    /// Locks that somebody tried in vain, at whatever time.
    tried: FxHashSet<LockId>,
}

impl<'a> KeptToTheEnd<'a> {
    fn new(session: &'a Session) -> Self {
        let mut kept = Self {
            session,
            joined: FxHashSet::default(),
            last_creation_ns: FxHashMap::default(),
            missed: FxHashSet::default(),
            tried: FxHashSet::default(),
        };
        if !session.order.misuses.keys().any(|misuse| misuse.kind == MisuseKind::HeldAtThreadExit) {
            return kept;
        }
        for (timeline, thread) in session.order.timelines.iter().zip(&session.threads) {
            for sync_point in &timeline.sync_points {
                match sync_point.what {
                    SyncWhat::Joined(Some(joined)) => _ = kept.joined.insert(joined),
                    SyncWhat::Created(_) => {
                        let last = kept.last_creation_ns.entry(thread.process).or_default();
                        *last = (*last).max(sync_point.at_ns);
                    }
                    _ => {}
                }
            }
        }
        let mut acquisitions: FxHashMap<LockId, u64> = FxHashMap::default();
        for site in &session.profile.sites {
            *acquisitions.entry(site.key.lock).or_default() += site.acquisitions;
            if site.timeouts + site.failures > 0 {
                kept.missed.insert(site.key.lock);
            }
            if site.try_failures > 0 {
                kept.tried.insert(site.key.lock);
            }
        }
        // Where nobody else ever had it, it was this hold that the try found.
        kept.missed.extend(kept.tried.iter().filter(|lock| acquisitions.get(lock) == Some(&1)));
        let unanswered = session.order.requests.iter().filter(|request| request.unanswered);
        kept.missed.extend(unanswered.map(|request| request.key.lock));
        kept.missed.extend(session.hangs.iter().flat_map(Hang::waiting).map(|waiting| waiting.lock));
        kept
    }

    /// Whether everything ended at once after this moment.
    fn is_at_the_end(&self, moment_ns: u64) -> bool {
        const AT_ONCE_NS: u64 = 500_000_000;
        self.session.runs() == 1 && self.session.meta.duration_ns.saturating_sub(moment_ns) < AT_ONCE_NS
    }

    /// It was not the first thread, nobody joined it, no thread was created after its end, nobody waited for the lock
    /// in vain, and the process ended by itself; at once, where somebody has tried the lock in vain: before that, then.
    fn is(&self, misuse: &Recorded, thread: ThreadId, count: u64) -> bool {
        let Some(row) = self.session.threads.get(thread.index()) else { return false };
        let process = self.session.processes.get(row.process.index());
        let ended_well = process.is_some_and(|process| matches!(process.exit, Some(Exit::Code(_))));
        let last_ns = self.last_creation_ns.get(&row.process).copied().unwrap_or(0);
        let is_first = process.is_some_and(|process| process.pid == row.tid);
        count == 1
            && ended_well
            && !is_first
            && row.end_ns.is_some_and(|end_ns| end_ns >= last_ns)
            && !self.joined.contains(&thread)
            && !self.missed.contains(&misuse.lock)
            && (!self.tried.contains(&misuse.lock) || row.end_ns.is_some_and(|end_ns| self.is_at_the_end(end_ns)))
    }
}

/// What is wrong with a request for a lock that its thread holds already; `None` where it is fine.
fn takes_again(session: &Session, request: &Request) -> Option<Deed> {
    let key = &request.key;
    let lock = session.locks.get(key.lock.index()).filter(|lock| holds(lock) && lock.merged <= 1)?;
    if !request.unanswered || key.how != How::Block || key.reacquired || lock.traits.recursive {
        return None;
    }
    let mut held = session.order.chains.walk(key.held).filter(|link| link.lock == key.lock);
    match (lock.kind.has_readers(), held.next()?.mode, key.mode) {
        // Another reader may come in: that is a cycle of its own.
        (true, Mode::Shared, Mode::Shared) => None,
        (true, Mode::Shared, Mode::Exclusive) => Some(Deed::WritesWhatItReads),
        (true, Mode::Exclusive, Mode::Shared) => Some(Deed::ReadsWhatItWrites),
        _ => Some(Deed::TakesAgain),
    }
}

#[cfg(test)]
mod tests {
    use super::Deed;
    use crate::analysis::findings::{Evidence, find};
    use crate::analysis::order::tests::programs::{in_turn, program};
    use crate::analysis::order::tests::simulate::Op::{Lock, Read, Unlock, Write};
    use crate::model::Kind;

    #[test]
    fn a_lock_taken_twice_by_its_owner_is_found() {
        let mut upgrade = program(&[vec![Read(0), Write(0), Unlock(0), Unlock(0)]]);
        upgrade.locks = vec![Kind::Rwlock; 4];
        let twice = program(&[vec![Lock(0), Lock(0), Unlock(0), Unlock(0)]]);
        for (program, wanted) in [(twice, Deed::TakesAgain), (upgrade, Deed::WritesWhatItReads)] {
            let recorded = in_turn(&program);
            assert!(!recorded.finished);
            let findings = find(&recorded.session);
            let [finding] = findings.list.as_slice() else { panic!("{findings:#?}") };
            assert!(finding.fails(), "{finding:#?}");
            assert!(matches!(finding.evidence, Evidence::Misuse(misuse) if misuse.deed == wanted), "{finding:#?}");
        }
    }
}
