//! glibc's locks on x86-64.
//!
//! Sizes and places are part of glibc's public ABI (`bits/struct_mutex.h`, `bits/struct_rwlock.h`): programs have static
//! initialisers compiled in. `tests/glibc.rs` of this crate holds all of it against the locks of the glibc that it runs on.
//!
//! | word | mutex | read-write lock | spin lock | semaphore | once |
//! |---|---|---|---|---|---|
//! | 0 | `__lock` ([`MutexWord`]) | `__readers` ([`READERS_SHIFT`]) | 1: free | value | [`OnceWord`] |
//! | 2 | `__owner`, kernel id | | | | |
//! | 4 | `__kind` ([`MutexType`]) | `__pad3` (the tag) | | | |
//! | 6 | `__list` (the tag) | `__cur_writer`, kernel id | | | |
//! | 7 | | `__shared` | | | |
//! | 12 | | `__flags` ([`RwlockType`]) | | | |

use super::LockState;
use crate::Kind;
use crate::lock::TraitBits;

/// Numbers of words of four bytes.
mod word {
    pub const MUTEX_LOCK: usize = 0;
    pub const MUTEX_OWNER: usize = 2;
    pub const MUTEX_TYPE: usize = 4;
    pub const RWLOCK_READERS: usize = 0;
    pub const RWLOCK_WRITER: usize = 6;
    pub const RWLOCK_SHARED: usize = 7;
    pub const RWLOCK_FLAGS: usize = 12;
    pub const SPIN: usize = 0;
    pub const SEMAPHORE_VALUE: usize = 0;
}

/// Bit of a mutex's lock word: the owner of a robust one ended and held it.
const OWNER_DIED: u32 = 1 << 30;
/// Bit of a read-write lock's `__readers`: a writer has it, or is the next to have it.
const WRITE_LOCKED: u32 = 2;
/// Where the number of readers begins in a read-write lock's `__readers`.
pub const READERS_SHIFT: u32 = 3;
/// The word of a spin lock that nobody has.
const SPIN_FREE: u32 = 1;

/// The first word of a mutex of the plain type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutexWord(pub u32);

impl MutexWord {
    /// Whether nobody has the mutex.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.0 == 0
    }

    /// Whether a thread has it, and no other thread waits for it.
    #[inline(always)]
    pub const fn is_taken_without_waiters(self) -> bool {
        self.0 == 1
    }
}

/// A mutex's type and options, `__kind`: the low two bits are 0 plain, 1 recursive, 2 error-checking, 3 adaptive; bit 4 is
/// robust, 5 inherits priority, 6 protects priority, 7 process-shared, 8 asks for lock elision, 9 forbids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutexType(u32);

impl MutexType {
    const TYPE: u32 = 3;
    const RECURSIVE: u32 = 1;
    const ERROR_CHECKING: u32 = 2;
    const ROBUST: u32 = 16;
    const SHARED: u32 = 128;
    /// It was asked to be plain, so that glibc never elides it.
    const NO_ELISION: u32 = 512;

    /// That of the mutex with these words.
    pub fn read(words: impl Fn(usize) -> u32) -> Self {
        Self(words(word::MUTEX_TYPE))
    }

    /// Whether its owner may take it again.
    pub const fn is_recursive(self) -> bool {
        self.0 & Self::TYPE == Self::RECURSIVE
    }

    /// Whether it survives the death of its owner.
    pub const fn is_robust(self) -> bool {
        self.0 & Self::ROBUST != 0
    }

    /// Whether processes may share it: glibc says so of all robust ones.
    pub const fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }

    /// Whether its lock word is that of a plain mutex: 0 free, 1 taken, 2 taken and perhaps waited for, with a try and a
    /// lock that do the same but for waiting. Recursive, error-checking, adaptive, robust, priority-changing and elided
    /// ones are not.
    pub const fn has_plain_word(self) -> bool {
        self.0 & !(Self::SHARED | Self::NO_ELISION) == 0
    }

    /// Whether it is of one process and of one of the four types, without an option: then its first word says whether it
    /// is taken, and its owner is written behind that word and wiped before it.
    const fn is_simple(self) -> bool {
        self.0 & !Self::NO_ELISION <= Self::TYPE
    }

    /// Whether an unlock succeeds whoever has it: the plain and the adaptive type do not look.
    pub const fn lets_anyone_unlock(self) -> bool {
        self.is_simple() && !matches!(self.0 & Self::TYPE, Self::RECURSIVE | Self::ERROR_CHECKING)
    }
}

/// A read-write lock's `__shared` and `__flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RwlockType {
    shared: u32,
    flags: u32,
}

impl RwlockType {
    /// That of the lock with these words.
    pub fn read(words: impl Fn(usize) -> u32) -> Self {
        Self { shared: words(word::RWLOCK_SHARED), flags: words(word::RWLOCK_FLAGS) }
    }

    /// Whether processes share it.
    pub const fn is_shared(self) -> bool {
        self.shared != 0
    }

    /// Whether readers wait behind a waiting writer (`PREFER_WRITER_NONRECURSIVE`, of the three preferences the only one
    /// that does anything).
    pub const fn lets_writers_first(self) -> bool {
        const PREFER_WRITER_NONRECURSIVE: u32 = 2;
        self.flags == PREFER_WRITER_NONRECURSIVE
    }
}

/// The word of a `pthread_once_t` (and a `once_flag`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnceWord(pub u32);

impl OnceWord {
    const RUNNING: u32 = 1;
    const DONE: u32 = 2;

    /// Whether the routine has run.
    pub const fn is_done(self) -> bool {
        self.0 & (Self::RUNNING | Self::DONE) == Self::DONE
    }

    /// Whether a thread runs it, or a fork left it so.
    pub const fn is_running(self) -> bool {
        self.0 & Self::RUNNING != 0
    }
}

/// What a lock's type says of it, by its own words.
pub fn traits(kind: Kind, words: impl Fn(usize) -> u32) -> TraitBits {
    match kind {
        Kind::Mutex => {
            let is = MutexType::read(words);
            (TraitBits::RECURSIVE.when(is.is_recursive())).with(TraitBits::ROBUST.when(is.is_robust()))
        }
        Kind::Rwlock => TraitBits::WRITERS_FIRST.when(RwlockType::read(words).lets_writers_first()),
        _ => TraitBits::default(),
    }
}

/// Whether glibc itself, or another process, may use the word that [`spare_word`] tells of.
pub fn uses_spare_word(kind: Kind, words: impl Fn(usize) -> u32) -> bool {
    match kind {
        Kind::Mutex => MutexType::read(&words).is_robust() || MutexType::read(&words).is_shared(),
        Kind::Rwlock => RwlockType::read(words).is_shared(),
        _ => false,
    }
}

/// Bytes within which a thread that waits for such an object sleeps in a futex: the object's size, for a join that of the
/// thread's control block.
pub const fn size(kind: Kind) -> u64 {
    match kind {
        Kind::Mutex => 40,
        Kind::Rwlock => 56,
        Kind::Condvar => 48,
        Kind::Semaphore | Kind::Barrier => 32,
        // A guard of a static local; `pthread_once_t` has four.
        Kind::Once => 8,
        Kind::Join => 4096,
        _ => 4,
    }
}

/// Bytes from a lock's beginning that [`state`] looks at; 0 where it tells nothing.
pub const fn state_bytes(kind: Kind) -> usize {
    match kind {
        Kind::Mutex => (word::MUTEX_TYPE + 1) * size_of::<u32>(),
        Kind::Rwlock => (word::RWLOCK_SHARED + 1) * size_of::<u32>(),
        Kind::Spinlock => size_of::<u32>(),
        _ => 0,
    }
}

/// What a lock's words say, where they can be relied on: not those of a mutex with options or of a lock that processes
/// share.
pub fn state(kind: Kind, words: impl Fn(usize) -> u32) -> LockState {
    match kind {
        Kind::Mutex if MutexType::read(&words).is_simple() => match (words(word::MUTEX_LOCK), words(word::MUTEX_OWNER))
        {
            (0, _) => LockState::Free,
            // Between the two writes, or elided.
            (_, 0) => LockState::Unclear,
            (_, owner) => LockState::HeldBy(owner),
        },
        Kind::Rwlock if words(word::RWLOCK_SHARED) == 0 => {
            let (readers, writer) = (words(word::RWLOCK_READERS), words(word::RWLOCK_WRITER));
            match (readers >> READERS_SHIFT, readers & WRITE_LOCKED, writer) {
                (0, 0, _) => LockState::Free,
                (_, 0, _) | (_, _, 0) => LockState::Held,
                (.., writer) => LockState::HeldBy(writer),
            }
        }
        Kind::Spinlock if words(word::SPIN) == SPIN_FREE => LockState::Free,
        Kind::Spinlock => LockState::Held,
        _ => LockState::Unclear,
    }
}

/// Who has a lock that a thread waits for, whatever the mutex's options: the words are read while its threads sleep. A robust
/// mutex, and one that inherits priority, has its owner's kernel id in the first word.
pub fn holder(kind: Kind, words: impl Fn(usize) -> u32) -> LockState {
    const ID: u32 = (1 << 30) - 1;
    const INHERITS: u32 = 32;
    match kind {
        Kind::Mutex => {
            let (first, is) = (words(word::MUTEX_LOCK), MutexType::read(&words));
            let is_id = is.is_robust() || is.0 & INHERITS != 0;
            match (first, words(word::MUTEX_OWNER)) {
                (0, _) => LockState::Free,
                _ if is_id && first & ID != 0 => LockState::HeldBy(first & ID),
                _ if is_id && first & OWNER_DIED != 0 => LockState::Free,
                (_, 0) => LockState::Held,
                (_, owner) => LockState::HeldBy(owner & ID),
            }
        }
        Kind::Rwlock => {
            let (readers, writer) = (words(word::RWLOCK_READERS), words(word::RWLOCK_WRITER));
            match (readers >> READERS_SHIFT, readers & WRITE_LOCKED, writer) {
                (0, 0, _) => LockState::Free,
                (.., 0) => LockState::Held,
                (.., writer) => LockState::HeldBy(writer),
            }
        }
        other => state(other, words),
    }
}

/// How many readers have a read-write lock.
pub fn readers(words: impl Fn(usize) -> u32) -> u32 {
    words(word::RWLOCK_READERS) >> READERS_SHIFT
}

/// Whether somebody has the lock, by its first word alone, whatever its type: what stands for a try where there is none.
pub const fn is_taken(kind: Kind, first: u32) -> bool {
    match kind {
        Kind::Mutex => first != 0 && first & OWNER_DIED == 0,
        Kind::Rwlock => first >> READERS_SHIFT != 0 || first & WRITE_LOCKED != 0,
        Kind::Spinlock => first != SPIN_FREE,
        Kind::Semaphore => first == 0,
        _ => first != 0,
    }
}

/// The kernel id in the word for the owner, whatever the lock's type: 0 while it names nobody.
pub fn named_owner(kind: Kind, words: impl Fn(usize) -> u32) -> u32 {
    match kind {
        Kind::Mutex => words(word::MUTEX_OWNER),
        Kind::Rwlock => words(word::RWLOCK_WRITER),
        _ => 0,
    }
}

/// Whether the words allow that this thread (its kernel id, as the program's namespace counts) has the lock. `shared`: as
/// a reader.
pub fn may_be_held_by(tid: u32, kind: Kind, shared: bool, words: impl Fn(usize) -> u32) -> bool {
    // An elided mutex names nobody.
    let may_own = || matches!(named_owner(kind, &words), owner if owner == 0 || owner == tid);
    match kind {
        Kind::Mutex => words(word::MUTEX_LOCK) != 0 && may_own(),
        Kind::Rwlock if shared => words(word::RWLOCK_READERS) >> READERS_SHIFT != 0,
        Kind::Rwlock => words(word::RWLOCK_READERS) & WRITE_LOCKED != 0 && may_own(),
        Kind::Spinlock => words(word::SPIN) != SPIN_FREE,
        Kind::Semaphore => semaphore_value(words) == 0,
        _ => true,
    }
}

/// A semaphore's value.
pub fn semaphore_value(words: impl Fn(usize) -> u32) -> u32 {
    words(word::SEMAPHORE_VALUE)
}

/// The number of a word of *eight* bytes that glibc neither reads nor writes, but for what [`uses_spare_word`] says: `__list` of
/// a mutex, which only robust ones use, `__pad3` and `__pad4` of a read-write lock. None in the other kinds.
#[inline(always)]
pub const fn spare_word(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Mutex => Some(3),
        Kind::Rwlock => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[u32]) -> impl Fn(usize) -> u32 {
        |number| words.get(number).copied().unwrap_or(0)
    }

    #[test]
    fn only_simple_locks_are_relied_on() {
        let mutex = |words: [u32; 5]| state(Kind::Mutex, of(&words));
        assert_eq!(mutex([0; 5]), LockState::Free);
        for simple in [0, 1, 2, 3, 512] {
            assert_eq!(mutex([2, 0, 7, 1, simple]), LockState::HeldBy(7), "{simple}");
        }
        assert_eq!(mutex([2, 0, 0, 1, 0]), LockState::Unclear, "between the two writes");
        for other in [16, 32, 64, 128, 256, 512 | 128] {
            assert_eq!(mutex([2, 0, 7, 1, other]), LockState::Unclear, "{other}");
        }
        let rwlock = |words: [u32; 8]| state(Kind::Rwlock, of(&words));
        assert_eq!(rwlock([3, 0, 0, 0, 0, 0, 7, 0]).owner(), Some(7));
        assert_eq!(rwlock([8, 0, 0, 0, 0, 0, 0, 0]), LockState::Held);
        assert_eq!(rwlock([1, 0, 0, 0, 0, 0, 0, 0]), LockState::Free);
        assert_eq!(rwlock([3, 0, 0, 0, 0, 0, 7, 1]), LockState::Unclear);
        assert_eq!(state(Kind::Spinlock, of(&[0])).owner(), None);
        assert_eq!(state(Kind::Semaphore, of(&[0])), LockState::Unclear);
    }

    #[test]
    fn who_may_have_it() {
        let may = |kind, words: &[u32], shared| may_be_held_by(7, kind, shared, of(words));
        assert!(may(Kind::Mutex, &[2, 0, 7], false) && may(Kind::Mutex, &[2, 0, 0], false));
        assert!(!may(Kind::Mutex, &[2, 0, 8], false), "another's");
        assert!(!may(Kind::Mutex, &[0, 0, 0], false), "free");
        assert!(may(Kind::Rwlock, &[1 << 3], true) && !may(Kind::Rwlock, &[2], true));
        assert!(may(Kind::Rwlock, &[3, 0, 0, 0, 0, 0, 7], false));
        assert!(!may(Kind::Rwlock, &[3, 0, 0, 0, 0, 0, 8], false));
        assert!(!may(Kind::Spinlock, &[1], false) && !may(Kind::Semaphore, &[1, 0], false));
    }
}
