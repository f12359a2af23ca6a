//! Calls of Rust functions in front of somebody else's function, which must find all that its caller gave it:
//! every register that may hold an argument is kept.

use core::arch::naked_asm;

use super::dl;
use crate::real::definitions;

/// Makes a naked function that is called with an entry of the table in r11, directly by a hook: it calls `$callee`
/// with the entry, the return address of the hook's caller and the place of that one's first three arguments, and
/// gives its answer in r11.
macro_rules! keeping_registers {
    ($(#[$doc:meta])* $name:ident, $callee:path) => {
        $(#[$doc])*
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                "push rbp",
                ".cfi_adjust_cfa_offset 8",
                ".cfi_rel_offset rbp, 0",
                "mov rbp, rsp",
                ".cfi_def_cfa_register rbp",
                "sub rsp, 192",
                "and rsp, -16",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], rcx",
                "mov [rsp + 32], r8",
                "mov [rsp + 40], r9",
                // The number of vector registers, for functions with any number of arguments; the static chain.
                "mov [rsp + 48], rax",
                "mov [rsp + 56], r10",
                "movups [rsp + 64], xmm0",
                "movups [rsp + 80], xmm1",
                "movups [rsp + 96], xmm2",
                "movups [rsp + 112], xmm3",
                "movups [rsp + 128], xmm4",
                "movups [rsp + 144], xmm5",
                "movups [rsp + 160], xmm6",
                "movups [rsp + 176], xmm7",
                "mov rdi, r11",
                // Above the saved rbp: the place in the hook, then the place in its caller.
                "mov rsi, [rbp + 16]",
                "mov rdx, rsp",
                "call {callee}",
                "mov r11, rax",
                "mov rdi, [rsp]",
                "mov rsi, [rsp + 8]",
                "mov rdx, [rsp + 16]",
                "mov rcx, [rsp + 24]",
                "mov r8, [rsp + 32]",
                "mov r9, [rsp + 40]",
                "mov rax, [rsp + 48]",
                "mov r10, [rsp + 56]",
                "movups xmm0, [rsp + 64]",
                "movups xmm1, [rsp + 80]",
                "movups xmm2, [rsp + 96]",
                "movups xmm3, [rsp + 112]",
                "movups xmm4, [rsp + 128]",
                "movups xmm5, [rsp + 144]",
                "movups xmm6, [rsp + 160]",
                "movups xmm7, [rsp + 176]",
                "leave",
                ".cfi_def_cfa rsp, 8",
                ".cfi_restore rbp",
                "ret",
                ".cfi_endproc",
                callee = sym $callee,
            )
        }
    };
}

keeping_registers! {
    /// Where a call goes on that its hook has no address for; 0 if the hook is to look again.
    resolve, definitions::resolve_for_call
}
keeping_registers! {
    /// Before an object is opened. Gives the address of the real function.
    before_open, dl::before_open
}
