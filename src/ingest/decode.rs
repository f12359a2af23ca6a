//! What the wire says becomes typed events here, and nowhere else: no other file of `ingest` knows a bit of a record, of
//! an aggregate's key, or of an entry of the list of held locks.
//!
//! Locks and stacks stay numbers of the segment and times stay ticks: the process image knows what they stand for. Only
//! numbers of operations and misuses that this version does not know are refused. Every other field may hold anything,
//! and whoever looks it up checks it.

mod aggregate;
mod slot;

use lockprof_wire::record::{PUBLISHED_EARLY, RESTART, misuse};
use lockprof_wire::{Flags, Op, Record, blocking};

use crate::model::Mode;
use crate::model::order::{How, MisuseKind};

pub use aggregate::{AggregateKey, Aggregated, Nesting, aggregate_key, misuses};
pub use slot::{Held, Wait, held, open_call, wait};

/// A use of a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Row of the lock.
    pub lock: u32,
    /// Node of the stack.
    pub stack: u32,
    /// How it was asked for and held.
    pub flags: Flags,
}

impl Access {
    #[inline(always)]
    fn of(record: &Record) -> Self {
        Self { lock: record.lock, stack: record.stack, flags: record.flags() }
    }

    fn packed(lock_and_stack: u64, flags: Flags) -> Self {
        Self { lock: lock_and_stack as u32, stack: (lock_and_stack >> 32) as u32, flags }
    }

    /// Alone or beside other readers.
    #[inline(always)]
    pub fn mode(self) -> Mode {
        if self.flags.is_shared() { Mode::Shared } else { Mode::Exclusive }
    }

    /// Whether and how long the request would have waited. Going on with an interrupted hold waits for nobody.
    pub fn how(self) -> How {
        if self.flags.is_try() || self.flags.is_continued() {
            How::Try
        } else if self.flags.is_timed() {
            How::Timed
        } else {
            How::Block
        }
    }
}

/// Who had a lock when a wait for it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Node of the stack that took it.
    pub stack: u32,
    /// The thread's slot, if known.
    pub slot: Option<u32>,
}

impl Holder {
    fn packed(extra: u64) -> Self {
        Self { stack: extra as u32, slot: ((extra >> 32) as u32).checked_sub(1) }
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireEvent {
    /// An acquisition and its release.
    Hold(Hold),
    /// An acquisition that is reported before its release, since locks are nested.
    EarlyAcquire(EarlyAcquire),
    /// The wait of a contended acquisition, whose [`WireEvent::Hold`] follows.
    Waited(Waited),
    /// An operation that blocks but is not held is over.
    Done(Done),
    /// A request that did not get the lock.
    Failed(Failed),
    /// From here on the ring is another thread's.
    ThreadStart(ThreadStart),
    /// The thread ended, at this time, ticks.
    ThreadEnd(u64),
    /// The ring goes on at this offset.
    NextRing(u64),
    /// A semaphore is about to be posted, a condition to be signalled.
    Posted(Moment),
    /// A robust mutex is taken whose owner ended and held it.
    OwnerDied(Moment),
    /// A thread is about to be created.
    Created(Created),
    /// A lock was used as it may not be.
    Misuse(Misuse),
    /// A call that may block returned, and a lock was held meanwhile.
    Blocked(Blocked),
}

/// See [`WireEvent::Hold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// When it was acquired, ticks.
    pub ticks: u64,
    /// What was held.
    pub access: Access,
    /// How long, ticks.
    pub held: u64,
    /// Position in the thread's list of held locks.
    pub position: u32,
    /// A [`WireEvent::EarlyAcquire`] of the same acquisition came before.
    pub published_early: bool,
}

impl Hold {
    /// What a record says, if it is one of these. As nearly all are, the hot loop asks for this first: built as a
    /// [`WireEvent`], each would be written to memory and read again.
    #[inline(always)]
    pub fn decode(record: &Record) -> Option<Self> {
        (record.word as u8 == Op::Hold as u8).then(|| Self {
            ticks: record.ticks,
            access: Access::of(record),
            held: record.payload(),
            position: record.extra as u32,
            published_early: record.extra & PUBLISHED_EARLY != 0,
        })
    }

    /// Whether nothing was held beside it, and the thread released it.
    #[inline(always)]
    pub fn is_section(&self) -> bool {
        let flags = self.access.flags;
        !(self.published_early | flags.is_reentry() | flags.is_unreleased())
    }

    /// Whether it is one acquisition and its time, with nothing else to count.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        let flags = self.access.flags;
        let is_more = flags.is_reacquired() | flags.is_continued() | flags.is_unreleased();
        !(flags.is_contended() | flags.is_reentry() | is_more)
    }
}

/// See [`WireEvent::EarlyAcquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyAcquire {
    /// When it was acquired, ticks.
    pub ticks: u64,
    /// What is held.
    pub access: Access,
    /// Position in the thread's list of held locks.
    pub position: u32,
    /// Nothing that was open before is known to be open still.
    pub restart: bool,
}

impl EarlyAcquire {
    /// As [`Hold::decode`]: the second most frequent ones.
    #[inline(always)]
    pub fn decode(record: &Record) -> Option<Self> {
        (record.word as u8 == Op::EarlyAcquire as u8).then(|| Self {
            ticks: record.ticks,
            access: Access::of(record),
            position: record.extra as u32,
            restart: record.extra & RESTART != 0,
        })
    }
}

/// See [`WireEvent::Waited`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// When it was requested, ticks.
    pub ticks: u64,
    /// What was requested.
    pub access: Access,
    /// How long it waited, ticks.
    pub wait: u64,
    /// Who had it.
    pub holder: Holder,
}

/// See [`WireEvent::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// When it began, ticks.
    pub ticks: u64,
    /// The operation's object.
    pub access: Access,
    /// How long it blocked, ticks.
    pub wait: u64,
    /// Threads that meet at a barrier.
    pub parties: u32,
}

/// See [`WireEvent::Failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What was requested.
    pub access: Access,
    /// How long it waited, ticks; means nothing for [`Failure::Error`].
    pub wait: u64,
    /// Why.
    pub why: Failure,
}

/// Why a request did not get the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A try found it taken.
    Taken,
    /// The time of a timed request ran out.
    TimedOut,
    /// An error.
    Error,
}

/// See [`WireEvent::ThreadStart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadStart {
    /// When, ticks.
    pub ticks: u64,
    /// Kernel id, as the process knows it.
    pub tid: u32,
    /// The token of the [`Created`] that announced it; 0 for none.
    pub token: u32,
    /// Its `pthread_t`.
    pub pthread: u64,
}

/// A lock, a place in the code and a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When, ticks.
    pub ticks: u64,
    /// Row of the lock.
    pub lock: u32,
    /// Node of the stack.
    pub stack: u32,
}

/// See [`WireEvent::Created`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// When, ticks.
    pub ticks: u64,
    /// Node of the creator's stack.
    pub stack: u32,
    /// What the thread's own [`ThreadStart`] calls it.
    pub token: u32,
}

/// See [`WireEvent::Misuse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// How it was used.
    pub kind: MisuseKind,
    /// Row of the lock.
    pub lock: u32,
    /// Node of the stack.
    pub stack: u32,
    /// Node of the stack that holds it.
    pub holder: u32,
}

/// See [`WireEvent::Blocked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// When it began, ticks.
    pub ticks: u64,
    /// How long it took, ticks.
    pub took: u64,
    /// Row of the lock.
    pub lock: u32,
    /// The function's name.
    pub call: &'static str,
    /// Node of the stack.
    pub stack: u32,
    /// Node of the stack that had taken the lock.
    pub taken: u32,
}

/// What a record says; `None` for an operation, a misuse or a call that this version does not know.
#[inline(always)]
pub fn decode(record: &Record) -> Option<WireEvent> {
    if let Some(hold) = Hold::decode(record) {
        Some(WireEvent::Hold(hold))
    } else if let Some(early) = EarlyAcquire::decode(record) {
        Some(WireEvent::EarlyAcquire(early))
    } else {
        decode_other(record)
    }
}

#[cold]
#[inline(never)]
fn decode_other(record: &Record) -> Option<WireEvent> {
    let &Record { ticks, lock, stack, extra, .. } = record;
    let (access, wait) = (Access::of(record), record.payload());
    let failed = |why| WireEvent::Failed(Failed { access, wait, why });
    Some(match record.op()? {
        // Decoded by the caller.
        Op::Hold | Op::EarlyAcquire => return None,
        Op::Waited => WireEvent::Waited(Waited { ticks, access, wait, holder: Holder::packed(extra) }),
        Op::Done => WireEvent::Done(Done { ticks, access, wait, parties: extra as u32 }),
        Op::TryFailed => failed(Failure::Taken),
        Op::TimedOut => failed(Failure::TimedOut),
        Op::Failed => failed(Failure::Error),
        Op::ThreadStart => WireEvent::ThreadStart(ThreadStart { ticks, tid: lock, token: stack, pthread: extra }),
        Op::ThreadEnd => WireEvent::ThreadEnd(ticks),
        Op::NextRing => WireEvent::NextRing(extra),
        Op::Posted => WireEvent::Posted(Moment { ticks, lock, stack }),
        Op::OwnerDied => WireEvent::OwnerDied(Moment { ticks, lock, stack }),
        Op::Created => WireEvent::Created(Created { ticks, stack, token: extra as u32 }),
        Op::Blocked => {
            let (call, taken) = (blocking::name(extra as u32)?, (extra >> 32) as u32);
            WireEvent::Blocked(Blocked { ticks, took: wait, lock, call, stack, taken })
        }
        Op::Misuse => {
            let kind = misuse_kind(record.payload())?;
            WireEvent::Misuse(Misuse { kind, lock, stack, holder: Holder::packed(extra).stack })
        }
    })
}

/// Where the ring goes on behind its last record.
pub fn next_ring(last: &Record) -> Option<u64> {
    match decode(last) {
        Some(WireEvent::NextRing(offset)) => Some(offset),
        _ => None,
    }
}

/// When what a record says was over, ticks.
pub fn end_of(record: &Record) -> u64 {
    record.ticks.saturating_add(record.payload())
}

fn misuse_kind(number: u64) -> Option<MisuseKind> {
    Some(match number {
        misuse::UNLOCK_NOT_OWNER => MisuseKind::UnlockNotOwner,
        misuse::UNLOCK_NOT_LOCKED => MisuseKind::UnlockNotLocked,
        misuse::DESTROYED_WHILE_HELD => MisuseKind::DestroyedWhileHeld,
        misuse::WAIT_NOT_OWNER => MisuseKind::WaitNotOwner,
        misuse::WAIT_NOT_LOCKED => MisuseKind::WaitNotLocked,
        misuse::REFUSED => MisuseKind::Refused,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
