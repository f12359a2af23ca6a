//! Sees deadlocks while they stand: rings of threads that wait for each other.
//!
//! Looked at from outside and while the program runs, a ring may be an illusion made of moments that do not belong
//! together. What makes a ring certain, see `docs/design/live.md`: each thread of it was in one and the same wait at two
//! looks, so it did nothing in between and held at both what it holds at the second; and the kernel and the locks
//! themselves do not contradict (`proof`).
//!
//! Deliberately not here: rings through several processes (a lock that processes share has a row in each segment), and what
//! a hang means for a person (`render`).

pub mod graph;
pub mod look;
mod proof;
pub mod tell;

use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::image::Image;
use look::Seen;

/// Shorter waits are not looked at.
const LEAST_WAIT_NS: u64 = 100_000_000;
/// A ring that stands for so long is certain, as far as the shared memory can tell.
const STANDS: Duration = Duration::from_millis(200);
/// Time between two looks.
const BETWEEN: Duration = Duration::from_millis(90);
/// A look that took long is paid for by a pause of so many times its length.
const SHARE: u32 = 50;
/// A ring that was contradicted is asked about again later and later, up to this.
const SELDOM: Duration = Duration::from_secs(5);

/// Threads that are told to be deadlocked in one process; a segment that shows ever new ones is not believed.
const MOST_TOLD: usize = 1 << 16;

/// Watches one process.
#[derive(Default)]
pub struct Watcher {
    next: Option<Instant>,
    suspects: Vec<Suspect>,
    /// Waits of threads that are told to be deadlocked: they never end.
    told: FxHashSet<(u32, u64)>,
}

/// A ring that was seen at least once.
struct Suspect {
    ring: Vec<Seen>,
    /// When it is asked about, and how long after that again.
    due: Instant,
    patience: Duration,
}

impl Watcher {
    /// Looks for rings if it is time for that; `ticks` is now. Gives those that are certain, each once.
    pub fn look(&mut self, image: &Image, ticks: u64) -> Vec<Vec<Seen>> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) || self.told.len() > MOST_TOLD {
            return Vec::new();
        }
        let found = self.look_now(image, ticks, now);
        self.next = Some(Instant::now() + BETWEEN.max(now.elapsed() * SHARE));
        found
    }

    fn look_now(&mut self, image: &Image, ticks: u64, now: Instant) -> Vec<Vec<Seen>> {
        let waiting = candidates(image, ticks);
        // Nearly always: nobody, or one that waits for another who does not.
        let nothing = waiting.is_empty() || waiting.len() == 1 && waiting[0].held.is_empty();
        if nothing {
            self.suspects.clear();
            self.told.clear();
            return Vec::new();
        }
        let by_slot: FxHashMap<u32, &Seen> = waiting.iter().map(|seen| (seen.slot, seen)).collect();
        let graph = look::graph(&waiting, |pthread| image.slot_of_pthread(pthread));
        let mut certain = Vec::new();
        self.suspects.retain_mut(|suspect| {
            let stands =
                suspect.ring.iter().all(|member| by_slot.get(&member.slot).is_some_and(|seen| *seen == member));
            if stands && now >= suspect.due {
                let pid = image.owner.pid;
                if proof::is_mapped(pid, &image.segment.path)
                    && proof::stands(pid, &suspect.ring, &|said| image.tid(said))
                {
                    certain.push(suspect.ring.clone());
                    return false;
                }
                suspect.patience = (suspect.patience * 2).min(SELDOM);
                suspect.due = now + suspect.patience;
            }
            stands
        });
        self.told.extend(certain.iter().flatten().map(|member| (member.slot, member.since)));
        // What waits for a ring that was told, is told with it.
        let told = waiting.iter().zip(0..).filter(|(seen, _)| self.told.contains(&(seen.slot, seen.since)));
        let told = graph.reaching(&told.map(|(_, at)| at).collect::<Vec<u32>>());
        for ring in graph.rings() {
            // Locks are nodes too.
            let members = ring.iter().filter_map(|node| waiting.get(*node as usize));
            let suspected = |seen: &Seen| self.suspects.iter().any(|suspect| suspect.ring.contains(seen));
            if !ring.iter().any(|node| told[*node as usize]) && !members.clone().any(suspected) {
                let ring = members.cloned().collect();
                self.suspects.push(Suspect { ring, due: now + STANDS, patience: STANDS });
            }
        }
        certain
    }
}

/// Threads that may be part of a ring: they wait without a limit, for long enough, for something that certain threads
/// have.
fn candidates(image: &Image, ticks: u64) -> Vec<Seen> {
    let waits_long = |number: &u32| {
        let wait = image.segment.thread(*number).and_then(look::wait_of);
        wait.is_some_and(|(_, since)| image.ticks.duration_ns(ticks.saturating_sub(since)) >= LEAST_WAIT_NS)
    };
    (0..image.segment.thread_count())
        .filter(waits_long)
        .filter_map(|number| Seen::at(&image.segment, number))
        .filter(|seen| !seen.is_timed() && seen.is_for_holders())
        .collect()
}
