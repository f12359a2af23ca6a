//! How the process ends, as far as it says so itself: `exit` runs `on_exit` handlers, `_exit` does not.

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering;

use super::plain_hook;
use crate::process::Process;
use crate::{asleep, real};

/// Asks to be told the code that `exit` is called with. Handlers run in the opposite order: ours is the last.
pub fn watch() {
    // SAFETY: the handler is a function of this library, which is never unloaded.
    unsafe { real::on_exit(at_exit as *mut c_void, core::ptr::null_mut()) };
}

unsafe extern "C" fn at_exit(code: c_int, _: *mut c_void) {
    note(code);
}

fn note(code: c_int) {
    const KNOWN: u32 = 1 << 8;
    asleep::leave();
    if let Some(process) = Process::of_this_process() {
        process.header().exit.store(KNOWN | code as u32 & 0xff, Ordering::Relaxed);
    }
}

plain_hook! {
    fn _exit(code: c_int) {
        note(code);
        // SAFETY: the program's own call, handed on.
        unsafe { real::_exit(code) }
    }
}

plain_hook! {
    fn _Exit(code: c_int) {
        note(code);
        // SAFETY: the program's own call, handed on.
        unsafe { real::_Exit(code) }
    }
}
