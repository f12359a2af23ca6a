//! What the real functions answer, and what that means.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use crate::real;
use crate::sys::Ptr;

pub const EBUSY: c_int = 16;
pub const EDEADLK: c_int = 35;
pub const ETIMEDOUT: c_int = 110;
pub const EOWNERDEAD: c_int = 130;

/// What a real function's answer means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Acquired,
    Busy,
    TimedOut,
    Failed,
}

/// How a family of functions answers.
pub trait Style {
    /// What an answer means.
    fn outcome(answer: c_int) -> Outcome;
}

/// `pthread_*`: an error number.
#[derive(Clone, Copy)]
pub struct Posix;

impl Style for Posix {
    fn outcome(answer: c_int) -> Outcome {
        match answer {
            0 | EOWNERDEAD => Outcome::Acquired,
            EBUSY => Outcome::Busy,
            ETIMEDOUT => Outcome::TimedOut,
            _ => Outcome::Failed,
        }
    }
}

/// C11's functions: glibc's `thrd_success`, `thrd_busy`, `thrd_error`, `thrd_nomem`, `thrd_timedout`.
#[derive(Clone, Copy)]
pub struct C11;

impl Style for C11 {
    fn outcome(answer: c_int) -> Outcome {
        match answer {
            0 => Outcome::Acquired,
            1 => Outcome::Busy,
            4 => Outcome::TimedOut,
            _ => Outcome::Failed,
        }
    }
}

/// A request for a lock. Small enough to stay in registers on the hot path.
#[derive(Clone, Copy)]
pub struct Request<S> {
    pub object: Ptr,
    pub kind: Kind,
    /// `Flags::SHARED`, `Flags::TIMED`.
    pub flags: Flags,
    /// How its functions answer.
    #[allow(dead_code, reason = "its type alone says it")]
    pub style: S,
}

/// Reads `errno`.
pub fn errno() -> c_int {
    // SAFETY: libc's function has no preconditions, and its answer is this thread's.
    unsafe { *real::__errno_location() }
}

/// Writes `errno`.
pub fn set_errno(value: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *real::__errno_location() = value };
}
