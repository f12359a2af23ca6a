//! One-time initialisation: `pthread_once`, `call_once`, C++ static locals. Only calls that run the
//! initialisation or wait for it are recorded; those that find it done cost a load.

use core::cell::Cell;
use core::ffi::c_int;

use lockprof_wire::lock_layout::cxx_guard;
use lockprof_wire::lock_layout::glibc::OnceWord;
use lockprof_wire::{Flags, Kind};

use super::acquire::past;
use super::operate::operate;
use super::outcome::{Outcome, Posix, Request, Style};
use super::{guard, hook, plain_hook};
use crate::probe::{Entry, caller};
use crate::real::{self, Ptr};

/// A guard's answer says who initialises, not whether it went well.
#[derive(Clone, Copy)]
struct Guard;

impl Style for Guard {
    fn outcome(_: c_int) -> Outcome {
        Outcome::Acquired
    }
}

/// Calls `run`; what another thread's initialisation took is a wait.
///
/// # Safety
/// The entry is the running hook's; the object is a `pthread_once_t`.
unsafe fn once(control: Ptr, entry: Entry, run: impl Fn() -> c_int) -> c_int {
    // SAFETY: the entry is the running hook's; the control word is a `pthread_once_t`.
    unsafe {
        let word = OnceWord(control.cast::<u32>().read_volatile());
        if word.is_done() {
            return run();
        }
        let Some(caller) = caller(entry) else { return past::<Posix>(run()) };
        let request = Request { object: control, kind: Kind::Once, flags: Flags::NONE, style: Posix };
        operate(request, caller, run, |_| word.is_running())
    }
}

hook! {
    fn pthread_once(control: Ptr, routine: Ptr; entry) -> c_int {
        once(control, entry, || real::pthread_once(control, routine))
    }
}

hook! {
    fn call_once(control: Ptr, routine: Ptr; entry) {
        once(control, entry, || {
            real::call_once(control, routine);
            0
        });
    }
}

hook! {
    fn __cxa_guard_acquire(guard: Ptr; entry) -> c_int {
        if cxx_guard::is_ready(guard.cast::<u8>().read_volatile().into()) {
            return guard::acquire(guard);
        }
        let Some(caller) = caller(entry) else {
            // What it answers says who initialises.
            let answer = guard::acquire(guard);
            past::<Guard>(0);
            return answer;
        };
        let request = Request { object: guard, kind: Kind::Once, flags: Flags::NONE, style: Guard };
        let answer = Cell::new(0);
        // 1: this thread initialises; 0: another did meanwhile, and this one waited for it.
        operate(
            request,
            caller,
            || {
                answer.set(guard::acquire(guard));
                0
            },
            |_| answer.get() == 0,
        );
        answer.get()
    }
}

plain_hook! {
    fn __cxa_guard_release(guard: Ptr) {
        // SAFETY: the program's own call, handed on.
        unsafe { guard::release(guard) }
    }
}

plain_hook! {
    fn __cxa_guard_abort(guard: Ptr) {
        // SAFETY: the program's own call, handed on.
        unsafe { guard::abort(guard) }
    }
}
