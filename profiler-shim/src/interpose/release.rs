//! Giving a lock back by the real functions.

use core::ffi::c_int;

use super::glibc::state_of;
use super::objects::lock_of;
use super::outcome::{Outcome, Request, Style};
use crate::probe::{self, Entry, Held, Thread, caller};
use crate::sys::clock;

/// Gives a lock back.
///
/// # Safety
/// The entry is the running hook's; the object is one of the request's kind.
#[inline(always)]
pub unsafe fn release<S: Style + Copy>(request: Request<S>, entry: Entry, real: impl FnOnce() -> c_int) -> c_int {
    let Some(thread) = probe::hot_thread() else {
        // SAFETY: the caller's contract.
        return unsafe { release_slowly(request, entry, real) };
    };
    let Some(held) = probe::held(thread, request.object as u64) else {
        // SAFETY: as above.
        return unsafe { release_unknown(thread, request, entry, real) };
    };
    release_held(thread, held, clock::tsc(), real)
}

/// The real release of an acquisition, and its record behind it.
#[inline(always)]
fn release_held(thread: Thread, held: Held, now: u64, real: impl FnOnce() -> c_int) -> c_int {
    let outer = probe::begin_release(thread, held);
    let answer = real();
    if answer == 0 {
        probe::released(thread, held, now);
    }
    probe::end_release(thread, outer);
    answer
}

/// # Safety
/// As [`release`].
#[cold]
#[inline(never)]
unsafe fn release_slowly<S: Style + Copy>(request: Request<S>, entry: Entry, real: impl FnOnce() -> c_int) -> c_int {
    let Some(thread) = probe::thread() else { return real() };
    match probe::held(thread, request.object as u64) {
        Some(held) => release_held(thread, held, clock::now(), real),
        // SAFETY: the entry is the running hook's.
        None => unsafe { release_unknown(thread, request, entry, real) },
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
    request: Request<S>,
    entry: Entry,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let address = request.object as u64;
    // SAFETY: the entry is the running hook's; the object is one of the request's kind.
    unsafe {
        if let Some((taker, lock)) = probe::cancelled_wait(thread, address) {
            probe::acquired_again(taker, lock, clock::now());
            return release_slowly(request, entry, real);
        }
        let mut misuse = probe::before_release(thread, address, request.kind, state_of(request.object, request.kind));
        if misuse.is_some_and(|misuse| misuse.needs_lock()) {
            let lock = caller(entry).map(|caller| lock_of(caller, request.object, request.kind));
            misuse = misuse.zip(lock).map(|(misuse, lock)| misuse.of(lock));
        }
        let answer = real();
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
