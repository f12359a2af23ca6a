//! From the wire to the model: live from shared memory, or from a trace file.

pub mod accumulator;
pub mod blame;
pub mod clock;
pub mod collector;
pub mod decode;
pub mod drain;
mod exit;
pub mod file;
pub mod go;
pub mod image;
pub mod import;
mod mapping;
pub mod merge;
mod notes;
pub mod order;
mod owner;
mod plausible;
pub mod polls;
pub mod procfs;
pub mod recent_records;
pub mod reducer;
mod runs;
pub mod segment;
mod site_cache;
mod size;
pub mod tasks;
pub mod watch;
