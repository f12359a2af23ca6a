//! Private memory: zeros, which the kernel makes zeros again in the child of a fork (`MADV_WIPEONFORK`).
//!
//! Taken as it is needed and never given back: what lies in it is read without locks. Limits of the program (address
//! space, data, locked memory) count all that is mapped, so nothing is mapped in advance.

use core::sync::atomic::{AtomicU64, Ordering};

use lockprof_wire::layout::note;

use crate::sys;

/// See the module. Valid when zero: then the first request maps something.
#[repr(C)]
pub struct Memory {
    next: AtomicU64,
    end: AtomicU64,
}

/// What is mapped for small requests, bytes.
const PIECE: usize = 64 << 10;
/// Every request begins at a multiple of this.
const ALIGN: u64 = 64;

impl Memory {
    /// Begins with memory that is mapped already.
    pub fn begin(&self, at: *mut u8, len: usize) {
        self.next.store(at as u64, Ordering::Relaxed);
        self.end.store(at as u64 + len as u64, Ordering::Relaxed);
    }

    /// So many bytes of zeros; or why there are none, as bits of [`note`]. Call under the inner lock.
    pub fn take(&self, bytes: usize) -> Result<*mut u8, u32> {
        let bytes = bytes.next_multiple_of(ALIGN as usize);
        let next = self.next.load(Ordering::Relaxed);
        if next + bytes as u64 <= self.end.load(Ordering::Relaxed) {
            self.next.store(next + bytes as u64, Ordering::Relaxed);
            return Ok(next as *mut u8);
        }
        if bytes >= PIECE / 2 {
            return map(bytes);
        }
        let piece = map(PIECE)?;
        self.begin(piece.wrapping_add(bytes), PIECE - bytes);
        Ok(piece)
    }
}

/// Bytes that the recorder has mapped: private ones, and those of segments. The child of a fork has them as well, so it
/// goes on with these sums.
static PRIVATE: AtomicU64 = AtomicU64::new(0);
static SHARED: AtomicU64 = AtomicU64::new(0);
/// The part of a limit that the recorder takes at most: the rest is the program's.
const SHARE: u64 = 8;

/// A private mapping of its own; or why there is none, as bits of [`note`].
pub fn map(bytes: usize) -> Result<*mut u8, u32> {
    let bytes = bytes.next_multiple_of(4096);
    let private = PRIVATE.load(Ordering::Relaxed) + bytes as u64;
    if private > sys::data_limit() / SHARE {
        return Err(note::DATA_SIZE);
    }
    if private + SHARED.load(Ordering::Relaxed) > sys::address_space_limit() / SHARE {
        return Err(note::ADDRESS_SPACE);
    }
    let at = sys::mmap(bytes, sys::MAP_ANONYMOUS, -1, 0).map_err(why)?;
    // SAFETY: the mapping is ours and new.
    unsafe {
        if sys::madvise(at, bytes, sys::MADV_WIPEONFORK) != 0 {
            // Without it a forked child would write into its parent's rings.
            sys::munmap(at, bytes);
            return Err(note::REFUSED);
        }
        sys::madvise(at, bytes, sys::MADV_DONTDUMP);
    }
    unlock(at, bytes);
    PRIVATE.store(private, Ordering::Relaxed);
    Ok(at)
}

/// Maps the `bytes` of the segment's file that come behind a page of it; or says why not, as [`map`].
///
/// # Safety
/// `page` is one of a shared mapping of ours.
pub unsafe fn map_behind(page: *mut u8, bytes: u64) -> Result<*mut u8, u32> {
    let shared = SHARED.load(Ordering::Relaxed) + bytes;
    if shared + PRIVATE.load(Ordering::Relaxed) > sys::address_space_limit() / SHARE {
        return Err(note::ADDRESS_SPACE);
    }
    // SAFETY: the caller's contract.
    let at = unsafe { sys::map_behind(page, bytes as usize) }.map_err(why)?;
    unlock(at, bytes as usize);
    SHARED.store(shared, Ordering::Relaxed);
    Ok(at)
}

/// A program that locks what is mapped later (`MCL_FUTURE`) has only so much room for that (`RLIMIT_MEMLOCK`), which is not
/// the recorder's. Where nothing was touched yet and a page is there, it was locked.
fn unlock(at: *mut u8, bytes: usize) {
    if sys::is_resident(at) {
        // SAFETY: the mapping is ours.
        unsafe { sys::munlock(at, bytes) };
    }
}

/// Which limit made the kernel refuse a mapping, as bits of [`note`].
pub fn why(error: isize) -> u32 {
    const EAGAIN: isize = -11;
    const ENOMEM: isize = -12;
    let limited = |limit: u64, bit: u32| if limit == u64::MAX { 0 } else { bit };
    let limits = match error {
        EAGAIN => note::LOCKED_MEMORY,
        ENOMEM => {
            limited(sys::address_space_limit(), note::ADDRESS_SPACE) | limited(sys::data_limit(), note::DATA_SIZE)
        }
        _ => 0,
    };
    if limits == 0 { note::REFUSED } else { limits }
}
