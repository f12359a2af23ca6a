//! One moment of a recording that goes on: who waits for what, and who holds it.

use super::histogram::Histogram;
use super::ids::{LockId, ThreadId};
use super::profile::{Mode, ThreadShare};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// When, ns since the start of the session.
    pub at_ns: u64,
    /// Acquisitions that the program has made so far. What is neither recorded nor folded of them is still on its way.
    pub acquisitions: u64,
    /// Those read so far that have an event of their own.
    pub recorded: u64,
    /// Those counted without one.
    pub folded: u64,
    /// Of these, the ones that lie with threads that live: not in the session yet.
    pub folds: Vec<FoldsNow>,
    /// Threads that live.
    pub threads: Vec<ThreadNow>,
    /// Processes that live.
    pub processes: u32,
    /// Their CPU time, ns; `None` where the kernel did not tell.
    pub cpu_ns: Option<u64>,
}

/// A living thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadNow {
    /// Who.
    pub thread: ThreadId,
    /// Its sums over locks (kinds with [`Kind::is_lock`](super::Kind::is_lock)); waits and holds that go on are not in them.
    pub share: ThreadShare,
    /// What it waits for, if it does.
    pub waits: Option<WaitNow>,
    /// What it holds. Of a thread that does not wait it may be out of date.
    pub held: Vec<(LockId, Mode)>,
}

/// What living threads have folded of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldsNow {
    /// The lock.
    pub lock: LockId,
    /// Acquisitions.
    pub acquisitions: u64,
    /// Those that waited.
    pub contended: u64,
    /// Their waits.
    pub wait: Histogram,
    /// Holds.
    pub hold: Histogram,
}

/// A wait that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitNow {
    /// For what.
    pub lock: LockId,
    /// Since when, ns since the start of the session.
    pub since_ns: u64,
}
