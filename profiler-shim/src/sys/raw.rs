//! System calls, made directly: libc's wrappers would change `errno` and may be hooked by others. Of calls that do the same
//! those are made that libc makes: filters allow these first.

use core::arch::asm;

/// A system call with up to six arguments; returns the kernel's answer, errors as `-errno`.
///
/// # Safety
/// As the system call's own contract.
#[inline(always)]
pub unsafe fn call6(number: usize, args: [usize; 6]) -> isize {
    let answer: isize;
    // SAFETY: the kernel changes rax, rcx and r11 only; the caller vouches for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

macro_rules! call {
    ($number:expr $(, $arg:expr)*) => {{
        let given: &[usize] = &[$($arg as usize),*];
        let mut args = [0usize; 6];
        let mut i = 0;
        while i < given.len() {
            args[i] = given[i];
            i += 1;
        }
        // A filter may end the program for a call that it forbids.
        const BIT: u64 = $crate::sys::filters::bit($number);
        if $crate::sys::filters::forbids(BIT) {
            $crate::sys::filters::refuse(BIT)
        } else {
            $crate::sys::raw::call6($number, args)
        }
    }};
}

pub(super) use call;
