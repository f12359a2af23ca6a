//! Joining threads, and starting them: a thread is attached before its first own instruction, so that its
//! stack's end is known.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

use lockprof_wire::Flags;
use lockprof_wire::lock::kind;

use super::core::{C11, Entry, Posix, Request, Style, caller, operate};
use super::hook;
use crate::process::Process;
use crate::real::{self, Clock, Ptr};
use crate::thread::local_slowly;

unsafe fn join<S: Style + Copy>(
    thread: Ptr,
    flags: u8,
    style: S,
    entry: Entry,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return block() };
        // The "lock" of a join is the thread joined.
        operate(Request { object: thread, kind: kind::JOIN, flags, style }, caller, block, |_| true)
    }
}

hook!(pthread_join(thread: Ptr, result: Ptr) -> c_int, "rdx", plain_join);
unsafe extern "C" fn plain_join(thread: Ptr, result: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { join(thread, 0, Posix, entry, || real::pthread_join(thread, result)) }
}

hook!(pthread_timedjoin_np(thread: Ptr, result: Ptr, until: Ptr) -> c_int, "rcx", timed_join);
unsafe extern "C" fn timed_join(thread: Ptr, result: Ptr, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { join(thread, Flags::TIMED, Posix, entry, || real::pthread_timedjoin_np(thread, result, until)) }
}

hook!(pthread_clockjoin_np(thread: Ptr, result: Ptr, clock: Clock, until: Ptr) -> c_int, "r8", clock_join);
unsafe extern "C" fn clock_join(thread: Ptr, result: Ptr, clock: Clock, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { join(thread, Flags::TIMED, Posix, entry, || real::pthread_clockjoin_np(thread, result, clock, until)) }
}

hook!(thrd_join(thread: Ptr, result: Ptr) -> c_int, "rdx", c11_join);
unsafe extern "C" fn c11_join(thread: Ptr, result: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { join(thread, 0, C11, entry, || real::thrd_join(thread, result)) }
}

hook!(pthread_create(thread: Ptr, attr: Ptr, routine: Ptr, argument: Ptr) -> c_int, "r8", create);
unsafe extern "C" fn create(thread: Ptr, attr: Ptr, routine: Ptr, argument: Ptr, _: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let Some(start) = Start::keep(routine, argument) else {
            return real::pthread_create(thread, attr, routine, argument);
        };
        let answer = real::pthread_create(thread, attr, trampoline as *mut _, start);
        if answer != 0 {
            Start::take(start);
        }
        answer
    }
}

hook!(thrd_create(thread: Ptr, routine: Ptr, argument: Ptr) -> c_int, "rcx", c11_create);
unsafe extern "C" fn c11_create(thread: Ptr, routine: Ptr, argument: Ptr, _: Entry) -> c_int {
    // SAFETY: the program's own call, handed on. An `int` comes back in the same register as a pointer.
    unsafe {
        let Some(start) = Start::keep(routine, argument) else { return real::thrd_create(thread, routine, argument) };
        let answer = real::thrd_create(thread, trampoline as *mut _, start);
        if answer != 0 {
            Start::take(start);
        }
        answer
    }
}

/// The first function of every thread that the program starts: attaches the thread, then goes on as asked.
unsafe extern "C" fn trampoline(start: Ptr) -> Ptr {
    // SAFETY: `start` was made by the creator for this thread alone.
    unsafe {
        let (routine, argument) = Start::take(start);
        let here = 0u64;
        local_slowly(core::ptr::from_ref(&here) as u64 & !7);
        let routine: unsafe extern "C" fn(Ptr) -> Ptr = core::mem::transmute(routine);
        routine(argument)
    }
}

/// What a new thread has to run. Valid when zero: free.
#[repr(C)]
pub struct Start {
    routine: AtomicPtr<c_void>,
    argument: AtomicPtr<c_void>,
}

/// Threads that may be on their way at one time; more are started without the trampoline.
pub const STARTS: usize = 1024;

impl Start {
    /// Keeps the two for a thread that is about to start.
    fn keep(routine: Ptr, argument: Ptr) -> Option<Ptr> {
        let process = Process::get()?;
        let free = |start: &&Self| {
            // Acquire: the thread that freed it has read both.
            start.routine.compare_exchange(core::ptr::null_mut(), routine, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let start = process.starts.iter().find(free)?;
        start.argument.store(argument, Ordering::Relaxed);
        Some(core::ptr::from_ref(start) as Ptr)
    }

    /// Gives the two back and frees the place.
    unsafe fn take(start: Ptr) -> (Ptr, Ptr) {
        // SAFETY: the pointer is from `keep`.
        let start = unsafe { &*start.cast::<Self>() };
        let both = (start.routine.load(Ordering::Relaxed), start.argument.load(Ordering::Relaxed));
        // Release: pairs with the Acquire in `keep`.
        start.routine.store(core::ptr::null_mut(), Ordering::Release);
        both
    }
}
