//! How the process ends, as far as it says so itself: `exit` runs `on_exit` handlers, `_exit` does not.

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering;

use crate::real;
use crate::state::dormant;
use crate::state::process::{apart, of_this_process};

/// Asks for the code that `exit` is called with. Handlers run in the opposite order: ours is the last.
pub fn watch() {
    // SAFETY: the handler is a function of this library, which is never unloaded.
    unsafe { real::on_exit(at_exit as *mut c_void, core::ptr::null_mut()) };
}

unsafe extern "C" fn at_exit(code: c_int, _: *mut c_void) {
    note(code);
}

/// Notes the code that the process ends with.
pub fn note(code: c_int) {
    const KNOWN: u32 = 1 << 8;
    if dormant::is_asleep() {
        apart(leave_nothing);
    }
    if let Some(process) = of_this_process() {
        process.tables.header().exit.store(KNOWN | code as u32 & 0xff, Ordering::Relaxed);
    }
}

/// Nobody will wake this process any more. Of one that is awake, the recording's reader removes what is left.
fn leave_nothing() {
    if let Some(process) = of_this_process() {
        process.tables.segment.remove_file();
    }
    dormant::remove_page();
}
