//! What of a segment is plausible: times and counts that a program can have made.

use std::sync::atomic::Ordering;

use lockprof_wire::{Record, RingHeader};

use super::image::Image;

impl Image {
    /// Longest time that anything in this process can have taken, ticks, and latest time that it can have written down.
    fn bounds(&self) -> (u64, u64) {
        /// Clocks of two processors may differ, but not by that much (about five seconds).
        const ROOM: u64 = 1 << 34;
        /// Two years at 4 GHz: a broken clock says more.
        const LONGEST_LIFE: u64 = 1 << 58;
        let now = self.ticks.now();
        (now.saturating_sub(self.born).min(LONGEST_LIFE) + ROOM, now.saturating_add(ROOM))
    }

    /// Takes out what no shim writes: what took longer than the process lives, what is in the future.
    pub fn keep_plausible(&self, records: &mut Vec<Record>) {
        let (longest, latest) = self.bounds();
        let is_plausible = |record: &Record| record.payload() <= longest && record.ticks <= latest;
        if !records.iter().all(is_plausible) {
            self.segment.damaged("its records tell of times that cannot be");
            records.retain(is_plausible);
        }
    }

    /// Whether so many things that take some time each can have been counted.
    fn can_count(&self, count: u64) -> bool {
        /// More than a thread counts in a year.
        const MOST: u64 = 1 << 52;
        count <= self.bounds().0.min(MOST)
    }

    /// Whether the sums of an aggregate can be.
    pub fn are_plausible(&self, count: u64, sum: u64, min: u64, max: u64) -> bool {
        /// Locks that are held at one time add up.
        const AT_ONCE: u64 = 1 << 16;
        let (longest, _) = self.bounds();
        let are = self.can_count(count)
            && min <= max
            && max <= longest
            && sum <= longest.saturating_mul(AT_ONCE)
            && sum <= max.saturating_mul(count);
        if !are {
            self.segment.damaged("its sums cannot be");
        }
        are
    }

    /// A count; 0 where it cannot be.
    pub fn plausible_count(&self, count: u64) -> u64 {
        if self.can_count(count) {
            return count;
        }
        self.segment.damaged("its counters cannot be");
        0
    }

    /// Of a ring from which nothing was read: whether it is only empty. A broken one begins anew.
    pub fn mend(&self, ring: &RingHeader, capacity: usize) {
        let head = ring.head.load(Ordering::Acquire);
        if head.wrapping_sub(ring.tail.load(Ordering::Relaxed)) > capacity as u64 {
            self.segment.damaged("a ring's ends do not fit together");
            ring.tail.store(head, Ordering::Release);
        }
    }
}
