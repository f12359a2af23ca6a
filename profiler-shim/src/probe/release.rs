//! Giving a lock back: the record is written after the real release.

use super::caller::{Caller, Thread};
use super::locks::Lock;
use crate::recorder;
pub use crate::recorder::Held;

/// The thread's latest acquisition of the lock at this address that is still held.
#[inline(always)]
pub fn held(thread: Thread, address: u64) -> Option<Held> {
    // SAFETY: the thread is the running one.
    unsafe { recorder::find_held(thread.0, address) }
}

/// An acquisition is about to be given back. Gives what to [`end_release`] with.
#[inline(always)]
pub fn begin_release(thread: Thread, held: Held) -> u64 {
    // SAFETY: the thread is the running one.
    unsafe { recorder::begin_release(thread.0, held) }
}

/// It was given back; its hold ended at `now`.
#[inline(always)]
pub fn released(thread: Thread, held: Held, now: u64) {
    // SAFETY: the thread is the running one.
    unsafe { recorder::release(thread.0, held, now, 0) };
}

/// The release is over, and written down if it was one.
#[inline(always)]
pub fn end_release(thread: Thread, outer: u64) {
    // SAFETY: the thread is the running one.
    unsafe { recorder::end_release(thread.0, outer) };
}

/// Where a wait on a condition was cancelled, it took this mutex again before the clean-up handlers ran: who took it, and
/// the lock. Asked once.
pub fn cancelled_wait(thread: Thread, address: u64) -> Option<(Caller, Lock)> {
    // SAFETY: the thread is the running one.
    let pending = unsafe { &mut (*thread.0).pending };
    if address == 0 || pending.mutex != address {
        return None;
    }
    pending.mutex = 0;
    Some((Caller { thread, stack: pending.stack }, Lock { address, word: u64::from(pending.mutex_lock) }))
}
