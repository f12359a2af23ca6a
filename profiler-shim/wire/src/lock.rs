//! What is known of a lock.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::Kind;

/// Numbers of [`LockInfo::kind`]: those of [`Kind`](crate::Kind), for code that passes them on as numbers.
pub mod kind {
    use crate::Kind;

    /// Mutex.
    pub const MUTEX: u8 = Kind::Mutex as u8;
    /// Read-write lock.
    pub const RWLOCK: u8 = Kind::Rwlock as u8;
    /// Spin lock.
    pub const SPINLOCK: u8 = Kind::Spinlock as u8;
    /// Semaphore.
    pub const SEMAPHORE: u8 = Kind::Semaphore as u8;
    /// Condition variable.
    pub const CONDVAR: u8 = Kind::Condvar as u8;
    /// Barrier.
    pub const BARRIER: u8 = Kind::Barrier as u8;
    /// Once and static-local guards.
    pub const ONCE: u8 = Kind::Once as u8;
    /// Joining a thread; the "lock" is the thread.
    pub const JOIN: u8 = Kind::Join as u8;
}

/// Bits of [`LockInfo::traits`].
pub mod traits {
    /// Its owner may take it again.
    pub const RECURSIVE: u8 = 1;
    /// It survives the death of its owner.
    pub const ROBUST: u8 = 2;
    /// A read-write lock on which readers wait behind a waiting writer (`PREFER_WRITER_NONRECURSIVE`).
    pub const WRITERS_FIRST: u8 = 4;
    /// A semaphore that is used as a lock: its initial value is 1, and whoever waited posts.
    pub const BINARY: u8 = 8;
    /// It was given back by another thread than the one that took it.
    pub const HANDED_OVER: u8 = 16;
    /// It was held together with another lock: from then on, another lock at its address is another lock.
    pub const NESTED: u8 = 32;
}

/// Bits of [`traits`], read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraitBits(u8);

impl TraitBits {
    /// These bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether its owner may take it again.
    pub const fn is_recursive(self) -> bool {
        self.0 & traits::RECURSIVE != 0
    }

    /// Whether it survives the death of its owner.
    pub const fn is_robust(self) -> bool {
        self.0 & traits::ROBUST != 0
    }

    /// Whether readers wait behind a waiting writer.
    pub const fn lets_writers_first(self) -> bool {
        self.0 & traits::WRITERS_FIRST != 0
    }

    /// Whether it is a semaphore that is used as a lock.
    pub const fn is_binary(self) -> bool {
        self.0 & traits::BINARY != 0
    }

    /// Whether another thread than its owner released it once.
    pub const fn is_handed_over(self) -> bool {
        self.0 & traits::HANDED_OVER != 0
    }
}

/// One generation of one address.
#[repr(C, align(64))]
pub struct LockInfo {
    /// Address; 0 stands for many.
    pub address: AtomicU64,
    /// Ticks at the first sight.
    pub first_ticks: AtomicU64,
    /// Ticks at the destruction; 0 while it lives.
    pub destroyed_ticks: AtomicU64,
    /// Stack at the first sight.
    pub origin_stack: AtomicU32,
    /// A number of [`kind`].
    pub kind: AtomicU8,
    /// 1: `origin_stack` initialised it; 0: it was the first to use it.
    pub initialised: AtomicU8,
    /// Bytes of the user's name.
    pub name_len: AtomicU8,
    /// Bits of [`traits`].
    pub traits: AtomicU8,
    /// Threads that wait for it now.
    pub waiters: AtomicU32,
    /// Most threads that waited at one time.
    pub max_waiters: AtomicU32,
    /// Offset of the user's name in the segment; 0 without one.
    pub name: AtomicU32,
    /// A semaphore's initial value, a barrier's count of threads.
    pub initial: AtomicU32,
    /// Module of the address where it lies in a module's data; 0 otherwise.
    pub module: AtomicU32,
    /// How many locks this row stands for.
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

    /// Whether only certain threads can end a wait for it. A row without an address stands for many locks.
    pub fn blocks_others(&self) -> bool {
        self.address.load(Ordering::Relaxed) != 0 && self.kind().is_some_and(|kind| kind.blocks_others(self.traits()))
    }
}
