//! Waits that a thread is in, innermost last.

use core::sync::atomic::Ordering;

use crate::state::local::Local;

/// The innermost wait was left without an end.
pub fn leave_wait(local: &Local) {
    leave_waits(local, local.waits.load(Ordering::Relaxed).saturating_sub(1));
}

/// The thread waits no more but in its outermost `around` waits. Those inside were left without an end (`longjmp`).
pub fn leave_waits(local: &Local, around: u32) {
    if local.is_attached() {
        local.slot().wait_lock.store(0, Ordering::Release);
    }
    for place in (around..local.waits.load(Ordering::Relaxed)).rev() {
        let row = local.waited_for.get(place as usize).map_or(0, |place| place.swap(0, Ordering::Relaxed));
        local.waits.store(place, Ordering::Relaxed);
        if let Some(tables) = local.tables().filter(|_| row != 0) {
            tables.segment.lock(row).waiters.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
