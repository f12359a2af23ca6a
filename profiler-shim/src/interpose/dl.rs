//! Objects that are opened and closed.
//!
//! `dlopen` and `dlmopen` are only looked at before the call goes on as it came: the loader looks at its caller to
//! find libraries. New code is found when a stack first leads into it.

use core::ffi::{c_char, c_int, c_long, c_void};
use core::sync::atomic::Ordering;

use super::plain_hook;
use crate::lifecycle::objects::{closing, opening};
use crate::real::{self, Entry, Ptr, definitions, entry};

plain_hook! {
    fn dlclose(handle: Ptr) -> c_int {
        // SAFETY: the program's own call, handed on.
        closing(|| unsafe { real::dlclose(handle) })
    }
}

/// Exports a hook that only looks at a call.
macro_rules! looking_hook {
    ($name:ident($($arg:ident: $type:ty),*) -> $result:ty) => {
        /// Stands before the function of the same name.
        #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            ::core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "2:",
                "lea r11, [rip + {table} + {entry}]",
                "call {before}",
                "test r11, r11",
                "jz 2b",
                "jmp r11",
                ".cfi_endproc",
                table = sym $crate::real::TABLE,
                entry = const $crate::real::place::$name,
                before = sym $crate::interpose::registers::before_open,
            )
        }
    };
}

looking_hook!(dlopen(file: *const c_char, flags: c_int) -> Ptr);
looking_hook!(dlmopen(namespace: c_long, file: *const c_char, flags: c_int) -> Ptr);

/// Before an object is opened: where the call goes on; null if the hook is to look again.
pub unsafe extern "C" fn before_open(entry: &'static Entry, return_address: u64, arguments: *const u64) -> *mut c_void {
    const DEEPBIND: u64 = 8;
    let at = entry.at.load(Ordering::Relaxed);
    if at.is_null() {
        // SAFETY: the hook's own.
        return unsafe { definitions::resolve_for_call(entry, return_address) };
    }
    // SAFETY: the registers of the call.
    let arguments = unsafe { &*arguments.cast::<[u64; 3]>() };
    let by_namespace = core::ptr::eq(entry, entry!(dlmopen));
    let flags = if by_namespace { arguments[2] } else { arguments[1] };
    opening(by_namespace && arguments[0] != 0, flags & DEEPBIND != 0);
    at
}
