//! `lockprof_set_name`: the program's own name for a lock (`lockprof.h`; a weak symbol without the shim).

use core::ffi::{CStr, c_char};

use super::own_function;
use crate::probe::{self, caller};
use crate::sys::Ptr;

own_function! {
    fn lockprof_set_name(lock: Ptr, name: *const c_char; entry) {
        if lock.is_null() || name.is_null() {
            return;
        }
        if let Some(caller) = caller(entry) {
            probe::name(caller, lock as u64, CStr::from_ptr(name).to_bytes());
        }
    }
}
