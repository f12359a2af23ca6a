//! The environment of the process.

use core::ffi::{CStr, c_char};

use super::objects;

/// The list of variables; null where libc has none yet.
pub fn environment() -> *const *const c_char {
    let at: *const *const *const c_char;
    // SAFETY: reads our own offset table only; the reference is weak.
    unsafe {
        core::arch::asm!(".weak environ", "mov {}, qword ptr [rip + environ@GOTPCREL]", out(reg) at,
            options(nostack, preserves_flags, readonly));
        if !at.is_null() && !(*at).is_null() { *at } else { first_environment() }
    }
}

/// The environment that the kernel gave, which libc does not know before its own constructors: above the count of
/// arguments, the arguments and a null pointer.
///
/// # Safety
/// The loader has put the program on its stack: always so when the shim runs.
unsafe fn first_environment() -> *const *const c_char {
    /// More would not fit into the kernel's own limit.
    const MOST: usize = 1 << 24;
    let at: *const *const usize;
    // SAFETY: reads our own offset table only; the reference is weak.
    unsafe {
        core::arch::asm!(".weak __libc_stack_end", "mov {}, qword ptr [rip + __libc_stack_end@GOTPCREL]", out(reg) at,
            options(nostack, preserves_flags, readonly));
    }
    // SAFETY: the loader's variable says where the kernel put the count of arguments.
    unsafe {
        let Some(first) = at.as_ref().map(|at| *at).filter(|first| !first.is_null()) else {
            return core::ptr::null();
        };
        let count = *first;
        let behind = first.add(1 + count.min(MOST));
        if *behind == 0 { behind.add(1).cast() } else { core::ptr::null() }
    }
}

/// The value of a variable of the environment.
///
/// # Safety
/// `environment` is a list of strings that ends with a null pointer, and is not changed meanwhile.
pub unsafe fn variable(mut environment: *const *const c_char, name: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: the list ends with a null pointer, its strings with a NUL.
    unsafe {
        while !(*environment).is_null() {
            let text = CStr::from_ptr(*environment).to_bytes();
            if text.len() > name.len() && text[name.len()] == b'=' && &text[..name.len()] == name {
                return Some(&text[name.len() + 1..]);
            }
            environment = environment.add(1);
        }
    }
    None
}

/// Whether this environment has the shim in `LD_PRELOAD`.
///
/// # Safety
/// As for [`variable`]; or null.
pub unsafe fn names_own(environment: *const *const c_char) -> bool {
    let Some(own) = objects::own() else { return true };
    // SAFETY: the loader's names end with a NUL; the list is as the caller says.
    unsafe {
        let own = CStr::from_ptr(own.name).to_bytes();
        let value = if environment.is_null() { None } else { variable(environment, b"LD_PRELOAD") };
        value.is_some_and(|value| own.is_empty() || value.windows(own.len()).any(|part| part == own))
    }
}

/// Takes the shim out of the environment, so that it is not loaded into programs which this one starts or becomes.
///
/// # Safety
/// No other thread of the program runs.
pub unsafe fn leave_environment() {
    let mut at = environment() as *mut *mut c_char;
    if at.is_null() {
        return;
    }
    // SAFETY: the list ends with a null pointer; names are changed in place to ones nobody reads.
    unsafe {
        while !(*at).is_null() {
            let text = CStr::from_ptr(*at).to_bytes();
            if text.starts_with(b"LD_PRELOAD=") {
                // `lockprof run` puts the shim last, behind what the user preloads.
                let value = &text[b"LD_PRELOAD=".len()..];
                // SAFETY: the loader's names end with a NUL.
                let own = objects::own().map_or(&[][..], |map| CStr::from_ptr(map.name).to_bytes());
                if let Some(rest) = value.strip_suffix(own) {
                    let rest = rest.strip_suffix(b":").unwrap_or(rest);
                    *(*at).add(b"LD_PRELOAD=".len() + rest.len()) = 0;
                }
            }
            at = at.add(1);
        }
    }
}
