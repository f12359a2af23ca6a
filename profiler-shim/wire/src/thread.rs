//! What a thread shows of itself: state, what it waits for and what it holds.
//!
//! A slot is written by the thread that has it, without regard to readers, but for what a field says. Other threads of the
//! program read it to find who has the lock that they want; the collector reads all slots.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Flags;

/// Values of [`ThreadSlot::state`].
pub mod state {
    /// Never used.
    pub const FREE: u32 = 0;
    /// A thread writes here.
    pub const ACTIVE: u32 = 1;
    /// The thread ended; the next one may take the slot.
    pub const ENDED: u32 = 2;
    /// The thread ended and left folds behind: the collector reads them and makes it `ENDED`.
    pub const ENDED_DIRTY: u32 = 3;
}

/// Locks that a slot itself has room for; the rest goes to [`ThreadSlot::held_overflow`].
pub const HELD_SLOTS: usize = 56;

/// Bit of [`HeldEntry::flags`]: the ring has an `EarlyAcquire` record of it.
pub const PUBLISHED: u64 = 1 << 8;

/// An acquisition that was not released yet.
#[repr(C, align(16))]
pub struct HeldEntry {
    /// The lock's address in the program. Kept after the release until overwritten, so that a waiter that comes too late
    /// still sees who it was.
    pub address: AtomicU64,
    /// Ticks at the acquisition; 0: the entry is empty; `u64::MAX`: released, out of the order of acquisitions.
    pub ticks: AtomicU64,
    /// Lock row | stack node << 32.
    pub lock_and_stack: AtomicU64,
    /// Flags of the record, as in [`crate::Flags`], and [`PUBLISHED`].
    pub flags: AtomicU64,
    /// Contended ones: time waited, ticks.
    pub wait: AtomicU64,
    /// Contended ones: as `extra` of a `Waited` record.
    pub holder: AtomicU64,
    _pad: [AtomicU64; 2],
}

const _: () = assert!(size_of::<HeldEntry>() == 64);

impl HeldEntry {
    /// The flags of its record.
    #[inline(always)]
    pub fn record_flags(&self) -> Flags {
        Flags::from_bits(self.flags.load(Ordering::Relaxed) as u8)
    }
}

/// A thread's part of the segment.
#[repr(C, align(4096))]
pub struct ThreadSlot {
    /// A number of [`state`]. The collector writes it as well: it makes an `ENDED_DIRTY` slot `ENDED`.
    pub state: AtomicU32,
    /// Kernel thread id.
    pub tid: AtomicU32,
    /// Number of the thread in the process, from 1.
    pub serial: AtomicU32,
    _pad0: AtomicU32,
    /// Offset of the ring that the collector reads next, bytes. The thread writes the first; the collector moves on at a
    /// `NextRing` record.
    pub ring: AtomicU64,
    /// Offset of the first fold table, bytes; 0 while there is none.
    pub folds: AtomicU64,
    /// Stacks that had to be unwound.
    pub stack_misses: AtomicU64,
    /// Offset of more held entries, bytes; 0 while the slot's own suffice.
    pub held_overflow: AtomicU64,
    /// Their number.
    pub held_overflow_len: AtomicU64,
    /// What it waits for: lock row; 0 while it does not wait. Written last (Release): who finds it finds the four below.
    pub wait_lock: AtomicU32,
    /// Stack node with which it waits.
    pub wait_stack: AtomicU32,
    /// Since when, ticks.
    pub wait_since: AtomicU64,
    /// Who had it, as `extra` of a `Waited` record.
    pub wait_holder: AtomicU64,
    /// Flags of the request.
    pub wait_flags: AtomicU64,
    /// The call that may block which it is in with a lock held: its number + 1 | stack node << 32; 0 while there is none.
    /// Written last (Release), as `wait_lock`.
    pub call: AtomicU64,
    /// Since when, ticks.
    pub call_since: AtomicU64,
    /// Ticks of the acquisition that was the last one then: while it is held the three others hold, even if the call was
    /// left by a jump.
    pub call_hold: AtomicU64,
    /// Where its frame is.
    pub call_frame: AtomicU64,
    _pad1: [AtomicU64; 41],
    /// How many of the held entries are in use. It begins a cache line that the first entry's fields end: a thread that
    /// holds one lock at a time touches this line only.
    pub depth: AtomicU32,
    _pad2: AtomicU32,
    /// Acquisitions made by every thread that had this slot.
    pub acquisitions: AtomicU64,
    /// What it holds.
    pub held: [HeldEntry; HELD_SLOTS],
    _pad3: [AtomicU64; 6],
}

const _: () = assert!(size_of::<ThreadSlot>() == 4096);
const _: () = assert!(core::mem::offset_of!(ThreadSlot, depth) % 64 == 0);
const _: () = assert!(core::mem::offset_of!(ThreadSlot, held) % 64 + core::mem::offset_of!(HeldEntry, _pad) == 64);

impl ThreadSlot {
    /// Flags of the request that it waits with.
    pub fn request_flags(&self) -> Flags {
        Flags::from_bits(self.wait_flags.load(Ordering::Relaxed) as u8)
    }
}
