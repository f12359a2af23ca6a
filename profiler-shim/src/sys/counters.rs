//! Counters that only one thread changes.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Adds to a word that only this thread changes, in one instruction: whole for signal handlers, but
/// without the price of a locked one.
#[inline(always)]
pub fn add_here(word: &AtomicU64, by: u64) {
    // SAFETY: the word is a valid one.
    unsafe {
        core::arch::asm!("add qword ptr [{word}], {by}", word = in(reg) word.as_ptr(), by = in(reg) by,
            options(nostack));
    }
}

/// Adds one, as [`add_here`].
#[inline(always)]
pub fn count_here(word: &AtomicU64) {
    // SAFETY: the word is a valid one.
    unsafe { core::arch::asm!("inc qword ptr [{word}]", word = in(reg) word.as_ptr(), options(nostack)) };
}

/// The same for a word of four bytes.
#[inline(always)]
pub fn count_here_32(word: &AtomicU32) {
    // SAFETY: the word is a valid one.
    unsafe { core::arch::asm!("inc dword ptr [{word}]", word = in(reg) word.as_ptr(), options(nostack)) };
}
