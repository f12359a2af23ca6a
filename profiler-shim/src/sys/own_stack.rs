//! Stacks of the recorder's own: the program's may be a coroutine's or an alternate one for signals, just large enough
//! for what the program does itself.
//!
//! What needs more than a few words is done on one of these, with signals blocked. The real functions are always called
//! on the program's stack: a thread may be cancelled in them, and libc compares addresses of frames then.

use core::ffi::c_void;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a stack: several times what the deepest part was seen to use.
const SIZE: usize = 16 << 10;

/// Room for a stack. Valid when zero.
#[repr(C, align(16))]
pub struct Stack([MaybeUninit<u8>; SIZE]);

impl Stack {
    /// Runs `part` on this stack.
    ///
    /// # Safety
    /// Nobody else is on it, and no signal handler of the program interrupts.
    #[inline(always)]
    pub unsafe fn run<R>(this: *mut Self, part: impl FnOnce() -> R) -> R {
        unsafe extern "C" fn entry<F: FnOnce() -> R, R>(job: *mut c_void) {
            // SAFETY: `run` gives such a job, and takes its part for gone.
            unsafe {
                let job = &mut *job.cast::<(ManuallyDrop<F>, MaybeUninit<R>)>();
                job.1.write(ManuallyDrop::take(&mut job.0)());
            }
        }
        fn entry_of<F: FnOnce() -> R, R>(_: &F) -> unsafe extern "C" fn(*mut c_void) {
            entry::<F, R>
        }
        let entry = entry_of(&part);
        let mut job = (ManuallyDrop::new(part), MaybeUninit::<R>::uninit());
        // SAFETY: the caller's contract; `entry` writes the result.
        unsafe {
            switch((&raw mut job).cast(), entry, this.add(1).cast());
            job.1.assume_init()
        }
    }
}

/// Calls `entry(job)` with the stack pointer at `top`.
#[unsafe(naked)]
unsafe extern "C" fn switch(job: *mut c_void, entry: unsafe extern "C" fn(*mut c_void), top: *mut c_void) {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// A stack for whoever comes first: for what threads without a record of their own do. Valid when zero.
#[repr(C)]
pub struct Spare {
    taken: AtomicU32,
    stack: Stack,
}

impl Spare {
    /// Runs `part` with signals blocked, on this stack; on the program's where another thread is on this one, or a
    /// filter forbids to block signals.
    pub fn run<R>(&self, part: impl FnOnce() -> R) -> R {
        let signals = crate::sys::block_signals();
        // Acquire and Release: what is left of the last one is overwritten.
        let mine = signals.is_some() && self.taken.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let result = if mine {
            // SAFETY: it was taken just now, and signals are blocked.
            unsafe { Stack::run((&raw const self.stack).cast_mut(), part) }
        } else {
            part()
        };
        if mine {
            self.taken.store(0, Ordering::Release);
        }
        crate::sys::restore_signals(signals);
        result
    }
}
