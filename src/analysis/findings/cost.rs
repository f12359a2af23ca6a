//! What a way of using a lock costs, in facts.

use crate::analysis::time_lost::Weight;
use crate::model::LockId;

/// What was seen, and the time lost by it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The time that threads lost, ns.
    pub lost_ns: u64,
    /// The same as a share of their lives, 0 to 1; 0 where it says nothing.
    pub of_threads: f64,
    /// What was seen.
    pub what: What,
}

impl Cost {
    /// What was lost by waiting.
    pub fn of(weight: Weight, what: What) -> Self {
        Self { lost_ns: weight.lost_ns, of_threads: weight.of_threads, what }
    }
}

/// See [`Cost`].
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A lock is held long while others wait.
    LongHold(LongHold),
    /// One lock is held most of the time, and many want it.
    HotLock {
        /// Its share of the run.
        held_share: f64,
        /// Threads that waited.
        threads: u64,
        /// Places in the code that others waited for.
        places: u64,
        /// How long it is held, ns.
        mean_hold_ns: u64,
    },
    /// The work under the lock is less than the lock.
    TinySection {
        /// Half of the holds are shorter, ns.
        p50_ns: u64,
        /// Acquisitions.
        acquisitions: u64,
        /// Of these, those that waited.
        contended: u64,
    },
    /// Nearly everybody waits for a lock that is free most of the time.
    Convoy {
        /// Share of the acquisitions that waited.
        contended_share: f64,
        /// How long it was held, as a share of the time in which it was waited for.
        held_share: f64,
        /// ns.
        mean_hold_ns: u64,
        /// ns.
        mean_wait_ns: u64,
    },
    /// A read-write lock whose readers hardly ever meet.
    RwlockNotWorthIt {
        /// Acquisitions to read.
        reads: u64,
        /// Acquisitions to write.
        writes: u64,
        /// Readers that had it at one time, on average.
        readers: f64,
    },
    /// Threads wait much longer than the lock is held.
    Starvation {
        /// Such waits.
        waits: u64,
        /// The longest, ns.
        longest_wait_ns: u64,
        /// Nine of ten holds are shorter, ns.
        usual_hold_ns: u64,
        /// Threads that waited so.
        threads: u64,
    },
    /// Readers wait while others only read, since a writer waits.
    PendingWriter {
        /// Waits of readers.
        waits: u64,
        /// How long the readers hold it that the writer waits for, ns.
        mean_hold_ns: u64,
    },
    /// Calls wait for one initialisation.
    SlowOnce {
        /// Calls that waited.
        calls: u64,
        /// How long it took, ns.
        took_ns: u64,
    },
    /// Signals wake threads that find nothing to do.
    ThunderingHerd {
        /// Signals that were looked at.
        posts: u64,
        /// Threads that they woke.
        woken: u64,
        /// Of these, those that waited again at once.
        in_vain: u64,
    },
    /// Two locks lie in one cache line.
    SharedCacheLine {
        /// The other one.
        other: LockId,
        /// Bytes between them.
        apart: u64,
        /// Acquisitions of the less busy one.
        acquisitions: u64,
    },
    /// One thread alone takes it.
    NeverShared {
        /// Acquisitions.
        acquisitions: u64,
    },
    /// A lock is held much of the time, and more and more is waited for it.
    Saturating {
        /// Its share of the run.
        held_share: f64,
        /// Time waited in each quarter of the run, ns.
        quarters: [u64; 4],
    },
    /// A lock is held while its thread is blocked by something else.
    HeldAcross(HeldAcross),
}

/// See [`What::LongHold`].
#[derive(Clone, Debug, PartialEq)]
pub struct LongHold {
    /// Holds at that place.
    pub holds: u64,
    /// ns.
    pub mean_ns: u64,
    /// Half of them are shorter, ns.
    pub p50_ns: u64,
    /// ns.
    pub max_ns: u64,
    /// Where few are long among many: how many, and the shortest of these, ns.
    pub few: Option<(u64, u64)>,
    /// The place's share of all waiting for the lock.
    pub of_wait: f64,
    /// It was held for writing by a lock that knows readers, and these waited most.
    pub keeps_readers: bool,
}

/// See [`What::HeldAcross`].
#[derive(Clone, Debug, PartialEq)]
pub struct HeldAcross {
    /// The function that blocks, or what is waited for: `fsync`, `mutex cache.mu`.
    pub call: String,
    /// It is a function of libc, and `calls` are all calls of it there: how many waits fell into them, and whether more
    /// than those may have, since single times are not known.
    pub function: Option<(u64, bool)>,
    /// How often that was done under the lock.
    pub calls: u64,
    /// How long it took, ns.
    pub took_ns: u64,
    /// The longest, ns.
    pub longest_ns: u64,
}
