//! Semaphores, unnamed and named.

use core::ffi::{c_char, c_int, c_uint};

use lockprof_wire::Flags;
use lockprof_wire::lock::kind;

use super::core::{
    Entry, Outcome, Request, caller, destroyed, done, errno, initialised, lock_word, operate, set_errno,
};
use super::{hook, plain_hook};
use crate::clock;
use crate::real::{self, Clock, Ptr};

const EAGAIN: c_int = 11;

/// Answers are 0 or -1 with `errno`; here they are taken as 0 or the error number.
fn outcome(error: c_int) -> Outcome {
    match error {
        0 => Outcome::Acquired,
        EAGAIN => Outcome::Busy,
        super::core::ETIMEDOUT => Outcome::TimedOut,
        _ => Outcome::Failed,
    }
}

fn request(sem: Ptr, flags: u8) -> Request {
    Request { object: sem, kind: kind::SEMAPHORE, flags, outcome }
}

/// 0 or the error number.
unsafe fn error_of(answer: c_int) -> c_int {
    // SAFETY: `errno` is the call's that just failed.
    if answer == 0 { 0 } else { unsafe { errno() } }
}

/// Waits: tries first, as only a try tells whether it has to.
unsafe fn wait(sem: Ptr, flags: u8, entry: Entry, block: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return block() };
        if !crate::process::exact() {
            let before = errno();
            let word = lock_word(caller, sem, kind::SEMAPHORE);
            if real::sem_trywait(sem) == 0 {
                done(caller, word, request(sem, flags), clock::now(), 0, 0, false);
                return 0;
            }
            set_errno(before);
        }
        let mut answer = 0;
        operate(
            request(sem, flags),
            caller,
            || {
                answer = block();
                error_of(answer)
            },
            |_| true,
        );
        answer
    }
}

hook!(sem_wait(sem: Ptr) -> c_int, "rsi", plain_wait);
unsafe extern "C" fn plain_wait(sem: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(sem, 0, entry, || real::sem_wait(sem)) }
}

hook!(sem_timedwait(sem: Ptr, until: Ptr) -> c_int, "rdx", timed_wait);
unsafe extern "C" fn timed_wait(sem: Ptr, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(sem, Flags::TIMED, entry, || real::sem_timedwait(sem, until)) }
}

hook!(sem_clockwait(sem: Ptr, clock: Clock, until: Ptr) -> c_int, "rcx", clock_wait);
unsafe extern "C" fn clock_wait(sem: Ptr, clock: Clock, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(sem, Flags::TIMED, entry, || real::sem_clockwait(sem, clock, until)) }
}

hook!(sem_trywait(sem: Ptr) -> c_int, "rsi", try_wait);
unsafe extern "C" fn try_wait(sem: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let Some(caller) = caller(entry) else { return real::sem_trywait(sem) };
        let word = lock_word(caller, sem, kind::SEMAPHORE);
        let answer = real::sem_trywait(sem);
        done(caller, word, request(sem, Flags::TRY), clock::now(), 0, error_of(answer), false);
        answer
    }
}

hook!(sem_init(sem: Ptr, shared: c_int, value: c_uint) -> c_int, "rcx", init);
unsafe extern "C" fn init(sem: Ptr, shared: c_int, value: c_uint, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::sem_init(sem, shared, value);
        if answer == 0 {
            initialised(sem, kind::SEMAPHORE, entry);
        }
        answer
    }
}

hook!(sem_open(name: *const c_char, flags: c_int, mode: c_uint, value: c_uint) -> Ptr, "r8", open);
unsafe extern "C" fn open(name: *const c_char, flags: c_int, mode: c_uint, value: c_uint, entry: Entry) -> Ptr {
    // `sem_open` is variadic: what the program did not pass is ignored by the real function as well.
    // SAFETY: the program's own call, handed on.
    unsafe {
        let sem = real::sem_open(name, flags, mode, value);
        if !sem.is_null()
            && let Some(caller) = caller(entry)
        {
            // Opening a name twice gives the same address: not a new one then.
            lock_word(caller, sem, kind::SEMAPHORE);
        }
        sem
    }
}

plain_hook! {
    fn sem_destroy(sem: Ptr) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe {
            let answer = real::sem_destroy(sem);
            if answer == 0 {
                destroyed(sem);
            }
            answer
        }
    }
}
