//! What the recorder asks of the kernel and of the loader, and small pieces that need nothing else.
//!
//! System calls are made directly: libc's wrappers would change `errno` and may be hooked by others. Of calls that do the
//! same those are made that libc makes: filters allow these first.

pub mod backoff;
#[cfg(lockprof_preload)]
mod builtins;
mod call;
pub mod clock;
pub mod counters;
pub mod environment;
mod files;
pub mod filters;
mod memory;
pub mod objects;
pub mod own_stack;
pub mod private;
mod process;
mod raw;
mod signals;
pub mod socket;
pub mod spin;
pub mod text;
pub mod this_thread;

use core::ffi::c_void;

pub use files::*;
pub use lockprof_wire::number::{MADV_DONTDUMP, MADV_POPULATE_WRITE, MADV_WIPEONFORK, MAP_ANONYMOUS, MAP_SHARED};
pub use memory::*;
pub use process::*;
pub use signals::*;

/// An address of the program's: a mutex, a thread, a timeout.
pub type Ptr = *mut c_void;
