//! The recorder's only door: whoever sees what a program does with its locks says so here.
//!
//! An acquisition is reported as it happens: who asks ([`Caller`]), for which lock ([`Lock`]), and then one of
//! [`acquired`], [`begin_wait`] with [`acquired_after`], [`timed_out`], [`refused`]; its end by [`begin_release`] and
//! [`released`]. What comes in is plain data: nothing here calls a function of the program's, or knows how a C library
//! lays out its locks. What a lock's own words say is given as a [`LockState`](lockprof_wire::lock_layout::LockState).
//!
//! The functions take the thread as a value. Its owner is whoever runs now, so each of them may be called by that
//! thread only.

mod acquisition;
mod blocking;
mod caller;
mod locks;
mod misuse;
mod operation;
mod release;
mod wait;

/// Whether `--exact` was asked for: never try first.
pub use crate::state::attach::exact;
pub use acquisition::{
    acquired, acquired_after, acquired_again, creates_thread, failed, hold_goes_on, order_lost, owner_died, posted,
    timed_out, try_failed,
};
pub use blocking::{Call, begin_call, call_left, end_call, may_time};
pub use caller::{Caller, Entry, Thread, caller, hot_caller, hot_thread, not_recorded, thread};
pub use locks::{
    FirstUse, Lock, LockTraits, destroyed, find_or_make, initialised, is_reentry, known, lock_destroyed, name, named,
    not_a_lock, not_destroyed, renewed,
};
pub use misuse::{before_destroy, before_release, refused_to_owner};
pub use operation::{Operation, operation_done};
pub use release::{Held, begin_release, cancelled_wait, end_release, held, only_held, released};
pub use wait::{Waiting, begin_wait, end_wait, left_without_end, take_pending, with_pending};
