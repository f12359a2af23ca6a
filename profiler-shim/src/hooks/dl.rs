//! Objects that are opened and closed.
//!
//! `dlclose`: code goes away, and with it what was remembered of it. Another thread may open something else in the
//! same place at once. So everybody forgets before the call, and remembers nothing of what can go until it is over
//! (`unwind::modules`).
//!
//! `dlopen` and `dlmopen` are only looked at before the call goes on as it came: the loader looks at its caller to
//! find libraries. New code is found when a stack first leads into it.

use core::ffi::{c_char, c_int, c_long, c_void};
use core::sync::atomic::Ordering;

use lockprof_wire::layout::note;

use super::plain_hook;
use crate::process::Process;
use crate::real::{self, Entry, Ptr, entry};
use crate::sys::Undisturbed;
use crate::thread::forget_code;
use crate::{definitions, lookups};

plain_hook! {
    fn dlclose(handle: Ptr) -> c_int {
        let Some(process) = Process::attached() else {
            // SAFETY: the program's own call, handed on.
            return unsafe { real::dlclose(handle) };
        };
        process.modules.begin_closing();
        forget_code(process);
        // SAFETY: as above.
        let answer = unsafe { real::dlclose(handle) };
        {
            // A signal handler that locks would wait for the inner lock for ever.
            let _undisturbed = Undisturbed::now();
            if let Some(_guard) = process.making.lock() {
                process.modules.forget_unloaded(process);
            }
        }
        process.modules.end_closing();
        answer
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
                before = sym $crate::hooks::registers::before_open,
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
    if let Some(process) = Process::attached() {
        // SAFETY: the registers of the call.
        let arguments = unsafe { &*arguments.cast::<[u64; 3]>() };
        let is_new_namespace = core::ptr::eq(entry, entry!(dlmopen)) && arguments[0] != 0;
        let flags = if core::ptr::eq(entry, entry!(dlmopen)) { arguments[2] } else { arguments[1] };
        if is_new_namespace {
            process.note(note::NAMESPACE);
        } else if flags & DEEPBIND != 0 && lookups::some_pass() {
            process.note(note::DEEPBIND);
        }
    }
    at
}
