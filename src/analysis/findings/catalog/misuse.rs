//! Locks used as they may not be, and threads that wait for themselves.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    DESTROYED_WHILE_HELD, LOCK_HELD_AT_THREAD_EXIT, SELF_DEADLOCK, SELF_DEADLOCK_REFUSED, UNLOCK_NOT_LOCKED,
    UNLOCK_NOT_OWNER,
};
use crate::analysis::findings::{Collector, Scope, Sighting};
use crate::analysis::order::places::Places;
use crate::analysis::order::wants::holds;
use crate::model::order::{How, Misuse, MisuseKind, Request, SyncWhat};
use crate::model::{Exit, Hang, LockId, Mode, ProcessId, Session, Stacks, ThreadId};

/// Adds misuses and requests of a thread that waits for itself.
pub(super) fn find(scope: &Scope<'_>, collector: &mut Collector<'_>) {
    let Scope { session, requested_again, places } = *scope;
    for request in requested_again.iter().filter_map(|number| session.order.requests.get(*number as usize)) {
        if let Some(message) = takes_again(session, request, places) {
            let key = &request.key;
            let held = session.order.chains.walk(key.held).find(|link| link.lock == key.lock);
            let stacks = vec![key.stack, held.map_or(Stacks::UNKNOWN, |link| link.stack)];
            collector.add(Sighting {
                rule: &SELF_DEADLOCK,
                fails: true,
                lock: key.lock,
                thread: key.thread,
                stacks,
                count: request.count(),
                message,
            });
        }
    }
    // A lock that was destroyed while held and is held at its thread's end: that is one mistake.
    let is_destroyed = |misuse: &&Misuse| misuse.kind == MisuseKind::DestroyedWhileHeld;
    let destroyed: FxHashSet<_> =
        session.order.misuses.keys().filter(is_destroyed).map(|misuse| (misuse.lock, misuse.holder)).collect();
    let is_told = |misuse: &Misuse| {
        misuse.kind == MisuseKind::HeldAtThreadExit && destroyed.contains(&(misuse.lock, misuse.stack))
    };
    // A thread that ended with a lock that others wait for is told as the hang that this became.
    let is_hang = |misuse: &Misuse, thread: ThreadId, count: u64| {
        let left_behind = || session.hangs.iter().filter_map(Hang::left_behind);
        misuse.kind == MisuseKind::HeldAtThreadExit
            && count == 1
            && left_behind().any(|left| left == (thread, misuse.lock))
    };
    let kept_to_the_end = KeptToTheEnd::new(session);
    let mut misuses: Vec<_> = session.order.misuses.iter().collect();
    misuses.sort_unstable_by_key(|(misuse, _)| **misuse);
    for (misuse, (thread, count)) in misuses {
        if misuse.lock.index() >= session.locks.len() || is_told(misuse) || is_hang(misuse, *thread, *count) {
            continue;
        }
        let (lock, at, holder) = (places.lock(misuse.lock), places.at(misuse.stack), places.at(misuse.holder));
        let taken =
            if misuse.holder == Stacks::UNKNOWN { String::new() } else { format!(", which was taken in {holder}") };
        let mut fails = misuse.kind != MisuseKind::Refused;
        let (rule, message) = match misuse.kind {
            MisuseKind::UnlockNotOwner => {
                (&UNLOCK_NOT_OWNER, format!("{at} unlocks {lock}, which another thread holds{taken}"))
            }
            MisuseKind::UnlockNotLocked => (&UNLOCK_NOT_LOCKED, format!("{at} unlocks {lock}, which nobody holds")),
            MisuseKind::DestroyedWhileHeld => {
                (&DESTROYED_WHILE_HELD, format!("{at} destroys {lock} while it is held{taken}"))
            }
            MisuseKind::HeldAtThreadExit => {
                let harmless = if kept_to_the_end.is(misuse, *thread, *count) {
                    fails = false;
                    "; nobody asked for it any more, as the process was about to end"
                } else {
                    ""
                };
                let message = format!("a thread ends and holds {lock} still, taken in {at}{harmless}");
                (&LOCK_HELD_AT_THREAD_EXIT, message)
            }
            MisuseKind::WaitNotOwner => (
                &UNLOCK_NOT_OWNER,
                format!(
                    "{at} waits on a condition with {lock}, which another thread holds{taken}: the wait unlocks it"
                ),
            ),
            MisuseKind::WaitNotLocked => (
                &UNLOCK_NOT_LOCKED,
                format!("{at} waits on a condition with {lock}, which nobody holds: the wait unlocks it"),
            ),
            MisuseKind::Refused => (
                &SELF_DEADLOCK_REFUSED,
                format!(
                    "{at} takes {lock}, which the thread itself holds{}: it is refused (EDEADLK), and whoever does not \
                     look at the answer goes on without a lock of its own",
                    taken.replace("which was ", "")
                ),
            ),
        };
        let stacks = vec![misuse.stack, misuse.holder];
        collector.add(Sighting { rule, fails, lock: misuse.lock, thread: *thread, stacks, count: *count, message });
    }
}

/// Tells which locks an ended thread kept on purpose: some programs have a thread of their own take a lock for good, to
/// stop all others, when the process is about to end.
struct KeptToTheEnd<'a> {
    session: &'a Session,
    joined: FxHashSet<ThreadId>,
    /// When each process created its last thread, ns.
    last_creation_ns: FxHashMap<ProcessId, u64>,
    /// Locks that somebody still waits for.
    awaited: FxHashSet<LockId>,
    /// Locks that somebody asked for in vain, at whatever time.
    refused: FxHashSet<LockId>,
}

impl<'a> KeptToTheEnd<'a> {
    fn new(session: &'a Session) -> Self {
        let mut kept = Self {
            session,
            joined: FxHashSet::default(),
            last_creation_ns: FxHashMap::default(),
            awaited: FxHashSet::default(),
            refused: FxHashSet::default(),
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
        let sites = session.profile.sites.iter().filter(|site| site.timeouts + site.try_failures + site.failures > 0);
        kept.refused.extend(sites.map(|site| site.key.lock));
        let unanswered = session.order.requests.iter().filter(|request| request.unanswered);
        kept.awaited.extend(unanswered.map(|request| request.key.lock));
        kept.awaited.extend(session.hangs.iter().flat_map(Hang::waiting).map(|waiting| waiting.lock));
        kept
    }

    /// Whether everything ended at once after this moment.
    fn is_at_the_end(&self, moment_ns: u64) -> bool {
        const AT_ONCE_NS: u64 = 500_000_000;
        self.session.runs() == 1 && self.session.meta.duration_ns.saturating_sub(moment_ns) < AT_ONCE_NS
    }

    /// It was not the first thread, nobody joined it, no thread was created after its end, nobody waits for the lock, and the process
    /// ended by itself; at once, where somebody has asked for the lock in vain: before that, then.
    fn is(&self, misuse: &Misuse, thread: ThreadId, count: u64) -> bool {
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
            && !self.awaited.contains(&misuse.lock)
            && (!self.refused.contains(&misuse.lock) || row.end_ns.is_some_and(|end_ns| self.is_at_the_end(end_ns)))
    }
}

/// What is wrong with a request for a lock that its thread holds already; `None` where it is fine.
fn takes_again(session: &Session, request: &Request, places: &Places<'_>) -> Option<String> {
    let key = &request.key;
    let lock = session.locks.get(key.lock.index()).filter(|lock| holds(lock) && lock.merged <= 1)?;
    if !request.unanswered || key.how != How::Block || key.reacquired || lock.traits.recursive {
        return None;
    }
    let mut held = session.order.chains.walk(key.held).filter(|link| link.lock == key.lock);
    let first = held.next()?;
    let (name, at, taken) = (places.lock(key.lock), places.at(key.stack), places.at(first.stack));
    match (lock.kind.has_readers(), first.mode, key.mode) {
        // Another reader may come in: that is a cycle of its own.
        (true, Mode::Shared, Mode::Shared) => None,
        (true, Mode::Shared, Mode::Exclusive) => {
            Some(format!("{at} wants to write {name}, which the thread itself reads since {taken}"))
        }
        (true, Mode::Exclusive, Mode::Shared) => {
            Some(format!("{at} wants to read {name}, which the thread itself writes since {taken}"))
        }
        _ => Some(format!("{at} takes {name}, which the thread itself holds since {taken}: it waits for ever")),
    }
}
