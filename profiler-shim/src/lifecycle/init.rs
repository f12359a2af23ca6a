//! What happens when the library is loaded.

use super::exit;
use crate::recorder::threads::make_key;
use crate::state::attach;

/// Run by the loader.
#[cfg(lockprof_preload)]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: unsafe extern "C" fn() = at_load;

/// Attaches the process, unless a constructor that ran before did so already.
pub unsafe extern "C" fn at_load() {
    if attach::may_record() {
        make_key();
        exit::watch();
        // SAFETY: constructors run before the program's threads.
        unsafe { attach::forget_in_children() };
    }
}
