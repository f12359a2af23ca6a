//! Calls in which a thread may be blocked for long: read, fsync, poll, sleep and the like.
//!
//! Where the thread holds no lock that is known, a hook is a look at its list of held locks and a jump: the real function
//! runs as if called by the program, with nothing of the recorder's on the stack. Else the call is made from a frame that
//! takes the time before and behind it ([design](../../../docs/design/blocking.md)).
//!
//! All of them take integers and pointers, six in registers and at most two more on the stack, and answer in one register.
//! So one piece of code serves all, and functions with any number of arguments too (`open`, `fcntl`). `vfork` has no
//! hook: it returns twice out of the same frame.

use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::mem::offset_of;

use super::unwound::left_by_unwinding;
use crate::probe::{self, Call, Entry};
use crate::real::{self, blocking, entry_of_call};
use crate::state::dormant;

macro_rules! hooks {
    ($($function:ident as $name:ident,)*) => {
        $(
            /// Stands before the function of the same name.
            #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $function() {
                naked_asm!(
                    ".cfi_startproc",
                    "endbr64",
                    "mov r11, qword ptr [rip + lockprof_holds@GOTTPOFF]",
                    "cmp qword ptr fs:[r11], 0",
                    "jne 5f",
                    "3:",
                    "mov r11, qword ptr [rip + {table} + {at}]",
                    "test r11, r11",
                    "jz 4f",
                    "jmp r11",
                    // Not found yet, or in an object that was opened later.
                    "4:",
                    "lea r11, [rip + {table} + {entry}]",
                    "call {resolve}",
                    "test r11, r11",
                    "jz 3b",
                    "jmp r11",
                    "5:",
                    "cmp dword ptr [rip + {table} + {how}], {recorded}",
                    "jne 3b",
                    "lea r11, [rip + {table} + {entry}]",
                    "jmp {timed}",
                    ".cfi_endproc",
                    table = sym blocking::CALLS,
                    entry = const blocking::place::$function,
                    how = const blocking::place::$function + offset_of!(real::Entry, how),
                    at = const blocking::place::$function + offset_of!(real::Entry, at),
                    recorded = const real::RECORDED,
                    resolve = sym super::registers::resolve,
                    timed = sym timed,
                )
            }
        )*
    };
}
lockprof_wire::blocking_calls!(hooks);

/// A call with a lock held; r11: the function's entry.
#[unsafe(naked)]
unsafe extern "C" fn timed() {
    naked_asm!(
        ".cfi_startproc",
        // These functions are where threads are cancelled. 0x1b: the distance to it, in four bytes.
        ".cfi_personality 0x1b, {left}",
        // The caller's rbp goes below the return address, as `Entry` has it.
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "sub rsp, 80",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        // For functions with any number of arguments.
        "mov [rsp + 48], rax",
        "mov [rsp + 56], r11",
        "lea rdi, [rbp + 8]",
        "mov rsi, r11",
        "mov rdx, rsp",
        "call {begin}",
        "mov [rsp + 64], rax",
        "mov [rsp + 72], rdx",
        "mov r10, rax",
        "mov rdi, [rsp]",
        "mov rsi, [rsp + 8]",
        "mov rdx, [rsp + 16]",
        "mov rcx, [rsp + 24]",
        "mov r8, [rsp + 32]",
        "mov r9, [rsp + 40]",
        "mov rax, [rsp + 48]",
        "mov r11, [rsp + 56]",
        "mov r11, [r11 + {at}]",
        "test r10, r10",
        "jz 2f",
        // Arguments beyond the sixth: above the return address, where the caller put them.
        "push qword ptr [rbp + 24]",
        "push qword ptr [rbp + 16]",
        "call r11",
        "add rsp, 16",
        "mov [rsp + 48], rax",
        "mov rdi, [rsp + 64]",
        "mov rsi, [rsp + 72]",
        "mov rdx, [rsp + 56]",
        "call {end}",
        "mov rax, [rsp + 48]",
        ".cfi_remember_state",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_restore_state",
        // Not recorded: as it came.
        "2:",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "jmp r11",
        ".cfi_endproc",
        begin = sym begin,
        end = sym end,
        left = sym left,
        at = const offset_of!(real::Entry, at),
    )
}

/// Before the call. `registers`: its first six arguments.
unsafe extern "C" fn begin(entry: Entry, function: &'static real::Entry, registers: *const u64) -> Call {
    // SAFETY: `timed` put them there.
    if dormant::is_asleep() || !probe::may_time() || !unsafe { may_block(function, registers) } {
        return Call::NONE;
    }
    // SAFETY: of the call that runs.
    let Some(caller) = (unsafe { probe::caller(entry) }) else { return Call::NONE };
    probe::begin_call(caller, blocking::number(function), entry)
}

/// Behind the call.
unsafe extern "C" fn end(begun: Call, function: &'static real::Entry) {
    // A fork's child has a record of its own, or none yet.
    if let Some(thread) = probe::thread() {
        probe::end_call(thread, blocking::number(function), begun);
    }
}

/// The personality routine of the frame, as in `unwound`: nothing is caught here.
unsafe extern "C" fn left(_: c_int, actions: c_int, _: u64, _: *mut c_void, _: *mut c_void) -> c_int {
    left_by_unwinding(actions, probe::call_left)
}

/// `fcntl` blocks where it waits for somebody's lock on a file, and nowhere else.
///
/// # Safety
/// The registers of the call.
unsafe fn may_block(function: &'static real::Entry, registers: *const u64) -> bool {
    const F_SETLKW: u32 = 7;
    const F_OFD_SETLKW: u32 = 38;
    let is = |other: &'static real::Entry| core::ptr::eq(function, other);
    if !is(entry_of_call!(fcntl)) && !is(entry_of_call!(fcntl64)) {
        return true;
    }
    // SAFETY: the second argument.
    matches!(unsafe { *registers.add(1) } as u32, F_SETLKW | F_OFD_SETLKW)
}
