//! Hangs that happened are cycles of class `hung`: the same cycle as was foreseen, or one of their own.

use super::entries::leg_hash;
use super::{Cause, Class, Cycle, Held, Leg};
use crate::analysis::fingerprint::identities::Identities;
use crate::analysis::fingerprint::{Fnv, of_cycle, smallest_rotation, written};
use crate::model::{Hang, HangKind, HeldLock, Kind, Mode, Session, Stacks, Waiting};

/// Puts the session's hangs at the head of its cycles.
pub(super) fn add(session: &Session, identities: &Identities<'_>, cycles: &mut Vec<Cycle>) {
    let mut hung: Vec<Cycle> = Vec::new();
    for hang in &session.hangs {
        let Some((legs, hash)) = legs(session, hang, identities) else { continue };
        let fingerprint = written(hash);
        if let Some(known) = hung.iter_mut().find(|known| known.fingerprint == fingerprint) {
            known.instances += 1;
            continue;
        }
        let foreseen = cycles.iter().position(|cycle| cycle.fingerprint == fingerprint);
        let foreseen = foreseen.map(|at| cycles.remove(at));
        hung.push(Cycle {
            fingerprint,
            class: Class::Hung,
            fails: fails(session, hang),
            cause: Cause::Hung { kind: hang.kind, others: hang.others.len() },
            other_classes: Vec::new(),
            legs,
            witness: Vec::new(),
            instances: foreseen.as_ref().map_or(1, |cycle| cycle.instances),
            component: None,
            score: foreseen.as_ref().map_or(0.0, |cycle| cycle.score),
            foreseen: foreseen.map(Box::new),
        });
    }
    hung.append(cycles);
    *cycles = hung;
}

/// Whether the gate fails. Threads that were left behind while the program goes on are its business where locks are part of it.
fn fails(session: &Session, hang: &Hang) -> bool {
    let has_locks = |waiting: &Waiting| !waiting.held.is_empty() || session.lock(waiting.lock).nests();
    hang.keeps_program() || hang.waiting().any(has_locks)
}

/// The legs of a hang and its fingerprint; `None` for those that are no cycle: a thread that waits for itself is a
/// misuse, and who only waits when the program is ended is nothing certain.
fn legs(session: &Session, hang: &Hang, identities: &Identities<'_>) -> Option<(Vec<Leg>, u64)> {
    match hang.kind {
        HangKind::Deadlock => Some(ring(session, hang, identities)),
        HangKind::Abandoned => {
            let (thread, lock) = hang.left_behind()?;
            let stack = session.order.left_behind(thread, lock).unwrap_or(Stacks::UNKNOWN);
            let waiting = hang.others.first()?;
            let leg = Leg { held: Held { lock, mode: Mode::Exclusive, stack }, ..alone(waiting) };
            let hash = of_cycle(&[hash(identities, &leg)]);
            Some((vec![leg], hash))
        }
        HangKind::Stuck | HangKind::Leaked => {
            // Whoever waits for another thread of them is not the reason.
            let is_root = |waiting: &&Waiting| waiting.holders.is_empty();
            let mut roots: Vec<&Waiting> = hang.others.iter().filter(is_root).collect();
            if roots.is_empty() {
                roots.extend(&hang.others);
            }
            let mut legs: Vec<(u64, Leg)> = Vec::new();
            for leg in roots.into_iter().map(alone) {
                let hash = hash(identities, &leg);
                match legs.iter_mut().find(|(known, _)| *known == hash) {
                    Some((_, known)) => known.count += 1,
                    None => legs.push((hash, leg)),
                }
            }
            legs.sort_by_key(|(hash, _)| *hash);
            let start = Fnv::new().bytes(b"nobody-left");
            let whole = legs.iter().fold(start, |whole, (hash, _)| whole.number(*hash)).end();
            Some((legs.into_iter().map(|(_, leg)| leg).collect(), whole))
        }
        HangKind::SelfDeadlock | HangKind::Waits => None,
    }
}

fn hash(identities: &Identities<'_>, leg: &Leg) -> u64 {
    let held = (leg.held.lock, leg.held.mode);
    leg_hash(identities, held, (leg.wanted, leg.wanted_mode, leg.timed), (leg.held.stack, leg.wanted_stack))
}

/// A thread that waits for nobody in particular: what it waits for stands on both legs.
fn alone(waiting: &Waiting) -> Leg {
    Leg {
        thread: waiting.thread,
        held: Held { lock: waiting.lock, mode: Mode::Exclusive, stack: Stacks::UNKNOWN },
        wanted: waiting.lock,
        wanted_mode: waiting.mode,
        wanted_stack: waiting.stack,
        also_held: waiting
            .held
            .iter()
            .map(|held| Held { lock: held.lock, mode: held.mode, stack: held.stack })
            .collect(),
        count: 1,
        timed: waiting.timed,
        reacquired: false,
    }
}

/// The legs of a ring of waits in the order of the fingerprint, and the fingerprint.
fn ring(session: &Session, hang: &Hang, identities: &Identities<'_>) -> (Vec<Leg>, u64) {
    let ring = &hang.cycle;
    let mut legs: Vec<Leg> =
        (0..ring.len()).map(|at| leg(session, &ring[at], &ring[(at + ring.len() - 1) % ring.len()])).collect();
    let hashes: Vec<u64> = legs.iter().map(|leg| hash(identities, leg)).collect();
    legs.rotate_left(smallest_rotation(&hashes));
    (legs, of_cycle(&hashes))
}

/// A thread that waits, and holds what the one before it waits for. A joined thread holds its own end, from its creation
/// on; a writer that only waits keeps readers out: of that nobody can say where it was taken.
fn leg(session: &Session, waiting: &Waiting, before: &Waiting) -> Leg {
    let held = |held: &HeldLock| Held { lock: held.lock, mode: held.mode, stack: held.stack };
    let blocks = waiting.held.iter().position(|held| held.lock == before.lock);
    let also_held = waiting.held.iter().enumerate().filter(|(at, _)| Some(*at) != blocks);
    Leg {
        thread: waiting.thread,
        held: blocks.map_or_else(
            || {
                let is_join = session.lock(before.lock).kind == Kind::Join;
                let stack = if is_join { session.order.created_at(waiting.thread) } else { Stacks::UNKNOWN };
                Held { lock: before.lock, mode: Mode::Exclusive, stack }
            },
            |at| held(&waiting.held[at]),
        ),
        wanted: waiting.lock,
        wanted_mode: waiting.mode,
        wanted_stack: waiting.stack,
        also_held: also_held.map(|(_, other)| held(other)).collect(),
        count: 1,
        timed: waiting.timed,
        reacquired: false,
    }
}
