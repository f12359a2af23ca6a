//! Memory of the process: mapping it, and asking what of it is there.

use super::call::call;
use super::getpid;
use lockprof_wire::number::*;

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
    readable(at, len) == Some(true)
}

/// The same; `None` where a filter forbids to ask.
fn readable(at: u64, len: u64) -> Option<bool> {
    const EINVAL: isize = -22;
    const EFAULT: isize = -14;
    if mapped(at, len) == Some(false) {
        return Some(false);
    }
    for page in (at & !4095..at + len).step_by(4096) {
        // The kernel reads the new mask before it looks at what to do with it.
        // SAFETY: nothing is changed; an address that cannot be read is an error.
        match unsafe { call!(RT_SIGPROCMASK, NO_SUCH_ACTION, page, 0, 8) } {
            EINVAL => {}
            EFAULT => return Some(false),
            _ => return None,
        }
    }
    Some(true)
}

/// Copies memory of this process that another thread may give back now; false if any of it is not there.
pub fn read_memory(at: u64, into: &mut [u64]) -> bool {
    // SAFETY: no memory is involved.
    if unsafe { call!(PRCTL, GET_SECCOMP) } != 0 {
        // In a filter that was there before the program, a call that it does not know may be the last one.
        return peek(at, into) == Some(true);
    }
    let len = size_of_val(into) as u64;
    let (to, from) = ([into.as_mut_ptr() as u64, len], [at, len]);
    // SAFETY: the kernel writes at most `len` bytes into `into`; what cannot be read is an error.
    unsafe { call!(PROCESS_VM_READV, getpid(), to.as_ptr(), 1, from.as_ptr(), 1, 0) == len as isize }
}

/// Copies memory of this process that may have been given back some time ago: whether all of it is there, and `None` where
/// a filter forbids to ask.
pub fn peek(at: u64, into: &mut [u64]) -> Option<bool> {
    let readable = readable(at, size_of_val(into) as u64);
    if readable == Some(true) {
        for (number, word) in into.iter_mut().enumerate() {
            // SAFETY: it can be read.
            *word = unsafe { (at as *const u64).add(number).read_volatile() };
        }
    }
    readable
}

/// Makes pages of a loaded object writable, or not again.
///
/// # Safety
/// The pages belong to a loaded object, which is readable there and has no code there.
pub unsafe fn allow_writing(at: u64, len: u64, allow: bool) -> bool {
    // SAFETY: the caller's contract.
    unsafe { call!(MPROTECT, at, len, if allow { PROT_RW } else { PROT_READ }) == 0 }
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
