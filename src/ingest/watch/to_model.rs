//! What the watcher saw, in the words of the model.

use std::sync::atomic::Ordering;

use lockprof_wire::Kind;
use lockprof_wire::thread::state;
use rustc_hash::FxHashMap;

use super::look::{self, Grip, WaitSample};
use crate::ingest::image::Image;
use crate::model::{Hang, HangKind, HeldLock, Mode, Session, Thread, ThreadId, Waiting};

/// Threads beside the ring that are kept; a program may have thousands behind one lock.
const MOST_OTHERS: usize = 1000;
/// Threads that are kept as holders of one lock.
const MOST_HOLDERS: usize = 16;

/// All threads of a process as they are now.
struct Scene {
    waiting: Vec<WaitSample>,
    /// What threads that do not wait hold: of those it may be out of date.
    running: Vec<(u32, Vec<Grip>)>,
}

impl Scene {
    fn of(image: &Image) -> Self {
        let mut scene = Self { waiting: Vec::new(), running: Vec::new() };
        for number in 0..image.segment.thread_count() {
            let Some(slot) = image.segment.thread(number) else { continue };
            if slot.state.load(Ordering::Acquire) != state::ACTIVE {
                continue;
            }
            match WaitSample::at(&image.segment, number) {
                Some(seen) => scene.waiting.push(seen),
                None => scene.running.push((number, look::grips(&image.segment, slot))),
            }
        }
        scene
    }

    /// The slots that can end each wait, as far as that can be told.
    fn holders(&self, image: &Image) -> Vec<Vec<u32>> {
        let mut owners: FxHashMap<u32, Vec<(u32, bool)>> = FxHashMap::default();
        let mut writers: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        let waiting = self.waiting.iter().map(|seen| (seen.slot, &seen.held));
        for (slot, held) in waiting.chain(self.running.iter().map(|(slot, held)| (*slot, held))) {
            held.iter().for_each(|grip| owners.entry(grip.lock).or_default().push((slot, grip.shared)));
        }
        for writer in self.waiting.iter().filter(|seen| look::queues_readers(seen)) {
            writers.entry(writer.lock).or_default().push(writer.slot);
        }
        let of = |seen: &WaitSample| -> Vec<u32> {
            if seen.kind == Kind::Join {
                return image.slot_of_pthread(seen.address).into_iter().collect();
            }
            if !seen.is_for_holders() {
                return Vec::new();
            }
            let owners = owners.get(&seen.lock).into_iter().flatten();
            let owners = owners.filter(|(_, shared)| !(*shared && seen.is_shared())).map(|(slot, _)| *slot);
            let queue = writers.get(&seen.lock).into_iter().flatten().filter(|_| seen.is_shared()).copied();
            owners.chain(queue).take(MOST_HOLDERS).collect()
        };
        self.waiting.iter().map(of).collect()
    }
}

/// A ring that is certain, and who else waits for it.
pub fn deadlock(image: &mut Image, session: &mut Session, ring: &[WaitSample], at_ns: u64) -> Hang {
    let mut ring = ring.to_vec();
    // The thread that was there first begins.
    let first = (0..ring.len()).min_by_key(|at| ring[*at].tid).unwrap_or(0);
    ring.rotate_left(first);
    let scene = Scene::of(image);
    let holders = scene.holders(image);
    let place = |seen: &WaitSample| scene.waiting.iter().position(|other| other.slot == seen.slot);
    let members: Vec<u32> = ring.iter().filter_map(place).map(|at| at as u32).collect();
    let stuck = look::graph(&scene.waiting, |pthread| image.slot_of_pthread(pthread)).reaching(&members);
    let others: Vec<usize> = (0..scene.waiting.len())
        .filter(|at| stuck[*at] && !members.contains(&(*at as u32)))
        .take(MOST_OTHERS)
        .collect();
    let cycle = (ring.iter().enumerate())
        .map(|(at, seen)| {
            let next = ring[(at + 1) % ring.len()].slot;
            let known = place(seen).map_or(&[][..], |at| &holders[at]);
            let all: Vec<u32> =
                std::iter::once(next).chain(known.iter().copied().filter(|slot| *slot != next)).collect();
            waiting(image, session, seen, &all)
        })
        .collect();
    let others = others.into_iter().map(|at| waiting(image, session, &scene.waiting[at], &holders[at])).collect();
    let kind = if ring.len() == 1 { HangKind::SelfDeadlock } else { HangKind::Deadlock };
    Hang { kind, process: image.process, at_ns, cycle, others, running: scene.running.len() as u32 }
}

/// A lock that an ended thread left behind: who waits for it, and who waits for those. `waiter` is one of the first; `owner`
/// the ended thread's kernel id. `None` where nothing is known of that thread.
pub fn abandoned(
    image: &mut Image,
    session: &mut Session,
    waiter: &WaitSample,
    owner: u32,
    at_ns: u64,
) -> Option<Hang> {
    let is = |thread: &Thread| thread.process == image.process && thread.tid == owner && thread.end_ns.is_some();
    let owner = ThreadId::from(session.threads.iter().rposition(is)?);
    let scene = Scene::of(image);
    let holders = scene.holders(image);
    let direct: Vec<usize> = (0..scene.waiting.len()).filter(|at| scene.waiting[*at].lock == waiter.lock).collect();
    let nodes: Vec<u32> = direct.iter().map(|at| *at as u32).collect();
    let behind = look::graph(&scene.waiting, |pthread| image.slot_of_pthread(pthread)).reaching(&nodes);
    let indirect = (0..scene.waiting.len()).filter(|at| behind[*at] && !direct.contains(at));
    let all: Vec<usize> = direct.iter().copied().chain(indirect).take(MOST_OTHERS).collect();
    let others = all.into_iter().map(|at| {
        let mut waits = waiting(image, session, &scene.waiting[at], &holders[at]);
        if direct.contains(&at) {
            waits.holders = vec![owner];
        }
        waits
    });
    let others: Vec<Waiting> = others.collect();
    let running = scene.running.len() as u32;
    let (kind, process, cycle) = (HangKind::Abandoned, image.process, Vec::new());
    (!others.is_empty()).then_some(Hang { kind, process, at_ns, cycle, others, running })
}

/// A process in which all threads wait, and nobody is left to wake one.
pub fn stuck(image: &mut Image, session: &mut Session, all: &[WaitSample], at_ns: u64) -> Hang {
    let scene = Scene { waiting: all.to_vec(), running: Vec::new() };
    let holders = scene.holders(image);
    let others = scene.waiting.iter().zip(&holders).take(MOST_OTHERS);
    let others = others.map(|(seen, holders)| waiting(image, session, seen, holders)).collect();
    Hang { kind: HangKind::Stuck, process: image.process, at_ns, cycle: Vec::new(), others, running: 0 }
}

/// Everybody who waits, and how many of `tasks` threads do not; `None` where nobody waited for at least so long.
pub fn waits(
    image: &mut Image,
    session: &mut Session,
    ticks: u64,
    least_ns: u64,
    at_ns: u64,
    tasks: u32,
) -> Option<Hang> {
    let scene = Scene::of(image);
    let holders = scene.holders(image);
    // The first to ask for an initialisation may be the one that runs it.
    let mut first: FxHashMap<u32, (u64, u32)> = FxHashMap::default();
    for seen in scene.waiting.iter().filter(|seen| seen.kind == Kind::Once) {
        let known = first.entry(seen.lock).or_insert((seen.since, seen.slot));
        *known = (*known).min((seen.since, seen.slot));
    }
    let waits = |seen: &&WaitSample| {
        let runs = first.get(&seen.lock).is_some_and(|(_, slot)| *slot == seen.slot);
        !runs && image.ticks.duration_ns(ticks.saturating_sub(seen.since)) >= least_ns
    };
    let kept: Vec<usize> = (0..scene.waiting.len()).filter(|at| waits(&&scene.waiting[*at])).collect();
    if kept.is_empty() {
        return None;
    }
    let seen = (scene.running.len() + scene.waiting.len()) as u32;
    let running = tasks.max(seen) - kept.len() as u32;
    let others = (kept.into_iter().take(MOST_OTHERS))
        .map(|at| waiting(image, session, &scene.waiting[at], &holders[at]))
        .collect();
    Some(Hang { kind: HangKind::Waits, process: image.process, at_ns, cycle: Vec::new(), others, running })
}

fn waiting(image: &mut Image, session: &mut Session, seen: &WaitSample, holders: &[u32]) -> Waiting {
    let held = seen
        .held
        .iter()
        .map(|grip| HeldLock {
            lock: image.lock(session, grip.lock),
            mode: mode(grip.shared),
            stack: image.stack(session, grip.stack),
            since_ns: image.ticks.moment_ns(grip.ticks),
        })
        .collect();
    Waiting {
        thread: image.thread(session, seen.slot),
        lock: image.lock(session, seen.lock),
        mode: mode(seen.is_shared()),
        timed: seen.is_timed(),
        stack: image.stack(session, seen.stack),
        since_ns: image.ticks.moment_ns(seen.since),
        holders: holders.iter().map(|slot| image.thread(session, *slot)).collect(),
        held,
    }
}

fn mode(shared: bool) -> Mode {
    if shared { Mode::Shared } else { Mode::Exclusive }
}
