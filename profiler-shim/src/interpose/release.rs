//! Giving a lock back by the real functions.

use core::ffi::c_int;

use super::glibc::state_of;
use super::objects::lock_of;
use super::outcome::{Outcome, Request, Style};
use crate::probe::{self, Entry, Held, Thread, caller};
use crate::sys::{Ptr, clock};

/// Gives a lock back. `request` and `real` have no data, so that they cost the hot path no register.
///
/// # Safety
/// The entry is the running hook's; the object is one of the request's kind, and `real` gives it back.
#[inline(always)]
pub unsafe fn release<S: Style + Copy>(
    object: Ptr,
    entry: Entry,
    request: impl Fn(Ptr) -> Request<S> + Copy,
    real: impl Fn(Ptr) -> c_int + Copy,
) -> c_int {
    let Some(thread) = probe::hot_thread() else {
        // SAFETY: the caller's contract.
        return unsafe { release_slowly(object, entry, request, real) };
    };
    let Some(held) = probe::only_held(thread, object as u64) else {
        // SAFETY: as above.
        return unsafe { release_any(thread, clock::tsc(), object, entry, request, real) };
    };
    release_held(thread, held, clock::tsc(), object, real)
}

/// The real release of an acquisition, and its record behind it.
#[inline(always)]
fn release_held(thread: Thread, held: Held, now: u64, object: Ptr, real: impl Fn(Ptr) -> c_int) -> c_int {
    let outer = probe::begin_release(thread, held);
    let answer = real(object);
    if answer == 0 {
        probe::released(thread, held, now);
    }
    probe::end_release(thread, outer);
    answer
}

/// Gives one of all that the thread holds back, at `now`.
///
/// # Safety
/// As [`release`].
#[inline(never)]
unsafe fn release_any<S: Style + Copy>(
    thread: Thread,
    now: u64,
    object: Ptr,
    entry: Entry,
    request: impl Fn(Ptr) -> Request<S> + Copy,
    real: impl Fn(Ptr) -> c_int + Copy,
) -> c_int {
    match probe::held(thread, object as u64) {
        Some(held) => release_held(thread, held, now, object, real),
        // SAFETY: the caller's contract.
        None => unsafe { release_unknown(thread, object, entry, request, real) },
    }
}

/// # Safety
/// As [`release`].
#[cold]
#[inline(never)]
unsafe fn release_slowly<S: Style + Copy>(
    object: Ptr,
    entry: Entry,
    request: impl Fn(Ptr) -> Request<S> + Copy,
    real: impl Fn(Ptr) -> c_int + Copy,
) -> c_int {
    match probe::thread() {
        // SAFETY: the caller's contract.
        Some(thread) => unsafe { release_any(thread, clock::now(), object, entry, request, real) },
        None => real(object),
    }
}

/// Not held as far as the recorder knows: after a cancelled wait it is held all the same.
///
/// # Safety
/// As [`release`].
#[cold]
#[inline(never)]
unsafe fn release_unknown<S: Style + Copy>(
    thread: Thread,
    object: Ptr,
    entry: Entry,
    request: impl Fn(Ptr) -> Request<S> + Copy,
    real: impl Fn(Ptr) -> c_int + Copy,
) -> c_int {
    let address = object as u64;
    // SAFETY: the entry is the running hook's; the object is one of the request's kind.
    unsafe {
        if let Some((taker, lock)) = probe::cancelled_wait(thread, address) {
            probe::acquired_again(taker, lock, clock::now());
            return release_slowly(object, entry, request, real);
        }
        let request = request(object);
        let mut misuse = probe::before_release(thread, address, request.kind, state_of(request.object, request.kind));
        if misuse.is_some_and(|misuse| misuse.needs_lock()) {
            let lock = caller(entry).map(|caller| lock_of(caller, request.object, request.kind));
            misuse = misuse.zip(lock).map(|(misuse, lock)| misuse.of(lock));
        }
        let answer = real(object);
        let outcome = S::outcome(answer);
        if let Some(misuse) = misuse
            && matches!(outcome, Outcome::Acquired | Outcome::Failed)
            && let Some(caller) = caller(entry)
        {
            if outcome == Outcome::Acquired {
                misuse.went_through(caller);
            }
            misuse.report(caller);
        }
        answer
    }
}
