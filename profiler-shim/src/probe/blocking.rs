//! Calls in which a thread may be blocked while it holds locks: those that the shim sees, and those of the program's own.

use super::caller::{Caller, Entry, Thread};
use crate::recorder;
use crate::state::local::local;
use crate::state::own_locks;
use crate::state::process::attached;
use crate::sys::this_thread::is_vforked;

/// A call that is under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// When it began, ticks; 0: it is not recorded; [`Call::OWN_ONLY`]: not here.
    pub since: u64,
    /// Its stack.
    pub stack: u32,
    /// The recorder of the program's own locks has its beginning.
    pub own: u32,
}

impl Call {
    /// It is not recorded.
    pub const NONE: Self = Self { since: 0, stack: 0, own: 0 };
    const OWN_ONLY: u64 = 1;
}

/// Whether the thread that runs holds a lock, and has a record or may get one: a first look before its stack is found. A
/// child between fork and exec has neither.
pub fn may_time() -> bool {
    match local().filter(|local| local.is_attached()) {
        Some(local) => recorder::holds_any(local) || own_locks::holds_any(),
        None => own_locks::holds_any() && attached().is_some() && !is_vforked(),
    }
}

/// A call is about to be made.
pub fn begin_call(caller: Caller, call: u32, entry: Entry) -> Call {
    let own = own_locks::holds_any();
    if own {
        own_locks::begin_call(call, caller.stack);
    }
    let since = recorder::begin_call(caller.thread.0, caller.stack, call, entry as u64);
    let since = if since == 0 && own { Call::OWN_ONLY } else { since };
    Call { since, stack: caller.stack, own: own.into() }
}

/// It returned.
pub fn end_call(thread: Thread, call: u32, begun: Call) {
    if begun.own != 0 {
        own_locks::end_call(call, begun.stack);
    }
    if begun.since != Call::OWN_ONLY {
        recorder::end_call(thread.0, begun.stack, call, begun.since);
    }
}

/// The innermost call of the thread that runs was left without a return (cancellation).
pub fn call_left() {
    if let Some(local) = local().filter(|local| local.is_attached()) {
        if own_locks::holds_any() {
            own_locks::end_call(0, 0);
        }
        recorder::call_left(local);
    }
}
