//! Tags in the locks themselves: how a new lock at an old address is recognised where no call tells of it.
//!
//! `std::mutex` and `PTHREAD_MUTEX_INITIALIZER` fill the whole object with zeros. So the shim writes a tag
//! into a part that glibc never looks at; where it is gone, something new lives there. `docs/design/identity.md`
//! says why this is safe. Any other value than zero means "the same", so a foreign one does no harm.

use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::Kind;
use lockprof_wire::lock_layout::glibc::spare_word;

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

/// Writes the tag.
///
/// # Safety
/// `lock` points to a lock of this kind that is to be locked now and may be tagged ([`may_have`]).
pub unsafe fn write(lock: Ptr, kind: Kind) {
    if let Some(place) = spare_word(kind) {
        // SAFETY: the word is inside the object, and nobody else uses it.
        unsafe { lock.cast::<u64>().add(place).write_volatile(TAG) };
    }
}

/// Whether a lock of this kind may have a tag, as far as its kind goes: other libraries' locks look as they please.
pub fn may_have(kind: Kind) -> bool {
    spare_word(kind).is_some() && allowed()
}
