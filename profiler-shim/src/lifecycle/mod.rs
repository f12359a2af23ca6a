//! Beginning and end of the process and of its threads, and what happens to it meanwhile: filters,
//! objects that are closed, programs that are started.

pub mod execs;
pub mod exit;
pub mod filters;
pub mod init;
pub mod objects;
pub mod threads;
