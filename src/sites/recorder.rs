//! What the recorders of all languages have in common: pieces of their assembly, and how it is copied out of this program.
//!
//! The pieces are parts of one routine. `r8` is the private block, `rcx` the thread's ring, `rdi` and `esi` what the event is
//! about and the [`info`](super::layout::info) word. Labels 28 and 29 of the routine are its end, with and without a ring.

/// Stands in the code for the address of the recorder's private block.
pub(super) const PLACEHOLDER: u64 = 0x1122_3344_5566_7788;

/// Where the search for a thread begins.
macro_rules! first_entry {
    () => {
        r#"
# Where the search for a thread in the table begins: \entry, and its lower half.
.macro first_entry thread, entry, half
    mov \entry, \thread
    shr \entry, 8
    and \half, {WRITER_ENTRIES} - 1
    shl \half, 4
    lea \entry, [r8 + \entry + {WRITERS}]
.endm
"#
    };
}

/// Finding, or claiming, a thread's entry and its ring: from label 30, with `rax` the thread.
macro_rules! writers {
    () => {
        r#"
# The thread (rax) has another entry than the first that was looked at (rcx), or none yet. On to 11 with the right one, whose
# ring it then has; to 41 without a ring.
30: mov r10d, {WRITER_TRIES}
36: cmp qword ptr [rcx], 0
    je 32f
    dec r10d
    jz 41f
    add rcx, 16
    lea r9, [r8 + {SHARED_BYTES}]
    cmp rcx, r9
    jb 31f
    lea rcx, [r8 + {WRITERS}]
31: cmp [rcx], rax
    je 11b
    jmp 36b
32: mov r9, rax
    xor eax, eax
    lock cmpxchg [rcx], r9
    mov rax, r9
    jne 31b
    mov r9, [r8 + {RINGS}]
    mov r10d, 1
    lock xadd [r9 - {COMMON_BYTES} + {CLAIMED}], r10
    cmp r10, [r8 + {COUNT}]
    jae 41f
    imul r10, [r8 + {STRIDE}]
    add r10, [r8 + {RINGS}]
    mov [rcx + 8], r10
    mov [r10 + {WRITER}], rax
    jmp 11b
"#
    };
}

/// Counting an event that has no room (label 40) or no ring (41).
macro_rules! folds {
    () => {
        r#"
# No room: the event is counted, by its object and its patch. The thread alone writes its tables. A patch has a part of the
# table, so one that is about ever new objects leaves room for the others.
40: lea rdx, [rcx + {FOLDS_AT}]
46: mov eax, esi
    imul r9, rax, 0x1e3779b1
    mov r11, rdi
    shr r11, 3
    imul r11, r11, 0x2545f491
    shr r11, 9
    add r11, r9
    shr r9, 9
    and r9d, {FOLDS} / {FOLD_TRIES} - 1
    imul r9d, r9d, {FOLD_TRIES} * 32
    add rdx, r9
    bts rax, {FOLD_TAKEN}
    mov r10d, {FOLD_TRIES}
42: and r11d, {FOLD_TRIES} - 1
    mov r9, r11
    shl r9, 5
    add r9, rdx
    cmp [r9 + 8], rax
    jne 43f
    cmp [r9], rdi
    je 44f
43: cmp qword ptr [r9 + 8], 0
    je 45f
    inc r11d
    dec r10d
    jnz 42b
    # By its patch alone.
    lea r9, [rcx + {FOLDS_AT} + {FOLDS} * 32]
    cmp rdx, r9
    mov rdx, r9
    mov edi, 0
    jb 46b
    inc qword ptr [rcx + {LOST_HERE}]
    jmp 28b
45: mov [r9], rdi
    mov [r9 + 8], rax
44: inc qword ptr [r9 + 16]
    # Behind the entry: whoever sees this sees that.
    inc qword ptr [rcx + {FOLDED}]
    jmp 28b
41: mov r9, [r8 + {RINGS}]
    lock inc qword ptr [r9 - {COMMON_BYTES} + {LOST}]
    jmp 29b
"#
    };
}

pub(super) use {first_entry, folds, writers};

/// The code, for this address of its private block.
pub(super) fn code_of(code: &[u8], shared: u64) -> Vec<u8> {
    let mut code = code.to_vec();
    let placeholder = PLACEHOLDER.to_le_bytes();
    while let Some(place) = code.windows(8).position(|bytes| bytes == placeholder) {
        code[place..place + 8].copy_from_slice(&shared.to_le_bytes());
    }
    code
}
