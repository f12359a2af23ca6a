//! What the recorder asks of the kernel and of the loader, and small pieces that need nothing else.
//!
//! System calls are made directly: libc's wrappers would change `errno` and may be hooked by others. Of calls that do the
//! same those are made that libc makes: filters allow these first.

pub mod backoff;
pub mod bpf;
#[cfg(lockprof_preload)]
mod builtins;
mod call;
pub mod clock;
pub mod counters;
pub mod environment;
mod files;
pub mod filters;
mod memory;
mod number;
pub mod objects;
pub mod own_stack;
pub mod private;
mod process;
mod raw;
mod signals;
pub mod spin;
pub mod text;
pub mod this_thread;

use core::ffi::c_void;

pub use files::*;
pub use memory::*;
pub use number::{MADV_DONTDUMP, MADV_POPULATE_WRITE, MADV_WIPEONFORK, MAP_ANONYMOUS, MAP_SHARED};
pub use process::*;
pub use signals::*;

/// An address of the program's: a mutex, a thread, a timeout.
pub type Ptr = *mut c_void;

#[cfg(test)]
mod tests {
    use super::{is_mapped, is_readable};

    #[test]
    fn no_address_is_readable_past_the_end_of_memory() {
        for at in [0u64.wrapping_sub(4096), 1 << 63, 0x7fff_ffff_f000, 0] {
            assert!(!is_mapped(at, 4096), "{at:#x}");
            assert!(!is_readable(at, 4096), "{at:#x}");
        }
        assert!(!is_readable(0x1000, u64::MAX));
        let here = 0u64;
        assert!(is_readable((&raw const here).addr() as u64 & !4095, 4096));
    }
}
