//! The functions that install system call filters, or take the time stamp counter away: `prctl`, and `syscall`, by which
//! libseccomp does it. All other calls of them go to the real functions as they are.

use core::ffi::{c_int, c_long};

use crate::lifecycle::filters::{Filter, install};
use crate::real;

const SYS_PRCTL: c_long = 157;
const SYS_SECCOMP: c_long = 317;
const PR_SET_SECCOMP: c_long = 22;
const PR_SET_TSC: c_long = 26;

/// Exports a function that is told of the calls that matter. It works while the shim sleeps as well.
macro_rules! watched {
    ($name:ident, $($look:literal),*; $body:ident) => {
        /// Stands before the function of the same name.
        #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            ::core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                $($look,)*
                "2:",
                "mov r11, qword ptr [rip + {real} + {at}]",
                // Not found yet.
                "test r11, r11",
                "jz 3f",
                "jmp r11",
                "3:",
                "jmp {body}",
                ".cfi_endproc",
                real = sym real::TABLE,
                at = const real::place::$name + ::core::mem::offset_of!(real::Entry, at),
                body = sym $body,
            )
        }
    };
}

watched!(prctl, "cmp edi, 22", "je 3f", "cmp edi, 26", "je 3f"; by_prctl);
unsafe extern "C" fn by_prctl(option: c_int, a: c_long, b: c_long, c: c_long, d: c_long) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let real = || real::prctl(option, a, b, c, d);
        match requested(c_long::from(option), a, b) {
            Some(filter) => install(filter, false, real, |answer| answer == 0),
            None => real(),
        }
    }
}

watched!(syscall, "cmp rdi, 317", "je 3f", "cmp rdi, 157", "jne 2f", "cmp esi, 22", "je 3f", "cmp esi, 26", "je 3f"; by_syscall);
unsafe extern "C" fn by_syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    const SET_MODE_STRICT: c_long = 0;
    const SET_MODE_FILTER: c_long = 1;
    const IN_ALL_THREADS: c_long = 1;
    const WITH_LISTENER: c_long = 8;
    // SAFETY: the program's own call, handed on.
    unsafe {
        let real = || real::syscall(number, a, b, c, d, e, f);
        let filter = match (number, a) {
            (SYS_PRCTL, option) => requested(option, b, c),
            (SYS_SECCOMP, SET_MODE_STRICT) => Some(Filter::Strict),
            (SYS_SECCOMP, SET_MODE_FILTER) => Some(Filter::Program(c as *const _)),
            _ => None,
        };
        let Some(filter) = filter else { return real() };
        let seccomp = number == SYS_SECCOMP;
        // A listener's descriptor is an answer as well; the number of a thread that stands in the way is a refusal.
        let installed = |answer| answer == 0 || (answer > 0 && seccomp && b & WITH_LISTENER != 0);
        install(filter, seccomp && b & IN_ALL_THREADS != 0, real, installed)
    }
}

/// What `prctl` with these arguments installs.
fn requested(option: c_long, mode: c_long, program: c_long) -> Option<Filter> {
    const STRICT: c_long = 1;
    const FILTER: c_long = 2;
    const CLOCK_FAULTS: c_long = 2;
    match (option, mode) {
        (PR_SET_SECCOMP, STRICT) => Some(Filter::Strict),
        (PR_SET_SECCOMP, FILTER) => Some(Filter::Program(program as *const _)),
        (PR_SET_TSC, CLOCK_FAULTS) => Some(Filter::NoClock),
        _ => None,
    }
}
