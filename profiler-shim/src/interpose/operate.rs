//! Operations that block but are not held afterwards: barrier, join, once, semaphore, condition.

use core::ffi::c_int;

use super::objects::lock_of;
use super::outcome::{Outcome, Request, Style};
use super::unwound::wait_in;
use crate::probe::{self, Caller, Lock, Operation};
use crate::sys::clock;

/// Makes the real call of an operation; `waited` says of its answer whether it had to wait.
///
/// # Safety
/// The object is one of the request's kind.
pub unsafe fn operate<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    block: impl FnOnce() -> c_int,
    waited: impl FnOnce(c_int) -> bool,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        let lock = lock_of(caller, request.object, request.kind);
        let waiting = probe::begin_wait(caller, lock, request.flags, None);
        let answer = wait_in(block);
        let duration = clock::now().saturating_sub(waiting.since);
        probe::end_wait(caller.thread, waiting);
        done(caller, lock, request, waiting.since, duration, answer, waited(answer));
        answer
    }
}

/// Writes down how an operation ended.
pub fn done<S: Style>(
    caller: Caller,
    lock: Lock,
    request: Request<S>,
    since: u64,
    duration: u64,
    answer: c_int,
    waited: bool,
) {
    let how = match S::outcome(answer) {
        Outcome::Acquired => Operation::Done { waited },
        Outcome::Busy => Operation::TryFailed,
        Outcome::TimedOut => Operation::TimedOut,
        Outcome::Failed => Operation::Failed(answer.unsigned_abs()),
    };
    probe::operation_done(caller, lock, request.kind, request.flags, since, duration, how);
}
