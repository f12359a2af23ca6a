//! How a request for a lock ended.

use lockprof_wire::{Flags, Op, Record};

use super::caller::Caller;
use super::locks::Lock;
use super::wait::Waiting;
use crate::recorder::{self, Wait};

/// The caller has the lock, and did not wait for it. `ticks`: when.
#[inline(always)]
pub fn acquired(caller: Caller, lock: Lock, flags: Flags, ticks: u64) {
    recorder::push(caller.thread.0, lock.address, lock.row(), caller.stack, flags, ticks);
}

/// The caller has the lock after a wait that ended at `now`.
pub fn acquired_after(caller: Caller, lock: Lock, flags: Flags, waiting: Waiting, now: u64) {
    let wait = Wait { duration: now.saturating_sub(waiting.since), holder: waiting.holder };
    recorder::push_contended(caller.thread.0, lock.address, lock.row(), caller.stack, flags, now, wait);
}

/// The caller has a lock again that a wait on a condition took back.
pub fn acquired_again(caller: Caller, lock: Lock, now: u64) {
    acquired(caller, lock, Flags::REACQUIRED, now);
}

/// A wait on a condition was refused and never gave the lock back: the old hold goes on.
pub fn hold_goes_on(caller: Caller, lock: Lock, now: u64) {
    acquired(caller, lock, Flags::CONTINUED, now);
    recorder::not_an_acquisition(caller.thread.0);
}

/// A try did not get the lock.
pub fn try_failed(caller: Caller, lock: Lock, flags: Flags, now: u64) {
    write(caller, lock, Op::TryFailed, flags.with(Flags::TRY), now, 0);
}

/// A wait with a limit ended at `now` without the lock.
pub fn timed_out(caller: Caller, lock: Lock, flags: Flags, waiting: Waiting, now: u64) {
    write(caller, lock, Op::TimedOut, flags, waiting.since, now.saturating_sub(waiting.since));
}

/// The request was refused with this error.
#[cold]
pub fn failed(caller: Caller, lock: Lock, flags: Flags, error: u32, now: u64) {
    write(caller, lock, Op::Failed, flags, now, u64::from(error));
}

/// A semaphore is posted, or a condition signalled.
pub fn posted(caller: Caller, lock: Lock, now: u64) {
    write(caller, lock, Op::Posted, Flags::NONE, now, 0);
}

/// A robust mutex is about to be noted as taken whose owner ended: whatever that thread did came before.
#[cold]
pub fn owner_died(caller: Caller, lock: Lock, now: u64) {
    let record = record(caller, lock, Op::OwnerDied, Flags::NONE, now, 0);
    recorder::write_order_mark(caller.thread.0, record);
}

/// Writes a record that is no acquisition.
#[cold]
#[inline(never)]
fn write(caller: Caller, lock: Lock, op: Op, flags: Flags, ticks: u64, payload: u64) {
    recorder::emit(caller.thread.0, record(caller, lock, op, flags, ticks, payload));
}

fn record(caller: Caller, lock: Lock, op: Op, flags: Flags, ticks: u64, payload: u64) -> Record {
    Record { ticks, lock: lock.row(), stack: caller.stack, word: Record::pack(op, flags, payload), extra: 0 }
}

/// A thread is about to be created: `token` stands for it until it runs.
pub fn creates_thread(caller: Caller, token: u32, now: u64) {
    let word = Record::pack(Op::Created, Flags::NONE, 0);
    let record = Record { ticks: now, lock: 0, stack: caller.stack, word, extra: u64::from(token) };
    recorder::write_order_mark(caller.thread.0, record);
}

/// Something that orders threads could not be noted.
#[cold]
pub fn order_lost() {
    recorder::order_cut();
}
