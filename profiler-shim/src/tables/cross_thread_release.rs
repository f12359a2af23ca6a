//! Locks that another thread gave back than the one that had them: when that happened last.
//!
//! The one who had the lock is not told, so it goes on believing that it holds it. It looks here, and takes
//! off its list what it took before that moment. The lock itself cannot be asked: its memory may be gone.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const PLACES: usize = 256;

/// See the module. Valid when zero. A row that another one drove out of its place is forgotten: then its
/// stale entry stays until its thread ends.
#[repr(C)]
pub struct CrossThreadReleases {
    count: AtomicU32,
    rows: [AtomicU32; PLACES],
    ticks: [AtomicU64; PLACES],
}

impl CrossThreadReleases {
    /// Whether there are any: mostly not.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Notes that the lock was given back by another thread. Call under the inner lock.
    pub fn note(&self, row: u32, ticks: u64) {
        let place = row as usize % PLACES;
        self.rows[place].store(0, Ordering::Release);
        self.ticks[place].store(ticks, Ordering::Release);
        // Release: who finds the row finds its ticks.
        self.rows[place].store(row, Ordering::Release);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// When that happened last, ticks.
    pub fn last(&self, row: u32) -> Option<u64> {
        let place = row as usize % PLACES;
        // Acquire: pairs with the Release stores above. The row is read twice, since the place may change hands.
        let is = || self.rows[place].load(Ordering::Acquire) == row;
        let ticks = is().then(|| self.ticks[place].load(Ordering::Acquire))?;
        is().then_some(ticks)
    }
}
