//! Locks: what they are and what they are called.

pub use lockprof_wire::Kind;
use lockprof_wire::lock::TraitBits;

use super::ids::{ProcessId, StackId};

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

impl Traits {
    /// As the table of kinds takes them.
    fn bits(self) -> TraitBits {
        let traits = [
            (self.recursive, TraitBits::RECURSIVE),
            (self.robust, TraitBits::ROBUST),
            (self.writers_first, TraitBits::WRITERS_FIRST),
            (self.binary, TraitBits::BINARY),
            (self.handed_over, TraitBits::HANDED_OVER),
        ];
        traits.iter().filter(|(is, _)| *is).fold(TraitBits::default(), |all, (_, one)| all.with(*one))
    }
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

    /// Whether a thread owns it from acquiring it until it releases it.
    pub fn is_owned(&self) -> bool {
        self.kind.is_owned(self.traits.bits())
    }

    /// Whether its acquisitions are part of the order of locks.
    pub fn nests(&self) -> bool {
        // An address of 0: it stands for many.
        self.address != 0 && self.kind.nests()
    }
}
