//! Goroutines that go no further, while others may run on: what Go's own runtime tells only when none is left.
//!
//! The state is as of the last look at the rings, and complete: what somebody waits for and who has it is what it was then.
//! A circle of waits is believed when it is found again, unchanged, some time later.

use rustc_hash::{FxHashMap, FxHashSet};

use super::goroutines::{Asked, Goroutine, Goroutines};
use crate::ingest::clock::Ticks;
use crate::model::{Hang, HangKind, HeldLock, LockId, Mode, ProcessId, ThreadId, Waiting};

/// A wait has to be as old as this before it is looked at, ns. A goroutine may spin, or be about to be woken.
const LEAST_NS: u64 = 500_000_000;
/// The same for a lock whose holder has ended: another goroutine may still release it.
const LEAST_ABANDONED_NS: u64 = 1_000_000_000;

/// What was told already.
#[derive(Default)]
pub struct Watcher {
    told: FxHashSet<(u64, LockId)>,
    looked_ns: u64,
}

/// A goroutine's wait for a lock.
struct Wait<'a> {
    number: u64,
    goroutine: &'a Goroutine,
    asked: &'a Asked,
    thread: ThreadId,
}

/// The waits for locks that only their holders can end.
fn waits_of(goroutines: &Goroutines) -> impl Iterator<Item = Wait<'_>> {
    goroutines.all.iter().filter_map(|(number, goroutine)| {
        let asked = goroutine.asked.last()?;
        let thread = goroutine.thread?;
        let counts = asked.is_request() && !asked.is_doubtful;
        counts.then_some(Wait { number: *number, goroutine, asked, thread })
    })
}

/// Who keeps a goroutine from having what it asked for.
fn blockers(goroutines: &Goroutines, wait: &Wait) -> Vec<u64> {
    let Some(row) = goroutines.locks.get(&wait.asked.address) else { return Vec::new() };
    let mut found = Vec::new();
    for holder in &row.holders {
        let Some(goroutine) = goroutines.all.get(holder) else { continue };
        let excludes = goroutine.held.iter().any(|held| {
            !held.is_doubtful
                && held.address == wait.asked.address
                && (held.mode == Mode::Exclusive || wait.asked.mode == Mode::Exclusive)
        });
        if excludes && !found.contains(holder) {
            found.push(*holder);
        }
    }
    if found.is_empty() && wait.asked.mode == Mode::Shared {
        // Readers queue behind a writer that waits, and it for the readers before.
        let is_writer = |other: &Wait| other.asked.address == wait.asked.address && other.asked.mode == Mode::Exclusive;
        found.extend(waits_of(goroutines).filter(is_writer).map(|other| other.number));
    }
    found
}

impl Watcher {
    /// Looks for circles and for locks that were left behind. `is_over`: nothing more happens.
    pub fn look(
        &mut self,
        goroutines: &Goroutines,
        ticks: &Ticks,
        (process, now): (ProcessId, u64),
        is_over: bool,
    ) -> Vec<Hang> {
        const PAUSE_NS: u64 = 100_000_000;
        let now_ns = ticks.moment_ns(now);
        if !is_over && now_ns.saturating_sub(self.looked_ns) < PAUSE_NS {
            return Vec::new();
        }
        self.looked_ns = now_ns;
        let age = |asked: &Asked| ticks.duration_ns(now.saturating_sub(asked.since));
        let is_old = |wait: &Wait| is_over || age(wait.asked) >= LEAST_NS;
        let waits: FxHashMap<u64, Wait> = waits_of(goroutines).filter(is_old).map(|wait| (wait.number, wait)).collect();
        let mut found = Vec::new();
        let mut numbers: Vec<u64> = waits.keys().copied().collect();
        numbers.sort_unstable();
        let mut done: FxHashSet<u64> = FxHashSet::default();
        for start in numbers {
            if done.contains(&start) || self.told.contains(&(start, waits[&start].asked.lock)) {
                continue;
            }
            match circle(goroutines, &waits, start) {
                Some(circle) => {
                    let hang = to_model(goroutines, ticks, &waits, &circle, (process, now_ns));
                    circle.iter().for_each(|number| _ = self.told.insert((*number, waits[number].asked.lock)));
                    done.extend(&circle);
                    found.push(hang);
                }
                None => _ = done.insert(start),
            }
        }
        // Whoever waits behind a circle is told with it.
        for wait in waits.values() {
            let holders = blockers(goroutines, wait);
            let is_left = |number: &u64| goroutines.all.get(number).is_some_and(Goroutine::is_over);
            let is_old = is_over || age(wait.asked) >= LEAST_ABANDONED_NS;
            if is_old
                && !holders.is_empty()
                && holders.iter().all(is_left)
                && self.told.insert((wait.number, wait.asked.lock))
                && !found.iter().any(|hang| hang.others.first().is_some_and(|other| other.lock == wait.asked.lock))
            {
                found.push(Hang {
                    kind: HangKind::Abandoned,
                    process,
                    at_ns: now_ns,
                    cycle: Vec::new(),
                    others: vec![waiting(goroutines, ticks, wait, None)],
                    running: running(goroutines),
                });
            }
        }
        for hang in &mut found {
            hang.running = running(goroutines);
        }
        found
    }
}

/// The circle of waits that a goroutine is in.
fn circle(goroutines: &Goroutines, waits: &FxHashMap<u64, Wait>, start: u64) -> Option<Vec<u64>> {
    // Depth first; who is on the path leads back.
    let mut path: Vec<(u64, Vec<u64>)> = vec![(start, blockers(goroutines, &waits[&start]))];
    let mut seen: FxHashSet<u64> = FxHashSet::from_iter([start]);
    while let Some((_, next)) = path.last_mut() {
        let Some(number) = next.pop() else {
            path.pop();
            continue;
        };
        if number == start {
            return Some(path.into_iter().map(|(number, _)| number).collect());
        }
        if let Some(wait) = waits.get(&number)
            && seen.insert(number)
        {
            path.push((number, blockers(goroutines, wait)));
        }
    }
    None
}

fn to_model(
    goroutines: &Goroutines,
    ticks: &Ticks,
    waits: &FxHashMap<u64, Wait>,
    circle: &[u64],
    (process, at_ns): (ProcessId, u64),
) -> Hang {
    let next = |at: usize| circle[(at + 1) % circle.len()];
    let cycle = circle
        .iter()
        .enumerate()
        .map(|(at, number)| waiting(goroutines, ticks, &waits[number], Some(next(at))))
        .collect();
    let mut others: Vec<&Wait> = waits.values().filter(|wait| !circle.contains(&wait.number)).collect();
    others.sort_unstable_by_key(|wait| wait.number);
    // Directly or not.
    let mut stuck: FxHashSet<u64> = circle.iter().copied().collect();
    let mut behind = Vec::new();
    loop {
        let before = behind.len();
        others.retain(|wait| {
            let is_behind = blockers(goroutines, wait).iter().any(|number| stuck.contains(number));
            if is_behind {
                stuck.insert(wait.number);
                behind.push(waiting(goroutines, ticks, wait, None));
            }
            !is_behind
        });
        if behind.len() == before {
            break;
        }
    }
    let kind = if circle.len() == 1 { HangKind::SelfDeadlock } else { HangKind::Deadlock };
    Hang { kind, process, at_ns, cycle, others: behind, running: 0 }
}

fn waiting(goroutines: &Goroutines, ticks: &Ticks, wait: &Wait, first: Option<u64>) -> Waiting {
    let mut holders = blockers(goroutines, wait);
    if let Some(at) = first.and_then(|first| holders.iter().position(|holder| *holder == first)) {
        holders.swap(0, at);
    }
    let held = wait.goroutine.held.iter().filter(|held| !held.is_doubtful).map(|held| HeldLock {
        lock: held.lock,
        mode: held.mode,
        stack: held.stack,
        since_ns: ticks.moment_ns(held.since),
    });
    Waiting {
        thread: wait.thread,
        lock: wait.asked.lock,
        mode: wait.asked.mode,
        timed: false,
        stack: wait.asked.stack,
        since_ns: ticks.moment_ns(wait.asked.since),
        holders: holders.iter().filter_map(|number| goroutines.all.get(number)?.thread).collect(),
        held: held.collect(),
    }
}

/// Goroutines that are known and do not wait.
fn running(goroutines: &Goroutines) -> u32 {
    goroutines.all.values().filter(|goroutine| !goroutine.is_over() && !goroutine.is_parked).count() as u32
}

/// Who waits for whom now, if somebody has waited for long.
pub fn waits(goroutines: &Goroutines, ticks: &Ticks, (process, now): (ProcessId, u64), least_ns: u64) -> Option<Hang> {
    let mut found: Vec<(u64, Waiting)> = Vec::new();
    for (number, goroutine) in &goroutines.all {
        let (Some(asked), Some(thread)) = (goroutine.asked.last(), goroutine.thread) else { continue };
        if asked.is_try || asked.is_doubtful || ticks.duration_ns(now.saturating_sub(asked.since)) < least_ns {
            continue;
        }
        let wait = Wait { number: *number, goroutine, asked, thread };
        found.push((*number, waiting(goroutines, ticks, &wait, None)));
    }
    if found.is_empty() {
        return None;
    }
    found.sort_unstable_by_key(|(number, _)| *number);
    Some(Hang {
        kind: HangKind::Waits,
        process,
        at_ns: ticks.moment_ns(now),
        cycle: Vec::new(),
        others: found.into_iter().map(|(_, waiting)| waiting).collect(),
        running: running(goroutines),
    })
}
