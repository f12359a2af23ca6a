//! What a thread did, as far as it matters for the order of locks: what [`Fold`](super::Fold) takes.

use crate::model::ids::{LockId, ProcessId, StackId};
use crate::model::order::How;
use crate::model::profile::Mode;

/// Added to places in a list of held locks by a second source that knows of the same threads: the list is another one.
pub const SECOND_LIST: u32 = 1 << 31;

/// One event of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, ns since the start of the session.
    pub at_ns: u64,
    /// Where.
    pub stack: StackId,
    /// What.
    pub what: What,
}

impl What {
    /// The same by a second source.
    #[must_use]
    pub fn in_second_list(mut self) -> Self {
        if let Some(position) = self.position_mut() {
            *position |= SECOND_LIST;
        }
        self
    }

    /// The same by the first source, whatever a damaged record says.
    #[must_use]
    pub fn in_first_list(mut self) -> Self {
        if let Some(position) = self.position_mut() {
            *position &= !SECOND_LIST;
        }
        self
    }

    fn position_mut(&mut self) -> Option<&mut u32> {
        match self {
            Self::Acquired { position, .. }
            | Self::Reached { position, .. }
            | Self::Released { position, .. }
            | Self::Kept { position, .. } => Some(position),
            _ => None,
        }
    }
}

/// What an [`Event`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The thread begins. `key`: what a joiner calls it (its `pthread_t`); `token`: what its creator called it, 0 if unknown.
    Started {
        /// See above.
        process: ProcessId,
        /// See above.
        key: u64,
        /// See above.
        token: u32,
    },
    /// Took a lock, and held it at least until now. It may be published late, when another one is taken under it. One that was published before
    /// (same place, lock and time) is the same acquisition: after a restart, what is still held is published again.
    Acquired {
        /// The lock.
        lock: LockId,
        /// How it holds it.
        mode: Mode,
        /// How it asked.
        how: How,
        /// Inside a condition wait.
        reacquired: bool,
        /// Place in the thread's list of held locks: what was at this place or behind is given back.
        position: u32,
        /// Nothing acquired before is known to be held still.
        restart: bool,
    },
    /// As `Acquired`, of a lock that takes no part (taken again by its owner, or not told apart from others): only
    /// what it says about the locks before it counts.
    Reached {
        /// As in `Acquired`.
        position: u32,
        /// As in `Acquired`.
        restart: bool,
    },
    /// Gave back what is at this place.
    Released {
        /// As in `Acquired`.
        position: u32,
        /// The lock, to be sure.
        lock: LockId,
    },
    /// Holds what is at this place, and will never give it back: the thread ends.
    Kept {
        /// As in `Acquired`.
        position: u32,
        /// The lock.
        lock: LockId,
        /// How it holds it.
        mode: Mode,
    },
    /// Took a lock and gave it back, with nothing taken under it. Sync points may lie in between.
    Section {
        /// The lock.
        lock: LockId,
        /// How it held it.
        mode: Mode,
        /// When it gave it back, ns.
        until_ns: u64,
    },
    /// Asked for a lock and never had it, with what it holds now.
    Wanted {
        /// The lock.
        lock: LockId,
        /// How it wanted it.
        mode: Mode,
        /// How it asked.
        how: How,
    },
    /// Is about to create a thread.
    Created {
        /// What its `Started` calls it.
        token: u32,
    },
    /// Joined a thread.
    Joined {
        /// The lock of kind `Join` that stands for it.
        lock: LockId,
        /// What its `Started` calls it.
        key: u64,
        /// When it had, ns.
        until_ns: u64,
    },
    /// As `Joined`, by a request that would not have waited for ever.
    JoinedBy {
        /// How it asked.
        how: How,
        /// As in `Joined`.
        lock: LockId,
        /// As in `Joined`.
        key: u64,
        /// As in `Joined`.
        until_ns: u64,
    },
    /// Met others at a barrier.
    Barrier {
        /// The barrier.
        lock: LockId,
        /// How many threads meet there.
        count: u32,
        /// When it went on, ns.
        until_ns: u64,
    },
    /// Posts a semaphore, signals a condition variable.
    Posted {
        /// Which.
        lock: LockId,
    },
    /// Had a semaphore, was woken on a condition variable.
    Taken {
        /// Which.
        lock: LockId,
        /// When, ns; `at_ns` is when it asked.
        until_ns: u64,
    },
    /// Is about to take a lock that its last owner held when it ended, and is told so.
    OwnerDied {
        /// Which.
        lock: LockId,
    },
    /// The thread ends.
    Ended,
}
