//! What identifies the running thread, and where its stack ends.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// This thread's `pthread_t`: the address of its control block.
pub fn pthread_self() -> u64 {
    let control: u64;
    // SAFETY: on x86-64 Linux the first word of the control block is its own address.
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) control, options(nostack, preserves_flags, readonly));
    }
    control
}

/// Whether glibc notes each thread's id where [`noted_tid`] looks.
static TID_IS_NOTED: AtomicU32 = AtomicU32::new(0);

/// glibc's `tid` in a thread's control block. No public layout: so it is compared with what the kernel says.
fn noted_tid() -> u32 {
    let tid: u32;
    // SAFETY: glibc's control block is larger.
    unsafe {
        core::arch::asm!("mov {:e}, dword ptr fs:[0x2d0]", out(reg) tid, options(nostack, preserves_flags, readonly));
    }
    tid
}

/// Looks whether new threads' ids are known without a call.
pub fn learn_tids() {
    let tid = sys::gettid();
    if tid != 0 {
        TID_IS_NOTED.store(u32::from(tid == noted_tid()), Ordering::Relaxed);
    }
}

/// This thread's id; 0 if it cannot be known.
pub fn thread_id() -> u32 {
    if TID_IS_NOTED.load(Ordering::Relaxed) != 0 { noted_tid() } else { sys::gettid() }
}

/// Whether this is the child of a vfork: it runs in its parent's memory, which names the parent's thread. The child of a fork
/// that libc knows nothing of looks the same.
pub fn is_vforked() -> bool {
    let tid = sys::gettid();
    TID_IS_NOTED.load(Ordering::Relaxed) != 0 && tid != 0 && tid != noted_tid()
}

/// Where this thread's stack ends: glibc puts a thread's control block at the end of its stack; the main
/// thread's is where `__libc_stack_end` says. A guess only: what lies beyond is asked of the kernel.
pub fn stack_end(stack_pointer: u64) -> u64 {
    const NEAR: u64 = 256 << 20;
    let control = pthread_self();
    let page = (stack_pointer & !4095) + 4096;
    let on_thread_stack = control > stack_pointer
        && control - stack_pointer < NEAR
        && sys::is_readable(stack_pointer & !4095, (control & !4095) - (stack_pointer & !4095));
    if on_thread_stack { control & !7 } else { page }
}
