//! Condition variables. libc gives the mutex back and takes it again inside the wait, past every hook:
//! the hold ends and a new one begins here.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::acquire::past;
use super::glibc::{lets_anyone_unlock, state_of};
use super::objects::lock_of;
use super::operate::done;
use super::outcome::{EOWNERDEAD, Outcome, Posix, Request, Style};
use super::unwound::wait_in;
use super::{forgetting_hook, hook, initialising_hook};
use crate::probe::{self, Caller, Entry, Lock, caller};
use crate::real::{self, Clock};
use crate::sys::{Ptr, clock};

/// A wait on a condition; `block` is the real call.
///
/// # Safety
/// The entry is the running hook's; the objects are a condition and a mutex.
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
                probe::not_recorded();
            }
            return past::<S>(answer);
        };
        let lock = lock_of(caller, request.object, request.kind);
        let mutex_lock = lock_of(caller, mutex, Kind::Mutex);
        match probe::held(caller.thread, mutex as u64) {
            Some(held) => probe::released(caller.thread, held, clock::now()),
            None => misused(caller, mutex, mutex_lock),
        }
        let waiting = probe::begin_wait(caller, lock, request.flags, None);
        let outer = probe::with_pending(caller, mutex_lock);
        let answer = wait_in(block);
        let now = clock::now();
        probe::take_pending(caller.thread, outer);
        probe::end_wait(caller.thread, waiting);
        if answer == EOWNERDEAD {
            probe::owner_died(caller, mutex_lock, now);
        }
        // The mutex is held again, however the wait ended.
        if S::outcome(answer) == Outcome::Failed {
            probe::hold_goes_on(caller, mutex_lock, now);
        } else {
            probe::acquired_again(caller, mutex_lock, now);
        }
        done(caller, lock, request, waiting.since, now.saturating_sub(waiting.since), answer, true);
        answer
    }
}

/// Looks at the mutex of a condition wait that is about to begin, which this thread does not have as far as is known.
/// What libc does with it is an unlock, so that is reported at once: the wait may never end.
///
/// # Safety
/// The object is a mutex.
#[cold]
unsafe fn misused(caller: Caller, mutex: Ptr, lock: Lock) {
    // SAFETY: the object is a mutex.
    let (state, takes) = unsafe { (state_of(mutex, Kind::Mutex), lets_anyone_unlock(mutex)) };
    if let Some(misuse) = probe::before_release(caller.thread, mutex as u64, Kind::Mutex, state) {
        let misuse = if misuse.needs_lock() { misuse.of(lock) } else { misuse };
        misuse.by_wait(caller, takes).report(caller);
    }
}

/// A condition is about to be signalled.
///
/// # Safety
/// The entry is the running hook's; the object is a condition.
pub unsafe fn posted(cond: Ptr, entry: Entry) {
    // SAFETY: the entry is the running hook's; the object is a condition.
    unsafe {
        if let Some(caller) = caller(entry) {
            probe::posted(caller, lock_of(caller, cond, Kind::Condvar), clock::now());
        }
    }
}

/// The functions of one family that wait on a condition or signal it.
macro_rules! condition {
    ($style:ident, wait: $wait:ident, timed: $timed:ident, signal: $($signal:ident),*) => {
        hook! {
            fn $wait(cond: Ptr, mutex: Ptr; entry) -> c_int {
                let request = Request { object: cond, kind: Kind::Condvar, flags: Flags::NONE, style: $style };
                $crate::interpose::cond::wait(request, mutex, entry, move || real::$wait(cond, mutex))
            }
        }

        hook! {
            fn $timed(cond: Ptr, mutex: Ptr, until: Ptr; entry) -> c_int {
                let request = Request { object: cond, kind: Kind::Condvar, flags: Flags::TIMED, style: $style };
                $crate::interpose::cond::wait(request, mutex, entry, move || real::$timed(cond, mutex, until))
            }
        }

        $(hook! {
            fn $signal(cond: Ptr; entry) -> c_int {
                $crate::interpose::cond::posted(cond, entry);
                real::$signal(cond)
            }
        })*
    };
}
pub(super) use condition;

condition!(
    Posix,
    wait: pthread_cond_wait,
    timed: pthread_cond_timedwait,
    signal: pthread_cond_signal, pthread_cond_broadcast
);

hook! {
    fn pthread_cond_clockwait(cond: Ptr, mutex: Ptr, clock: Clock, until: Ptr; entry) -> c_int {
        let request = Request { object: cond, kind: Kind::Condvar, flags: Flags::TIMED, style: Posix };
        wait(request, mutex, entry, move || real::pthread_cond_clockwait(cond, mutex, clock, until))
    }
}

initialising_hook!(Kind::Condvar, fn pthread_cond_init(cond: Ptr, attr: Ptr));

forgetting_hook!(fn pthread_cond_destroy(cond: Ptr));

// Programs from before glibc 2.3.2 ask for older versions of these functions, whose objects have another layout and
// are half as large: calls of those go on to those. The loader gives the hooks of this name and version to those who ask
// for it.
#[cfg(lockprof_preload)]
core::arch::global_asm!(
    ".symver old_cond_init, pthread_cond_init@GLIBC_2.2.5",
    ".symver old_cond_destroy, pthread_cond_destroy@GLIBC_2.2.5",
    ".symver old_cond_wait, pthread_cond_wait@GLIBC_2.2.5",
    ".symver old_cond_timedwait, pthread_cond_timedwait@GLIBC_2.2.5",
    ".symver old_cond_signal, pthread_cond_signal@GLIBC_2.2.5",
    ".symver old_cond_broadcast, pthread_cond_broadcast@GLIBC_2.2.5",
);

condition!(Posix, wait: old_cond_wait, timed: old_cond_timedwait, signal: old_cond_signal, old_cond_broadcast);

initialising_hook!(Kind::Condvar, fn old_cond_init(cond: Ptr, attr: Ptr));

forgetting_hook!(fn old_cond_destroy(cond: Ptr));
