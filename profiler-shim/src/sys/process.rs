//! What the kernel says of the process and its threads; clocks, waiting, limits.

use core::sync::atomic::AtomicU32;

use super::call::call;
use super::files::{close, open_read, read, readlink};
use lockprof_wire::number::*;

/// Sleeps while a word has this value.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    const WAIT: usize = 0;
    // SAFETY: the kernel reads the word.
    unsafe { call!(FUTEX, word.as_ptr(), WAIT, value, 0, 0, 0) };
}

/// Wakes all who sleep because of a word.
pub fn futex_wake_all(word: *const AtomicU32) {
    const WAKE: usize = 1;
    // SAFETY: the kernel takes the address only.
    unsafe { call!(FUTEX, word, WAKE, i32::MAX, 0, 0, 0) };
}

/// Number of the PID namespace of this process; 0 where it cannot be read.
pub fn pid_namespace() -> u64 {
    let mut link = [0u8; 64];
    let len = readlink(c"/proc/self/ns/pid", &mut link).max(0) as usize;
    let digits = link.iter().take(len).filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

/// What the kernel calls this process's first thread.
pub fn comm() -> [u8; 16] {
    let mut name = [0u8; 16];
    if let Some(fd) = open_read(c"/proc/self/comm") {
        read(fd, &mut name);
        close(fd);
    }
    for byte in name.iter_mut().filter(|byte| **byte == b'\n') {
        *byte = 0;
    }
    name
}

/// Process id; 0 where a filter forbids to ask.
pub fn getpid() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { call!(GETPID).max(0) as u32 }
}

/// Parent's process id; 0 where a filter forbids to ask.
pub fn getppid() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { call!(GETPPID).max(0) as u32 }
}

/// A process and its parent, by their ids; 0 where one is not known.
#[derive(Clone, Copy)]
pub struct Ids {
    pub process: u32,
    pub parent: u32,
}

impl Ids {
    /// Those of this process.
    pub fn own() -> Self {
        Self { process: getpid(), parent: getppid() }
    }

    /// Those of the process whose memory the child of a vfork runs in.
    pub fn of_vforking() -> Self {
        Self { process: getppid(), parent: 0 }
    }
}

/// Kernel thread id; 0 where a filter forbids to ask.
pub fn gettid() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { call!(GETTID).max(0) as u32 }
}

/// Lets another thread run.
pub fn sched_yield() {
    // SAFETY: always allowed.
    unsafe { call!(SCHED_YIELD) };
}

/// `CLOCK_MONOTONIC`, ns.
pub fn monotonic_ns() -> u64 {
    clock_ns(1)
}

/// `CLOCK_REALTIME`, ns.
pub fn real_ns() -> u64 {
    clock_ns(0)
}

fn clock_ns(clock: usize) -> u64 {
    let mut time = [0i64; 2];
    // SAFETY: the kernel writes a `timespec` of two words.
    unsafe { call!(CLOCK_GETTIME, clock, time.as_mut_ptr()) };
    time[0] as u64 * 1_000_000_000 + time[1] as u64
}

/// Soft limit of the address space, bytes; `u64::MAX` without one.
pub fn address_space_limit() -> u64 {
    limit(9)
}

/// Soft limit of private memory that can be written, bytes; `u64::MAX` without one.
pub fn data_limit() -> u64 {
    limit(2)
}

/// Soft limit of a file's size, bytes; `u64::MAX` without one.
pub fn file_size_limit() -> u64 {
    limit(1)
}

fn limit(resource: usize) -> u64 {
    let mut limit = [u64::MAX; 2];
    // SAFETY: the kernel writes an `rlimit` of two words.
    unsafe { call!(PRLIMIT64, 0, resource, 0, limit.as_mut_ptr()) };
    limit[0]
}

/// Ends the process at once: only for what cannot happen.
pub fn abort() -> ! {
    // SAFETY: SIGABRT to ourselves.
    unsafe { call!(KILL, getpid(), 6) };
    loop {
        core::hint::spin_loop();
    }
}
