//! The private block of the recorder in a Go program, which whoever put it there writes. The rings are as all programs'
//! ([`layout`](super::super::layout)).

use super::super::layout::WRITERS;

/// The block, at the head of the recorder's data. Written by whoever puts the recorder there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared {
    /// Address of the first ring, 0 where nothing may be recorded. What they have in common is
    /// [`COMMON_BYTES`](super::super::layout::COMMON_BYTES) before it.
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
    /// 1 where trampolines are hidden from signals' handlers: no thread may be in the handler when that changes.
    pub signals: u64,
    /// Address of the counts of the locks that goroutines hold: four bytes for each, by the address of its `g` ([`HOLDS_MASK`]).
    pub holds: u64,
    /// Bytes of [`Self::follow`] that are used; 0 where programs that are started are not followed.
    pub follow_length: u64,
    /// Where it is announced that a program is about to be started: a `sockaddr_un`.
    pub follow: SocketAddress,
}

/// Bytes of the counts. A `g` has some 450 bytes, so those of 2 MiB of them have counts of their own, and few of them share a line of
/// the processor's cache. Two that share a count may spoil it for each other: it says whether it is worth while to record a
/// call, and the collector knows what is held.
pub const HOLDS: u64 = 1 << 19;
/// What is left of a `g`'s address, shifted by [`HOLDS_SHIFT`], is the distance of its count.
pub const HOLDS_MASK: u32 = (HOLDS as u32 - 1) & !3;
/// See [`HOLDS_MASK`]. A `g` begins at a multiple of 16.
pub const HOLDS_SHIFT: u32 = 2;

/// A `sockaddr_un`, with room to the next word.
#[derive(Clone, Copy, Debug)]
pub struct SocketAddress(pub [u8; 112]);

impl Default for SocketAddress {
    fn default() -> Self {
        Self([0; 112])
    }
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

const _: () = assert!(size_of::<Place>() == 32 && size_of::<Shared>() <= WRITERS);
