//! Waits that a thread is in, innermost last.

use core::sync::atomic::Ordering;

use crate::state::local::Local;

/// The innermost wait was left without an end.
pub unsafe fn leave_wait(local: *mut Local) {
    // SAFETY: the thread is the running one.
    unsafe { leave_waits(local, (*local).waits.load(Ordering::Relaxed).saturating_sub(1)) };
}

/// The thread waits no more but in its outermost `around` waits. Those inside were left without an end (`longjmp`).
pub unsafe fn leave_waits(local: *mut Local, around: u32) {
    // SAFETY: the thread is the running one.
    unsafe {
        let this = &*local;
        if this.is_attached() {
            this.slot().wait_lock.store(0, Ordering::Release);
        }
        for place in (around..this.waits.load(Ordering::Relaxed)).rev() {
            let row = this.waited_for.get(place as usize).map_or(0, |place| place.swap(0, Ordering::Relaxed));
            this.waits.store(place, Ordering::Relaxed);
            if let Some(tables) = this.tables().filter(|_| row != 0) {
                tables.segment.lock(row).waiters.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}
