//! Keeping signal handlers away.

use super::call::call;
use lockprof_wire::number::*;

/// Keeps signal handlers away until dropped.
pub struct Undisturbed(Option<u64>);

impl Undisturbed {
    pub fn now() -> Self {
        Self(block_signals())
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        restore_signals(self.0);
    }
}

/// Blocks all signals of this thread; gives the mask that was, or nothing where that is forbidden.
pub fn block_signals() -> Option<u64> {
    let (all, mut before) = (u64::MAX, 0u64);
    // SAFETY: the kernel reads and writes a mask of eight bytes.
    (unsafe { call!(RT_SIGPROCMASK, SIG_SETMASK, &raw const all, &raw mut before, 8) } == 0).then_some(before)
}

/// Sets the mask of this thread to what [`block_signals`] gave.
pub fn restore_signals(mask: Option<u64>) {
    if let Some(mask) = mask {
        // SAFETY: the kernel reads a mask of eight bytes.
        unsafe { call!(RT_SIGPROCMASK, SIG_SETMASK, &raw const mask, 0, 8) };
    }
}
