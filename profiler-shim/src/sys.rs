//! System calls, made directly: libc's wrappers would change `errno` and may be hooked by others. Of calls that do the same
//! those are made that libc makes: filters allow these first.

use core::arch::asm;
use core::ffi::CStr;
use core::sync::atomic::AtomicU32;

use crate::sandbox;

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

macro_rules! call {
    ($number:expr $(, $arg:expr)*) => {{
        let given: &[usize] = &[$($arg as usize),*];
        let mut args = [0usize; 6];
        let mut i = 0;
        while i < given.len() {
            args[i] = given[i];
            i += 1;
        }
        // A filter may end the program for a call that it forbids.
        const BIT: u64 = sandbox::bit($number);
        if sandbox::forbids(BIT) { sandbox::refuse(BIT) } else { call6($number, args) }
    }};
}

pub const READ: usize = 0;
pub const CLOSE: usize = 3;
pub const FSTAT: usize = 5;
pub const MMAP: usize = 9;
pub const MPROTECT: usize = 10;
pub const MUNMAP: usize = 11;
pub const RT_SIGPROCMASK: usize = 14;
pub const SCHED_YIELD: usize = 24;
pub const MREMAP: usize = 25;
pub const MINCORE: usize = 27;
pub const MADVISE: usize = 28;
pub const GETPID: usize = 39;
pub const KILL: usize = 62;
pub const FLOCK: usize = 73;
pub const FTRUNCATE: usize = 77;
pub const RENAME: usize = 82;
pub const MKDIR: usize = 83;
pub const RMDIR: usize = 84;
pub const UNLINK: usize = 87;
pub const READLINK: usize = 89;
pub const GETEUID: usize = 107;
pub const GETPPID: usize = 110;
pub const MUNLOCK: usize = 150;
pub const PRCTL: usize = 157;
pub const GETTID: usize = 186;
pub const FUTEX: usize = 202;
pub const CLOCK_GETTIME: usize = 228;
pub const OPENAT: usize = 257;
pub const NEWFSTATAT: usize = 262;
pub const FALLOCATE: usize = 285;
pub const PRLIMIT64: usize = 302;
pub const PROCESS_VM_READV: usize = 310;

/// Paths are relative to the working directory.
pub const AT_FDCWD: isize = -100;
pub const AT_SYMLINK_NOFOLLOW: usize = 0x100;
pub const SIG_SETMASK: usize = 2;
/// `PR_GET_SECCOMP`.
pub const GET_SECCOMP: usize = 21;
/// What `rt_sigprocmask` refuses, behind having read the mask.
pub const NO_SUCH_ACTION: usize = 99;

/// `PROT_READ`.
pub const PROT_READ: usize = 1;
/// `PROT_READ | PROT_WRITE`.
pub const PROT_RW: usize = 3;
/// `MAP_SHARED`.
pub const MAP_SHARED: usize = 1;
/// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE`.
pub const MAP_ANONYMOUS: usize = 0x2 | 0x20 | 0x4000;
/// `MREMAP_MAYMOVE`.
pub const MAY_MOVE: usize = 1;
/// `MADV_WIPEONFORK`.
pub const MADV_WIPEONFORK: usize = 18;
/// `MADV_DONTDUMP`.
pub const MADV_DONTDUMP: usize = 16;
/// `MADV_POPULATE_WRITE`.
pub const MADV_POPULATE_WRITE: usize = 23;
pub const O_RDWR: usize = 2;
pub const O_CLOEXEC: usize = 0o2_000_000;
pub const O_NOFOLLOW: usize = 0o400_000;
const O_CREAT: usize = 0o100;
const O_EXCL: usize = 0o200;
/// How a new file is opened.
pub const O_NEW: usize = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;

/// Maps memory that can be read and written; or the kernel's error.
pub fn mmap(len: usize, flags: usize, fd: isize, offset: u64) -> Result<*mut u8, isize> {
    // SAFETY: without MAP_FIXED no existing mapping is touched.
    address(unsafe { call!(MMAP, 0, len, PROT_RW, flags, fd, offset) })
}

/// Maps the `len` bytes of a file that come behind a page that is mapped already; or the kernel's error.
///
/// # Safety
/// `page` is one of a shared mapping of ours.
pub unsafe fn map_behind(page: *mut u8, len: usize) -> Result<*mut u8, isize> {
    const PAGE: usize = 4096;
    // SAFETY: with an old size of 0 the page stays mapped, and the new mapping is the same file from there on. Its
    // first page, which is that page again, is nobody's.
    unsafe {
        let both = address(call!(MREMAP, page, 0, PAGE + len, MAY_MOVE))?;
        munmap(both, PAGE);
        Ok(both.wrapping_add(PAGE))
    }
}

fn address(answer: isize) -> Result<*mut u8, isize> {
    if (-4095..0).contains(&answer) { Err(answer) } else { Ok(answer as *mut u8) }
}

/// Unmaps memory.
///
/// # Safety
/// Nobody uses the range any more.
pub unsafe fn munmap(at: *mut u8, len: usize) {
    // SAFETY: the caller's contract.
    unsafe { call!(MUNMAP, at, len) };
}

/// `madvise`; the kernel's answer.
///
/// # Safety
/// The range belongs to a mapping of ours, and the advice loses nothing that is needed.
pub unsafe fn madvise(at: *mut u8, len: usize, advice: usize) -> isize {
    // SAFETY: the caller's contract.
    unsafe { call!(MADVISE, at, len, advice) }
}

/// Whether a page of a mapping of ours is in memory.
pub fn is_resident(page: *mut u8) -> bool {
    let mut residency = 0u8;
    // SAFETY: the kernel writes one byte.
    unsafe { call!(MINCORE, page, 4096, &raw mut residency) == 0 && residency & 1 != 0 }
}

/// Lets the kernel take pages out of memory again; they count as locked no more.
///
/// # Safety
/// The range is a mapping of ours.
pub unsafe fn munlock(at: *mut u8, len: usize) {
    // SAFETY: the caller's contract.
    unsafe { call!(MUNLOCK, at, len) };
}

/// Whether every page of the range is mapped. A range that goes past the end of the addresses is not.
pub fn is_mapped(at: u64, len: u64) -> bool {
    mapped(at, len) == Some(true)
}

/// The same; `None` where a filter forbids to ask.
fn mapped(at: u64, len: u64) -> Option<bool> {
    const EPERM: isize = -1;
    const ENOSYS: isize = -38;
    let mut residency = [0u8; 256];
    // What wrong tables give as an address can be anything: a page that ends at 2^64 too.
    let Some(end) = at.checked_add(len) else { return Some(false) };
    let mut at = at & !4095;
    while at < end {
        let step = (end - at).min(256 * 4096);
        // SAFETY: the kernel writes one byte a page into `residency`, which has 256.
        match unsafe { call!(MINCORE, at, step, residency.as_mut_ptr()) } {
            0 => at += step,
            EPERM | ENOSYS => return None,
            _ => return Some(false),
        }
    }
    Some(true)
}

/// Whether every page of the range can be read: a guard page is mapped, but it cannot.
pub fn is_readable(at: u64, len: u64) -> bool {
    const EINVAL: isize = -22;
    // The kernel reads the new mask before it looks at what to do with it.
    // SAFETY: nothing is changed; an address that cannot be read is an error.
    let can_read = |page: u64| unsafe { call!(RT_SIGPROCMASK, NO_SUCH_ACTION, page, 0, 8) } == EINVAL;
    mapped(at, len) != Some(false) && (at & !4095..at + len).step_by(4096).all(can_read)
}

/// Copies memory of this process that another thread may give back now; false if any of it is not there.
pub fn read_memory(at: u64, into: &mut [u64]) -> bool {
    // SAFETY: no memory is involved.
    if unsafe { call!(PRCTL, GET_SECCOMP) } != 0 {
        // In a filter that was there before the program, a call that it does not know may be the last one.
        return peek(at, into);
    }
    let len = size_of_val(into) as u64;
    let (to, from) = ([into.as_mut_ptr() as u64, len], [at, len]);
    // SAFETY: the kernel writes at most `len` bytes into `into`; what cannot be read is an error.
    unsafe { call!(PROCESS_VM_READV, getpid(), to.as_ptr(), 1, from.as_ptr(), 1, 0) == len as isize }
}

/// Copies memory of this process that may have been given back some time ago; false if any of it is not there.
pub fn peek(at: u64, into: &mut [u64]) -> bool {
    if !is_readable(at, size_of_val(into) as u64) {
        return false;
    }
    for (number, word) in into.iter_mut().enumerate() {
        // SAFETY: it can be read.
        *word = unsafe { (at as *const u64).add(number).read_volatile() };
    }
    true
}

/// Makes pages of a loaded object writable, or not again.
///
/// # Safety
/// The pages belong to a loaded object, which is readable there and has no code there.
pub unsafe fn allow_writing(at: u64, len: u64, allow: bool) -> bool {
    // SAFETY: the caller's contract.
    unsafe { call!(MPROTECT, at, len, if allow { PROT_RW } else { PROT_READ }) == 0 }
}

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

/// Keeps signal handlers away until dropped.
pub struct Undisturbed(Option<u64>);

impl Undisturbed {
    pub fn now() -> Self {
        Self(block_signals())
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        restore_signals(self.0);
    }
}

/// Opens a file for reading; its descriptor.
pub fn open_read(path: &CStr) -> Option<isize> {
    // SAFETY: `path` ends with a NUL.
    let fd = unsafe { call!(OPENAT, AT_FDCWD, path.as_ptr(), O_CLOEXEC, 0) };
    (fd >= 0).then_some(fd)
}

/// Blocks all signals of this thread; gives the mask that was, or nothing where that is forbidden.
pub fn block_signals() -> Option<u64> {
    let (all, mut before) = (u64::MAX, 0u64);
    // SAFETY: the kernel reads and writes a mask of eight bytes.
    (unsafe { call!(RT_SIGPROCMASK, SIG_SETMASK, &raw const all, &raw mut before, 8) } == 0).then_some(before)
}

/// Sets the mask of this thread to what [`block_signals`] gave.
pub fn restore_signals(mask: Option<u64>) {
    if let Some(mask) = mask {
        // SAFETY: the kernel reads a mask of eight bytes.
        unsafe { call!(RT_SIGPROCMASK, SIG_SETMASK, &raw const mask, 0, 8) };
    }
}

/// Makes a new file that only its owner can read and write; its descriptor, or the error number.
pub fn create(path: &CStr) -> Result<isize, u32> {
    // SAFETY: `path` ends with a NUL.
    let fd = unsafe { call!(OPENAT, AT_FDCWD, path.as_ptr(), O_NEW, 0o600) };
    if fd >= 0 { Ok(fd) } else { Err(-fd as u32) }
}

/// Opens a file of ours for reading and writing; its descriptor.
pub fn open_write(path: &CStr) -> Option<isize> {
    // SAFETY: `path` ends with a NUL.
    let fd = unsafe { call!(OPENAT, AT_FDCWD, path.as_ptr(), O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0) };
    (fd >= 0).then_some(fd)
}

/// Closes a descriptor of ours.
pub fn close(fd: isize) {
    // SAFETY: `fd` is ours.
    unsafe { call!(CLOSE, fd) };
}

/// Sets a file's length. Not beyond the limit of a file's size: that would be a signal for the program.
pub fn ftruncate(fd: isize, len: u64) -> bool {
    // SAFETY: no memory is involved.
    len <= file_size_limit() && unsafe { call!(FTRUNCATE, fd, len) == 0 }
}

/// A file's length, bytes; 0 if it cannot be told.
pub fn file_len(fd: isize) -> u64 {
    // `struct stat` of x86-64: the length at byte 48, 144 bytes in all.
    let mut stat = [0u64; 18];
    // SAFETY: the kernel writes 144 bytes.
    if unsafe { call!(FSTAT, fd, stat.as_mut_ptr()) } == 0 { stat[6] } else { 0 }
}

/// Reserves room in a file.
pub fn fallocate(fd: isize, offset: u64, len: u64) -> bool {
    // SAFETY: no memory is involved.
    unsafe { call!(FALLOCATE, fd, 0, offset, len) == 0 }
}

/// Reads from a descriptor; number of bytes, negative on error.
pub fn read(fd: isize, into: &mut [u8]) -> isize {
    // SAFETY: the kernel writes at most `into.len()` bytes.
    unsafe { call!(READ, fd, into.as_mut_ptr(), into.len()) }
}

/// Where a symbolic link points; number of bytes, negative on error.
pub fn readlink(path: &CStr, into: &mut [u8]) -> isize {
    // SAFETY: `path` ends with a NUL, the kernel writes at most `into.len()` bytes.
    unsafe { call!(READLINK, path.as_ptr(), into.as_mut_ptr(), into.len()) }
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

/// Maps a file over a page of our own data, shared with whoever else maps it.
///
/// # Safety
/// `at` is the beginning of pages that are ours alone, and any bytes of the file are valid there.
pub unsafe fn map_over(at: *mut u8, len: usize, fd: isize) -> bool {
    const MAP_FIXED: usize = 0x10;
    // SAFETY: the caller's contract.
    unsafe { call!(MMAP, at, len, PROT_RW, MAP_SHARED | MAP_FIXED, fd, 0) == at as isize }
}

/// Makes a folder that only its owner can use; true as well if there is such a one of ours.
pub fn private_folder(path: &CStr) -> bool {
    const EXISTS: isize = -17;
    const KIND_AND_RIGHTS: u32 = 0o170_777;
    const PRIVATE_FOLDER: u32 = 0o040_700;
    // SAFETY: `path` ends with a NUL.
    match unsafe { call!(MKDIR, path.as_ptr(), 0o700) } {
        0 => true,
        EXISTS => {
            // `struct stat` of x86-64: the mode at byte 24, the owner at byte 28, 144 bytes in all.
            let mut stat = [0u32; 36];
            // SAFETY: the path ends with a NUL, the kernel writes 144 bytes.
            let known =
                unsafe { call!(NEWFSTATAT, AT_FDCWD, path.as_ptr(), stat.as_mut_ptr(), AT_SYMLINK_NOFOLLOW) == 0 };
            // SAFETY: always allowed.
            known && stat[6] & KIND_AND_RIGHTS == PRIVATE_FOLDER && stat[7] == unsafe { call!(GETEUID) } as u32
        }
        _ => false,
    }
}

/// Removes a file of ours.
pub fn unlink(file: &CStr) {
    // SAFETY: the name ends with a NUL.
    unsafe { call!(UNLINK, file.as_ptr()) };
}

/// Removes a folder of ours, if it is empty.
pub fn rmdir(folder: &CStr) {
    // SAFETY: the name ends with a NUL.
    unsafe { call!(RMDIR, folder.as_ptr()) };
}

/// Takes the lock of an open file, if nobody else has it.
pub fn try_flock(fd: isize) -> bool {
    const EXCLUSIVE_NOW: usize = 2 | 4;
    // SAFETY: no memory is involved.
    unsafe { call!(FLOCK, fd, EXCLUSIVE_NOW) == 0 }
}

/// Gives the lock of an open file back. Closing it does not, if a mapping keeps it open.
pub fn release_flock(fd: isize) {
    const UNLOCK: usize = 8;
    // SAFETY: no memory is involved.
    unsafe { call!(FLOCK, fd, UNLOCK) };
}

/// Renames a file of ours.
pub fn rename(from: &CStr, to: &CStr) -> bool {
    // SAFETY: both names end with a NUL.
    unsafe { call!(RENAME, from.as_ptr(), to.as_ptr()) == 0 }
}

/// Ends the process at once: only for what cannot happen.
pub fn abort() -> ! {
    // SAFETY: SIGABRT to ourselves.
    unsafe { call!(KILL, getpid(), 6) };
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::{is_mapped, is_readable};

    #[test]
    fn no_address_is_readable_past_the_end_of_memory() {
        for at in [0u64.wrapping_sub(4096), 1 << 63, 0x7fff_ffff_f000, 0] {
            assert!(!is_mapped(at, 4096), "{at:#x}");
            assert!(!is_readable(at, 4096), "{at:#x}");
        }
        assert!(!is_readable(0x1000, u64::MAX));
        let here = 0u64;
        assert!(is_readable((&raw const here).addr() as u64 & !4095, 4096));
    }
}
