//! The code that runs inside a Go program: position-independent, general registers only, about a hundred bytes of stack.
//!
//! It is assembled into this program and copied out of it as bytes; nobody calls it here. Trampolines call it with `rdi` the
//! address that the event is about and `esi` the `info` word; `r14` is the running goroutine. It keeps every register but
//! these two and the flags, waits for nothing, and allocates nothing.
//!
//! What it reads and writes is a [`Shared`] block near it, whose address is put in place of `PLACEHOLDER`.
//!
//! Longer than other files: one block of assembly.

use std::arch::global_asm;
use std::mem::offset_of;

use super::super::layout::{
    COMMON_BYTES, Common, FOLD_TAKEN, FOLD_TRIES, FOLDS, FOLDS_AT, RING_HEADER, RingHead, SHARED_BYTES, WRITER_ENTRIES,
    WRITER_TRIES, WRITERS, info,
};
use super::super::recorder::{PLACEHOLDER, code_of, first_entry, folds, writers};
use super::layout::{HOLDS_MASK, HOLDS_SHIFT, Shared};

/// Offset of `g.m`: the same in all versions that are known.
pub const MACHINE_OF: u32 = 48;

/// The marker of an exit that a trampoline has for a preemption: a long no-op whose last four bytes are the distance.
pub const EXIT_MARK: [u8; 3] = [0x0f, 0x1f, 0x80];

global_asm!(
    r#"
.pushsection .text.lockprof_go_recorder, "ax", @progbits

"#,
    first_entry!(),
    r#"
.globl lockprof_go_begin, lockprof_go_now, lockprof_go_before, lockprof_go_signal, lockprof_go_signal_end
.globl lockprof_go_start, lockprof_go_end
lockprof_go_begin:

# The time was taken before the operation: it is above the return address and two pushed registers.
lockprof_go_before:
    push rax; push rcx; push rdx; push r8; push r9; push r10; push r11
    mov rdx, [rsp + 56 + 8 + 16]
    jmp 10f

# The time is now.
lockprof_go_now:
    push rax; push rcx; push rdx; push r8; push r9; push r10; push r11
    rdtsc
    shl rdx, 32
    or rdx, rax

# The ring of this M: rcx.
10: movabs r8, {PLACEHOLDER}
    test esi, {TAKES} | {GIVES}
    jne 70f
12: cmp qword ptr [r8 + {RINGS}], 0
    je 29f
    mov rax, [r14 + {MACHINE_OF}]
    first_entry rax, rcx, ecx
    cmp [rcx], rax
    jne 30f
11: mov rcx, [rcx + 8]
    test rcx, rcx
    je 41f

# Room for a record: r9.
    mov rax, [rcx + {HEAD}]
    mov r9, rax
    sub r9, [rcx + {TAIL}]
    cmp r9, [r8 + {ROOM}]
    ja 40f
    mov r9, rax
    and r9, [r8 + {MASK}]
    lea r9, [rcx + r9 + {RING_HEADER}]
    mov [r9], rdx
    mov [r9 + 8], rdi
    mov rdx, [r8 + {GOROUTINE_NUMBER}]
    mov rdx, [r14 + rdx]
    test rdx, rdx
    je 50f
14: mov [r9 + 16], rdx
    mov [r9 + 24], esi

# The return addresses: the chain of rbp while it grows and is within the goroutine's stack.
    lea r10, [r9 + 32]
    test esi, esi
    js 21f
    mov edx, [r8 + {DEPTH}]
    test edx, edx
    jle 21f
    mov r8, [r14 + 8]
    mov rdi, rbp
    cmp rdi, rsp
    jbe 21f
    cmp rdi, r8
    jae 21f
20: mov rsi, [rdi + 8]
    mov [r10], esi
    add r10, 4
    dec edx
    jle 21f
    mov rsi, [rdi]
    cmp rsi, rdi
    jbe 21f
    cmp rsi, r8
    mov rdi, rsi
    jb 20b
21: sub r10, r9
    lea edx, [r10 - 32]
    mov [r9 + 28], edx
    add r10, 7
    and r10, -8
    add rax, r10
    mov [rcx + {HEAD}], rax
28: cmp dword ptr [rcx + {PREEMPT}], 0
    jne 60f
29: pop r11; pop r10; pop r9; pop r8; pop rdx; pop rcx; pop rax
    ret

"#,
    writers!(),
    folds!(),
    r#"
# How many locks the goroutine holds, for calls that block. Never below 0: what was held before may be given back.
70: mov r9, r14
    shr r9, {HOLDS_SHIFT}
    and r9d, {HOLDS_MASK}
    add r9, [r8 + {HOLDS}]
    test esi, {GIVES}
    jne 71f
    inc dword ptr [r9]
    and esi, ~{TAKES}
    jmp 12b
71: test esi, {TAKES}
    jne 72f
    sub dword ptr [r9], 1
    adc dword ptr [r9], 0
    and esi, ~{GIVES}
    jmp 12b
72: mov dword ptr [r9], 0
    and esi, ~({TAKES} | {GIVES})
    jmp 12b

# On the system stack: the goroutine is the one that the M runs.
50: mov rdx, [r14 + {MACHINE_OF}]
    add rdx, [r8 + {CURRENT}]
    mov r11, [rdx]
    xor edx, edx
    test r11, r11
    je 14b
    mov rdx, [r8 + {GOROUTINE_NUMBER}]
    mov rdx, [r11 + rdx]
    jmp 14b

# A preemption is due. If it is at this trampoline, leave by its exit for that.
60: mov edx, [rcx + {PREEMPT}]
    mov dword ptr [rcx + {PREEMPT}], 0
    movabs r8, {PLACEHOLDER}
    mov rax, [rsp + 56]
    mov r9, rax
    sub r9, [r8 + {CODE}]
    shr r9, 4
    mov r10, [r8 + {INDEX}]
    mov r9d, [r10 + r9 * 4]
    inc r9d
    cmp r9d, edx
    jne 29b
    cmp word ptr [rax], 0x1f0f
    jne 29b
    movsxd rdx, dword ptr [rax + 3]
    add rax, rdx
    mov [rsp + 56], rax
    jmp 29b

# In runtime.sighandler, behind its frame set-up: eax the signal, rcx the context. If the signal found a trampoline, the
# context is moved to the site. Fields of the context that the kernel does not read keep what was there: uc_link (8) the
# address, cr2 (208) the stack pointer, trapno (200) the patch, oldmask (216) the word that a preemption overwrites, err
# (192) the ring.
lockprof_go_signal:
    push rax; push rdx; push rsi; push r8; push r9; push r10
    movabs r8, {PLACEHOLDER}
    cmp qword ptr [r8 + {SIGNALS}], 0
    je 9f
    mov [rbp + 32], rcx
    mov rdx, [rcx + 168]
    mov rsi, [r8 + {CODE}]
    cmp rdx, rsi
    jb 9f
    cmp rdx, [r8 + {END}]
    jae 9f
    cmp rdx, [r8 + {TRAMPOLINES}]
    jae 2f
    # In the recorder: the trampoline is the first return address to one on the stack.
    mov r9, [rcx + 160]
    mov r10d, 20
1:  mov rdx, [r9]
    add r9, 8
    cmp rdx, [r8 + {TRAMPOLINES}]
    jb 3f
    cmp rdx, [r8 + {END}]
    jb 2f
3:  dec r10d
    jnz 1b
    jmp 9f
2:  sub rdx, rsi
    shr rdx, 4
    mov r9, [r8 + {INDEX}]
    mov edx, [r9 + rdx * 4]
    shl rdx, 5
    add rdx, [r8 + {PLACES}]
    cmp eax, 23
    je 5f
    cmp eax, 11
    je 4f
    cmp eax, 7
    je 4f
    # For the handler's time.
    mov r9, [rcx + 168]
    mov [rcx + 8], r9
    mov r9, [rcx + 160]
    mov [rcx + 208], r9
    mov qword ptr [rcx + 200], 0
    # For good.
4:  mov r9, [rdx]
    mov [rcx + 168], r9
    mov edx, [rdx + 8]
    mov r9, [rcx + 120]
    add r9, 8
    sub r9, rdx
    mov [rcx + 160], r9
9:  pop r10; pop r9; pop r8; pop rsi; pop rdx; pop rax
    ret
    # SIGURG: show the address behind the patch.
5:  cmp qword ptr [rdx + 16], 0
    je 9b
    mov r9, [r14 + {MACHINE_OF}]
    first_entry r9, r10, r10d
6:  cmp [r10], r9
    je 7f
    cmp qword ptr [r10], 0
    je 9b
    add r10, 16
    lea rsi, [r8 + {SHARED_BYTES}]
    cmp r10, rsi
    jb 6b
    lea r10, [r8 + {WRITERS}]
    jmp 6b
7:  mov r10, [r10 + 8]
    test r10, r10
    je 9b
    mov [rcx + 192], r10
    mov r9, [rcx + 168]
    mov [rcx + 8], r9
    mov r9, [rcx + 160]
    mov [rcx + 208], r9
    mov r9, [rdx + 24]
    mov [rcx + 200], r9
    mov r9, [rdx + 16]
    mov [rcx + 168], r9
    mov esi, [rdx + 8]
    mov r9, [rcx + 120]
    add r9, 8
    sub r9, rsi
    mov [rcx + 160], r9
    mov rsi, [r9 - 8]
    mov [rcx + 216], rsi
    jmp 9b

# At a return of runtime.sighandler: put the context back. If the runtime asked for a preemption, it is due at the end of
# the trampoline.
lockprof_go_signal_end:
    push rax; push rcx; push rdx; push rsi; push r8; push r9; push r10
    movabs r8, {PLACEHOLDER}
    cmp qword ptr [r8 + {SIGNALS}], 0
    je 9f
    mov rcx, [rbp + 32]
    mov rax, [rcx + 8]
    test rax, rax
    je 9f
    mov rdx, [rcx + 200]
    test rdx, rdx
    je 8f
    lea rsi, [rdx - 1]
    shl rsi, 5
    add rsi, [r8 + {PLACES}]
    mov r9, [rsi + 16]
    cmp [rcx + 168], r9
    je 8f
    mov r10, [rcx + 160]
    cmp [r10], r9
    mov r9, [rcx + 216]
    mov [r10], r9
    jne 8f
    mov r10, [rcx + 192]
    mov [r10 + {PREEMPT}], edx
8:  mov [rcx + 168], rax
    mov rax, [rcx + 208]
    mov [rcx + 160], rax
    mov qword ptr [rcx + 8], 0
9:  pop r10; pop r9; pop r8; pop rsi; pop rdx; pop rcx; pop rax
    ret

# Before a call of the kernel that starts another program (rdi: its path): whoever follows it is told, and waited for.
# eax: the connection, or -1; rcx and r11 are free. Perhaps in the child of a vfork: nothing but the stack is written.
lockprof_go_start:
    push rdi; push rsi; push rdx; push r8; push r9; push r10; push r12; push r13
    mov r13, rdi
    movabs r8, {PLACEHOLDER}
    mov eax, -1
    cmp qword ptr [r8 + {FOLLOW_LENGTH}], 0
    je 9f
    mov eax, 41
    mov edi, 1
    mov esi, 0x80001
    xor edx, edx
    syscall
    test eax, eax
    js 9f
    mov r12d, eax
    mov edi, eax
    lea rsi, [r8 + {FOLLOW}]
    mov edx, [r8 + {FOLLOW_LENGTH}]
    mov eax, 42
    syscall
    test eax, eax
    js 8f
    xor edx, edx
1:  cmp byte ptr [r13 + rdx], 0
    je 2f
    inc edx
    cmp edx, 4000
    jb 1b
2:  mov edi, r12d
    mov rsi, r13
    mov r10d, 0x4000
    xor r8d, r8d
    xor r9d, r9d
    mov eax, 44
    syscall
    test eax, eax
    jle 8f
    sub rsp, 16
3:  mov edi, r12d
    mov rsi, rsp
    mov edx, 1
    xor eax, eax
    syscall
    cmp eax, -4
    je 3b
    add rsp, 16
    mov eax, r12d
    jmp 9f
8:  mov edi, r12d
    mov eax, 3
    syscall
    mov eax, -1
9:  pop r13; pop r12; pop r10; pop r9; pop r8; pop rdx; pop rsi; pop rdi
    ret
lockprof_go_end:
.purgem first_entry
.popsection
"#,
    PLACEHOLDER = const PLACEHOLDER,
    MACHINE_OF = const MACHINE_OF,
    RINGS = const offset_of!(Shared, rings),
    STRIDE = const offset_of!(Shared, stride),
    COUNT = const offset_of!(Shared, count),
    MASK = const offset_of!(Shared, mask),
    ROOM = const offset_of!(Shared, room),
    DEPTH = const offset_of!(Shared, depth),
    GOROUTINE_NUMBER = const offset_of!(Shared, goroutine_number),
    CURRENT = const offset_of!(Shared, current),
    CODE = const offset_of!(Shared, code),
    TRAMPOLINES = const offset_of!(Shared, trampolines),
    END = const offset_of!(Shared, end),
    INDEX = const offset_of!(Shared, index),
    PLACES = const offset_of!(Shared, places),
    SIGNALS = const offset_of!(Shared, signals),
    HOLDS = const offset_of!(Shared, holds),
    HOLDS_MASK = const HOLDS_MASK,
    HOLDS_SHIFT = const HOLDS_SHIFT,
    TAKES = const info::TAKES,
    GIVES = const info::GIVES,
    CLAIMED = const offset_of!(Common, claimed),
    LOST = const offset_of!(Common, lost),
    COMMON_BYTES = const COMMON_BYTES,
    FOLDED = const offset_of!(RingHead, folded),
    FOLD_TAKEN = const FOLD_TAKEN,
    FOLDS = const FOLDS,
    FOLDS_AT = const FOLDS_AT,
    FOLD_TRIES = const FOLD_TRIES,
    FOLLOW_LENGTH = const offset_of!(Shared, follow_length),
    FOLLOW = const offset_of!(Shared, follow),
    HEAD = const offset_of!(RingHead, head),
    WRITER = const offset_of!(RingHead, writer),
    TAIL = const offset_of!(RingHead, tail),
    PREEMPT = const offset_of!(RingHead, preempt),
    LOST_HERE = const offset_of!(RingHead, lost),
    RING_HEADER = const RING_HEADER,
    WRITERS = const WRITERS,
    WRITER_ENTRIES = const WRITER_ENTRIES,
    WRITER_TRIES = const WRITER_TRIES,
    SHARED_BYTES = const SHARED_BYTES,
);

unsafe extern "C" {
    static lockprof_go_begin: u8;
    static lockprof_go_now: u8;
    static lockprof_go_before: u8;
    static lockprof_go_signal: u8;
    static lockprof_go_signal_end: u8;
    static lockprof_go_start: u8;
    static lockprof_go_end: u8;
}

/// Where the recorder's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// Records with the time of the call.
    pub now: u64,
    /// Records with a time that was taken before.
    pub before: u64,
    /// Hides trampolines from a signal's handler.
    pub signal: u64,
    /// Ends that.
    pub signal_end: u64,
    /// Announces that a program is about to be started.
    pub start: u64,
}

/// The recorder's code for this address of its [`Shared`] block, and its entries if the code is at `at`.
pub fn code(at: u64, shared: u64) -> (Vec<u8>, Entries) {
    let begin = &raw const lockprof_go_begin;
    let offset = |entry: *const u8| entry.addr() - begin.addr();
    let length = offset(&raw const lockprof_go_end);
    // SAFETY: the code above lies between these two symbols, in this program's own text, which does not change.
    let code = code_of(unsafe { std::slice::from_raw_parts(begin, length) }, shared);
    let entry = |entry: *const u8| at + offset(entry) as u64;
    let entries = Entries {
        now: entry(&raw const lockprof_go_now),
        before: entry(&raw const lockprof_go_before),
        signal: entry(&raw const lockprof_go_signal),
        signal_end: entry(&raw const lockprof_go_signal_end),
        start: entry(&raw const lockprof_go_start),
    };
    (code, entries)
}
