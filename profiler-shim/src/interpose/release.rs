//! Giving a lock back: the record is written after the real release.

use core::ffi::c_int;

use lockprof_wire::Flags;

use super::core::{Entry, Request, Style, thread};
use super::misuse;
use crate::recorder;
use crate::recorder::Held;
use crate::state::local::{Local, local};
use crate::sys::clock;

/// Gives a lock back.
#[inline(always)]
pub unsafe fn release<S: Style + Copy>(request: Request<S>, entry: Entry, real: impl FnOnce() -> c_int) -> c_int {
    let this = local();
    // SAFETY: the thread is the running hook's.
    unsafe {
        if this.is_null() || !(*this).is_hot() {
            return release_slowly(request, entry, real);
        }
        let Some(held) = recorder::find_held(this, request.object as u64) else {
            return release_unknown(this, request, entry, real);
        };
        give_back(this, held, clock::tsc(), real)
    }
}

/// The real release of an acquisition, and its record behind it.
#[inline(always)]
unsafe fn give_back(local: *mut Local, held: Held, now: u64, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the thread is the running hook's.
    unsafe {
        let outer = recorder::begin_release(local, held);
        let answer = real();
        if answer == 0 {
            recorder::release(local, held, now, 0);
        }
        recorder::end_release(local, outer);
        answer
    }
}

#[cold]
#[inline(never)]
unsafe fn release_slowly<S: Style + Copy>(request: Request<S>, entry: Entry, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the thread is the running hook's.
    unsafe {
        let Some(local) = thread() else { return real() };
        let Some(held) = recorder::find_held(local, request.object as u64) else {
            return release_unknown(local, request, entry, real);
        };
        give_back(local, held, clock::now(), real)
    }
}

/// Not held as far as the recorder knows: after a cancelled wait it is held all the same.
#[cold]
#[inline(never)]
unsafe fn release_unknown<S: Style + Copy>(
    local: *mut Local,
    request: Request<S>,
    entry: Entry,
    real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the thread is the running hook's.
    unsafe {
        let pending = (*local).pending;
        if pending.mutex == request.object as u64 && pending.mutex != 0 {
            // `pthread_cond_wait` was cancelled: it took the mutex again before the clean-up handlers ran.
            (*local).pending.mutex = 0;
            let now = clock::now();
            recorder::push(local, pending.mutex, pending.mutex_lock, pending.stack, Flags::REACQUIRED, now);
            return release_slowly(request, entry, real);
        }
        let suspicion = misuse::before_unlock(local, request, entry);
        let answer = real();
        if let Some(suspicion) = suspicion {
            suspicion.unlocked(request, entry, answer);
        }
        answer
    }
}
