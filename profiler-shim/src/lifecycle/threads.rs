//! Starting threads: a thread is attached before its first own instruction, so that its stack's end is known, and its
//! creator is known to it.

use core::sync::atomic::Ordering;

use crate::probe::{self, Entry, caller};
use crate::recorder::threads::local_of_new;
use crate::state::attach;
use crate::state::starts::{Start, Taken};
use crate::sys::{Ptr, clock, filters};

/// What is to be started in place of the program's own function.
pub struct Started {
    pub routine: Ptr,
    pub argument: Ptr,
}

impl Started {
    /// No thread was started with it.
    pub fn forget(self) {
        // SAFETY: it was made by `announce`, and nobody else has it.
        unsafe { Start::take(self.argument) };
    }
}

/// A thread is about to be created that runs `routine(argument)`. `None`: it has to be created as it is.
///
/// # Safety
/// The entry is the running hook's.
pub unsafe fn announce(routine: Ptr, argument: Ptr, entry: Entry) -> Option<Started> {
    let Some(process) = attach::get() else {
        filters::share();
        return None;
    };
    // Nobody waits for 0: it says that a thread was not announced.
    let token = process.tokens.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    let Some(start) = Start::keep(&process.starts, routine, argument, token) else {
        probe::order_lost();
        filters::share();
        return None;
    };
    // SAFETY: the caller's contract.
    match unsafe { caller(entry) } {
        Some(caller) => probe::creates_thread(caller, token, clock::now()),
        None => probe::order_lost(),
    }
    Some(Started { routine: trampoline as *mut _, argument: start })
}

/// The first function of every thread that the program starts: attaches the thread, then goes on as asked.
unsafe extern "C" fn trampoline(start: Ptr) -> Ptr {
    // SAFETY: `start` was made by the creator for this thread alone.
    unsafe {
        let Taken { routine, argument, token, forbidden } = Start::take(start);
        filters::inherit(forbidden);
        let here = 0u64;
        local_of_new(core::ptr::from_ref(&here) as u64 & !7, token);
        let routine: unsafe extern "C" fn(Ptr) -> Ptr = core::mem::transmute(routine);
        routine(argument)
    }
}
