//! The guard of a static variable in C++, in the first four bytes of its eight.
//!
//! The ABI of C++ (Itanium) fixes the first byte only; the rest is that of GNU's library.

/// The variable is there.
pub const READY: u32 = 1;
/// A thread initialises it.
pub const PENDING: u32 = 0x100;
/// Other threads wait for that.
pub const WAITED_FOR: u32 = 0x1_0000;

/// Whether the variable is there, by the guard's first byte or by its first word.
#[inline(always)]
pub const fn is_ready(word: u32) -> bool {
    word & READY != 0
}
