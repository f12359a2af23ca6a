//! Locks used as they may not be, and threads that wait for themselves.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::fingerprint::{Fnv, written};
use super::places::Places;
use super::wants::holds;
use super::{Finding, FindingKind};
use crate::model::order::{How, MarkWhat, Misuse, MisuseKind, Request};
use crate::model::{Exit, Hang, Kind, LockId, Mode, ProcessId, Session, StackId, Stacks, ThreadId};

/// Each once for its kind, the lock's class and the place in the code.
pub(super) fn findings(session: &Session, own: &[u32], places: &Places<'_>) -> Vec<Finding> {
    let mut found: BTreeMap<(usize, u64), Finding> = BTreeMap::new();
    let mut add = |kind: FindingKind,
                   fails: bool,
                   lock: LockId,
                   thread: ThreadId,
                   stacks: Vec<StackId>,
                   count: u64,
                   message: String| {
        let site = stacks.first().copied().unwrap_or(Stacks::UNKNOWN);
        let hash = Fnv::new().bytes(kind.name().as_bytes()).number(places.class(lock)).number(places.site(site)).end();
        let number = FindingKind::ALL.iter().position(|known| *known == kind).unwrap_or(0);
        let finding = found.entry((number, hash)).or_insert_with(|| Finding {
            kind,
            fingerprint: written(hash),
            fails,
            lock,
            thread,
            message: message.clone(),
            stacks: stacks.into_iter().filter(|stack| *stack != Stacks::UNKNOWN).collect(),
            count: 0,
        });
        finding.count = finding.count.saturating_add(count);
        if fails && !finding.fails {
            (finding.fails, finding.message) = (fails, message);
        }
    };
    for request in own.iter().filter_map(|number| session.order.requests.get(*number as usize)) {
        if let Some(message) = takes_again(session, request, places) {
            let key = &request.key;
            let held = session.order.chains.walk(key.held).find(|link| link.lock == key.lock);
            let stacks = vec![key.stack, held.map_or(Stacks::UNKNOWN, |link| link.stack)];
            add(FindingKind::SelfDeadlock, true, key.lock, key.thread, stacks, request.count(), message);
        }
    }
    // A lock that was destroyed while held and is held at its thread's end: that is one mistake.
    let is_destroyed = |misuse: &&Misuse| misuse.kind == MisuseKind::DestroyedWhileHeld;
    let destroyed: FxHashSet<_> =
        session.order.misuses.keys().filter(is_destroyed).map(|misuse| (misuse.lock, misuse.holder)).collect();
    let is_told = |misuse: &Misuse| {
        misuse.kind == MisuseKind::HeldAtThreadExit && destroyed.contains(&(misuse.lock, misuse.stack))
    };
    let kept_to_the_end = KeptToTheEnd::new(session);
    let mut misuses: Vec<_> = session.order.misuses.iter().collect();
    misuses.sort_unstable_by_key(|(misuse, _)| **misuse);
    for (misuse, (thread, count)) in misuses {
        if misuse.lock.index() >= session.locks.len() || is_told(misuse) {
            continue;
        }
        let (lock, at, holder) = (places.lock(misuse.lock), places.at(misuse.stack), places.at(misuse.holder));
        let taken =
            if misuse.holder == Stacks::UNKNOWN { String::new() } else { format!(", which was taken in {holder}") };
        let mut fails = misuse.kind != MisuseKind::Refused;
        let (kind, message) = match misuse.kind {
            MisuseKind::UnlockNotOwner => {
                (FindingKind::UnlockNotOwner, format!("{at} unlocks {lock}, which another thread holds{taken}"))
            }
            MisuseKind::UnlockNotLocked => {
                (FindingKind::UnlockNotLocked, format!("{at} unlocks {lock}, which nobody holds"))
            }
            MisuseKind::DestroyedWhileHeld => {
                (FindingKind::DestroyedWhileHeld, format!("{at} destroys {lock} while it is held{taken}"))
            }
            MisuseKind::HeldAtThreadExit => {
                let harmless = if kept_to_the_end.is(misuse, *thread, *count) {
                    fails = false;
                    "; nobody asked for it any more, as the process was about to end"
                } else {
                    ""
                };
                let message = format!("a thread ends and holds {lock} still, taken in {at}{harmless}");
                (FindingKind::LockHeldAtThreadExit, message)
            }
            MisuseKind::WaitNotOwner => (
                FindingKind::UnlockNotOwner,
                format!(
                    "{at} waits on a condition with {lock}, which another thread holds{taken}: the wait unlocks it"
                ),
            ),
            MisuseKind::WaitNotLocked => (
                FindingKind::UnlockNotLocked,
                format!("{at} waits on a condition with {lock}, which nobody holds: the wait unlocks it"),
            ),
            MisuseKind::Refused => (
                FindingKind::SelfDeadlockRefused,
                format!(
                    "{at} takes {lock}, which the thread itself holds{}: it is refused (EDEADLK), and whoever does not \
                     look at the answer goes on without a lock of its own",
                    taken.replace("which was ", "")
                ),
            ),
        };
        add(kind, fails, misuse.lock, *thread, vec![misuse.stack, misuse.holder], *count, message);
    }
    found.into_values().collect()
}

/// Tells which locks an ended thread kept on purpose: some programs have a thread of their own take a lock for good, to
/// stop all others, when the process is about to end.
struct KeptToTheEnd<'a> {
    session: &'a Session,
    joined: FxHashSet<ThreadId>,
    /// When each process created its last thread, ns.
    last_creation_ns: FxHashMap<ProcessId, u64>,
    /// Locks that somebody asked for in vain, or still waits for.
    missed: FxHashSet<LockId>,
}

impl<'a> KeptToTheEnd<'a> {
    fn new(session: &'a Session) -> Self {
        let mut kept = Self {
            session,
            joined: FxHashSet::default(),
            last_creation_ns: FxHashMap::default(),
            missed: FxHashSet::default(),
        };
        if !session.order.misuses.keys().any(|misuse| misuse.kind == MisuseKind::HeldAtThreadExit) {
            return kept;
        }
        for (life, thread) in session.order.lives.iter().zip(&session.threads) {
            for mark in &life.marks {
                match mark.what {
                    MarkWhat::Joined(Some(joined)) => _ = kept.joined.insert(joined),
                    MarkWhat::Created(_) => {
                        let last = kept.last_creation_ns.entry(thread.process).or_default();
                        *last = (*last).max(mark.at_ns);
                    }
                    _ => {}
                }
            }
        }
        let sites = session.profile.sites.iter().filter(|site| site.timeouts + site.try_failures + site.failures > 0);
        kept.missed.extend(sites.map(|site| site.key.lock));
        let unanswered = session.order.requests.iter().filter(|request| request.unanswered);
        kept.missed.extend(unanswered.map(|request| request.key.lock));
        kept.missed.extend(session.hangs.iter().flat_map(Hang::waiting).map(|waiting| waiting.lock));
        kept
    }

    /// It was not the first thread, nobody joined it, no thread was created after its end, nobody asked for the lock in vain, and the process
    /// ended by itself.
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
            && !self.missed.contains(&misuse.lock)
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
    match (lock.kind, first.mode, key.mode) {
        // Another reader may come in: that is a cycle of its own.
        (Kind::Rwlock, Mode::Shared, Mode::Shared) => None,
        (Kind::Rwlock, Mode::Shared, Mode::Exclusive) => {
            Some(format!("{at} wants to write {name}, which the thread itself reads since {taken}"))
        }
        (Kind::Rwlock, Mode::Exclusive, Mode::Shared) => {
            Some(format!("{at} wants to read {name}, which the thread itself writes since {taken}"))
        }
        _ => Some(format!("{at} takes {name}, which the thread itself holds since {taken}: it waits for ever")),
    }
}
