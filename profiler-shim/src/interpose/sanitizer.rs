//! AddressSanitizer ends a program whose first library is not its runtime, and a preloaded one comes first. It asks for
//! options before it looks, and this is where it asks: it then looks no more. All else is as without the recorder, since
//! the runtime's own functions are called behind the hooks.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicU8, Ordering};

use crate::real::definitions;

const OPTION: &CStr = c"verify_asan_link_order=0";
const LONGEST: usize = 4096;

/// What the program's own function of this name says, and the option. A static cannot be written otherwise.
static TEXT: [AtomicU8; LONGEST] = [const { AtomicU8::new(0) }; LONGEST];

/// Asked by the runtime while it starts, before there are threads.
#[cfg_attr(lockprof_preload, unsafe(no_mangle))]
pub unsafe extern "C" fn __asan_default_options() -> *const c_char {
    let Some(next) = definitions::next_of(c"__asan_default_options") else { return OPTION.as_ptr() };
    // SAFETY: the function of this name has this signature, and gives a string or null.
    let options = unsafe {
        let next: extern "C" fn() -> *const c_char = core::mem::transmute(next);
        let options = next();
        if options.is_null() { c"" } else { CStr::from_ptr(options) }
    };
    let (own, theirs) = (OPTION.to_bytes(), options.to_bytes_with_nul());
    if theirs.len() == 1 || own.len() + 1 + theirs.len() > LONGEST {
        return OPTION.as_ptr();
    }
    // Theirs last: what comes later counts.
    let all = own.iter().chain(b":").chain(theirs);
    TEXT.iter().zip(all).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    TEXT.as_ptr().cast()
}
