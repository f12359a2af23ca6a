//! Condition variables. libc gives the mutex back and takes it again inside the wait, past every hook:
//! the hold ends and a new one begins here.

use core::ffi::c_int;

use lockprof_wire::lock::kind;
use lockprof_wire::{Flags, Op};

use super::core::{
    Caller, EOWNERDEAD, Entry, Outcome, Posix, Request, Style, caller, destroyed, initialised, lock_word, owner_died,
    past, tell,
};
use super::operate::done;
use super::unwound::wait_in;
use super::wait::{begin_wait, end_wait};
use super::{hook, misuse};
use crate::real::{self, Clock, Ptr};
use crate::recorder;
use crate::state::local::PendingWait;
use crate::sys::clock;

/// A wait on a condition; `block` is the real call.
pub unsafe fn wait<S: Style + Copy>(
    request: Request<S>,
    mutex: Ptr,
    entry: Entry,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else {
            let answer = block();
            if S::outcome(answer) != Outcome::Failed {
                // The mutex was taken again.
                recorder::unrecorded();
            }
            return past::<S>(answer);
        };
        let local = caller.local;
        let word = lock_word(caller, request.object, request.kind);
        let mutex_word = lock_word(caller, mutex, kind::MUTEX);
        match recorder::find_held(local, mutex as u64) {
            Some(at) => recorder::release(local, at, clock::now(), 0),
            None => misuse::before_wait(caller, mutex, entry),
        }
        let waiting = begin_wait(caller, word, request, false);
        let outer = (*local).pending;
        (*local).pending = PendingWait { mutex: mutex as u64, mutex_lock: mutex_word as u32, stack: caller.stack };
        let answer = wait_in(block);
        let now = clock::now();
        (*local).pending = outer;
        end_wait(caller, waiting);
        if answer == EOWNERDEAD {
            owner_died(caller, mutex_word, now);
        }
        take_again(caller, mutex, mutex_word, S::outcome(answer), now);
        done(caller, word, request, waiting.since, now.saturating_sub(waiting.since), answer, true);
        answer
    }
}

/// The mutex is held again, however the wait ended.
unsafe fn take_again(caller: Caller, mutex: Ptr, word: u64, outcome: Outcome, now: u64) {
    // A wait that was refused never gave the mutex back: the old hold goes on.
    let flags = if outcome == Outcome::Failed { Flags::CONTINUED } else { Flags::REACQUIRED };
    // SAFETY: the caller is the running hook's.
    unsafe {
        recorder::push(caller.local, mutex as u64, word as u32, caller.stack, flags, now);
        if flags == Flags::CONTINUED {
            recorder::not_an_acquisition(caller.local);
        }
    }
}

fn request(cond: Ptr, flags: u8) -> Request<Posix> {
    Request { object: cond, kind: kind::CONDVAR, flags, style: Posix }
}

hook!(pthread_cond_wait(cond: Ptr, mutex: Ptr) -> c_int, "rdx", plain_wait);
unsafe extern "C" fn plain_wait(cond: Ptr, mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(request(cond, 0), mutex, entry, move || real::pthread_cond_wait(cond, mutex)) }
}

hook!(pthread_cond_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int, "rcx", timed_wait);
unsafe extern "C" fn timed_wait(cond: Ptr, mutex: Ptr, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(request(cond, Flags::TIMED), mutex, entry, move || real::pthread_cond_timedwait(cond, mutex, until)) }
}

hook!(pthread_cond_clockwait(cond: Ptr, mutex: Ptr, clock: Clock, until: Ptr) -> c_int, "r8", clock_wait);
unsafe extern "C" fn clock_wait(cond: Ptr, mutex: Ptr, clock: Clock, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        wait(request(cond, Flags::TIMED), mutex, entry, move || real::pthread_cond_clockwait(cond, mutex, clock, until))
    }
}

/// A condition is about to be signalled.
pub unsafe fn posted(cond: Ptr, entry: Entry) {
    // SAFETY: the entry is the running hook's.
    unsafe {
        if let Some(caller) = caller(entry) {
            let word = lock_word(caller, cond, kind::CONDVAR);
            tell(caller, word, Op::Posted, 0, clock::now(), 0);
        }
    }
}

hook!(pthread_cond_signal(cond: Ptr) -> c_int, "rsi", signal);
unsafe extern "C" fn signal(cond: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        posted(cond, entry);
        real::pthread_cond_signal(cond)
    }
}

hook!(pthread_cond_broadcast(cond: Ptr) -> c_int, "rsi", broadcast);
unsafe extern "C" fn broadcast(cond: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        posted(cond, entry);
        real::pthread_cond_broadcast(cond)
    }
}

hook!(pthread_cond_init(cond: Ptr, attr: Ptr) -> c_int, "rdx", init);
unsafe extern "C" fn init(cond: Ptr, attr: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_cond_init(cond, attr);
        if answer == 0 {
            initialised(cond, kind::CONDVAR, 0, 0, entry);
        }
        answer
    }
}

hook!(pthread_cond_destroy(cond: Ptr) -> c_int, "rsi", destroy);
unsafe extern "C" fn destroy(cond: Ptr, _: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_cond_destroy(cond);
        if answer == 0 {
            destroyed(cond);
        }
        answer
    }
}

/// Programs from before glibc 2.3.2 ask for older versions of these functions, whose objects have another layout and
/// are half as large: calls of those go on to those.
mod old {
    use super::{Entry, Flags, Ptr, c_int, destroyed, hook, initialised, kind, posted, real, request, wait};

    // The loader gives the hooks of this name and version to those who ask for it.
    #[cfg(lockprof_preload)]
    core::arch::global_asm!(
        ".symver old_cond_init, pthread_cond_init@GLIBC_2.2.5",
        ".symver old_cond_destroy, pthread_cond_destroy@GLIBC_2.2.5",
        ".symver old_cond_wait, pthread_cond_wait@GLIBC_2.2.5",
        ".symver old_cond_timedwait, pthread_cond_timedwait@GLIBC_2.2.5",
        ".symver old_cond_signal, pthread_cond_signal@GLIBC_2.2.5",
        ".symver old_cond_broadcast, pthread_cond_broadcast@GLIBC_2.2.5",
    );

    hook!(old_cond_wait(cond: Ptr, mutex: Ptr) -> c_int, "rdx", plain_wait);
    unsafe extern "C" fn plain_wait(cond: Ptr, mutex: Ptr, entry: Entry) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe { wait(request(cond, 0), mutex, entry, move || real::old_cond_wait(cond, mutex)) }
    }

    hook!(old_cond_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int, "rcx", timed_wait);
    unsafe extern "C" fn timed_wait(cond: Ptr, mutex: Ptr, until: Ptr, entry: Entry) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe { wait(request(cond, Flags::TIMED), mutex, entry, move || real::old_cond_timedwait(cond, mutex, until)) }
    }

    hook!(old_cond_signal(cond: Ptr) -> c_int, "rsi", signal);
    unsafe extern "C" fn signal(cond: Ptr, entry: Entry) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe {
            posted(cond, entry);
            real::old_cond_signal(cond)
        }
    }

    hook!(old_cond_broadcast(cond: Ptr) -> c_int, "rsi", broadcast);
    unsafe extern "C" fn broadcast(cond: Ptr, entry: Entry) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe {
            posted(cond, entry);
            real::old_cond_broadcast(cond)
        }
    }

    hook!(old_cond_init(cond: Ptr, attr: Ptr) -> c_int, "rdx", init);
    unsafe extern "C" fn init(cond: Ptr, attr: Ptr, entry: Entry) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe {
            let answer = real::old_cond_init(cond, attr);
            if answer == 0 {
                initialised(cond, kind::CONDVAR, 0, 0, entry);
            }
            answer
        }
    }

    hook!(old_cond_destroy(cond: Ptr) -> c_int, "rsi", destroy);
    unsafe extern "C" fn destroy(cond: Ptr, _: Entry) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe {
            let answer = real::old_cond_destroy(cond);
            if answer == 0 {
                destroyed(cond);
            }
            answer
        }
    }
}
