//! What the tests share: fixtures are built, run bare and recorded, and the report is held against their truth.

pub mod browser;
pub mod build;
pub mod go;
pub mod oracle;
pub mod python;
pub mod random;
pub mod raw;
pub mod report;
pub mod run;
pub mod rust;
pub mod server;
pub mod skip;
pub mod skipped;
pub mod story;
pub mod terminal;
pub mod truth;

pub use build::{Build, fixture, kinds};
pub use report::Report;
pub use run::{Outcome, Recording, Target, lockprof};
pub use truth::{verify, verify_varying};
