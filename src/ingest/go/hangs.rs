//! Goroutines that go no further, while others may run on: what Go's own runtime tells only when none is left.
//!
//! The state is as of the last look at the rings, and complete: what somebody waits for and who has it is what it was then.
//! A circle of waits is believed when it is found again, unchanged, some time later.

use rustc_hash::{FxHashMap, FxHashSet};

use super::goroutines::{Asked, Goroutine, Goroutines, Held};
use crate::ingest::clock::Ticks;
use crate::model::{Hang, HangKind, HeldLock, Mode, ProcessId, ThreadId, Waiting};

/// A wait has to be as old as this before it is looked at, ns. Another goroutine than its holder may release a lock, and
/// programs do so, though soon.
const LEAST_NS: u64 = 1_200_000_000;

/// What was reported already.
#[derive(Default)]
pub struct Watcher {
    /// By goroutine (0: a lock that was left behind), and the lock's address.
    reported: FxHashSet<(u64, u64)>,
    /// Goroutines that nobody can wake.
    stuck: FxHashSet<u64>,
    looked_ns: u64,
}

/// A goroutine's wait for a lock.
struct Wait<'a> {
    number: u64,
    goroutine: &'a Goroutine,
    asked: &'a Asked,
    thread: ThreadId,
}

/// What a goroutine waits for.
fn wait_of(goroutines: &Goroutines, number: u64) -> Option<Wait<'_>> {
    let goroutine = goroutines.all.get(&number)?;
    Some(Wait { number, goroutine, asked: goroutine.asked.last()?, thread: goroutine.row()? })
}

/// The waits for locks that only their holders end, as far as was seen.
fn waits_of(goroutines: &Goroutines) -> impl Iterator<Item = Wait<'_>> {
    let is_handed_over = |address: u64| goroutines.locks.get(&address).is_some_and(|row| row.is_handed_over);
    let waits = goroutines.all.keys().filter_map(|number| wait_of(goroutines, *number));
    waits.filter(move |Wait { asked, .. }| asked.is_request() && !asked.is_doubtful && !is_handed_over(asked.address))
}

/// More holders of one lock are not listed.
const MOST_HOLDERS: usize = 64;

/// Who keeps a goroutine from having what it asked for, some of them.
fn blockers(goroutines: &Goroutines, wait: &Wait) -> Vec<u64> {
    let Some(row) = goroutines.locks.get(&wait.asked.address) else { return Vec::new() };
    let excludes = |holder: &&u64| {
        goroutines
            .all
            .get(*holder)
            .is_some_and(|goroutine| goroutine.held.iter().any(|held| is_in_the_way(held, wait.asked)))
    };
    let mut found: Vec<u64> = row.holders.iter().filter(excludes).take(MOST_HOLDERS).copied().collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() && wait.asked.mode == Mode::Shared {
        // Readers queue behind a writer that waits, and it for the readers before.
        let is_writer = |other: &Wait| other.asked.address == wait.asked.address && other.asked.mode == Mode::Exclusive;
        found.extend(waits_of(goroutines).filter(is_writer).take(MOST_HOLDERS).map(|other| other.number));
    }
    found
}

fn is_in_the_way(held: &Held, asked: &Asked) -> bool {
    let excludes = held.mode == Mode::Exclusive || asked.mode == Mode::Exclusive;
    !held.is_doubtful && held.address == asked.address && excludes
}

/// Waits that are old enough, and who of them holds or wants what: only they can be in a circle.
struct Waits<'a> {
    all: FxHashMap<u64, Wait<'a>>,
    holders: FxHashMap<u64, Vec<u64>>,
    writers: FxHashMap<u64, Vec<u64>>,
}

impl<'a> Waits<'a> {
    fn new(all: FxHashMap<u64, Wait<'a>>) -> Self {
        let mut waits = Self { all, holders: FxHashMap::default(), writers: FxHashMap::default() };
        for wait in waits.all.values() {
            for held in &wait.goroutine.held {
                waits.holders.entry(held.address).or_default().push(wait.number);
            }
            if wait.asked.mode == Mode::Exclusive {
                waits.writers.entry(wait.asked.address).or_default().push(wait.number);
            }
        }
        let lists = waits.holders.values_mut().chain(waits.writers.values_mut());
        lists.for_each(|list| {
            list.sort_unstable();
            list.dedup();
        });
        waits
    }

    /// Who waits, and keeps another one from having what it asked for.
    fn blockers(&self, wait: &Wait) -> Vec<u64> {
        let of = |map: &FxHashMap<u64, Vec<u64>>| map.get(&wait.asked.address).cloned().unwrap_or_default();
        let mut found = of(&self.holders);
        found.retain(|number| self.all[number].goroutine.held.iter().any(|held| is_in_the_way(held, wait.asked)));
        if found.is_empty() && wait.asked.mode == Mode::Shared {
            found = of(&self.writers);
        }
        found
    }

    /// Whether one goroutine waits for itself and has started another one meanwhile, which may be meant to release the lock.
    fn may_be_semaphore(&self, circle: &[u64]) -> bool {
        let [number] = circle else { return false };
        let wait = &self.all[number];
        wait.goroutine.may_have_handed_over(wait.asked.address)
    }

    /// Whether a goroutine can be in a circle: somebody may wait for it.
    fn may_block(&self, wait: &Wait) -> bool {
        !wait.goroutine.held.is_empty() || wait.asked.mode == Mode::Exclusive && self.writers.len() > 1
    }

    /// A circle of waits that a goroutine is in. `done`: those of which it is known that they are in none.
    fn circle(&self, start: u64, done: &mut FxHashSet<u64>) -> Option<Vec<u64>> {
        // Depth first; who is on the path leads back.
        let mut path: Vec<(u64, Vec<u64>)> = vec![(start, self.blockers(&self.all[&start]))];
        let mut on_path: FxHashSet<u64> = FxHashSet::from_iter([start]);
        while let Some((number, next)) = path.last_mut() {
            let Some(blocker) = next.pop() else {
                on_path.remove(number);
                done.insert(*number);
                path.pop();
                continue;
            };
            if on_path.contains(&blocker) {
                let from = path.iter().position(|(number, _)| *number == blocker)?;
                return Some(path[from..].iter().map(|(number, _)| *number).collect());
            }
            if !done.contains(&blocker) {
                on_path.insert(blocker);
                path.push((blocker, self.blockers(&self.all[&blocker])));
            }
        }
        None
    }
}

impl Watcher {
    /// Whether a circle or a lock that was left behind was reported: who is stuck behind it is no news.
    pub fn has_found(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Goroutines that certainly nobody can wake, those that were not reported before. Without the first of all, the program
    /// may go on.
    pub fn stuck(
        &mut self,
        numbers: &[u64],
        goroutines: &Goroutines,
        ticks: &Ticks,
        (process, now): (ProcessId, u64),
    ) -> Option<Hang> {
        /// More are not listed.
        const MOST: usize = 1000;
        let mut found: Vec<Wait> = numbers.iter().filter_map(|number| wait_of(goroutines, *number)).collect();
        found.retain(|wait| self.stuck.insert(wait.number));
        found.sort_unstable_by_key(|wait| wait.number);
        if found.is_empty() {
            return None;
        }
        let is_main = found.iter().any(|wait| wait.number == 1);
        let stuck = found.len() as u32;
        Some(Hang {
            kind: if is_main { HangKind::Stuck } else { HangKind::Leaked },
            process,
            at_ns: ticks.moment_ns(now),
            cycle: Vec::new(),
            others: found.iter().take(MOST).map(|wait| waiting(goroutines, ticks, wait, None)).collect(),
            running: known(goroutines).saturating_sub(stuck),
        })
    }

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
        let is_old = |wait: &Wait| is_over || ticks.duration_ns(now.saturating_sub(wait.asked.since)) >= LEAST_NS;
        let waits = waits_of(goroutines).filter(is_old).map(|wait| (wait.number, wait)).collect();
        let waits = Waits::new(waits);
        let mut found = Vec::new();
        let mut starts: Vec<u64> =
            waits.all.values().filter(|wait| waits.may_block(wait)).map(|wait| wait.number).collect();
        starts.sort_unstable();
        let mut done: FxHashSet<u64> = FxHashSet::default();
        for start in starts {
            if done.contains(&start) {
                continue;
            }
            while let Some(circle) = waits.circle(start, &mut done) {
                let keys = circle.iter().map(|number| (*number, waits.all[number].asked.address));
                let before = self.reported.len();
                done.extend(&circle);
                if !is_over && waits.may_be_semaphore(&circle) {
                    break;
                }
                self.reported.extend(keys);
                if self.reported.len() > before {
                    found.push(to_model(goroutines, ticks, &waits, &circle, (process, now_ns)));
                }
                if done.contains(&start) {
                    break;
                }
            }
        }
        // Locks whose holders have all ended, once for each.
        let mut left: FxHashMap<u64, bool> = FxHashMap::default();
        for wait in waits.all.values() {
            let is_left = *left.entry(wait.asked.address).or_insert_with(|| {
                let holders = goroutines.locks.get(&wait.asked.address).map_or(&[][..], |row| &row.holders);
                let has_left = |number: &u64| {
                    goroutines.all.get(number).is_some_and(|goroutine| {
                        goroutine.has_ended && (is_over || !goroutine.may_have_handed_over(wait.asked.address))
                    })
                };
                !holders.is_empty() && holders.iter().all(has_left)
            });
            if is_left && self.reported.insert((0, wait.asked.address)) {
                found.push(Hang {
                    kind: HangKind::Abandoned,
                    process,
                    at_ns: now_ns,
                    cycle: Vec::new(),
                    others: vec![waiting(goroutines, ticks, wait, None)],
                    running: 0,
                });
            }
        }
        for hang in &mut found {
            hang.running = running(goroutines);
        }
        found
    }
}

fn to_model(
    goroutines: &Goroutines,
    ticks: &Ticks,
    waits: &Waits,
    circle: &[u64],
    (process, at_ns): (ProcessId, u64),
) -> Hang {
    /// More that wait behind a circle are not listed.
    const MOST: usize = 100;
    let next = |at: usize| circle[(at + 1) % circle.len()];
    let of_circle = circle.iter().enumerate();
    let cycle = of_circle.map(|(at, number)| waiting(goroutines, ticks, &waits.all[number], Some(next(at)))).collect();
    // Behind it, directly or not: who waits for what one of them holds.
    let mut stuck: FxHashSet<u64> = circle.iter().copied().collect();
    let held = |number: &u64| waits.all[number].goroutine.held.iter().map(|held| held.address);
    let mut kept: FxHashSet<u64> = circle.iter().flat_map(held).collect();
    let mut behind = Vec::new();
    loop {
        let before = stuck.len();
        for wait in waits.all.values().filter(|wait| kept.contains(&wait.asked.address)) {
            if stuck.insert(wait.number) {
                behind.push(wait.number);
            }
        }
        if stuck.len() == before {
            break;
        }
        kept.extend(behind.iter().flat_map(held));
    }
    behind.sort_unstable();
    let others = behind.iter().take(MOST).map(|number| waiting(goroutines, ticks, &waits.all[number], None)).collect();
    let kind = if circle.len() == 1 { HangKind::SelfDeadlock } else { HangKind::Deadlock };
    Hang { kind, process, at_ns, cycle, others, running: 0 }
}

fn waiting(goroutines: &Goroutines, ticks: &Ticks, wait: &Wait, first: Option<u64>) -> Waiting {
    let mut holders = blockers(goroutines, wait);
    if let Some(first) = first {
        holders.retain(|holder| *holder != first);
        holders.insert(0, first);
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
        holders: holders.iter().filter_map(|number| goroutines.all.get(number)?.row()).collect(),
        held: held.collect(),
    }
}

/// Goroutines that did something and have not ended.
fn known(goroutines: &Goroutines) -> u32 {
    goroutines.all.values().filter(|goroutine| !goroutine.has_ended).count() as u32
}

/// Goroutines that are known and do not wait.
fn running(goroutines: &Goroutines) -> u32 {
    goroutines.all.values().filter(|goroutine| !goroutine.has_ended && !goroutine.is_parked).count() as u32
}

/// Who waits for whom now, if somebody has waited for long.
pub fn waits(goroutines: &Goroutines, ticks: &Ticks, (process, now): (ProcessId, u64), least_ns: u64) -> Option<Hang> {
    let mut found: Vec<(u64, Waiting)> = Vec::new();
    for (number, goroutine) in &goroutines.all {
        let (Some(asked), Some(thread)) = (goroutine.asked.last(), goroutine.row()) else { continue };
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
