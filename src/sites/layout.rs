//! The memory that a recorder in a patched program shares with whoever put it there: rings of records, one for each of the
//! program's threads (of the runtime's, in Go), and counts of what found no room in them.

use std::mem::offset_of;

/// Bits of the word that says which site a record is of.
pub mod info {
    /// The operation's other outcome: the row's `failure`.
    pub const FAILED: u32 = 1 << 30;
    /// Leave the stack out.
    pub const NO_STACK: u32 = 1 << 31;
    /// To the recorder alone, in records it is 0: who runs holds a lock more.
    pub const TAKES: u32 = 1 << 28;
    /// The same: a lock less. With [`TAKES`]: none any more.
    pub const GIVES: u32 = 1 << 29;
}

/// What all rings have in common, before the first of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Common {
    /// Rings that are taken, or were asked for.
    pub claimed: u64,
    /// Events of threads without a ring.
    pub lost: u64,
}

/// The head of a ring; the records begin [`RING_HEADER`] bytes behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RingHead {
    /// Bytes ever written.
    pub head: u64,
    /// The thread that writes: its M in Go, its control block elsewhere.
    pub writer: u64,
    /// Where in its control block the thread has its number, plus one; 0 until that was looked for.
    pub number_at: u64,
    /// It is writing: a signal's handler that comes in between must not.
    pub busy: u64,
    _pad0: [u64; 4],
    /// Bytes ever read; the reader writes it.
    pub tail: u64,
    _pad1: [u64; 7],
    /// The patch (plus one) at whose end a preemption is due.
    pub preempt: u64,
    _pad2: [u64; 7],
    /// Events for which there was no room in this ring, nor among its folds.
    pub lost: u64,
    /// Events that were folded.
    pub folded: u64,
}

/// Events that were counted where the ring had no room for them, by what they were about and at which patch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldEntry {
    /// What they were about.
    pub address: u64,
    /// As in a record, and [`FOLD_TAKEN`].
    pub info: u64,
    /// How many.
    pub count: u64,
    _pad: u64,
}

/// The head of a record; the return addresses follow, four bytes each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Time stamp counter.
    pub ticks: u64,
    /// What it is about.
    pub address: u64,
    /// The goroutine, or the thread.
    pub goroutine: u64,
    /// Number of the patch, and [`info`].
    pub info: u32,
    /// Bytes of return addresses.
    pub stack: u32,
}

/// Bytes before the first ring.
pub const COMMON_BYTES: usize = 4096;
/// Entries of a ring's table of folds, a power of two. As many more follow for what finds no room there: by patch alone.
pub const FOLDS: usize = 1 << 14;
/// Where that table begins in a ring's head.
pub const FOLDS_AT: usize = 4096;
/// Bit of an entry's `info`: it is in use.
pub const FOLD_TAKEN: u32 = 32;
/// Entries that a patch may have, a power of two.
pub const FOLD_TRIES: usize = 128;
/// Bytes of a ring's head.
pub const RING_HEADER: usize = FOLDS_AT + 2 * FOLDS * size_of::<FoldEntry>();
/// Where the table of writers is, behind the recorder's private block: pairs of a thread and its ring.
pub const WRITERS: usize = 4096;
/// Entries of it, a power of two.
pub const WRITER_ENTRIES: usize = 4096;
/// So many entries are looked at for a thread's own; one that has none there has no ring.
pub const WRITER_TRIES: usize = 256;
/// What the block and the table take.
pub const SHARED_BYTES: usize = WRITERS + 16 * WRITER_ENTRIES;

const _: () = assert!(size_of::<Record>() == 32 && size_of::<FoldEntry>() == 32);
const _: () = assert!(offset_of!(RingHead, tail) == 64 && offset_of!(RingHead, preempt) == 128);
const _: () = assert!(size_of::<RingHead>() <= FOLDS_AT);
