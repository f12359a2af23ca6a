//! Operations that block but are not held afterwards: barrier, join, once, semaphore, condition.

use core::ffi::c_int;
use core::sync::atomic::Ordering;

use lockprof_wire::lock::kind;
use lockprof_wire::{Flags, Op, Record};

use super::core::{Caller, Outcome, Request, Style, lock_word};
use super::unwound::wait_in;
use super::wait::{begin_wait, end_wait};
use crate::recorder;
use crate::sys::clock;

/// A blocking operation that is not held afterwards (barrier, join, once, semaphore, condition).
pub unsafe fn operate<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    block: impl FnOnce() -> c_int,
    waited: impl FnOnce(c_int) -> bool,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let word = lock_word(caller, request.object, request.kind);
        let waiting = begin_wait(caller, word, request, false);
        let answer = wait_in(block);
        let duration = clock::now().saturating_sub(waiting.since);
        end_wait(caller, waiting);
        done(caller, word, request, waiting.since, duration, answer, waited(answer));
        answer
    }
}

/// Writes down how an operation ended.
pub unsafe fn done<S: Style>(
    caller: Caller,
    word: u64,
    request: Request<S>,
    since: u64,
    duration: u64,
    answer: c_int,
    waited: bool,
) {
    let outcome = S::outcome(answer);
    let (op, payload) = match outcome {
        Outcome::Acquired => (Op::Done, if waited { duration } else { 0 }),
        Outcome::Busy => (Op::TryFailed, 0),
        Outcome::TimedOut => (Op::TimedOut, duration),
        Outcome::Failed => (Op::Failed, u64::from(answer.unsigned_abs())),
    };
    let flags = request.flags | if waited && op == Op::Done { Flags::CONTENDED } else { 0 };
    let orders = op == Op::Done && matches!(request.kind, kind::JOIN | kind::BARRIER);
    // SAFETY: the caller is the running hook's.
    let extra = match unsafe { (*caller.local).tables() } {
        Some(tables) if request.kind == kind::BARRIER && word as u32 != 0 => {
            u64::from(tables.segment.lock(word as u32).initial.load(Ordering::Relaxed))
        }
        _ => 0,
    };
    let record =
        Record { ticks: since, lock: word as u32, stack: caller.stack, word: Record::pack(op, flags, payload), extra };
    // SAFETY: the caller is the running hook's.
    unsafe { recorder::emit_done(caller.local, record, op == Op::Done, orders) };
}
