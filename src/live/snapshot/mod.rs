//! What a live view shows of a recording at one moment, small enough to be made twice a second and sent through a socket.
//!
//! Counts are sums since the start of the session, made as the report makes them; what happened in between follows from two
//! snapshots ([`window`]).

pub mod detail;
pub mod judged;
pub mod take;
pub mod window;

use serde::{Deserialize, Serialize};

use crate::model::{Histogram, Kind};

pub use detail::{Blocking, Detail, StackRow};
pub use judged::{EdgeRow, Judged, JudgedEntry};
pub use take::take;

/// What a viewer asks for beside the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRequest {
    /// Stacks and blockers of this lock, by its [`LockRow::id`].
    pub focus: Option<u32>,
    /// What the order of locks means: takes longer.
    pub judged: bool,
    /// The moment of the first request with this is kept until one without.
    pub frozen: bool,
}

/// One moment of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When, ns since the start of the session.
    pub at_ns: u64,
    /// The command with its arguments.
    pub command: String,
    /// Process id of the command.
    pub pid: u32,
    /// Living processes.
    pub processes: u32,
    /// CPU time of the living processes, ns; `None` where the kernel did not tell.
    pub cpu_ns: Option<u64>,
    /// Acquisitions that the program made.
    pub acquisitions: u64,
    /// Those with an event of their own.
    pub recorded: u64,
    /// Those counted without one. What is neither is still on its way, or (at the end) lost.
    pub folded: u64,
    /// What a reader has to know, in whole sentences.
    pub notes: Vec<String>,
    /// Locks with a counted acquisition or a waiter.
    pub locks: Vec<LockRow>,
    /// Living threads.
    pub threads: Vec<ThreadRow>,
    /// Deadlocks.
    pub hangs: Vec<HangRow>,
    /// What was asked for of one lock.
    pub detail: Option<Detail>,
    /// What the order of locks means, where it was asked for; it may be some seconds old.
    pub judged: Option<Judged>,
    /// The recording goes on, but this view of it stands still.
    pub frozen: bool,
    /// How the command ended, once the recording is over.
    pub over: Option<String>,
}

/// Durations: exact count, sum and extremes, and a histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Values.
    pub count: u64,
    /// Their sum, ns.
    pub sum: u64,
    /// The least, ns.
    pub min: u64,
    /// The greatest, ns.
    pub max: u64,
    /// Buckets of [`Histogram`] that hold something, ascending.
    pub buckets: Vec<(u32, u64)>,
}

impl From<&Histogram> for Spread {
    fn from(of: &Histogram) -> Self {
        Self { count: of.count, sum: of.sum, min: of.min, max: of.max, buckets: of.buckets().collect() }
    }
}

impl Spread {
    /// The histogram, to ask for quantiles; empty where another process sent nonsense.
    pub fn histogram(&self) -> Histogram {
        Histogram::from_parts(self.count, self.sum, self.min, self.max, &self.buckets).unwrap_or_default()
    }
}

/// A lock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LockRow {
    /// Its number in the session.
    pub id: u32,
    /// What people call it.
    pub name: String,
    /// Where such locks are first seen in the code; empty until that is known.
    pub class: String,
    /// A position in [`Kind::ALL`].
    pub kind: u8,
    /// Its process.
    pub pid: u32,
    /// Its address there.
    pub address: u64,
    /// Acquisitions.
    pub acquisitions: u64,
    /// Those that waited.
    pub contended: u64,
    /// Their waits.
    pub wait: Spread,
    /// Holds.
    pub hold: Spread,
    /// Threads that wait for it now.
    pub waiters: u32,
    /// Threads that hold it now: rows' ids.
    pub owners: Vec<u32>,
}

impl LockRow {
    /// What it is.
    pub fn kind(&self) -> Kind {
        Kind::ALL.get(usize::from(self.kind)).copied().unwrap_or(Kind::Mutex)
    }
}

/// A living thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadRow {
    /// Its number in the session.
    pub id: u32,
    /// Kernel thread id.
    pub tid: u32,
    /// Its process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Since when it is known, ns since the start of the session.
    pub start_ns: u64,
    /// Acquisitions of locks.
    pub acquisitions: u64,
    /// Time waited for locks, a wait that goes on included, ns.
    pub blocked_ns: u64,
    /// What it waits for: a lock's id.
    pub waits_for: Option<u32>,
    /// The same in words: the lock's name.
    pub waits_for_name: String,
    /// Waiting for it is contention.
    pub is_blocked: bool,
    /// Since when, ns since the start of the session.
    pub waits_since_ns: u64,
    /// Who holds that: rows' ids.
    pub blockers: Vec<u32>,
    /// What it holds, by name.
    pub held: Vec<String>,
}

/// A deadlock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HangRow {
    /// Who and what, in one line.
    pub title: String,
    /// All stacks: the same text as in the report.
    pub text: Vec<String>,
    /// When it was seen, ns since the start of the session.
    pub at_ns: u64,
}
