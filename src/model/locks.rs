//! Locks: what they are and what they are called.

use super::ids::{ProcessId, StackId};

/// What a lock is; the words of the JSON contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Mutex,
    Rwlock,
    Spinlock,
    Semaphore,
    Condvar,
    Barrier,
    Once,
    Join,
    Waitgroup,
    Cond,
    Channel,
    Select,
}

impl Kind {
    /// Every kind, in the order of their wire numbers.
    pub const ALL: [Self; 12] = [
        Self::Mutex,
        Self::Rwlock,
        Self::Spinlock,
        Self::Semaphore,
        Self::Condvar,
        Self::Barrier,
        Self::Once,
        Self::Join,
        Self::Waitgroup,
        Self::Cond,
        Self::Channel,
        Self::Select,
    ];

    /// The word in reports and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::Rwlock => "rwlock",
            Self::Spinlock => "spinlock",
            Self::Semaphore => "semaphore",
            Self::Condvar => "condvar",
            Self::Barrier => "barrier",
            Self::Once => "once",
            Self::Join => "join",
            Self::Waitgroup => "waitgroup",
            Self::Cond => "cond",
            Self::Channel => "channel",
            Self::Select => "select",
        }
    }

    /// Whether waiting for it is lock contention. Waiting on the other kinds is idle or hand-over time
    /// and is never added to lock contention.
    pub fn is_lock(self) -> bool {
        matches!(self, Self::Mutex | Self::Rwlock | Self::Spinlock)
    }
}

/// How the first sight of a lock came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// An initialising call (`pthread_mutex_init`).
    Initialised,
    /// The first operation on it: statically initialised, or by a constructor without a call (`std::mutex`).
    FirstUsed,
}

/// Where a lock's name comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameSource {
    /// `lockprof_set_name` in the program.
    User,
    /// The symbol and the member path of a global variable: `cache.shard[3].mu`.
    Global,
    /// The source line's own words at the origin: `acct->lock`.
    Source,
    /// The function at the origin: `make_account`.
    Function,
    /// Nothing better than the module and offset or the address.
    Address,
}

/// A lock's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockName {
    /// The words.
    pub text: String,
    /// Where they come from.
    pub source: NameSource,
}

/// What is particular about a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Traits {
    /// Its owner may take it again.
    pub recursive: bool,
    /// It survives the death of its owner.
    pub robust: bool,
    /// Readers wait behind a waiting writer.
    pub writers_first: bool,
    /// A semaphore that is used as a lock.
    pub binary: bool,
    /// It was given back by another thread than the one that took it: it orders threads, but nobody owns it.
    pub handed_over: bool,
    /// A semaphore's value at the start; 0 where it is unknown.
    pub initial: u32,
}

/// One generation of one lock address in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whose memory it is in.
    pub process: ProcessId,
    /// Address in that process; 0 for a lock that stands for many.
    pub address: u64,
    /// What it is.
    pub kind: Kind,
    /// What is particular about it.
    pub traits: Traits,
    /// How it was first seen.
    pub origin: Origin,
    /// The stack at the first sight.
    pub origin_stack: StackId,
    /// Its name; `None` until named at the end of the recording.
    pub name: Option<LockName>,
    /// Locks of one class are initialised (or first taken) at the same place in the code:
    /// module-relative, so the same under ASLR, after a rebuild and on another machine. Empty until named.
    pub class: String,
    /// Most threads that waited at one time.
    pub max_waiters: u32,
    /// How often the lock was taken by another thread than the one before; a lower bound where acquisitions were folded.
    pub owner_changes: u64,
    /// How many locks this row stands for: more than one where too many were met to tell them apart.
    pub merged: u64,
}

impl Lock {
    /// A lock of which nothing more is known.
    pub fn new(process: ProcessId, address: u64, kind: Kind) -> Self {
        Self {
            process,
            address,
            kind,
            traits: Traits::default(),
            origin: Origin::FirstUsed,
            origin_stack: StackId(0),
            name: None,
            class: String::new(),
            max_waiters: 0,
            owner_changes: 0,
            merged: 1,
        }
    }
}
