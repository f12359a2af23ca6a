//! Reads glibc's locks in place. What their words mean says [`lockprof_wire::lock_layout`].

use lockprof_wire::Kind;
use lockprof_wire::lock_layout::LockState;
use lockprof_wire::lock_layout::glibc::{self, MutexType, MutexWord};

use crate::probe::LockTraits;
use crate::sys::Ptr;
use crate::tables::object_marker;

/// Gives a lock's words of four bytes by their number, each read anew.
///
/// # Safety
/// `object` points to a lock that stays there as long as the answer is used, and no word behind its end is asked for.
#[inline(always)]
unsafe fn words_of(object: Ptr) -> impl Fn(usize) -> u32 {
    // SAFETY: the caller's contract.
    move |number| unsafe { object.cast::<u32>().add(number).read_volatile() }
}

/// What is unusual about a lock, by its own words.
///
/// # Safety
/// `object` points to a lock of this kind.
pub unsafe fn traits_of(object: Ptr, kind: Kind) -> LockTraits {
    // SAFETY: the caller's contract.
    let words = unsafe { words_of(object) };
    let peculiar = kind == Kind::Mutex && !MutexType::read(&words).has_plain_word();
    let tagged = object_marker::may_have(kind) && !glibc::uses_spare_word(kind, &words);
    LockTraits::of(glibc::traits(kind, &words))
        .with(LockTraits::PECULIAR.when(peculiar))
        .with(LockTraits::UNTAGGED.when(glibc::spare_word(kind).is_some() && !tagged))
}

/// What a lock's own words say.
///
/// # Safety
/// `lock` points to a lock of this kind.
pub unsafe fn state_of(lock: Ptr, kind: Kind) -> LockState {
    // SAFETY: the caller's contract.
    glibc::state(kind, unsafe { words_of(lock) })
}

/// The first word of a mutex of the plain type.
///
/// # Safety
/// `mutex` points to a mutex.
#[inline(always)]
pub unsafe fn mutex_word(mutex: Ptr) -> MutexWord {
    // SAFETY: the caller's contract.
    MutexWord(unsafe { words_of(mutex)(0) })
}

/// Whether an unlock of this mutex succeeds whoever holds it.
///
/// # Safety
/// `mutex` points to a mutex.
pub unsafe fn lets_anyone_unlock(mutex: Ptr) -> bool {
    // SAFETY: the caller's contract.
    MutexType::read(unsafe { words_of(mutex) }).lets_anyone_unlock()
}

/// Whether a lock's own words say that it is held: what stands for a try where there is none.
///
/// # Safety
/// `object` points to a lock of this kind.
pub unsafe fn looks_taken(object: Ptr, kind: Kind) -> bool {
    // SAFETY: the caller's contract.
    glibc::is_taken(kind, unsafe { words_of(object)(0) })
}

/// The kernel's id of the thread that has a lock by its own words; 0 if they do not say.
///
/// # Safety
/// `object` points to a lock of this kind.
pub unsafe fn owner_of(object: Ptr, kind: Kind) -> u32 {
    // SAFETY: the caller's contract.
    glibc::named_owner(kind, unsafe { words_of(object) })
}
