//! Giving a lock back: the record is written after the real release.

use lockprof_wire::{Flags, Kind};

use super::caller::{Caller, Thread};
use super::locks::{Lock, LockTraits, LockWord};
use crate::recorder;
pub use crate::recorder::Held;
use crate::state::local::PendingWait;

/// The thread's latest acquisition of the lock at this address that is still held.
#[inline(always)]
pub fn held(thread: Thread, address: u64) -> Option<Held> {
    recorder::find_held(thread.0, address)
}

/// The same where it is all that the thread holds.
#[inline(always)]
pub fn only_held(thread: Thread, address: u64) -> Option<Held> {
    recorder::only_held(thread.0, address)
}

/// An acquisition is about to be given back. Gives what to [`end_release`] with.
#[inline(always)]
pub fn begin_release(thread: Thread, held: Held) -> u64 {
    recorder::begin_release(thread.0, held)
}

/// It was given back; its hold ended at `now`.
#[inline(always)]
pub fn released(thread: Thread, held: Held, now: u64) {
    recorder::release(thread.0, held, now, Flags::NONE);
}

/// The release is over, and written down if it was one.
#[inline(always)]
pub fn end_release(thread: Thread, outer: u64) {
    recorder::end_release(thread.0, outer);
}

/// Where a wait on a condition was cancelled, it took this mutex again before the clean-up handlers ran: who took it, and
/// the lock. Asked once.
pub fn cancelled_wait(thread: Thread, address: u64) -> Option<(Caller, Lock)> {
    let pending = thread.0.pending.get();
    if address == 0 || pending.mutex != address {
        return None;
    }
    thread.0.pending.set(PendingWait { mutex: 0, ..pending });
    Some((
        Caller { thread, stack: pending.stack },
        Lock { address, word: LockWord::new(pending.mutex_lock, Kind::Mutex, LockTraits::NONE) },
    ))
}
