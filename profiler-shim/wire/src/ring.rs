//! The single-producer, single-consumer ring of records.
//!
//! `head` counts the records ever published, `tail` those ever consumed; a record is at its number modulo
//! the capacity. The producer publishes with Release and the consumer reads `head` with Acquire; the
//! consumer gives room back with Release and the producer reads `tail` with Acquire.
//!
//! Both sides are written over [`Word`], so that a model checker runs the very code that ships: `tests/ring_model.rs`.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::record::{Record, Slot};

/// What the ring needs of an atomic number: the processor's, or a model checker's.
pub trait Word {
    /// Reads it.
    fn load(&self, order: Ordering) -> u64;
    /// Writes it.
    fn store(&self, value: u64, order: Ordering);
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline(always)]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
}

/// The ring's bookkeeping; the slots follow it in memory.
#[repr(C, align(64))]
pub struct RingHeader<W = AtomicU64> {
    /// Number of slots, a power of two. Written once by the thread that makes the ring.
    pub capacity: AtomicU32,
    _pad0: [AtomicU32; 15],
    /// Records ever published; written by the producer (the thread) only.
    pub head: W,
    _pad1: [AtomicU64; 7],
    /// Records ever consumed; written by the consumer (the collector) only.
    pub tail: W,
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
}

impl<W: Word> RingHeader<W> {
    /// An empty ring outside of shared memory: for models and tests.
    pub fn new(capacity: u32, word: impl Fn() -> W) -> Self {
        Self {
            capacity: AtomicU32::new(capacity),
            _pad0: [const { AtomicU32::new(0) }; 15],
            head: word(),
            _pad1: [const { AtomicU64::new(0) }; 7],
            tail: word(),
            _pad2: [const { AtomicU64::new(0) }; 7],
        }
    }

    /// Consumes what is published: calls `each` for every record and gives the room back.
    /// A head that is further than the capacity from the tail is not believed: nothing is consumed.
    /// Returns how many records were read.
    pub fn drain(&self, slots: &[Slot<W>], mut each: impl FnMut(Record)) -> u64 {
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
}

/// The producer's own side of a ring.
///
/// Only the producing thread uses it, in its signal handlers too: it is atomic for them.
pub struct Writer<W = AtomicU64> {
    /// Records written and published.
    head: W,
    /// Up to this head there is room, with [`RESERVE`] left, without a look at the ring's tail.
    soft_limit: W,
}

impl<W: Word> Writer<W> {
    /// Of a ring without room: [`begin`](Self::begin) comes before any record.
    pub const fn new(head: W, soft_limit: W) -> Self {
        Self { head, soft_limit }
    }

    /// Begins an empty ring.
    pub fn begin(&self, capacity: u32) {
        self.soft_limit.store(u64::from(capacity.saturating_sub(RESERVE)), Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
    }

    /// [`has_room`](Self::has_room) only from here on.
    pub fn look_first(&self) {
        self.soft_limit.store(0, Ordering::Relaxed);
    }

    /// Whether there is room for one record that may be folded, as far as the tail was known last.
    #[inline(always)]
    pub fn has_room_surely(&self) -> bool {
        self.head.load(Ordering::Relaxed) < self.soft_limit.load(Ordering::Relaxed)
    }

    /// Whether there is room for `wanted` records, leaving `reserve` slots; looks at the collector's progress.
    pub fn has_room(&self, ring: &RingHeader<W>, capacity: u64, wanted: u64, reserve: u64) -> bool {
        // Acquire: pairs with the consumer's Release store; the slots before the tail may be overwritten.
        let tail = ring.tail.load(Ordering::Acquire);
        let head = self.head.load(Ordering::Relaxed);
        self.soft_limit.store((tail + capacity).saturating_sub(u64::from(RESERVE)), Ordering::Relaxed);
        head + wanted + reserve <= tail + capacity
    }

    /// The number of the next record: its slot is this modulo the capacity.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// Writes the record with this number, the next one, into its slot, and publishes it. There has to be room.
    #[inline(always)]
    pub fn publish(&self, ring: &RingHeader<W>, slot: &Slot<W>, number: u64, words: [u64; 4]) {
        slot.store(words);
        self.head.store(number + 1, Ordering::Relaxed);
        // Release: pairs with the consumer's Acquire load; the slot is complete.
        ring.head.store(number + 1, Ordering::Release);
    }
}
