//! From the wire to the model: live from shared memory, or from a trace file.

pub mod blame;
pub mod clock;
pub mod drain;
mod exit;
pub mod file;
pub mod image;
pub mod import;
mod likely;
pub mod live;
mod mapping;
pub mod merge;
pub mod order;
mod owner;
pub mod procfs;
mod runs;
pub mod segment;
mod size;
pub mod tasks;
pub mod watch;
