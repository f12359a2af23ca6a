//! The record: 32 bytes that a thread writes into its ring.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ring::Word;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// One acquisition and its release. `ticks`: acquisition; `payload`: hold, ticks; `extra`: [`extra_hold`].
    /// Where [`PUBLISHED_EARLY`] is set there, an `EarlyAcquire` record of the same acquisition came before.
    Hold = 1,
    /// Precedes the `Hold` (or `Done`) of a contended acquisition. `ticks`: request; `payload`: wait, ticks;
    /// `extra`: holder's stack | holder's thread slot + 1 << 32.
    Waited = 2,
    /// An operation that blocks but is not held (condition, barrier, join, once, semaphore) is over.
    /// `ticks`: request; `payload`: time blocked, ticks; `extra`: a barrier's count of threads.
    Done = 3,
    /// A try found the lock taken. `ticks`: when.
    TryFailed = 4,
    /// A timed request ran out. `ticks`: request; `payload`: wait, ticks.
    TimedOut = 5,
    /// A request failed otherwise. `payload`: the error number.
    Failed = 6,
    /// From here on the ring is written by the thread `lock` (its kernel id). `stack`: the token of the `Created`
    /// record that announced it, 0 where there was none; `extra`: its `pthread_t`, which is the address of the
    /// "lock" of whoever joins it.
    ThreadStart = 7,
    /// The thread ended.
    ThreadEnd = 8,
    /// The ring ends here: it goes on in the ring at offset `extra` of the segment.
    NextRing = 9,
    /// A semaphore is about to be posted, a condition to be signalled. `ticks`: when.
    Posted = 10,
    /// A lock was used as it may not be. `ticks`: when; `payload`: a number of [`misuse`]; `extra`: who holds it,
    /// as in `Waited`.
    Misuse = 11,
    /// An acquisition that is not released yet, published early since locks are nested: first the enclosing ones
    /// that were not published yet, from the outermost on, then the inner one. `ticks`: acquisition; `extra`:
    /// [`extra_hold`] with the position in the list of held locks, and [`RESTART`].
    EarlyAcquire = 12,
    /// A thread is about to be created. `ticks`: when; `extra`: the token of its `ThreadStart`.
    Created = 13,
    /// A robust mutex is taken whose owner ended and held it (`EOWNERDEAD`): that thread is over. `ticks`: when.
    OwnerDied = 14,
    /// A call of the program that may block returned, and the thread held a lock meanwhile: one record for each of the locks
    /// ([`CALL_LOCKS`] at most). `ticks`: when it began; `stack`: of the call; `payload`: how long it took, ticks; `extra`:
    /// the call's number in [`blocking::NAMES`](crate::blocking::NAMES) | the stack that took the lock << 32.
    Blocked = 15,
}

impl Op {
    /// The operation with this number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Hold,
            2 => Self::Waited,
            3 => Self::Done,
            4 => Self::TryFailed,
            5 => Self::TimedOut,
            6 => Self::Failed,
            7 => Self::ThreadStart,
            8 => Self::ThreadEnd,
            9 => Self::NextRing,
            10 => Self::Posted,
            11 => Self::Misuse,
            12 => Self::EarlyAcquire,
            13 => Self::Created,
            14 => Self::OwnerDied,
            15 => Self::Blocked,
            _ => return None,
        })
    }
}

/// What is particular about an event, beside its operation. Written by the shim into records, held entries, waits and
/// folds; the collector reads it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Asked for with other readers.
    pub const SHARED: Self = Self(1);
    /// Had to wait; a `Waited` record precedes this one.
    pub const CONTENDED: Self = Self(2);
    /// By a try.
    pub const TRY: Self = Self(4);
    /// By a timed request.
    pub const TIMED: Self = Self(8);
    /// A re-entry to a recursive lock by its owner.
    pub const REENTRY: Self = Self(16);
    /// Acquired again inside a condition wait.
    pub const REACQUIRED: Self = Self(32);
    /// Not an acquisition of its own: goes on with a hold that was interrupted (a condition wait that failed).
    pub const CONTINUED: Self = Self(64);
    /// The hold did not end by a release in this thread: still held at thread exit or at the end of the program.
    pub const UNRELEASED: Self = Self(128);

    /// These bits.
    #[inline(always)]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// As bits.
    #[inline(always)]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// These and those.
    #[inline(always)]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These but for those.
    #[inline(always)]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether any of those is among these.
    #[inline(always)]
    pub const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Whether it was asked for with other readers.
    #[inline(always)]
    pub const fn is_shared(self) -> bool {
        self.has_any(Self::SHARED)
    }

    /// Whether it had to wait.
    #[inline(always)]
    pub const fn is_contended(self) -> bool {
        self.has_any(Self::CONTENDED)
    }

    /// Whether it was a try.
    #[inline(always)]
    pub const fn is_try(self) -> bool {
        self.has_any(Self::TRY)
    }

    /// Whether the request ends by itself at some time.
    #[inline(always)]
    pub const fn is_timed(self) -> bool {
        self.has_any(Self::TIMED)
    }

    /// Whether the owner of a recursive lock acquired it once more.
    #[inline(always)]
    pub const fn is_reentry(self) -> bool {
        self.has_any(Self::REENTRY)
    }

    /// Whether it was acquired again inside a condition wait.
    #[inline(always)]
    pub const fn is_reacquired(self) -> bool {
        self.has_any(Self::REACQUIRED)
    }

    /// Whether it goes on with a hold that was interrupted, so that it is no acquisition of its own.
    #[inline(always)]
    pub const fn is_continued(self) -> bool {
        self.has_any(Self::CONTINUED)
    }

    /// Whether the thread never released it.
    #[inline(always)]
    pub const fn is_unreleased(self) -> bool {
        self.has_any(Self::UNRELEASED)
    }
}

/// Longest duration that a record can hold, ticks (31 hours at 2.5 GHz); longer ones are cut to it.
pub const PAYLOAD_MAX: u64 = (1 << 48) - 1;

/// A record, copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// A time, ticks.
    pub ticks: u64,
    /// Row of the lock.
    pub lock: u32,
    /// Node of the stack.
    pub stack: u32,
    /// Operation, flags and payload: see [`Record::pack`].
    pub word: u64,
    /// Depends on the operation.
    pub extra: u64,
}

impl Record {
    /// As it lies in a slot: ticks, lock | stack << 32, word, extra.
    pub const fn words(&self) -> [u64; 4] {
        [self.ticks, self.lock as u64 | (self.stack as u64) << 32, self.word, self.extra]
    }

    /// Operation, flags and payload in one word.
    #[inline(always)]
    pub const fn pack(op: Op, flags: Flags, payload: u64) -> u64 {
        let payload = if payload > PAYLOAD_MAX { PAYLOAD_MAX } else { payload };
        payload << 16 | (flags.0 as u64) << 8 | op as u64
    }

    /// The operation; `None` for a number that this version does not know.
    #[inline(always)]
    pub const fn op(&self) -> Option<Op> {
        Op::from_u8(self.word as u8)
    }

    /// The [`Flags`].
    #[inline(always)]
    pub const fn flags(&self) -> Flags {
        Flags((self.word >> 8) as u8)
    }

    /// The payload.
    #[inline(always)]
    pub const fn payload(&self) -> u64 {
        self.word >> 16
    }
}

/// `extra` of a `Hold` or `EarlyAcquire`: the position in the thread's list of held locks; the upper bits are
/// [`PUBLISHED_EARLY`] and [`RESTART`].
pub const fn extra_hold(position: u32) -> u64 {
    position as u64
}

/// Bit of `extra` of a `Hold`: an `EarlyAcquire` record of the acquisition came before.
pub const PUBLISHED_EARLY: u64 = 1 << 32;
/// Bit of `extra` of an `EarlyAcquire`: releases of earlier ones may have been folded, so nothing that was open before
/// is known to be open still.
pub const RESTART: u64 = 1 << 33;

/// Of the locks that are held during a call, so many have a `Blocked` record: those that were taken last.
pub const CALL_LOCKS: usize = 8;

/// Payloads of a `Misuse` record.
pub mod misuse {
    /// Unlocked by a thread that does not hold it, while another does.
    pub const UNLOCK_NOT_OWNER: u64 = 1;
    /// Unlocked while nobody holds it.
    pub const UNLOCK_NOT_LOCKED: u64 = 2;
    /// Destroyed while it is held.
    pub const DESTROYED_WHILE_HELD: u64 = 3;
    /// A condition was waited for with a mutex that another thread holds.
    pub const WAIT_NOT_OWNER: u64 = 4;
    /// A condition was waited for with a mutex that nobody holds.
    pub const WAIT_NOT_LOCKED: u64 = 5;
    /// A thread asked again for what it has, and was refused (`EDEADLK`).
    pub const REFUSED: u64 = 6;
    /// One more than the last of them.
    pub const END: u64 = 7;
}

/// A record in shared memory.
#[repr(C, align(32))]
pub struct Slot<W = AtomicU64>(pub [W; 4]);

impl<W: Word> Slot<W> {
    /// Writes a record's words ([`Record::words`]). The ring's head publishes it.
    #[inline(always)]
    pub fn store(&self, words: [u64; 4]) {
        self.0[0].store(words[0], Ordering::Relaxed);
        self.0[1].store(words[1], Ordering::Relaxed);
        self.0[2].store(words[2], Ordering::Relaxed);
        self.0[3].store(words[3], Ordering::Relaxed);
    }

    /// Copies the record out.
    #[inline(always)]
    pub fn load(&self) -> Record {
        let lock_and_stack = self.0[1].load(Ordering::Relaxed);
        Record {
            ticks: self.0[0].load(Ordering::Relaxed),
            lock: lock_and_stack as u32,
            stack: (lock_and_stack >> 32) as u32,
            word: self.0[2].load(Ordering::Relaxed),
            extra: self.0[3].load(Ordering::Relaxed),
        }
    }
}

const _: () = assert!(size_of::<Slot>() == 32);
