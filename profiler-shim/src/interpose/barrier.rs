//! `pthread_barrier_*`.

use core::ffi::{c_int, c_uint};

use lockprof_wire::{Flags, Kind};

use super::acquire::past;
use super::objects::initialise;
use super::operate::operate;
use super::outcome::{Outcome, Request, Style};
use super::{forgetting_hook, hook};
use crate::probe::{LockTraits, caller};
use crate::real::{self, Ptr};

/// One thread of each round gets `PTHREAD_BARRIER_SERIAL_THREAD`.
const SERIAL_THREAD: c_int = -1;

#[derive(Clone, Copy)]
struct Barrier;

impl Style for Barrier {
    fn outcome(answer: c_int) -> Outcome {
        if matches!(answer, 0 | SERIAL_THREAD) { Outcome::Acquired } else { Outcome::Failed }
    }
}

hook! {
    fn pthread_barrier_wait(barrier: Ptr; entry) -> c_int {
        let Some(caller) = caller(entry) else { return past::<Barrier>(real::pthread_barrier_wait(barrier)) };
        let request = Request { object: barrier, kind: Kind::Barrier, flags: Flags::NONE, style: Barrier };
        operate(request, caller, || real::pthread_barrier_wait(barrier), |_| true)
    }
}

hook! {
    fn pthread_barrier_init(barrier: Ptr, attr: Ptr, count: c_uint; entry) -> c_int {
        initialise(barrier, Kind::Barrier, LockTraits::NONE, count, entry, || real::pthread_barrier_init(barrier, attr, count))
    }
}

forgetting_hook!(fn pthread_barrier_destroy(barrier: Ptr));
