//! Calls that may block, while locks are held: which call, under which lock, for how long.
//!
//! A call inside another one (`getaddrinfo` polls) is a part of it. So the outermost one leaves its mark in the slot: where
//! its frame is, and which acquisition was the last one. A mark that was left behind (by `longjmp` out of a signal
//! handler) ends with that hold at the latest.

use core::sync::atomic::Ordering;

use lockprof_wire::record::CALL_LOCKS;
use lockprof_wire::{Flags, HeldEntry, Op, Record};

use super::folds::fold_call;
use super::held::{ENDED, entry_at, live, row_of};
use super::ring::write_where_room;
use crate::state::local::Local;
use crate::sys::clock;

/// Whether the thread holds a lock that a call can be charged to.
pub fn holds_any(local: &Local) -> bool {
    held(local).next().is_some()
}

/// What the thread holds, the last one first: locks with a row, each once.
fn held(local: &Local) -> impl Iterator<Item = &'static HeldEntry> {
    const NOT: u64 = Flags::REENTRY.bits() as u64 | ENDED;
    let depth = local.slot().depth.load(Ordering::Relaxed);
    let entries = (0..depth).rev().filter_map(move |at| entry_at(local, at));
    entries.filter(|entry| live(entry) && row_of(entry) != 0 && entry.flags.load(Ordering::Relaxed) & NOT == 0)
}

/// A call with this number is about to be made from this frame: when, ticks; 0 where it is not recorded.
pub fn begin_call(local: &Local, stack: u32, call: u32, frame: u64) -> u64 {
    let slot = local.slot();
    let Some(last) = held(local).next() else { return 0 };
    let hold = last.ticks.load(Ordering::Relaxed);
    let is_inside = slot.call.load(Ordering::Relaxed) != 0
        && slot.call_hold.load(Ordering::Relaxed) == hold
        && frame < slot.call_frame.load(Ordering::Relaxed);
    if is_inside {
        return 0;
    }
    let since = clock::now();
    slot.call_since.store(since, Ordering::Relaxed);
    slot.call_hold.store(hold, Ordering::Relaxed);
    slot.call_frame.store(frame, Ordering::Relaxed);
    // Release: a reader that sees the call sees the rest.
    slot.call.store(u64::from(call + 1) | u64::from(stack) << 32, Ordering::Release);
    since
}

/// It was left without a return: its thread was cancelled.
pub fn call_left(local: &Local) {
    let call = local.slot().call.load(Ordering::Relaxed);
    if let Some(number) = (call as u32).checked_sub(1) {
        end_call(local, (call >> 32) as u32, number, local.slot().call_since.load(Ordering::Relaxed));
    }
}

/// It returned.
pub fn end_call(local: &Local, stack: u32, call: u32, since: u64) {
    local.slot().call.store(0, Ordering::Release);
    let took = clock::now().saturating_sub(since);
    for entry in held(local).take(CALL_LOCKS) {
        let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
        let taken = (lock_and_stack >> 32) as u32;
        let record = Record {
            ticks: since,
            lock: lock_and_stack as u32,
            stack,
            word: Record::pack(Op::Blocked, Flags::NONE, took),
            extra: u64::from(call) | u64::from(taken) << 32,
        };
        if !write_where_room(local, record) {
            fold_call(local, record, call, taken);
        }
    }
}
