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
