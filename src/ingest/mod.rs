//! From the wire to the model: live from shared memory, or from a trace file.

pub mod blame;
pub mod clock;
pub mod drain;
mod exit;
pub mod file;
pub mod image;
pub mod import;
pub mod live;
pub mod merge;
pub mod order;
mod runs;
pub mod segment;
pub mod tasks;
pub mod watch;
