//! What is known of a lock.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Numbers of [`LockInfo::kind`]: positions in `model::Kind::ALL`.
pub mod kind {
    /// Mutex.
    pub const MUTEX: u8 = 0;
    /// Read-write lock.
    pub const RWLOCK: u8 = 1;
    /// Spin lock.
    pub const SPINLOCK: u8 = 2;
    /// Semaphore.
    pub const SEMAPHORE: u8 = 3;
    /// Condition variable.
    pub const CONDVAR: u8 = 4;
    /// Barrier.
    pub const BARRIER: u8 = 5;
    /// Once and static-local guards.
    pub const ONCE: u8 = 6;
    /// Joining a thread; the "lock" is the thread.
    pub const JOIN: u8 = 7;
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
