//! Go: what a Go program's own tables say of its code, from 1.18 on. They are in every Go program, stripped ones too, since
//! the runtime needs them for its tracebacks.

pub mod goroutines;
pub mod layout;
mod operations;
pub mod pclntab;
pub mod pcvalue;
pub mod plan;
pub mod recipe;
pub mod recorder;
pub mod runtime;
pub mod sites;
mod tables;
pub mod trampoline;
mod version;

pub use tables::TablesError;
pub use version::version;
