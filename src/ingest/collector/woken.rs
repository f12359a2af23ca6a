//! Programs that were there before: their segments hold what an earlier recording has left.

use std::path::Path;
use std::sync::atomic::Ordering;

use lockprof_wire::Record;
use lockprof_wire::thread::state;

use super::aggregates::Aggregate;
use super::{Collector, Source};
use crate::ingest::decode;
use crate::ingest::order;
use crate::ingest::segment::Segment;

impl Collector {
    /// Collects from programs that are asleep, from now on: what their segments hold is forgotten. Their files stay
    /// when the collection ends.
    pub fn from_now_on(folder: &Path) -> Self {
        let mut collector = Self::new(folder);
        collector.keeps_files = true;
        collector.discover();
        collector.sources.values_mut().for_each(Source::forget);
        collector
    }

    /// Collects what a recorder that is no more has left in a folder. Its files stay.
    pub fn of_the_past(folder: &Path) -> Self {
        let mut collector = Self::new(folder);
        (collector.keeps_files, collector.keeps_all) = (true, true);
        let paths = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let segments = paths.filter_map(|path| Segment::open(&path).ok().flatten());
        let begin = segments.map(|segment| segment.header().start_mono_ns.load(Ordering::Relaxed)).min();
        collector.origin_ns = begin.unwrap_or(collector.origin_ns).min(collector.origin_ns);
        collector.discover();
        collector
    }

    /// Process ids of those that still write.
    pub fn living(&self) -> Vec<u32> {
        let owners = self.sources.values().map(|source| &source.image.owner);
        owners.filter(|owner| !owner.liveness.is_over()).map(|owner| owner.pid).collect()
    }

    /// Process ids of what is being recorded.
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        let of_segments = self.sources.values().map(|source| source.image.owner.pid);
        of_segments.chain(self.programs.iter().map(|program| program.pid))
    }
}

impl Source {
    /// Empties everything that adds up. The program is asleep, so nobody writes.
    fn forget(&mut self) {
        let segment = &self.image.segment;
        let header = segment.header();
        for counter in [&header.unrecorded, &header.oracle_checked, &header.oracle_wrong] {
            counter.store(0, Ordering::Relaxed);
        }
        for number in 1..segment.lock_count() {
            if let Some(lock) = segment.lock(number) {
                lock.max_waiters.store(0, Ordering::Relaxed);
            }
        }
        for number in 0..segment.thread_count() {
            let Some(slot) = segment.thread(number) else { continue };
            // Acquire: what an ended thread wrote is seen.
            let was = slot.state.load(Ordering::Acquire);
            while let Some((ring, slots)) = segment.ring(slot.ring.load(Ordering::Acquire)) {
                let mut last: Option<Record> = None;
                ring.drain(slots, |record| last = Some(record));
                let Some(next) = last.as_ref().and_then(decode::next_ring) else { break };
                // Release: as where rings are read.
                slot.ring.store(next, Ordering::Release);
            }
            let first = slot.folds.load(Ordering::Acquire);
            for (_, entries) in order::tables(segment, first) {
                entries.iter().for_each(|entry| drop(Aggregate::take(entry)));
            }
            // What is held was taken before; it was perhaps released while nobody looked.
            segment.held(slot).for_each(|entry| entry.ticks.store(0, Ordering::Relaxed));
            slot.depth.store(0, Ordering::Relaxed);
            slot.acquisitions.store(0, Ordering::Relaxed);
            slot.stack_misses.store(0, Ordering::Relaxed);
            if was == state::ENDED_DIRTY {
                // Release: the slot's next thread finds all of this.
                slot.state.store(state::ENDED, Ordering::Release);
            }
        }
    }
}
