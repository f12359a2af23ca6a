//! Sees hangs while they stand: rings of threads that wait for each other, locks whose owner has ended, and processes in
//! which every thread waits and nobody is left to wake one.
//!
//! Looked at from outside and while the program runs, a hang may be an illusion made of moments that do not belong
//! together. What makes one certain, see `docs/design/live.md`: each thread of it was in one and the same wait at two
//! looks, so it did nothing in between and held at both what it holds at the second; and the kernel and the locks
//! themselves do not contradict (`verify`).
//!
//! Deliberately not here: rings through several processes (a lock that processes share has a row in each segment), and what
//! a hang means for a person (`render`).

pub mod graph;
pub mod look;
pub mod to_model;
mod verify;

pub use verify::is_left_alone;

use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::image::Image;
use look::WaitSample;

/// Shorter waits are not looked at.
const LEAST_WAIT_NS: u64 = 100_000_000;
/// What stands for so long is certain, as far as the shared memory can tell.
const STANDS: Duration = Duration::from_millis(200);
/// The same for a whole process: a thread that is about to come has time to do so.
const STANDS_STILL: Duration = Duration::from_millis(500);
/// Shorter waits are not asked about the lock's owner: somebody who runs may be about to give it back in its place.
const LEAST_ABANDONED_NS: u64 = 600_000_000;
/// Time between two looks.
const BETWEEN: Duration = Duration::from_millis(90);
/// A look that took long is paid for by a pause of so many times its length.
const SHARE: u32 = 50;
/// A ring that was contradicted is asked about again later and later, up to this.
const SELDOM: Duration = Duration::from_secs(5);

/// Threads that are reported to be deadlocked in one process; a segment that shows ever new ones is not believed.
const MOST_REPORTED: usize = 1 << 16;

/// A hang that is certain.
pub enum Found {
    /// Each thread waits for the next, the last one for the first.
    Ring(Vec<WaitSample>),
    /// A thread waits for a lock whose owner, the thread with this kernel id, has ended.
    Abandoned(WaitSample, u32),
    /// Every thread of the process waits, and nobody is left to wake one.
    Stuck(Vec<WaitSample>),
}

impl Found {
    /// The threads by which it was found.
    fn members(&self) -> &[WaitSample] {
        match self {
            Self::Ring(members) | Self::Stuck(members) => members,
            Self::Abandoned(waiter, _) => std::slice::from_ref(waiter),
        }
    }
}

/// Watches one process.
#[derive(Default)]
pub struct Watcher {
    next: Option<Instant>,
    rings: Vec<Suspect>,
    abandoned: Vec<Suspect>,
    /// All threads, while none of them goes on.
    still: Option<Suspect>,
    /// Waits of threads that are reported to be in a hang: they never end.
    reported: FxHashSet<(u32, u64)>,
}

/// Threads that were seen at least once in what may be a hang.
struct Suspect {
    members: Vec<WaitSample>,
    /// When it is asked about, and how long after that again.
    due: Instant,
    backoff: Duration,
}

impl Suspect {
    fn new(members: Vec<WaitSample>, now: Instant, backoff: Duration) -> Self {
        Self { members, due: now + backoff, backoff }
    }

    /// It was contradicted: it is asked about again later.
    fn put_off(&mut self, now: Instant) {
        self.backoff = (self.backoff * 2).min(SELDOM);
        self.due = now + self.backoff;
    }
}

impl Watcher {
    /// Looks for hangs if it is time for that; `ticks` is now, and `has_ended` tells whether the thread with this kernel
    /// id was one of the process and ended. Gives those that are certain, each once.
    pub fn look(&mut self, image: &Image, ticks: u64, has_ended: &dyn Fn(u32) -> bool) -> Vec<Found> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) || self.reported.len() > MOST_REPORTED {
            return Vec::new();
        }
        let crowd = Crowd::of(image, ticks);
        if crowd.waiting.is_empty() && !crowd.is_still {
            self.rings.clear();
            self.abandoned.clear();
            self.reported.clear();
        }
        let mut found = Vec::new();
        // Nearly always: nobody, or one that waits for another who does not.
        if crowd.waiting.len() > 1 || crowd.waiting.iter().any(|seen| !seen.held.is_empty()) {
            found = self.look_for_rings(image, &crowd.waiting, now);
        }
        if found.is_empty() && !crowd.waiting.is_empty() {
            found = self.look_for_owners(image, &crowd, ticks, now, has_ended);
        }
        if found.is_empty() {
            found.extend(self.look_whether_still(image, &crowd, now, has_ended));
        }
        self.reported.extend(found.iter().flat_map(Found::members).map(|member| (member.slot, member.since)));
        self.next = Some(Instant::now() + BETWEEN.max(now.elapsed() * SHARE));
        found
    }

    fn is_reported(&self, seen: &WaitSample) -> bool {
        self.reported.contains(&(seen.slot, seen.since))
    }

    fn look_for_rings(&mut self, image: &Image, waiting: &[WaitSample], now: Instant) -> Vec<Found> {
        let by_slot: FxHashMap<u32, &WaitSample> = waiting.iter().map(|seen| (seen.slot, seen)).collect();
        let graph = look::graph(waiting, |pthread| image.slot_of_pthread(pthread));
        let mut certain = Vec::new();
        self.rings.retain_mut(|suspect| {
            let stands =
                suspect.members.iter().all(|member| by_slot.get(&member.slot).is_some_and(|seen| *seen == member));
            if stands && now >= suspect.due {
                let pid = image.owner.pid;
                if verify::is_mapped(pid, &image.segment.path)
                    && verify::stands(pid, &suspect.members, &|said| image.tid(said))
                {
                    certain.push(suspect.members.clone());
                    return false;
                }
                suspect.put_off(now);
            }
            stands
        });
        let new = |seen: &WaitSample| certain.iter().flatten().any(|member| member == seen);
        // What waits for a hang that was reported is reported with it.
        let reported = waiting.iter().zip(0..).filter(|(seen, _)| self.is_reported(seen) || new(seen));
        let reported = graph.reaching(&reported.map(|(_, at)| at).collect::<Vec<u32>>());
        for ring in graph.rings() {
            // Locks are nodes too.
            let members = ring.iter().filter_map(|node| waiting.get(*node as usize));
            let suspected = |seen: &WaitSample| self.rings.iter().any(|suspect| suspect.members.contains(seen));
            if !ring.iter().any(|node| reported[*node as usize]) && !members.clone().any(suspected) {
                let ring = members.cloned().collect();
                self.rings.push(Suspect::new(ring, now, STANDS));
            }
        }
        certain.into_iter().map(Found::Ring).collect()
    }

    /// Locks whose owner has ended, one waiter of each.
    fn look_for_owners(
        &mut self,
        image: &Image,
        crowd: &Crowd,
        ticks: u64,
        now: Instant,
        has_ended: &dyn Fn(u32) -> bool,
    ) -> Vec<Found> {
        let reported: FxHashSet<u32> =
            crowd.waiting.iter().filter(|seen| self.is_reported(seen)).map(|seen| seen.lock).collect();
        let waited_ns = |seen: &WaitSample| image.ticks.duration_ns(ticks.saturating_sub(seen.since));
        let mut first: FxHashMap<u32, &WaitSample> = FxHashMap::default();
        for seen in crowd.waiting.iter().filter(|seen| seen.may_be_abandoned() && !reported.contains(&seen.lock)) {
            if waited_ns(seen) >= LEAST_ABANDONED_NS {
                let known = first.entry(seen.lock).or_insert(seen);
                *known = if (seen.since, seen.slot) < (known.since, known.slot) { seen } else { known };
            }
        }
        self.abandoned.retain(|suspect| first.values().any(|seen| suspect.members.contains(seen)));
        let mut certain = Vec::new();
        for seen in first.into_values() {
            let known = self.abandoned.iter_mut().find(|suspect| suspect.members.contains(seen));
            let Some(suspect) = known else {
                if self.abandoned.len() < MOST_ABANDONED {
                    self.abandoned.push(Suspect::new(vec![seen.clone()], now, STANDS));
                }
                continue;
            };
            if now < suspect.due {
                continue;
            }
            suspect.put_off(now);
            certain.extend(self.owner_of_abandoned(image, seen, has_ended));
        }
        certain
    }

    fn owner_of_abandoned(&self, image: &Image, seen: &WaitSample, has_ended: &dyn Fn(u32) -> bool) -> Option<Found> {
        let pid = image.owner.pid;
        let owner = verify::gone_owner(pid, seen, &|said| image.tid(said)).filter(|owner| has_ended(*owner))?;
        verify::is_mapped(pid, &image.segment.path).then(|| Found::Abandoned(seen.clone(), owner))
    }

    /// Whether nobody is left in the process to wake anybody.
    fn look_whether_still(
        &mut self,
        image: &Image,
        crowd: &Crowd,
        now: Instant,
        has_ended: &dyn Fn(u32) -> bool,
    ) -> Option<Found> {
        let all = if crowd.is_still { everybody(image) } else { Vec::new() };
        if all.is_empty() || all.iter().any(|seen| self.is_reported(seen)) {
            self.still = None;
            return None;
        }
        let Some(suspect) = self.still.as_mut().filter(|suspect| suspect.members == all) else {
            self.still = Some(Suspect::new(all, now, STANDS_STILL));
            return None;
        };
        if now < suspect.due {
            return None;
        }
        suspect.put_off(now);
        if !verify::nobody_is_left(image.owner.pid, &image.segment.path, &all, &|said| image.tid(said)) {
            return None;
        }
        // A lock that was left behind says more.
        let left = all.iter().filter(|seen| seen.may_be_abandoned());
        let left = left.filter_map(|seen| self.owner_of_abandoned(image, seen, has_ended)).next();
        Some(left.unwrap_or(Found::Stuck(all)))
    }
}

/// Locks that are asked about their owner at one time.
const MOST_ABANDONED: usize = 256;

/// The threads of a process at one look.
struct Crowd {
    /// Those that may be part of a ring: they wait without a limit, for long enough, for something that certain threads
    /// have.
    waiting: Vec<WaitSample>,
    /// There are threads, and each waits without a limit and for long enough.
    is_still: bool,
}

impl Crowd {
    fn of(image: &Image, ticks: u64) -> Self {
        let (mut waiting, mut threads, mut still) = (Vec::new(), 0u32, 0u32);
        for number in 0..image.segment.thread_count() {
            let Some(slot) = image.segment.thread(number).filter(|slot| look::is_active(slot)) else { continue };
            threads += 1;
            let waits = |since: u64| image.ticks.duration_ns(ticks.saturating_sub(since)) >= LEAST_WAIT_NS;
            let Some((_, since)) = look::wait_of(slot).filter(|(_, since)| waits(*since)) else { continue };
            if look::is_timed(slot) {
                continue;
            }
            still += 1;
            waiting.extend(
                look::is_for_holders(&image.segment, slot)
                    .then(|| WaitSample::at(&image.segment, number))
                    .flatten()
                    .filter(|seen| seen.since == since && !seen.is_timed() && seen.is_for_holders()),
            );
        }
        Self { waiting, is_still: threads > 0 && threads == still }
    }
}

/// All threads of a process in which each waits without a limit; none where one does not any more.
fn everybody(image: &Image) -> Vec<WaitSample> {
    let mut all = Vec::new();
    for number in 0..image.segment.thread_count() {
        if image.segment.thread(number).is_some_and(look::is_active) {
            match WaitSample::at(&image.segment, number).filter(|seen| !seen.is_timed()) {
                Some(seen) => all.push(seen),
                None => return Vec::new(),
            }
        }
    }
    all
}
