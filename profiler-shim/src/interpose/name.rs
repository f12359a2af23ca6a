//! `lockprof_set_name`: the program's own name for a lock (`lockprof.h`; a weak symbol without the shim).

use core::ffi::{CStr, c_char};

use lockprof_wire::lock::kind;

use super::core::{Entry, caller};
use super::own_function;
use crate::state::local::Local;
use crate::sys::Ptr;

own_function!(lockprof_set_name(lock: Ptr, name: *const c_char), "rdx", set_name);
unsafe extern "C" fn set_name(lock: Ptr, name: *const c_char, entry: Entry) {
    // SAFETY: the program passes the address of a lock and a string.
    unsafe {
        if lock.is_null() || name.is_null() {
            return;
        }
        let Some(caller) = caller(entry) else { return };
        let Some(tables) = (*caller.local).tables() else { return };
        let known = tables
            .addresses
            .find(lock as u64)
            .map_or(0, |found| found.lock.load(core::sync::atomic::Ordering::Relaxed));
        let kind = if known as u32 == 0 { kind::MUTEX } else { (known >> 32) as u8 };
        Local::rarely(caller.local, || {
            tables.name_lock(lock as u64, kind, caller.stack, CStr::from_ptr(name).to_bytes());
        });
    }
}
