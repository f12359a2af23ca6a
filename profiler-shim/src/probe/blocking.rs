//! Calls in which a thread may be blocked while it holds locks.

use super::caller::{Caller, Entry, Thread};
use crate::recorder;
use crate::state::local::local;

/// Whether the thread that runs has a record, and holds a lock in it: a first look before its stack is found.
pub fn may_time() -> bool {
    local().is_some_and(|local| local.is_attached() && recorder::holds_any(local))
}

/// A call is about to be made. When, ticks; 0 where it is not recorded.
pub fn begin_call(caller: Caller, call: u32, entry: Entry) -> u64 {
    recorder::begin_call(caller.thread.0, caller.stack, call, entry as u64)
}

/// It returned.
pub fn end_call(thread: Thread, stack: u32, call: u32, since: u64) {
    recorder::end_call(thread.0, stack, call, since);
}

/// The innermost call of the thread that runs was left without a return (cancellation).
pub fn call_left() {
    if let Some(local) = local().filter(|local| local.is_attached()) {
        recorder::call_left(local);
    }
}
