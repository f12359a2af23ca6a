//! Which lock an object of the program's is: new ones at old addresses included.

use core::ffi::c_int;

use lockprof_wire::Kind;

use super::glibc::{state_of, traits_of};
use super::outcome::Request;
use crate::probe::{self, Caller, Entry, FirstUse, Lock, LockTraits, caller};
use crate::sys::Ptr;
use crate::tables::object_marker;

/// How an object of this kind is seen that is met for the first time.
///
/// # Safety
/// The object is one of this kind.
unsafe fn first_use(caller: Caller, object: Ptr, kind: Kind) -> FirstUse {
    // SAFETY: the object is one of this kind.
    let traits = unsafe { traits_of(object, kind) };
    FirstUse { kind, initialised: false, traits, stack: caller.stack, initial: 0 }
}

/// The lock that an object of this kind is.
///
/// # Safety
/// The object is one of this kind.
#[inline(always)]
pub unsafe fn lock_of(caller: Caller, object: Ptr, kind: Kind) -> Lock {
    match probe::known(caller.thread, object as u64, kind) {
        Some(lock) => lock,
        // SAFETY: the caller's contract.
        None => unsafe { lock_slowly(caller, object, kind) },
    }
}

/// # Safety
/// The object is one of this kind.
#[cold]
#[inline(never)]
unsafe fn lock_slowly(caller: Caller, object: Ptr, kind: Kind) -> Lock {
    // SAFETY: the object is one of this kind.
    unsafe { probe::find_or_make(caller, object, first_use(caller, object, kind)) }
}

/// The lock that is to be taken. Where the tag is gone, another one lives there than before.
///
/// # Safety
/// The object is one of the request's kind.
#[inline(always)]
pub unsafe fn lock_to_acquire<S>(caller: Caller, request: Request<S>) -> Lock {
    // SAFETY: the caller's contract.
    unsafe {
        if let Some(lock) = probe::named(caller.thread, request.object, request.kind) {
            return lock;
        }
        let lock = lock_of(caller, request.object, request.kind);
        if lock.word.is_tagged() && object_marker::is_blank(request.object, request.kind) {
            return new_object(caller, request.object, request.kind, lock);
        }
        lock
    }
}

/// The same where its traits say that it has to be looked at.
///
/// # Safety
/// The object is one of this kind.
pub unsafe fn look_again(caller: Caller, object: Ptr, kind: Kind, lock: Lock) -> Lock {
    // SAFETY: the caller's contract.
    unsafe {
        let is_new = if lock.word.is_tagged() {
            object_marker::is_blank(object, kind)
        } else {
            // What could not have a tag was there before, or such locks are none of ours.
            traits_of(object, kind).is_tagged()
        };
        if is_new { new_object(caller, object, kind, lock) } else { lock }
    }
}

/// A lock was put there without a call.
///
/// # Safety
/// The object is one of this kind.
#[cold]
#[inline(never)]
unsafe fn new_object(caller: Caller, object: Ptr, kind: Kind, lock: Lock) -> Lock {
    // SAFETY: the object is one of this kind.
    unsafe { probe::renewed(caller, object, first_use(caller, object, kind), lock) }
}

/// Initialises an object by the real call: a new lock lives there. `more_traits`: that its words do not show; `initial`: a
/// semaphore's value, a barrier's count.
///
/// # Safety
/// The entry is the running hook's; the object is one of this kind.
pub unsafe fn initialise(
    object: Ptr,
    kind: Kind,
    more_traits: LockTraits,
    initial: u32,
    entry: Entry,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let answer = real();
    if answer == 0 {
        // SAFETY: the caller's contract.
        unsafe {
            if let Some(caller) = caller(entry) {
                let first = first_use(caller, object, kind);
                let traits = first.traits.with(more_traits);
                probe::initialised(caller, object, FirstUse { traits, initial, ..first });
            }
        }
    }
    answer
}

/// Destroys a lock by the real call.
///
/// # Safety
/// The entry is the running hook's; the object is one of this kind.
pub unsafe fn destroy_lock(object: Ptr, kind: Kind, entry: Entry, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        let misuse = probe::before_destroy(object as u64, kind, state_of(object, kind));
        let answer = real();
        if let Some(misuse) = misuse
            && let Some(caller) = caller(entry)
        {
            misuse.report(caller);
        }
        if answer == 0 {
            probe::lock_destroyed(object, kind);
        } else {
            probe::not_destroyed(object as u64);
        }
        answer
    }
}

/// Destroys an object that nobody holds, by the real call.
pub fn destroy(object: Ptr, real: impl FnOnce() -> c_int) -> c_int {
    let answer = real();
    if answer == 0 {
        probe::destroyed(object as u64);
    }
    answer
}
