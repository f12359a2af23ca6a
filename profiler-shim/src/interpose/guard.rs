//! The real functions behind C++'s guards of static variables.
//!
//! A program that was not started with a C++ library may open plugins that each carry one. So which functions are
//! meant depends on the guard: those of the object that it lies in, which is there as long as the guard is. Where that
//! has none (it takes them from a library that was opened with it), the guard is handled here, in the way of GNU's
//! library, which may meet the same guard.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::lock_layout::cxx_guard::{PENDING, READY, WAITED_FOR, is_ready};

use crate::real::definitions;
use crate::real::{self, Entry, Ptr, entry};
use crate::sys;

/// Who handles a guard.
enum By {
    /// The program's own library.
    Program,
    /// A function of the guard's object.
    Object(Ptr),
    Us,
}

fn who(entry: &Entry, guard: Ptr) -> By {
    if !entry.at.load(Ordering::Relaxed).is_null() {
        return By::Program;
    }
    definitions::of_object_at(guard as u64, entry.name).map_or(By::Us, By::Object)
}

/// `__cxa_guard_acquire`: 1 if this thread is to make the variable, 0 if it is there.
///
/// # Safety
/// `guard` is a guard of a static variable.
pub unsafe fn acquire(guard: Ptr) -> c_int {
    // SAFETY: the functions have this signature; the guard is the program's.
    unsafe {
        match who(entry!(__cxa_guard_acquire), guard) {
            By::Program => real::__cxa_guard_acquire(guard),
            By::Object(at) => {
                let function: unsafe extern "C" fn(Ptr) -> c_int = core::mem::transmute(at);
                function(guard)
            }
            By::Us => wait_or_begin(&*guard.cast()),
        }
    }
}

/// `__cxa_guard_release`: the variable is there.
///
/// # Safety
/// This thread has the guard.
pub unsafe fn release(guard: Ptr) {
    // SAFETY: as in `acquire`.
    unsafe {
        match who(entry!(__cxa_guard_release), guard) {
            By::Program => real::__cxa_guard_release(guard),
            By::Object(at) => {
                let function: unsafe extern "C" fn(Ptr) = core::mem::transmute(at);
                function(guard);
            }
            By::Us => end(&*guard.cast(), READY),
        }
    }
}

/// `__cxa_guard_abort`: making it failed.
///
/// # Safety
/// This thread has the guard.
pub unsafe fn abort(guard: Ptr) {
    // SAFETY: as in `acquire`.
    unsafe {
        match who(entry!(__cxa_guard_abort), guard) {
            By::Program => real::__cxa_guard_abort(guard),
            By::Object(at) => {
                let function: unsafe extern "C" fn(Ptr) = core::mem::transmute(at);
                function(guard);
            }
            By::Us => end(&*guard.cast(), 0),
        }
    }
}

fn wait_or_begin(word: &AtomicU32) -> c_int {
    loop {
        // AcqRel: whoever finds the variable there sees what was written into it; pairs with `end`.
        match word.compare_exchange(0, PENDING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return 1,
            Err(state) if is_ready(state) => return 0,
            Err(state) => {
                let wanted = state | WAITED_FOR;
                let marked = word.compare_exchange(state, wanted, Ordering::AcqRel, Ordering::Acquire).is_ok();
                if marked {
                    sys::futex_wait(word, wanted);
                }
            }
        }
    }
}

fn end(word: &AtomicU32, state: u32) {
    // AcqRel: pairs with the exchange of the next who looks.
    if word.swap(state, Ordering::AcqRel) & WAITED_FOR != 0 {
        sys::futex_wake_all(word);
    }
}
