//! The end of the process without handlers.

use core::ffi::c_int;

use super::plain_hook;
use crate::lifecycle::exit::note;
use crate::real;

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
