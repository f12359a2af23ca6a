//! What is known of one goroutine, and of one lock.

use super::calls::OpenCall;
use super::{LockId, Mode, StackId, ThreadId, WaitKey, Who};
use crate::model::Kind;
use lockprof_wire::Flags;

/// A lock that a goroutine holds.
pub struct Held {
    pub lock: LockId,
    pub address: u64,
    pub mode: Mode,
    pub stack: StackId,
    pub since: u64,
    pub(super) flags: Flags,
    pub(super) position: u32,
    pub(super) wait: Option<(WaitKey, u64, u64)>,
    /// It can take part in the order of locks.
    pub(super) in_order: bool,
    /// What it is there, once that knows of it.
    pub(super) ordered: Option<LockId>,
    /// Events were only counted since: it may have been released.
    pub is_doubtful: bool,
}

/// Something that a goroutine asked for, or an operation that may block, which is not over.
pub struct Asked {
    pub kind: Kind,
    pub mode: Mode,
    pub address: u64,
    pub lock: LockId,
    pub stack: StackId,
    pub since: u64,
    pub is_try: bool,
    /// It was not free, or the goroutine was parked since.
    pub has_waited: bool,
    /// The goroutine was parked since.
    pub(super) has_parked: bool,
    /// Events were only counted since: it may be over.
    pub is_doubtful: bool,
    pub(super) holder: Option<(ThreadId, StackId)>,
}

impl Goroutine {
    /// Whether it holds a lock that a goroutine which it started since may release.
    pub fn may_have_handed_over(&self, address: u64) -> bool {
        self.held.iter().any(|held| held.address == address && held.since < self.last_made)
    }
}

impl LockRow {
    /// Whether it may be no lock any more.
    pub(super) fn may_be_gone(&self, collections: u32) -> bool {
        self.holders.is_empty() && self.waiting == 0 && collections - self.used >= 2
    }
}

impl Asked {
    /// Whether it waits for a lock until it has it.
    pub fn is_request(&self) -> bool {
        self.kind.nests() && !self.is_try
    }
}

#[derive(Default)]
pub struct Goroutine {
    /// Its own row: in the order of locks, and wherever it is told of. Most that live for a moment have none.
    pub thread: Option<ThreadId>,
    /// Where it is counted.
    pub(super) counts: Option<ThreadId>,
    /// Behind the `go` statement that began it; 0 where that was not seen.
    pub(super) made_by: StackId,
    pub held: Vec<Held>,
    pub asked: Vec<Asked>,
    /// Calls that are under way while it holds locks, the innermost one last.
    pub(super) calls: Vec<OpenCall>,
    pub is_parked: bool,
    /// It has left something behind.
    pub has_ended: bool,
    /// It was woken while it waited for a message.
    pub(super) woken: Option<LockId>,
    pub(super) made_at: u64,
    /// When it started another one last, ticks.
    pub(super) last_made: u64,
    /// Behind the `go` statement that is being executed.
    pub(super) makes: StackId,
    /// Waits that were under way when the program was attached to, and ended: what they were given is not known.
    pub(super) given_unseen: u32,
}

/// What is known of an address.
pub struct LockRow {
    /// Where it is counted.
    pub id: LockId,
    /// What it is in the order of locks: its own row. `None` where it has none yet.
    pub(super) ordered: Option<LockId>,
    /// Where it was used first.
    pub(super) place: StackId,
    pub kind: Kind,
    pub holders: Vec<u64>,
    pub(super) waiting: u32,
    /// How often memory had been collected when it was used last.
    pub(super) used: u32,
    /// Somebody who holds it may hold it no longer.
    pub(super) is_doubtful: bool,
    /// Others than its holders release it.
    pub is_handed_over: bool,
    /// Somebody had it alone since the recording began: nobody holds it from before.
    pub(super) is_settled: bool,
}

/// See [`suppose`](super::Goroutines::suppose).
pub(super) struct Supposed {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) stack: StackId,
    pub(super) ticks: u64,
}

/// What begins, or is used first, at one place: how many there were, and the row of those that have none of their own.
#[derive(Default)]
pub(super) struct Place<Row> {
    pub(super) count: u32,
    pub(super) row: Option<Row>,
}

/// The rows of a goroutine.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) number: u64,
    pub(super) counts: ThreadId,
    /// Its own, if it takes part in the order of locks.
    pub(super) ordered: Option<ThreadId>,
}

impl Rows {
    pub(super) fn who(self) -> Who {
        Who { thread: self.counts, number: self.number as u32 }
    }
}
