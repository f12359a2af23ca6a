//! What a recording means: a [`Session`](crate::model::Session) in, results out.
//!
//! Analyses do not fail and do no I/O: what was cut or could not be told apart is part of the result.

pub mod blame;
pub mod contention;
pub mod diff;
pub mod filter;
pub mod findings;
pub(crate) mod fingerprint;
pub mod groups;
pub mod histograms;
pub mod names;
pub mod order;
pub mod own_wrappers;
pub mod places;
pub mod seen_holds;
#[cfg(test)]
pub(crate) mod testing;
pub mod time_lost;

pub use contention::{Contention, Durations, LockReport, Query, SortKey, lock_name};
pub use filter::{Filter, Glob};

/// Adds to a sum that stays at its greatest value where a broken trace would overflow it.
pub(crate) fn add(sum: &mut u64, value: u64) {
    *sum = sum.saturating_add(value);
}

/// Both results, the first one made on another thread meanwhile.
pub(crate) fn at_once<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}

/// The sum of many, with the same care.
pub(crate) fn sum_of(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}
