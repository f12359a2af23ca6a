//! The code that runs inside a Rust program: position-independent, general registers only, below the red zone.
//!
//! It is assembled into this program and copied out of it as bytes; nobody calls it here. Trampolines call it with `rdi` the
//! address that the event is about and `esi` the [`info`](super::super::layout::info) word, 128 bytes and two registers
//! below the stack pointer that the program had. It keeps every register but these two and the flags, waits for nothing, and
//! allocates nothing. The thread is known by its control block (`fs:0`), which glibc and musl have alike.
//!
//! What it reads and writes is a [`Shared`] block near it, whose address is put in place of `PLACEHOLDER`.

use std::arch::global_asm;
use std::mem::offset_of;

use super::super::layout::{
    COMMON_BYTES, Common, FOLD_TAKEN, FOLD_TRIES, FOLDS, FOLDS_AT, RING_HEADER, RingHead, SHARED_BYTES, WRITER_ENTRIES,
    WRITER_TRIES, WRITERS,
};
use super::super::recorder::{PLACEHOLDER, code_of, first_entry, folds, writers};
use super::layout::{HASH, HASH_SHIFT, Shared};

/// Where glibc's and musl's control blocks have the thread's number.
const NUMBER_OF_GLIBC: u32 = 720;
const NUMBER_OF_MUSL: u32 = 48;

global_asm!(
    r#"
.pushsection .text.lockprof_rust_recorder, "ax", @progbits
"#,
    first_entry!(),
    r#"
.globl lockprof_rust_begin, lockprof_rust_now, lockprof_rust_end
lockprof_rust_begin:
lockprof_rust_now:
    push rax; push rcx; push rdx; push r8; push r9; push r10; push r11
    rdtsc
    shl rdx, 32
    or rdx, rax

# The ring of this thread: rcx.
    movabs r8, {PLACEHOLDER}
    cmp qword ptr [r8 + {RINGS}], 0
    je 29f
    mov rax, fs:[0]
    first_entry rax, rcx, ecx
    cmp [rcx], rax
    jne 30f
11: mov rcx, [rcx + 8]
    test rcx, rcx
    je 41f
    # A signal's handler, while this thread writes.
    cmp dword ptr [rcx + {BUSY}], 0
    jne 47f
    mov dword ptr [rcx + {BUSY}], 1

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
    mov edx, [rcx + {NUMBER_AT}]
    test edx, edx
    je 50f
14: mov edx, fs:[rdx - 1]
    mov [r9 + 16], rdx
    mov [r9 + 24], esi

# The return addresses: from the top of each frame (r11) to the next by the rule (edx) of where it is; rdi is what rbp was.
    lea r10, [r9 + 32]
    test esi, esi
    js 21f
    cmp qword ptr [r8 + {DEPTH}], 0
    je 21f
    push rbx; push r12
    mov ebx, [r8 + {DEPTH}]
    mov r12, [r8 + {RETURNS}]
    and esi, 0x3fffffff
    mov rdx, [r8 + {PLACES}]
    mov edx, [rdx + rsi * 4]
    lea r11, [rsp + 9 * 8 + 8 + 16 + 128]
    mov rdi, rbp
20: movzx esi, dx
    test esi, esi
    je 22f
    test edx, edx
    js 23f
    lea r11, [r11 + rsi * 8]
    jmp 24f
23: lea rsi, [rdi + rsi * 8]
    cmp rsi, r11
    jbe 22f
    mov r11, rsi
24: shr edx, 16
    movzx edx, dl
    test edx, edx
    je 25f
    neg rdx
    mov rdi, [r11 + rdx * 8]
25: mov esi, [r11 - 8]
    mov [r10], esi
    add r10, 4
    dec ebx
    jz 22f
    sub esi, [r8 + {BASE}]
    imul edx, esi, {HASH}
    shr edx, {HASH_SHIFT}
26: and edx, [r8 + {RETURNS_MASK}]
    cmp dword ptr [r12 + rdx * 8 + 4], 0
    je 33f
    cmp [r12 + rdx * 8], esi
    je 27f
    inc edx
    jmp 26b
    # Not in this program: its caller is libc, or nobody.
33: sub r10, 4
    jmp 22f
27: mov edx, [r12 + rdx * 8 + 4]
    jmp 20b
22: pop r12; pop rbx
21: sub r10, r9
    lea edx, [r10 - 32]
    mov [r9 + 28], edx
    add r10, 7
    and r10, -8
    add rax, r10
    mov [rcx + {HEAD}], rax
28: mov dword ptr [rcx + {BUSY}], 0
29: pop r11; pop r10; pop r9; pop r8; pop rdx; pop rcx; pop rax
    ret
47: inc qword ptr [rcx + {LOST_HERE}]
    jmp 29b

# Where this libc has the thread's number: asked for once in each ring.
50: push rcx; push rax
    mov eax, 186
    syscall
    mov edx, {NUMBER_OF_MUSL} + 1
    cmp fs:[{NUMBER_OF_MUSL}], eax
    je 51f
    mov edx, {NUMBER_OF_GLIBC} + 1
    cmp fs:[{NUMBER_OF_GLIBC}], eax
    je 51f
    mov edx, 1
51: pop rax; pop rcx
    mov [rcx + {NUMBER_AT}], edx
    jmp 14b
"#,
    writers!(),
    folds!(),
    r#"
lockprof_rust_end:
.purgem first_entry
.popsection
"#,
    PLACEHOLDER = const PLACEHOLDER,
    NUMBER_OF_GLIBC = const NUMBER_OF_GLIBC,
    NUMBER_OF_MUSL = const NUMBER_OF_MUSL,
    RINGS = const offset_of!(Shared, rings),
    STRIDE = const offset_of!(Shared, stride),
    COUNT = const offset_of!(Shared, count),
    MASK = const offset_of!(Shared, mask),
    ROOM = const offset_of!(Shared, room),
    DEPTH = const offset_of!(Shared, depth),
    PLACES = const offset_of!(Shared, places),
    RETURNS = const offset_of!(Shared, returns),
    RETURNS_MASK = const offset_of!(Shared, returns_mask),
    BASE = const offset_of!(Shared, base),
    HASH = const HASH as i32,
    HASH_SHIFT = const HASH_SHIFT,
    CLAIMED = const offset_of!(Common, claimed),
    LOST = const offset_of!(Common, lost),
    COMMON_BYTES = const COMMON_BYTES,
    FOLDED = const offset_of!(RingHead, folded),
    FOLD_TAKEN = const FOLD_TAKEN,
    FOLDS = const FOLDS,
    FOLDS_AT = const FOLDS_AT,
    FOLD_TRIES = const FOLD_TRIES,
    HEAD = const offset_of!(RingHead, head),
    WRITER = const offset_of!(RingHead, writer),
    NUMBER_AT = const offset_of!(RingHead, number_at),
    BUSY = const offset_of!(RingHead, busy),
    TAIL = const offset_of!(RingHead, tail),
    LOST_HERE = const offset_of!(RingHead, lost),
    RING_HEADER = const RING_HEADER,
    WRITERS = const WRITERS,
    WRITER_ENTRIES = const WRITER_ENTRIES,
    WRITER_TRIES = const WRITER_TRIES,
    SHARED_BYTES = const SHARED_BYTES,
);

unsafe extern "C" {
    static lockprof_rust_begin: u8;
    static lockprof_rust_now: u8;
    static lockprof_rust_end: u8;
}

/// The recorder's code for this address of its [`Shared`] block, and its entry if the code is at `at`.
pub fn code(at: u64, shared: u64) -> (Vec<u8>, u64) {
    let begin = &raw const lockprof_rust_begin;
    let offset = |entry: *const u8| entry.addr() - begin.addr();
    let length = offset(&raw const lockprof_rust_end);
    // SAFETY: the code above lies between these two symbols, in this program's own text, which does not change.
    let code = code_of(unsafe { std::slice::from_raw_parts(begin, length) }, shared);
    (code, at + offset(&raw const lockprof_rust_now) as u64)
}
