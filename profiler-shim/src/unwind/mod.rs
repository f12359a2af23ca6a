//! Whole call stacks, exactly, at the price of comparing a few words.
//!
//! `walk` finds a stack by the call frame tables and notes every stack word that the answer depended on.
//! `tables::signatures` remembers these words; `capture` compares them at the next acquisition: if all are the same,
//! the unwinder would take the same way and find the same stack. `tables::stacks` numbers the stacks.

pub mod capture;
pub mod cfi;
#[cfg(test)]
mod cfi_tests;
mod cursor;
#[cfg(lockprof_oracle)]
pub mod oracle;
mod row;
pub mod walk;
