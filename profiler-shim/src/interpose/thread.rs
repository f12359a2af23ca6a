//! Joining threads, and starting them: a thread is attached before its first own instruction, so that its
//! stack's end is known.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::acquire::past;
use super::hook;
use super::operate::operate;
use super::outcome::{C11, Posix, Request, Style};
use crate::lifecycle::threads;
use crate::probe::{Entry, caller};
use crate::real::{self, Clock, Ptr};

/// # Safety
/// The entry is the running hook's.
unsafe fn join<S: Style + Copy>(
    thread: Ptr,
    flags: Flags,
    style: S,
    entry: Entry,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<S>(block()) };
        // The "lock" of a join is the thread joined.
        let waits = !flags.is_try();
        operate(Request { object: thread, kind: Kind::Join, flags, style }, caller, block, |_| waits)
    }
}

hook! {
    fn pthread_join(thread: Ptr, result: Ptr; entry) -> c_int {
        join(thread, Flags::NONE, Posix, entry, || real::pthread_join(thread, result))
    }
}

hook! {
    fn pthread_tryjoin_np(thread: Ptr, result: Ptr; entry) -> c_int {
        join(thread, Flags::TRY, Posix, entry, || real::pthread_tryjoin_np(thread, result))
    }
}

hook! {
    fn pthread_timedjoin_np(thread: Ptr, result: Ptr, until: Ptr; entry) -> c_int {
        join(thread, Flags::TIMED, Posix, entry, || real::pthread_timedjoin_np(thread, result, until))
    }
}

hook! {
    fn pthread_clockjoin_np(thread: Ptr, result: Ptr, clock: Clock, until: Ptr; entry) -> c_int {
        join(thread, Flags::TIMED, Posix, entry, || real::pthread_clockjoin_np(thread, result, clock, until))
    }
}

hook! {
    fn thrd_join(thread: Ptr, result: Ptr; entry) -> c_int {
        join(thread, Flags::NONE, C11, entry, || real::thrd_join(thread, result))
    }
}

/// Starts a thread by the trampoline: `create` is the real call, which is given what to run.
///
/// # Safety
/// The entry is the running hook's.
unsafe fn start(routine: Ptr, argument: Ptr, entry: Entry, create: impl FnOnce(Ptr, Ptr) -> c_int) -> c_int {
    // SAFETY: the entry is the running hook's.
    let Some(started) = (unsafe { threads::announce(routine, argument, entry) }) else {
        return create(routine, argument);
    };
    let answer = create(started.routine, started.argument);
    if answer != 0 {
        started.forget();
    }
    answer
}

hook! {
    fn pthread_create(thread: Ptr, attr: Ptr, routine: Ptr, argument: Ptr; entry) -> c_int {
        start(routine, argument, entry, |routine, argument| real::pthread_create(thread, attr, routine, argument))
    }
}

hook! {
    fn thrd_create(thread: Ptr, routine: Ptr, argument: Ptr; entry) -> c_int {
        start(routine, argument, entry, |routine, argument| real::thrd_create(thread, routine, argument))
    }
}
