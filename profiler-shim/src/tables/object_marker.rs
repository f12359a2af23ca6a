//! Tags in the locks themselves: how a new lock at an old address is recognised where no call tells of it.
//!
//! `std::mutex` and `PTHREAD_MUTEX_INITIALIZER` fill the whole object with zeros. So the shim writes a tag
//! into a part that glibc never looks at; where it is gone, something new lives there. `docs/design/identity.md`
//! says why this is safe. Any other value than zero means "the same", so a foreign one does no harm.
//!
//! The tag of a lock of which nothing is particular names its row as well, so that it is found without a table: the row
//! in the lower half; in the upper one a check that only this process makes for this address, with the highest bit set.
//! A copy of the object elsewhere, or in a child by fork, fails the check.

use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::Kind;
use lockprof_wire::lock_layout::glibc::spare_word;

use super::lock_word::LockWord;
use crate::sys::Ptr;

/// "lockprof", as a tag reads in a debugger.
const TAG: u64 = u64::from_le_bytes(*b"lockprof");

/// Whether the locks are glibc's own.
static SAFE: AtomicU32 = AtomicU32::new(0);

/// Allows tags: the functions that really lock are those of a glibc with the layout that is assumed here.
pub fn allow() {
    SAFE.store(1, Ordering::Relaxed);
}

/// Whether they are allowed: locks have glibc's layout.
#[inline(always)]
pub fn allowed() -> bool {
    SAFE.load(Ordering::Relaxed) != 0
}

/// Whether the lock may have a tag and has none.
///
/// # Safety
/// `lock` points to a lock of this kind.
#[inline(always)]
pub unsafe fn is_blank(lock: Ptr, kind: Kind) -> bool {
    // SAFETY: the word is inside the object.
    spare_word(kind).is_some_and(|place| unsafe { lock.cast::<u64>().add(place).read_volatile() } == 0)
}

/// Writes the tag that names no row.
///
/// # Safety
/// `lock` points to a lock of this kind that is to be locked now and may be tagged ([`may_have`]).
pub unsafe fn write(lock: Ptr, kind: Kind) {
    // SAFETY: the caller's contract.
    unsafe { write_word(lock, kind, TAG) };
}

/// Writes the tag of a lock: it names the row if nothing is particular about the lock.
///
/// # Safety
/// As [`write`].
pub unsafe fn write_named(lock: Ptr, word: LockWord, key: Key) {
    let Some(kind) = word.kind() else { return };
    let tag = if word.is_usual() { u64::from(word.row()) | u64::from(key.check(lock)) << 32 } else { TAG };
    // SAFETY: the caller's contract.
    unsafe { write_word(lock, kind, tag) };
}

/// The lock is destroyed: its tag names no row any more.
///
/// # Safety
/// `lock` points to where a lock of this kind was.
pub unsafe fn forget(lock: Ptr, kind: Kind, key: Key) {
    // SAFETY: the caller's contract.
    unsafe {
        if named_row(lock, kind, key).is_some() {
            write_word(lock, kind, TAG);
        }
    }
}

/// The row that a lock's tag names.
///
/// # Safety
/// `lock` points to a lock of this kind.
#[inline(always)]
pub unsafe fn named_row(lock: Ptr, kind: Kind, key: Key) -> Option<u32> {
    let place = spare_word(kind)?;
    // SAFETY: the word is inside the object.
    let tag = unsafe { lock.cast::<u64>().add(place).read_volatile() };
    ((tag >> 32) as u32 == key.check(lock)).then_some(tag as u32)
}

/// # Safety
/// As [`write`].
unsafe fn write_word(lock: Ptr, kind: Kind, tag: u64) {
    if let Some(place) = spare_word(kind) {
        // SAFETY: the word is inside the object, and nobody else uses it.
        unsafe { lock.cast::<u64>().add(place).write_volatile(tag) };
    }
}

/// What makes a process's tags its own.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Key(u32);

impl Key {
    /// Of a process whose recording begins now, by this thread: not its parent's, whose tags it has inherited.
    pub fn of(now: u64, tid: u32) -> Self {
        Self(((now ^ u64::from(tid) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32)
    }

    /// The upper half of tags at this address, of which every bit counts. [`TAG`] has another: its highest bit is not set.
    #[inline(always)]
    pub(super) fn check(self, lock: Ptr) -> u32 {
        ((lock as u64 ^ u64::from(self.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as u32 | 1 << 31
    }
}

const _: () = assert!(TAG >> 63 == 0);

/// The key of a process, which its threads take over. Valid when zero.
#[repr(transparent)]
pub struct SharedKey(AtomicU32);

impl SharedKey {
    /// What it is now.
    pub fn get(&self) -> Key {
        Key(self.0.load(Ordering::Relaxed))
    }

    /// Makes it this.
    pub fn set(&self, key: Key) {
        self.0.store(key.0, Ordering::Relaxed);
    }
}

/// Whether a lock of this kind may have a tag, as far as its kind goes: other libraries' locks look as they please.
pub fn may_have(kind: Kind) -> bool {
    spare_word(kind).is_some() && allowed()
}
