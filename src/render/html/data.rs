//! The types of the data that the page carries, as JSON for its own script only: no contract, it changes with the
//! script. Times are ns, stacks are nodes of [`Tables`], lists are tuples where there are many of them.

use serde::Serialize;

use super::stacks::Tables;

/// Everything.
#[derive(Serialize)]
pub(super) struct Page {
    pub command: String,
    /// Duration, processes, threads, exit, host.
    pub facts: Vec<String>,
    pub duration_ns: u64,
    pub version: String,
    pub coverage: Coverage,
    /// Why there is nothing to see; else none.
    pub nothing: Option<String>,
    /// The hottest lock in a sentence, and what to do about it; `None` where no thread waited.
    pub hottest: Option<Hottest>,
    pub contention: Totals,
    pub blocked: Totals,
    pub orders: Orders,
    /// Deadlocks that happened, as text.
    pub hangs: Vec<String>,
    pub stacks: Tables,
    pub locks: Vec<Lock>,
    /// Rows of locks that the page has no room for.
    pub locks_left: Totals,
    /// The same for rows of other kinds.
    pub blocked_left: Totals,
    pub timeline: Timeline,
}

#[derive(Serialize)]
pub(super) struct Coverage {
    pub text: String,
    pub complete: bool,
    pub cost: Option<String>,
    pub notes: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Hottest {
    pub sentence: String,
    pub advice: Option<String>,
}

/// Sums over rows of locks.
#[derive(Default, Serialize)]
pub(super) struct Totals {
    pub locks: u64,
    pub contended_locks: u64,
    pub acquisitions: u64,
    pub contended: u64,
    pub wait_ns: u64,
    pub hold_ns: u64,
}

/// What `lockprof check` would say.
#[derive(Serialize)]
pub(super) struct Orders {
    pub line: String,
    pub fails: bool,
    pub entries: Vec<Entry>,
    /// Entries that the page has no room for.
    pub left: usize,
    /// Why the analysis does not know everything.
    pub incomplete: Vec<String>,
    pub notes: Vec<String>,
}

/// A finding.
#[derive(Serialize)]
pub(super) struct Entry {
    pub cycle: bool,
    /// `order`, `misuse`, `contention`.
    pub area: &'static str,
    pub word: &'static str,
    pub fails: bool,
    pub title: String,
    pub reason: String,
    pub advice: Option<String>,
    /// With places and callers, as `lockprof check` writes it.
    pub text: String,
    /// Ids of rows, as far as the locks have one.
    pub locks: Vec<String>,
}

/// A stack's part of a lock: node, times, ns.
pub(super) type Waiter = (u32, u64, u64);
/// Node, waits for it, their ns, the longest of them, ns held, acquisitions.
pub(super) type Holder = (u32, u64, u64, u64, u64, u64);
/// Waiter's node, holder's node, waits, ns.
pub(super) type Pair = (u32, u32, u64, u64);
/// What is left out of a list: entries, times, ns.
pub(super) type Left = (u64, u64, u64);

/// A row of the table, with its details.
#[derive(Serialize)]
pub(super) struct Lock {
    pub id: String,
    pub name: String,
    pub kind: &'static str,
    /// Whether waiting for it is contention.
    pub is_lock: bool,
    /// The process id, where there are several processes.
    pub pid: Option<u32>,
    pub stands_for: u64,
    /// Where it was first seen, in words.
    pub origin: Option<String>,
    pub acquisitions: u64,
    pub reads: u64,
    pub contended: u64,
    pub try_failures: u64,
    pub timeouts: u64,
    pub still_held: u64,
    pub max_waiters: u32,
    /// Total, mean, p50, p90, p99, max.
    pub wait: [u64; 6],
    pub hold: [u64; 6],
    /// Numbers of half octaves, with counts.
    pub wait_bins: Vec<(u32, u64)>,
    pub hold_bins: Vec<(u32, u64)>,
    pub advice: Option<String>,
    pub waiters: Vec<Waiter>,
    pub waiters_left: Left,
    pub holders: Vec<Holder>,
    pub holders_left: Left,
    /// Waits whose holder was not seen: times, ns.
    pub unseen: (u64, u64),
    pub pairs: Vec<Pair>,
    pub pairs_left: Left,
    /// Of a row that stands for several locks those that are waited for most: id, name, acquisitions, waits, time waited and
    /// held, ns.
    pub members: Vec<(String, String, u64, u64, u64, u64)>,
}

/// Single waits, by thread and time.
#[derive(Serialize)]
pub(super) struct Timeline {
    pub threads: Vec<Thread>,
    /// Threads that waited or were waited for, and have no row here.
    pub threads_left: u64,
    /// In the order of their beginnings.
    pub waits: Vec<Wait>,
    /// Holds of those who did not wait before, seen by those who waited: thread, lock, from, until (ns), node.
    pub holds: Vec<(u32, u32, u64, u64, u32)>,
    /// Waits of the recording that are not here, and their ns. None is missing in the tables.
    pub left: (u64, u64),
    /// Of these, those that the recording itself did not keep one by one.
    pub not_kept: u64,
}

#[derive(Serialize)]
pub(super) struct Thread {
    pub name: String,
    pub tid: u32,
    pub pid: Option<u32>,
    /// All its waits for locks, ns.
    pub wait_ns: u64,
    /// What others waited while it held a lock, ns.
    pub blocked_ns: u64,
}

/// Thread (position in `threads`), lock (position in `locks`), start, ns waited, ns held then, waiter's node, holder's
/// node, and the holder's position in `threads` or -1.
pub(super) type Wait = (u32, u32, u64, u64, u64, u32, u32, i64);
