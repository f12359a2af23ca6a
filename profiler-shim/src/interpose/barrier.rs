//! `pthread_barrier_*`.

use core::ffi::{c_int, c_uint};

use lockprof_wire::lock::kind;

use super::core::{Entry, Outcome, Request, Style, caller, destroyed, initialised, past};
use super::hook;
use super::operate::operate;
use crate::real::{self, Ptr};

/// One thread of each round is told `PTHREAD_BARRIER_SERIAL_THREAD`.
const SERIAL_THREAD: c_int = -1;

#[derive(Clone, Copy)]
struct Barrier;

impl Style for Barrier {
    fn outcome(answer: c_int) -> Outcome {
        if matches!(answer, 0 | SERIAL_THREAD) { Outcome::Acquired } else { Outcome::Failed }
    }
}

hook!(pthread_barrier_wait(barrier: Ptr) -> c_int, "rsi", wait);
unsafe extern "C" fn wait(barrier: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<Barrier>(real::pthread_barrier_wait(barrier)) };
        let request = Request { object: barrier, kind: kind::BARRIER, flags: 0, style: Barrier };
        operate(request, caller, || real::pthread_barrier_wait(barrier), |_| true)
    }
}

hook!(pthread_barrier_init(barrier: Ptr, attr: Ptr, count: c_uint) -> c_int, "rcx", init);
unsafe extern "C" fn init(barrier: Ptr, attr: Ptr, count: c_uint, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_barrier_init(barrier, attr, count);
        if answer == 0 {
            initialised(barrier, kind::BARRIER, 0, count, entry);
        }
        answer
    }
}

hook!(pthread_barrier_destroy(barrier: Ptr) -> c_int, "rsi", destroy);
unsafe extern "C" fn destroy(barrier: Ptr, _: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_barrier_destroy(barrier);
        if answer == 0 {
            destroyed(barrier);
        }
        answer
    }
}
