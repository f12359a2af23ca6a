//! The one table of lock kinds: what a kind is called, and which questions about locks it answers how.
//!
//! A new kind is a variant and a row, both at the end: a kind's number is its position, in shared memory and in trace
//! files alike. `lockprof::model` hands [`Kind`] on to everything that never sees shared memory.
//!
//! Beside it the families of functions by which libc's objects are used: C11 has its own for kinds that POSIX has as well.

use crate::lock::TraitBits;

/// What a lock is; the words of the JSON contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Mutex.
    Mutex,
    /// Read-write lock.
    Rwlock,
    /// Spin lock.
    Spinlock,
    /// Semaphore.
    Semaphore,
    /// Condition variable.
    Condvar,
    /// Barrier.
    Barrier,
    /// Once and static-local guards.
    Once,
    /// Joining a thread; the "lock" is the thread.
    Join,
    /// Go's wait group (imported profiles only, like those that follow).
    Waitgroup,
    /// Go's condition variable.
    Cond,
    /// Go's channel.
    Channel,
    /// Go's `select` over channels.
    Select,
}

/// Who has a lock between its acquisition and its release.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Nobody: it is waited for, not had.
    None,
    /// The thread that acquired it.
    Thread,
    /// The thread that acquired it, as long as it is used as a lock ([`TraitBits::is_binary`]).
    IfBinary,
}

/// How the end of an operation on it orders threads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Not by itself.
    None,
    /// Behind an operation of another thread that anybody might have made instead: a post, a signal.
    Posted,
    /// Behind what certain threads did: the end of the thread that is joined, the arrival at a barrier.
    Hard,
}

/// What is fixed for all locks of one kind.
struct Row {
    kind: Kind,
    /// The word in JSON, on the command line and in tables.
    name: &'static str,
    /// The word in sentences.
    label: &'static str,
    /// The shim records it; the other kinds come from imported profiles.
    recorded: bool,
    /// Waiting for it is lock contention.
    contention: bool,
    /// Who has it.
    owner: Owner,
    /// It has acquisitions with a beginning and an end, which nest.
    nests: bool,
    /// Only certain threads can end a wait for it: its owner, or the thread that is joined.
    blocks: bool,
    /// Its own memory names the owner.
    names_owner: bool,
    /// Several readers may have it at one time.
    readers: bool,
    /// Who waits for it runs on.
    spins: bool,
    /// How the end of an operation on it orders threads.
    order: Order,
}

/// What a row says unless it says otherwise.
const PLAIN: Row = Row {
    kind: Kind::Mutex,
    name: "",
    label: "",
    recorded: true,
    contention: false,
    owner: Owner::None,
    nests: false,
    blocks: false,
    names_owner: false,
    readers: false,
    spins: false,
    order: Order::None,
};

/// A lock in the narrow sense.
const LOCK: Row = Row { contention: true, owner: Owner::Thread, nests: true, blocks: true, ..PLAIN };

/// Known from imported profiles only.
const IMPORTED: Row = Row { recorded: false, ..PLAIN };

#[rustfmt::skip]
const TABLE: [Row; 12] = [
    Row { kind: Kind::Mutex, name: "mutex", label: "mutex", names_owner: true, ..LOCK },
    Row { kind: Kind::Rwlock, name: "rwlock", label: "rwlock", names_owner: true, readers: true, ..LOCK },
    Row { kind: Kind::Spinlock, name: "spinlock", label: "spinlock", spins: true, ..LOCK },
    Row { kind: Kind::Semaphore, name: "semaphore", label: "semaphore", owner: Owner::IfBinary, nests: true, blocks: true, order: Order::Posted, ..PLAIN },
    Row { kind: Kind::Condvar, name: "condvar", label: "condition", order: Order::Posted, ..PLAIN },
    Row { kind: Kind::Barrier, name: "barrier", label: "barrier", order: Order::Hard, ..PLAIN },
    // Whoever runs the initialisation has it, but is shown as one that waits, so nobody is known to block others.
    Row { kind: Kind::Once, name: "once", label: "initialisation", owner: Owner::Thread, ..PLAIN },
    Row { kind: Kind::Join, name: "join", label: "join", blocks: true, order: Order::Hard, ..PLAIN },
    Row { kind: Kind::Waitgroup, name: "waitgroup", label: "waitgroup", ..IMPORTED },
    Row { kind: Kind::Cond, name: "cond", label: "cond", ..IMPORTED },
    Row { kind: Kind::Channel, name: "channel", label: "channel", ..IMPORTED },
    Row { kind: Kind::Select, name: "select", label: "select", ..IMPORTED },
];

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Mutex; TABLE.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].kind;
            assert!(all[at] as usize == at, "the rows stand in the order of the numbers");
            at += 1;
        }
        all
    };

    /// The kind with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The word in reports and JSON.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The word in sentences.
    pub const fn label(self) -> &'static str {
        self.row().label
    }

    /// Whether the shim records it.
    pub const fn is_recorded(self) -> bool {
        self.row().recorded
    }

    /// Whether waiting for it is lock contention. Waiting on the other kinds is idle or hand-over time
    /// and is never added to lock contention.
    pub const fn is_lock(self) -> bool {
        self.row().contention
    }

    /// Whether acquisitions of it are part of the order of locks.
    pub const fn nests(self) -> bool {
        self.row().nests
    }

    /// Whether a thread owns it from acquiring it until it releases it itself. A lock that was released by another
    /// thread orders threads, but nobody owns it.
    pub const fn is_owned(self, traits: TraitBits) -> bool {
        !traits.is_handed_over()
            && match self.row().owner {
                Owner::None => false,
                Owner::Thread => true,
                Owner::IfBinary => traits.is_binary(),
            }
    }

    /// Whether only certain threads can end a wait for it: the holders of a lock, the thread joined. Anybody may signal a
    /// condition, post a semaphore that is no lock, or come to a barrier.
    pub const fn blocks_others(self, traits: TraitBits) -> bool {
        self.may_block_others() && (!matches!(self.row().owner, Owner::IfBinary) || self.is_owned(traits))
    }

    /// Whether [`Self::blocks_others`] holds of some lock of this kind.
    pub const fn may_block_others(self) -> bool {
        self.row().blocks
    }

    /// Whether its own memory names its owner.
    pub const fn names_owner(self) -> bool {
        self.row().names_owner
    }

    /// Whether several readers may have it at one time.
    pub const fn has_readers(self) -> bool {
        self.row().readers
    }

    /// Whether who waits for it runs on, and never sleeps.
    pub const fn spins(self) -> bool {
        self.row().spins
    }

    /// Whether a thread that acquired it owns it, however it is used.
    pub const fn is_always_owned(self) -> bool {
        matches!(self.row().owner, Owner::Thread)
    }

    /// Whether anybody may end a wait for it, by a post or a signal.
    pub const fn is_posted(self) -> bool {
        matches!(self.row().order, Order::Posted)
    }

    /// Whether the end of an operation on it is behind what certain threads did before: they ended, or came to a barrier.
    pub const fn orders_hard(self) -> bool {
        matches!(self.row().order, Order::Hard)
    }
}

/// The table of families: what its functions are called.
macro_rules! families {
    ($($family:ident: $functions:literal,)*) => {
        /// Functions on one kind of object. One that is not libc's makes all of its family so.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Family {
            $(
                #[doc = concat!("`", $functions, "`.")]
                $family,
            )*
        }

        impl Family {
            /// Every family, in the order of their bits.
            pub const ALL: &[Self] = &[$(Self::$family),*];

            /// What its functions are called.
            pub const fn functions(self) -> &'static str {
                match self {
                    $(Self::$family => $functions,)*
                }
            }
        }
    };
}

families! {
    Mutex: "pthread_mutex_*",
    RwLock: "pthread_rwlock_*",
    Spin: "pthread_spin_*",
    Cond: "pthread_cond_*",
    OldCond: "pthread_cond_* of GLIBC_2.2.5",
    Sem: "sem_*",
    Barrier: "pthread_barrier_*",
    Once: "pthread_once",
    Guard: "__cxa_guard_*",
    C11Mutex: "mtx_*",
    C11Cond: "cnd_*",
    C11Once: "call_once",
    Thread: "pthread_create and pthread_join",
    C11Thread: "thrd_*",
    Exec: "exec* and posix_spawn*",
    Blocking: "calls that may block",
    Own: "what the recorder itself calls",
}

impl Family {
    /// Its bit in [`Header::foreign`](crate::layout::Header::foreign).
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether its functions work on locks.
    pub const fn has_locks(self) -> bool {
        !matches!(self, Self::Exec | Self::Blocking | Self::Own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (number, kind) in (0u8..).zip(Kind::ALL) {
            assert_eq!((Kind::from_number(number), kind as u8), (Some(kind), number));
        }
        assert_eq!(Kind::from_number(Kind::ALL.len() as u8), None);
    }

    #[test]
    fn a_semaphore_blocks_others_while_it_is_used_as_a_lock() {
        let semaphore = |traits| Kind::Semaphore.blocks_others(traits);
        let (none, binary, handed_over) = (TraitBits::default(), TraitBits::BINARY, TraitBits::HANDED_OVER);
        assert!(semaphore(binary) && !semaphore(none) && !semaphore(binary.with(handed_over)));
        assert!(Kind::Mutex.blocks_others(handed_over) && !Kind::Mutex.is_owned(handed_over));
        assert!(Kind::Once.is_owned(none) && !Kind::Once.may_block_others());
    }
}
