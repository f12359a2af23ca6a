//! Joining threads, and starting them: a thread is attached before its first own instruction, so that its
//! stack's end is known.

use core::ffi::c_int;
use core::sync::atomic::Ordering;

use lockprof_wire::Flags;
use lockprof_wire::lock::kind;

use super::acquire::past;
use super::hook;
use super::operate::operate;
use super::outcome::{C11, Posix, Request, Style};
use crate::probe;
use crate::probe::{Entry, caller};
use crate::real::{self, Clock, Ptr};
use crate::recorder::threads::local_of_new;
use crate::state::attach;
use crate::state::starts::{Start, Taken};
use crate::sys::{clock, filters};

unsafe fn join<S: Style + Copy>(
    thread: Ptr,
    flags: u8,
    style: S,
    entry: Entry,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<S>(block()) };
        // The "lock" of a join is the thread joined.
        let waits = flags & Flags::TRY == 0;
        operate(Request { object: thread, kind: kind::JOIN, flags, style }, caller, block, |_| waits)
    }
}

hook! {
    fn pthread_join(thread: Ptr, result: Ptr; entry) -> c_int {
        join(thread, 0, Posix, entry, || real::pthread_join(thread, result))
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
        join(thread, 0, C11, entry, || real::thrd_join(thread, result))
    }
}

/// Starts a thread by the trampoline: `create` is the real call, which is given what to run; `without` makes
/// it with what the program gave.
unsafe fn start(
    routine: Ptr,
    argument: Ptr,
    entry: Entry,
    create: impl FnOnce(Ptr, Ptr) -> c_int,
    without: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(process) = attach::get() else {
            filters::share();
            return without();
        };
        // Nobody waits for 0: it says that a thread was not announced.
        let token = process.tokens.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        let Some(start) = Start::keep(&process.starts, routine, argument, token) else {
            probe::order_lost();
            filters::share();
            return without();
        };
        announce(entry, token);
        let answer = create(trampoline as *mut _, start);
        if answer != 0 {
            Start::take(start);
        }
        answer
    }
}

/// Notes that this thread is about to create another one.
unsafe fn announce(entry: Entry, token: u32) {
    // SAFETY: the entry is the running hook's.
    match unsafe { caller(entry) } {
        Some(caller) => probe::creates_thread(caller, token, clock::now()),
        None => probe::order_lost(),
    }
}

hook! {
    fn pthread_create(thread: Ptr, attr: Ptr, routine: Ptr, argument: Ptr; entry) -> c_int {
        start(
            routine,
            argument,
            entry,
            |routine, argument| real::pthread_create(thread, attr, routine, argument),
            || real::pthread_create(thread, attr, routine, argument),
        )
    }
}

hook! {
    fn thrd_create(thread: Ptr, routine: Ptr, argument: Ptr; entry) -> c_int {
        start(
            routine,
            argument,
            entry,
            |routine, argument| real::thrd_create(thread, routine, argument),
            || real::thrd_create(thread, routine, argument),
        )
    }
}

/// The first function of every thread that the program starts: attaches the thread, then goes on as asked.
unsafe extern "C" fn trampoline(start: Ptr) -> Ptr {
    // SAFETY: `start` was made by the creator for this thread alone.
    unsafe {
        let Taken { routine, argument, token, forbidden } = Start::take(start);
        filters::inherit(forbidden);
        let here = 0u64;
        local_of_new(core::ptr::from_ref(&here) as u64 & !7, token);
        let routine: unsafe extern "C" fn(Ptr) -> Ptr = core::mem::transmute(routine);
        routine(argument)
    }
}
