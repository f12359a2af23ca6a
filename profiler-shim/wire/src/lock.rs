//! What is known of a lock.
//!
//! Rows are made by the shim, in whichever thread meets the lock first, under the recorder's inner lock; a row is never
//! used again for another lock. The collector reads rows while the program runs, and writes none.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::Kind;

/// What is particular about a lock, as [`LockInfo::traits`] has it. Written by the shim: what the lock's type says when it
/// is met, the rest while it is used. The collector reads it at the end, and while it looks for deadlocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraitBits(u8);

impl TraitBits {
    /// Its owner may take it again.
    pub const RECURSIVE: Self = Self(1);
    /// It survives the death of its owner.
    pub const ROBUST: Self = Self(2);
    /// A read-write lock on which readers wait behind a waiting writer (`PREFER_WRITER_NONRECURSIVE`).
    pub const WRITERS_FIRST: Self = Self(4);
    /// A semaphore that is used as a lock: its initial value is 1, and whoever waited posts.
    pub const BINARY: Self = Self(8);
    /// Another thread released it than the one that acquired it.
    pub const HANDED_OVER: Self = Self(16);
    /// It was held together with another lock: from then on, another lock at its address is another lock.
    pub const NESTED: Self = Self(32);
    /// Those that a lock's type says.
    pub const OF_TYPE: Self = Self::RECURSIVE.with(Self::ROBUST).with(Self::WRITERS_FIRST);

    /// These, if `is`; else none.
    pub const fn when(self, is: bool) -> Self {
        if is { self } else { Self(0) }
    }

    /// These and those.
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These but for those.
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// These bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// As numbers.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether any of those is among these.
    pub const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Whether its owner may take it again.
    pub const fn is_recursive(self) -> bool {
        self.has_any(Self::RECURSIVE)
    }

    /// Whether it survives the death of its owner.
    pub const fn is_robust(self) -> bool {
        self.has_any(Self::ROBUST)
    }

    /// Whether readers wait behind a waiting writer.
    pub const fn lets_writers_first(self) -> bool {
        self.has_any(Self::WRITERS_FIRST)
    }

    /// Whether it is a semaphore that is used as a lock.
    pub const fn is_binary(self) -> bool {
        self.has_any(Self::BINARY)
    }

    /// Whether another thread than its owner released it once.
    pub const fn is_handed_over(self) -> bool {
        self.has_any(Self::HANDED_OVER)
    }

    /// Whether it was held together with another lock.
    pub const fn is_nested(self) -> bool {
        self.has_any(Self::NESTED)
    }
}

/// One generation of one address. What says nothing else is written once, before [`crate::Header::lock_count`] counts the row.
#[repr(C, align(64))]
pub struct LockInfo {
    /// Address in the program; 0: the row stands for many.
    pub address: AtomicU64,
    /// Ticks when it was first met.
    pub first_ticks: AtomicU64,
    /// Ticks when it was destroyed; 0 while it lives. Written by the thread that destroys it, or finds another one there.
    pub destroyed_ticks: AtomicU64,
    /// Stack node with which it was first met.
    pub origin_stack: AtomicU32,
    /// The number of its [`Kind`].
    pub kind: AtomicU8,
    /// 1: `origin_stack` initialised it; 0: it was the first to use it.
    pub initialised: AtomicU8,
    /// Bytes of the user's name; 0 without one. Written behind the name (Release).
    pub name_len: AtomicU8,
    /// [`TraitBits`]; see [`LockInfo::traits`].
    pub traits: AtomicU8,
    /// Threads that wait for it now. Each counts itself, before and behind its wait.
    pub waiters: AtomicU32,
    /// Most threads that waited at one time.
    pub max_waiters: AtomicU32,
    /// Offset of the user's name in the segment, bytes; 0 without one.
    pub name: AtomicU32,
    /// A semaphore's initial value, a barrier's count of threads; else 0.
    pub initial: AtomicU32,
    /// Row of the module in whose data it lies; 0 outside of them.
    pub module: AtomicU32,
    /// How many locks this row stands for; counts up where there is no room for more rows.
    pub merged: AtomicU32,
}

const _: () = assert!(size_of::<LockInfo>() == 64);

impl LockInfo {
    /// Its kind; `None` for a number that this version does not know.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind.load(Ordering::Relaxed))
    }

    /// What is particular about it.
    pub fn traits(&self) -> TraitBits {
        TraitBits::from_bits(self.traits.load(Ordering::Relaxed))
    }

    /// Changes what is particular about it: `take`s some away, then `adds` others. The shim does.
    pub fn change_traits(&self, take: TraitBits, adds: TraitBits) {
        self.traits.fetch_and(!take.0, Ordering::Relaxed);
        self.traits.fetch_or(adds.0, Ordering::Relaxed);
    }

    /// Whether only certain threads can end a wait for it. A row without an address stands for many locks.
    pub fn blocks_others(&self) -> bool {
        self.address.load(Ordering::Relaxed) != 0 && self.kind().is_some_and(|kind| kind.blocks_others(self.traits()))
    }
}
