//! lockprof: a lock contention profiler and lock-ordering analyzer for Linux.
//!
//! Data goes one way: the program → hooks → recorder → wire ring → [`ingest`] → [`model`] →
//! [`analysis`] → [`render`] → the person. `docs/ARCHITECTURE.md` tells it in words.

pub mod analysis;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod exit_code;
pub mod gate;
pub mod ingest;
pub mod live;
pub mod look;
pub mod model;
pub mod otlp;
pub mod pprof;
pub mod record;
pub mod render;
pub mod safe_file;
pub mod sites;
pub mod symbols;
pub mod tui;

#[cfg(test)]
#[path = "../tests/util/skipped.rs"]
mod skipped;
