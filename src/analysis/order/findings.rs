//! Locks used as they may not be, and threads that wait for themselves.

use std::collections::BTreeMap;

use super::fingerprint::{Fnv, written};
use super::places::Places;
use super::wants::holds;
use super::{Finding, FindingKind};
use crate::model::order::{How, MisuseKind, Request};
use crate::model::{Kind, LockId, Mode, Session, StackId, Stacks, ThreadId};

/// Each once for its kind, the lock's class and the place in the code.
pub(super) fn findings(session: &Session, own: &[u32], places: &Places<'_>) -> Vec<Finding> {
    let mut found: BTreeMap<(usize, u64), Finding> = BTreeMap::new();
    let mut add =
        |kind: FindingKind, lock: LockId, thread: ThreadId, stacks: Vec<StackId>, count: u64, message: String| {
            let site = stacks.first().copied().unwrap_or(Stacks::UNKNOWN);
            let hash =
                Fnv::new().bytes(kind.name().as_bytes()).number(places.class(lock)).number(places.site(site)).end();
            let number = FindingKind::ALL.iter().position(|known| *known == kind).unwrap_or(0);
            let finding = found.entry((number, hash)).or_insert_with(|| Finding {
                kind,
                fingerprint: written(hash),
                fails: true,
                lock,
                thread,
                message,
                stacks: stacks.into_iter().filter(|stack| *stack != Stacks::UNKNOWN).collect(),
                count: 0,
            });
            finding.count = finding.count.saturating_add(count);
        };
    for request in own.iter().filter_map(|number| session.order.requests.get(*number as usize)) {
        if let Some(message) = takes_again(session, request, places) {
            let key = &request.key;
            let held = session.order.chains.walk(key.held).find(|link| link.lock == key.lock);
            let stacks = vec![key.stack, held.map_or(Stacks::UNKNOWN, |link| link.stack)];
            add(FindingKind::SelfDeadlock, key.lock, key.thread, stacks, request.count(), message);
        }
    }
    let mut misuses: Vec<_> = session.order.misuses.iter().collect();
    misuses.sort_unstable_by_key(|(misuse, _)| **misuse);
    for (misuse, (thread, count)) in misuses {
        if misuse.lock.index() >= session.locks.len() {
            continue;
        }
        let (lock, at, holder) = (places.lock(misuse.lock), places.at(misuse.stack), places.at(misuse.holder));
        let taken =
            if misuse.holder == Stacks::UNKNOWN { String::new() } else { format!(", which was taken in {holder}") };
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
                (FindingKind::LockHeldAtThreadExit, format!("a thread ends and holds {lock} still, taken in {at}"))
            }
        };
        add(kind, misuse.lock, *thread, vec![misuse.stack, misuse.holder], *count, message);
    }
    found.into_values().collect()
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
