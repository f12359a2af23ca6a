//! Deadlocks that happened are cycles of class `hung`: the same cycle as was foreseen, or one of their own.

use super::entries::side_hash;
use super::fingerprint::{of_cycle, smallest_rotation, written};
use super::places::Places;
use super::reason::Words;
use super::{Class, Cycle, Held, Side};
use crate::model::{Hang, HangKind, HeldLock, Mode, Session, Stacks, Waiting};

/// Puts the session's deadlocks at the head of its cycles.
pub(super) fn tell(session: &Session, places: &Places<'_>, cycles: &mut Vec<Cycle>) {
    let words = Words { session, places };
    let mut hung: Vec<Cycle> = Vec::new();
    for hang in session.hangs.iter().filter(|hang| hang.kind == HangKind::Deadlock) {
        let (sides, fingerprint) = sides(hang, places);
        if let Some(known) = hung.iter_mut().find(|known| known.fingerprint == fingerprint) {
            known.instances += 1;
            continue;
        }
        let foreseen = cycles.iter().position(|cycle| cycle.fingerprint == fingerprint);
        let foreseen = foreseen.map(|at| cycles.remove(at));
        let locks = words.list(sides.iter().map(|side| side.held.lock));
        let threads = sides.len();
        hung.push(Cycle {
            fingerprint,
            class: Class::Hung,
            fails: true,
            reason: format!(
                "it happened in this run: each of the {threads} threads waits for what the next one holds, and none can go on"
            ),
            advice: foreseen
                .as_ref()
                .map_or_else(|| format!("take {locks} in one and the same order everywhere"), |cycle| cycle.advice.clone()),
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

/// The sides of a ring of waits in the order of the fingerprint, and the fingerprint.
fn sides(hang: &Hang, places: &Places<'_>) -> (Vec<Side>, String) {
    let ring = &hang.cycle;
    let mut sides: Vec<Side> =
        (0..ring.len()).map(|at| side(&ring[at], &ring[(at + ring.len() - 1) % ring.len()])).collect();
    let hash = |side: &Side| {
        let held = (side.held.lock, side.held.mode);
        side_hash(places, held, (side.wanted, side.wanted_mode, side.timed), (side.held.stack, side.wanted_stack))
    };
    let hashes: Vec<u64> = sides.iter().map(hash).collect();
    sides.rotate_left(smallest_rotation(&hashes));
    (sides, written(of_cycle(&hashes)))
}

/// A thread that waits, and holds what the one before it waits for. A joined thread holds its own end, and a writer
/// that only waits keeps readers out: of those nobody can say where they were taken.
fn side(waiting: &Waiting, before: &Waiting) -> Side {
    let held = |held: &HeldLock| Held { lock: held.lock, mode: held.mode, stack: held.stack };
    let blocks = waiting.held.iter().position(|held| held.lock == before.lock);
    let also_held = waiting.held.iter().enumerate().filter(|(at, _)| Some(*at) != blocks);
    Side {
        thread: waiting.thread,
        held: blocks.map_or(Held { lock: before.lock, mode: Mode::Exclusive, stack: Stacks::UNKNOWN }, |at| {
            held(&waiting.held[at])
        }),
        wanted: waiting.lock,
        wanted_mode: waiting.mode,
        wanted_stack: waiting.stack,
        also_held: also_held.map(|(_, other)| held(other)).collect(),
        count: 1,
        timed: waiting.timed,
        reacquired: false,
    }
}
