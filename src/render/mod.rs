//! What people and programs get to see: pure functions from a session and its analysis to text or bytes.
//!
//! No I/O, no clock, no environment: colour and width are told by the caller, so the same input gives
//! the same output to the byte.

pub mod check;
pub mod explain;
pub mod export;
pub mod flamegraph;
pub mod frames;
pub mod graph;
pub mod html;
pub mod json;
pub(crate) mod locations;
pub use crate::analysis::names;
pub mod sources;
pub mod style;
pub mod table;
pub mod text;
pub mod units;

#[cfg(test)]
pub(crate) mod golden;
