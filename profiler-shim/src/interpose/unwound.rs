//! Real calls that may never return: a thread that is cancelled in a wait, or an exception that a `call_once` lets
//! through, unwinds the stack past the hook.
//!
//! The call is made from a frame with a personality routine, which every unwinder asks when it leaves the frame.

use core::ffi::{c_int, c_void};

use crate::probe::left_without_end;

/// Makes the real call of a wait that began last.
///
/// # Safety
/// A wait was begun before, and is the innermost one of the thread.
pub unsafe fn wait_in(block: impl FnOnce() -> c_int) -> c_int {
    unsafe extern "C" fn run<F: FnOnce() -> c_int>(block: *mut c_void) -> c_int {
        // SAFETY: `wait_in` gives the address of such a function, and takes it for gone.
        unsafe { block.cast::<F>().read()() }
    }
    fn runner<F: FnOnce() -> c_int>(_: &F) -> unsafe extern "C" fn(*mut c_void) -> c_int {
        run::<F>
    }
    let run = runner(&block);
    let mut block = core::mem::ManuallyDrop::new(block);
    // SAFETY: `run` reads the function once.
    unsafe { framed((&raw mut block).cast(), run) }
}

/// Calls `run(data)` from a frame that unwinders tell when they leave it.
#[unsafe(naked)]
unsafe extern "C" fn framed(data: *mut c_void, run: unsafe extern "C" fn(*mut c_void) -> c_int) -> c_int {
    core::arch::naked_asm!(
        ".cfi_startproc",
        // 0x1b: the distance to it, in four bytes.
        ".cfi_personality 0x1b, {left}",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "call rsi",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        left = sym left,
    )
}

/// The personality routine, as the Itanium C++ ABI has it: nothing is caught here.
unsafe extern "C" fn left(_: c_int, actions: c_int, _: u64, _: *mut c_void, _: *mut c_void) -> c_int {
    left_by_unwinding(actions, left_without_end)
}

/// What a personality routine of the shim does and answers: `leave`, when the frame is left.
pub fn left_by_unwinding(actions: c_int, leave: fn()) -> c_int {
    const CLEANUP_PHASE: c_int = 2;
    const CONTINUE_UNWIND: c_int = 8;
    if actions & CLEANUP_PHASE != 0 {
        leave();
    }
    CONTINUE_UNWIND
}
