//! Counts: who took, waited for and held what, by stack.

use lockprof_wire::blocking;
use rustc_hash::FxHashMap;

use super::histogram::Histogram;
use super::ids::{LockId, SiteId, StackId, ThreadId};

/// How a lock was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Mode {
    /// Alone: a mutex, a write lock, a spin lock; also the one mode of kinds without modes.
    #[default]
    Exclusive,
    /// With other readers.
    Shared,
}

/// The identity of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteKey {
    /// The lock.
    pub lock: LockId,
    /// The stack that asked for it.
    pub stack: StackId,
    /// How.
    pub mode: Mode,
}

/// Everything that one call path did with one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Which.
    pub key: SiteKey,
    /// Successful acquisitions (for kinds that are not held: completed operations).
    pub acquisitions: u64,
    /// Of these, those that had to wait (waits of a condition variable and the like all count).
    pub contended: u64,
    /// Of these, those counted exactly without an event of their own.
    pub folded: u64,
    /// Of these, re-acquisitions inside a condition wait.
    pub reacquired: u64,
    /// Re-entries to a recursive lock by its owner: part of `acquisitions`, but they neither wait nor
    /// start a hold of their own.
    pub reentries: u64,
    /// Tries that found the lock taken. Not acquisitions.
    pub try_failures: u64,
    /// Timed requests that ran out. Not acquisitions.
    pub timeouts: u64,
    /// Other failures (an error-checking mutex's EDEADLK). Not acquisitions.
    pub failures: u64,
    /// Time from the request to the acquisition of the contended ones, ns.
    pub wait: Histogram,
    /// Time spent waiting in requests that ended without the lock (timeouts), ns.
    pub wasted_wait_ns: u64,
    /// Time held, ns; empty for kinds that are not held. Holds that never ended run to the end of the recording.
    pub hold: Histogram,
    /// Acquisitions never released while the program lived.
    pub still_held: u64,
}

impl Site {
    /// A site with nothing counted.
    pub fn new(key: SiteKey) -> Self {
        Self {
            key,
            acquisitions: 0,
            contended: 0,
            folded: 0,
            reacquired: 0,
            reentries: 0,
            try_failures: 0,
            timeouts: 0,
            failures: 0,
            wait: Histogram::default(),
            wasted_wait_ns: 0,
            hold: Histogram::default(),
            still_held: 0,
        }
    }
}

/// One thread's part of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ThreadShare {
    /// Acquisitions.
    pub acquisitions: u64,
    /// Contended ones.
    pub contended: u64,
    /// Time waited, ns.
    pub wait_ns: u64,
    /// Time held, ns.
    pub hold_ns: u64,
}

/// Who waited for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaitKey {
    /// The contended lock.
    pub lock: LockId,
    /// Who waited.
    pub thread: ThreadId,
    /// The waiter's stack.
    pub waiter: StackId,
    /// How the waiter asked.
    pub mode: Mode,
    /// The stack that had taken the lock when the wait began; [`Stacks::UNKNOWN`](super::Stacks::UNKNOWN) where it could not be seen.
    pub holder: StackId,
    /// The thread that held the lock then, where it could be seen.
    pub holder_thread: Option<ThreadId>,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WaitStats {
    /// Contended acquisitions.
    pub count: u64,
    /// Their waits, ns.
    pub wait_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
}

/// One contended acquisition (kept within a budget).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitEvent {
    /// Who waited for whom.
    pub key: WaitKey,
    /// When the wait began, ns since the start of the session.
    pub start_ns: u64,
    /// How long it took, ns.
    pub wait_ns: u64,
    /// How long the lock was then held, ns (0 for kinds that are not held).
    pub hold_ns: u64,
}

/// The number of a function's name in [`Profile::call_names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct CallId(pub u32);

/// What a call is known by in which a goroutine is off the processor, until the functions that led there have names.
pub const PARK: &str = "park";

/// A call that may block, while a lock was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// The lock.
    pub lock: LockId,
    /// The function that was called.
    pub call: CallId,
    /// Where it was called.
    pub stack: StackId,
    /// The stack that had taken the lock.
    pub taken: StackId,
}

/// How often, how long, and who waited because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CallStats {
    /// Calls.
    pub count: u64,
    /// Their time, ns.
    pub took_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// Of the calls, those of which no single time is known: nobody's wait is charged to them.
    pub folded: u64,
    /// Waits for the lock that fell into such calls, wholly or in part.
    pub waits: u64,
    /// That part of them, ns.
    pub blocked_ns: u64,
}

impl CallStats {
    /// Counts these as well.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.count, other.count),
            (&mut self.took_ns, other.took_ns),
            (&mut self.folded, other.folded),
            (&mut self.waits, other.waits),
            (&mut self.blocked_ns, other.blocked_ns),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// The counts of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// By lock, stack and mode.
    pub sites: Vec<Site>,
    index: FxHashMap<SiteKey, SiteId>,
    /// Each thread's part of each site.
    pub by_thread: FxHashMap<(ThreadId, SiteId), ThreadShare>,
    /// Contended acquisitions of locks (kinds with [`Kind::is_lock`](super::Kind::is_lock)), by both sides.
    pub waits: FxHashMap<WaitKey, WaitStats>,
    /// Contended acquisitions, one by one, in the order in which they were read.
    pub wait_events: Vec<WaitEvent>,
    /// Contended acquisitions that `wait_events` had no room for (they are in `waits`).
    pub wait_events_dropped: u64,
    /// Names of functions, each once.
    pub call_names: Vec<String>,
    /// Calls that may block, while a lock was held.
    pub calls: FxHashMap<CallKey, CallStats>,
}

impl Profile {
    /// The site with this key, made where it is new.
    pub fn site(&mut self, key: SiteKey) -> SiteId {
        *self.index.entry(key).or_insert_with(|| {
            self.sites.push(Site::new(key));
            SiteId::from(self.sites.len() - 1)
        })
    }

    /// The number of a function's name.
    pub fn call(&mut self, name: &str) -> CallId {
        let known = self.call_names.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            self.call_names.push(name.to_owned());
            self.call_names.len() - 1
        });
        CallId(at as u32)
    }

    /// The name of a function.
    pub fn call_name(&self, call: CallId) -> &str {
        self.call_names.get(call.0 as usize).map_or("", String::as_str)
    }

    /// Whether a thread in this function waits for something to do, and not for the end of something.
    pub fn waits_for_work(&self, call: CallId) -> bool {
        blocking::waits_for_work(self.call_name(call))
    }

    /// The site with this key, if it was met.
    pub fn find(&self, key: SiteKey) -> Option<SiteId> {
        self.index.get(&key).copied()
    }
}
