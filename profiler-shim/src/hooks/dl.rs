//! `dlclose`: code goes away, and with it what was remembered of it. (`dlopen` is not hooked: the loader
//! looks at its caller to find libraries; new code is found when a stack first leads into it.)

use core::ffi::c_int;

use super::plain_hook;
use crate::process::Process;
use crate::real::{self, Ptr};
use crate::sys::Undisturbed;
use crate::thread::forget_code;

plain_hook! {
    fn dlclose(handle: Ptr) -> c_int {
        // SAFETY: the program's own call, handed on.
        let answer = unsafe { real::dlclose(handle) };
        if let Some(process) = Process::attached() {
            // A signal handler that locks would wait for the inner lock for ever.
            let _undisturbed = Undisturbed::now();
            if let Some(_guard) = process.making.lock() {
                process.modules.forget_unloaded(|start, end| process.forget_locks_within(start, end));
                process.shapes.forget(|stack| process.is_stale(stack));
                forget_code(process);
            }
        }
        answer
    }
}
