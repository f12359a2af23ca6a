//! The single-producer, single-consumer ring of records.
//!
//! `head` counts the records ever published, `tail` those ever consumed; a record is at its number modulo
//! the capacity. The producer publishes with Release and the consumer reads `head` with Acquire; the
//! consumer gives room back with Release and the producer reads `tail` with Acquire.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::record::{Record, Slot};

/// The ring's bookkeeping; the slots follow it in memory.
#[repr(C, align(64))]
pub struct RingHeader {
    /// Number of slots, a power of two. Written once by the thread that makes the ring.
    pub capacity: AtomicU32,
    _pad0: [AtomicU32; 15],
    /// Records ever published; written by the producer (the thread) only.
    pub head: AtomicU64,
    _pad1: [AtomicU64; 7],
    /// Records ever consumed; written by the consumer (the collector) only.
    pub tail: AtomicU64,
    _pad2: [AtomicU64; 7],
}

const _: () = assert!(size_of::<RingHeader>() == 192);

/// Slots of a thread's first ring (16 KiB).
pub const FIRST_CAPACITY: u32 = 512;
/// How much larger the next ring is.
pub const GROWTH: u32 = 8;
/// Slots of the largest ring (1 MiB).
pub const MAX_CAPACITY: u32 = 32_768;
/// Slots kept for what must not be folded while there is any room: contended acquisitions, thread starts and ends.
pub const RESERVE: u32 = 128;

impl RingHeader {
    /// Bytes of a ring with its slots.
    pub const fn bytes(capacity: u32) -> u64 {
        size_of::<Self>() as u64 + capacity as u64 * size_of::<Slot>() as u64
    }

    /// Consumes what is published: calls `each` for every record and gives the room back.
    /// A head that is further than the capacity from the tail is not believed: nothing is consumed.
    /// Returns how many records were read.
    pub fn drain(&self, slots: &[Slot], mut each: impl FnMut(Record)) -> u64 {
        // Acquire: pairs with the producer's Release store of `head`.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Relaxed);
        let count = head.wrapping_sub(tail);
        if count > slots.len() as u64 || !slots.len().is_power_of_two() {
            return 0;
        }
        let mask = slots.len() - 1;
        for number in 0..count {
            each(slots[tail.wrapping_add(number) as usize & mask].load());
        }
        // Release: the producer that sees the room may overwrite the slots that were read above.
        self.tail.store(head, Ordering::Release);
        count
    }

    /// Appends a record, if there is room for it and for `reserve` more. For tests and benches; the shim
    /// keeps its own copy of the head and tail.
    pub fn push(&self, slots: &[Slot], record: Record, reserve: u32) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        // Acquire: pairs with the consumer's Release store of `tail`.
        let used = head.wrapping_sub(self.tail.load(Ordering::Acquire));
        if used + u64::from(reserve) >= slots.len() as u64 {
            return false;
        }
        let lock_and_stack = u64::from(record.lock) | u64::from(record.stack) << 32;
        slots[head as usize & (slots.len() - 1)].store(record.ticks, lock_and_stack, record.word, record.extra);
        // Release: publishes the slot.
        self.head.store(head + 1, Ordering::Release);
        true
    }
}
