//! Hangs that happened are cycles of class `hung`: the same cycle as was foreseen, or one of their own.

use super::entries::side_hash;
use super::fingerprint::{Fnv, of_cycle, smallest_rotation, written};
use super::places::Places;
use super::reason::Words;
use super::{Class, Cycle, Held, Side};
use crate::model::{Hang, HangKind, HeldLock, Kind, Mode, Session, Stacks, Waiting};

/// Puts the session's hangs at the head of its cycles.
pub(super) fn tell(session: &Session, places: &Places<'_>, cycles: &mut Vec<Cycle>) {
    let words = Words { session, places };
    let mut hung: Vec<Cycle> = Vec::new();
    for hang in &session.hangs {
        let Some((sides, hash)) = sides(session, hang, places) else { continue };
        let fingerprint = written(hash);
        if let Some(known) = hung.iter_mut().find(|known| known.fingerprint == fingerprint) {
            known.instances += 1;
            continue;
        }
        let foreseen = cycles.iter().position(|cycle| cycle.fingerprint == fingerprint);
        let foreseen = foreseen.map(|at| cycles.remove(at));
        let advice = foreseen.as_ref().map(|cycle| cycle.advice.clone());
        hung.push(Cycle {
            fingerprint,
            class: Class::Hung,
            hang: Some(hang.kind),
            fails: true,
            reason: words.of_hang(hang, &sides),
            advice: advice.unwrap_or_else(|| words.advice_on_hang(hang, &sides)),
            sides,
            witness: Vec::new(),
            instances: foreseen.as_ref().map_or(1, |cycle| cycle.instances),
            component: None,
            heat: foreseen.map_or(0.0, |cycle| cycle.heat),
        });
    }
    hung.append(cycles);
    *cycles = hung;
}

/// The sides of a hang and its fingerprint; `None` for those that are no cycle: a thread that waits for itself is a
/// misuse, and who only waits when the program is ended is nothing certain.
fn sides(session: &Session, hang: &Hang, places: &Places<'_>) -> Option<(Vec<Side>, u64)> {
    match hang.kind {
        HangKind::Deadlock => Some(ring(session, hang, places)),
        HangKind::Abandoned => {
            let (thread, lock) = hang.left_behind()?;
            let stack = session.order.left_behind(thread, lock).unwrap_or(Stacks::UNKNOWN);
            let waiting = hang.others.first()?;
            let side = Side { held: Held { lock, mode: Mode::Exclusive, stack }, ..alone(waiting) };
            let hash = of_cycle(&[hash(places, &side)]);
            Some((vec![side], hash))
        }
        HangKind::Stuck => {
            // Whoever waits for another thread of them is not the reason.
            let is_root = |waiting: &&Waiting| waiting.holders.is_empty();
            let mut roots: Vec<&Waiting> = hang.others.iter().filter(is_root).collect();
            if roots.is_empty() {
                roots.extend(&hang.others);
            }
            let mut sides: Vec<(u64, Side)> = Vec::new();
            for side in roots.into_iter().map(alone) {
                let hash = hash(places, &side);
                match sides.iter_mut().find(|(known, _)| *known == hash) {
                    Some((_, known)) => known.count += 1,
                    None => sides.push((hash, side)),
                }
            }
            sides.sort_by_key(|(hash, _)| *hash);
            let start = Fnv::new().bytes(b"nobody-left");
            let whole = sides.iter().fold(start, |whole, (hash, _)| whole.number(*hash)).end();
            Some((sides.into_iter().map(|(_, side)| side).collect(), whole))
        }
        HangKind::SelfDeadlock | HangKind::Waits => None,
    }
}

fn hash(places: &Places<'_>, side: &Side) -> u64 {
    let held = (side.held.lock, side.held.mode);
    side_hash(places, held, (side.wanted, side.wanted_mode, side.timed), (side.held.stack, side.wanted_stack))
}

/// A thread that waits for nobody in particular: what it waits for stands on both sides.
fn alone(waiting: &Waiting) -> Side {
    Side {
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

/// The sides of a ring of waits in the order of the fingerprint, and the fingerprint.
fn ring(session: &Session, hang: &Hang, places: &Places<'_>) -> (Vec<Side>, u64) {
    let ring = &hang.cycle;
    let mut sides: Vec<Side> =
        (0..ring.len()).map(|at| side(session, &ring[at], &ring[(at + ring.len() - 1) % ring.len()])).collect();
    let hashes: Vec<u64> = sides.iter().map(|side| hash(places, side)).collect();
    sides.rotate_left(smallest_rotation(&hashes));
    (sides, of_cycle(&hashes))
}

/// A thread that waits, and holds what the one before it waits for. A joined thread holds its own end, from its creation
/// on; a writer that only waits keeps readers out: of that nobody can say where it was taken.
fn side(session: &Session, waiting: &Waiting, before: &Waiting) -> Side {
    let held = |held: &HeldLock| Held { lock: held.lock, mode: held.mode, stack: held.stack };
    let blocks = waiting.held.iter().position(|held| held.lock == before.lock);
    let also_held = waiting.held.iter().enumerate().filter(|(at, _)| Some(*at) != blocks);
    Side {
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
