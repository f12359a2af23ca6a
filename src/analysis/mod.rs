//! What a recording means: a [`Session`](crate::model::Session) in, results out.
//!
//! Analyses do not fail and do no I/O: what was cut or could not be told apart is part of the result.

pub mod blame;
pub mod contention;
pub mod filter;
pub mod groups;
#[cfg(test)]
pub(crate) mod testing;
pub mod wrapper;

pub use contention::{Contention, Durations, LockReport, Query, SortKey};
pub use filter::{Filter, Glob};
