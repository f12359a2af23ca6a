//! The recorder's one inner lock, for what happens rarely: a new stack, a new lock, more room.
//!
//! It gives up after a while: a thread that was cancelled asynchronously inside the recorder would
//! otherwise stop the whole program. Signal handlers never take it (see `state::local::Local`).

use core::sync::atomic::{AtomicU32, Ordering};

/// See the module.
#[repr(transparent)]
pub struct Spin(AtomicU32);

/// Attempts before giving up; the later ones yield, so this is some tenths of a second at least.
const ATTEMPTS: u32 = 200_000;

/// Holds the lock until dropped.
pub struct Guard<'a>(&'a AtomicU32);

impl Spin {
    /// Takes the lock; `None` after [`ATTEMPTS`].
    pub fn lock(&self) -> Option<Guard<'_>> {
        for attempt in 0..ATTEMPTS {
            // Acquire: pairs with the Release store in `drop`.
            if self.0.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(Guard(&self.0));
            }
            if attempt < 100 {
                core::hint::spin_loop();
            } else {
                crate::sys::sched_yield();
            }
        }
        None
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Release: what was done under the lock is seen by the next who takes it.
        self.0.store(0, Ordering::Release);
    }
}
