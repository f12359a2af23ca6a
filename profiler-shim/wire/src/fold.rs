//! Counters for what a full ring has no room for.
//!
//! A fold keeps count and time exactly, by (operation, lock, stack, holder's stack); only single
//! time stamps are lost. Folds of `EarlyAcquire` hang together as a tree, so that no nesting is lost.
//!
//! The thread that has the slot writes, and totals only grow. The collector reads when the thread has ended or the program
//! is over, and only then clears the counters for the slot's next thread.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Sub-buckets per power of two of a fold's histogram: four, so a bucket is a quarter of its value wide.
pub const SUB_BITS: u32 = 2;
/// Buckets: up to 2^44 ticks, about two hours.
pub const BUCKETS: usize = 172;

/// The bucket of a duration in ticks.
pub const fn bucket(ticks: u64) -> usize {
    if ticks < 1 << SUB_BITS {
        return ticks as usize;
    }
    let exponent = 63 - ticks.leading_zeros();
    let sub = (ticks >> (exponent - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let bucket = (((exponent - SUB_BITS + 1) << SUB_BITS) as u64 + sub) as usize;
    if bucket < BUCKETS { bucket } else { BUCKETS - 1 }
}

/// Least duration of a bucket, ticks.
pub const fn bucket_low(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 1 << SUB_BITS {
        return bucket;
    }
    let exponent = (bucket >> SUB_BITS) + SUB_BITS as u64 - 1;
    ((1 << SUB_BITS) + (bucket & ((1 << SUB_BITS) - 1))) << (exponent - SUB_BITS as u64)
}

/// See [`FoldEntry::op_and_flags`].
pub const CLAIMED: u32 = u32::MAX;

/// Value of [`FoldEntry::segment`]: between any of the thread's records, no matter which.
pub const ANY_SEGMENT: u32 = u32::MAX;

/// A counter.
#[repr(C, align(64))]
pub struct FoldEntry {
    /// Operation | flags << 8, as in a record; 0: empty; [`CLAIMED`]: the key is being written.
    pub op_and_flags: AtomicU32,
    /// Lock row.
    pub lock: AtomicU32,
    /// Stack node.
    pub stack: AtomicU32,
    /// Holder's stack for `Waited`; the call's number for `Blocked`; for `EarlyAcquire` the offset of the entry of the acquisition around it, 0 for the
    /// outermost one; else 0.
    pub holder: AtomicU32,
    /// Number of events.
    pub count: AtomicU64,
    /// Sum of the payloads: ticks, as in the records that it stands for.
    pub sum: AtomicU64,
    /// Bitwise complement of the least payload, ticks: a maximum too, and 0 while there is none.
    pub not_min: AtomicU64,
    /// Greatest payload, ticks.
    pub max: AtomicU64,
    /// For `EarlyAcquire`: how many `Created` records and `Done` records of joins and barriers the thread had written
    /// before, or [`ANY_SEGMENT`]; for `Blocked` the stack that took the lock; else 0.
    pub segment: AtomicU32,
    /// Offset of the entry itself in the segment, bytes, once it has a key.
    pub place: AtomicU32,
    /// Number of events by [`bucket`] of their payload.
    pub buckets: [AtomicU32; BUCKETS],
}

const _: () = assert!(size_of::<FoldEntry>() == 768);

/// Entries of a thread's first table.
pub const FIRST_ENTRIES: u64 = 64;
/// Entries of the largest table.
pub const MOST_ENTRIES: u64 = 512;

/// Entries of the tables that hang on one of so many.
pub const fn entries_below(capacity: u64) -> u64 {
    let twice = capacity.saturating_mul(2);
    if twice < MOST_ENTRIES { twice } else { MOST_ENTRIES }
}

/// How many tables hang on one. Which of them a key goes on in follows from the key, so few are searched, however many there are.
pub const BRANCHES: usize = 4;

/// A table of folds; the entries follow it. The first entries of a thread's first table take what found no place, without lock
/// and stack.
#[repr(C, align(64))]
pub struct FoldTable {
    /// Number of entries.
    pub capacity: AtomicU64,
    /// Offsets of the tables that hang on it, bytes; 0 for none.
    pub next: [AtomicU64; BRANCHES],
}

impl FoldTable {
    /// Bytes of a table with its entries.
    pub const fn bytes(capacity: u64) -> u64 {
        size_of::<Self>() as u64 + capacity * size_of::<FoldEntry>() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_values() {
        for exponent in 0..43 {
            for value in [(1u64 << exponent) - 1, 1 << exponent, (1 << exponent) + 1] {
                let at = bucket(value);
                assert!(bucket_low(at) <= value && value < bucket_low(at + 1), "{value}");
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
