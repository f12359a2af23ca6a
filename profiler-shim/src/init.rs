//! What happens when the library is loaded.

use crate::hooks;
use crate::process::{self, Process};
use crate::thread::make_key;

/// Run by the loader.
#[cfg(lockprof_preload)]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: unsafe extern "C" fn() = at_load;

/// Attaches the process, unless a constructor that ran before did so already.
pub unsafe extern "C" fn at_load() {
    if Process::may_record() {
        make_key();
        hooks::exit::watch();
        // SAFETY: constructors run before the program's threads.
        unsafe { process::forget_in_children() };
    }
}
