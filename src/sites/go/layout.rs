//! The memory that the recorder in a Go program shares with whoever put it there: one private block, and the rings.

use std::mem::offset_of;

/// Bits of the word that says which site a record is of.
pub mod info {
    /// The operation's other outcome: the row's `failure`.
    pub const FAILED: u32 = 1 << 30;
    /// Leave the stack out.
    pub const NO_STACK: u32 = 1 << 31;
}

/// The block, at the head of the recorder's data. Written by whoever puts the recorder there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared {
    /// Address of the first ring, 0 where nothing may be recorded. [`Common`] is [`COMMON_BYTES`] before it.
    pub rings: u64,
    /// Bytes from one to the next.
    pub stride: u64,
    /// How many rings there are.
    pub count: u64,
    /// Bytes of a ring, less one; they are a power of two.
    pub mask: u64,
    /// A ring that holds more than this has no room for the longest record.
    pub room: u64,
    /// The greatest number of return addresses in a record.
    pub depth: u64,
    /// Offset of `g.goid`.
    pub goroutine_number: u64,
    /// Offset of `m.curg`.
    pub current: u64,
    /// Where the recorder and its trampolines begin.
    pub code: u64,
    /// Where the trampolines begin.
    pub trampolines: u64,
    /// Behind them.
    pub end: u64,
    /// Address of the table that leads from 16 bytes of code to the number of a patch (`u32`).
    pub index: u64,
    /// Address of the table of [`Place`]s, by number of the patch.
    pub places: u64,
    /// Bytes of [`Self::follow`] that are used; 0 where programs that are started are not followed.
    pub follow_length: u64,
    /// Where it is announced that a program is about to be started: a `sockaddr_un`.
    pub follow: SocketAddress,
}

/// A `sockaddr_un`, with room to the next word.
#[derive(Clone, Copy, Debug)]
pub struct SocketAddress(pub [u8; 112]);

impl Default for SocketAddress {
    fn default() -> Self {
        Self([0; 112])
    }
}

/// What all rings have in common, before the first of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Common {
    /// Rings that are taken, or were asked for.
    pub claimed: u64,
    /// Events of Ms without a ring.
    pub lost: u64,
}

/// Where in the program a patch is, for signals that find its trampoline.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// The address that the runtime is shown.
    pub address: u64,
    /// The frame's size there.
    pub frame: u64,
    /// The address behind the patch, where the runtime may ask for preemption; 0 where it may not.
    pub behind: u64,
    /// The number of the patch, plus one.
    pub number: u64,
}

/// The head of a ring; the records begin [`RING_HEADER`] bytes behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RingHead {
    /// Bytes ever written.
    pub head: u64,
    /// The M that writes.
    pub machine: u64,
    _pad0: [u64; 6],
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
    /// The goroutine.
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
pub(super) const FOLD_TRIES: usize = 128;
/// Bytes of a ring's head.
pub const RING_HEADER: usize = FOLDS_AT + 2 * FOLDS * size_of::<FoldEntry>();
/// Where the table of Ms is, behind the block: pairs of an M and its ring.
pub const MACHINES: usize = 4096;
/// Entries of it, a power of two.
pub const MACHINE_ENTRIES: usize = 4096;
/// What the block and the table take.
pub const SHARED_BYTES: usize = MACHINES + 16 * MACHINE_ENTRIES;

const _: () = assert!(size_of::<Record>() == 32 && size_of::<Place>() == 32 && size_of::<Shared>() <= MACHINES);
const _: () = assert!(offset_of!(RingHead, tail) == 64 && offset_of!(RingHead, preempt) == 128);
const _: () = assert!(size_of::<FoldEntry>() == 32 && size_of::<RingHead>() <= FOLDS_AT);
