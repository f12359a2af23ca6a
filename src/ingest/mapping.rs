//! Mappings of files that others may cut short at any time.
//!
//! Reading a page behind the end of a mapped file is a `SIGBUS`, which would end the collector, and with it the recording of
//! all other processes. So a handler puts empty memory in the place of what is gone, and the mapping says so.

use std::fs::File;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// See the module.
pub struct Mapping {
    map: MmapRaw,
    place: &'static Place,
}

/// One mapping, for the handler. Places are used again and never given back: a handler may be looking.
struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
    taken: AtomicBool,
    cut: AtomicBool,
    next: AtomicPtr<Place>,
}

static PLACES: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());

impl Mapping {
    /// Maps the first `len` bytes of a file.
    ///
    /// # Errors
    /// Where the kernel refuses to.
    pub fn new(file: &File, len: u64) -> io::Result<Self> {
        static WATCHED: Once = Once::new();
        WATCHED.call_once(watch);
        let map = MmapOptions::new().len(len as usize).map_raw(file)?;
        let place = Place::take();
        let start = map.as_ptr() as usize;
        place.cut.store(false, Ordering::Relaxed);
        place.end.store(start + len as usize, Ordering::Relaxed);
        // Release: a handler that sees the start sees the end.
        place.start.store(start, Ordering::Release);
        Ok(Self { map, place })
    }

    /// Where it begins.
    pub fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    /// Whether a part of the file was gone when it was read: there are zeros in its place, and behind it.
    pub fn was_cut(&self) -> bool {
        self.place.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the memory is given back: it is somebody else's then.
        self.place.start.store(0, Ordering::SeqCst);
        self.place.end.store(0, Ordering::SeqCst);
        // Release: whoever takes the place finds it empty.
        self.place.taken.store(false, Ordering::Release);
    }
}

impl Place {
    fn all() -> impl Iterator<Item = &'static Self> {
        let mut at = PLACES.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: places are never given back.
            let place = unsafe { at.as_ref() }?;
            at = place.next.load(Ordering::Acquire);
            Some(place)
        })
    }

    fn take() -> &'static Self {
        let free = |place: &&Self| !place.taken.swap(true, Ordering::Acquire);
        if let Some(place) = Self::all().find(free) {
            return place;
        }
        let new = Box::leak(Box::new(Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            taken: AtomicBool::new(true),
            cut: AtomicBool::new(false),
            next: AtomicPtr::new(std::ptr::null_mut()),
        }));
        let new: *mut Self = new;
        let mut first = PLACES.load(Ordering::Acquire);
        loop {
            // SAFETY: just made, and only this thread has it until the exchange.
            unsafe { (*new).next.store(first, Ordering::Relaxed) };
            match PLACES.compare_exchange_weak(first, new, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: places are never given back.
                Ok(_) => return unsafe { &*new },
                Err(other) => first = other,
            }
        }
    }
}

/// What was done about `SIGBUS` before, for faults that are not ours.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

fn watch() {
    // SAFETY: zeros are a valid `sigaction`; the handler calls only what handlers may.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        let mut new: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        new.sa_sigaction = handler as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut before);
        BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
        libc::sigaction(libc::SIGBUS, &raw const new, std::ptr::null_mut());
    }
}

extern "C" fn on_fault(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    const PAGE: usize = 4096;
    // SAFETY: the kernel passes a valid `siginfo`.
    let at = unsafe { (*info).si_addr() } as usize;
    let within = |place: &&Place| {
        let start = place.start.load(Ordering::Acquire);
        start != 0 && start <= at && at < place.end.load(Ordering::Relaxed)
    };
    if let Some(place) = Place::all().find(within) {
        let page = at & !(PAGE - 1);
        let len = place.end.load(Ordering::Relaxed) - page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: the range is part of a mapping of ours, whose readers take any bytes. `errno` is kept.
        let mapped = unsafe {
            let errno = *libc::__errno_location();
            let mapped = libc::mmap(page as *mut _, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            *libc::__errno_location() = errno;
            mapped
        };
        if mapped as usize == page {
            place.cut.store(true, Ordering::Relaxed);
            return;
        }
    }
    // Not ours: the fault comes again, and meets what was there before.
    let before = BEFORE.load(Ordering::Acquire);
    if !before.is_null() {
        // SAFETY: stored by `watch` and never given back.
        unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_reads_as_zeros() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8 * 4096).expect("its size");
        let mapping = Mapping::new(&file, 8 * 4096).expect("a mapping");
        let read = |page: usize| {
            // SAFETY: within the mapping.
            unsafe { mapping.as_ptr().add(page * 4096).read_volatile() }
        };
        std::os::unix::fs::FileExt::write_all_at(&file, &[7], 0).expect("a byte");
        std::os::unix::fs::FileExt::write_all_at(&file, &[8], 5 * 4096).expect("a byte");
        assert_eq!((read(0), read(5), mapping.was_cut()), (7, 8, false));
        file.set_len(4096).expect("a smaller size");
        assert_eq!((read(5), read(0), mapping.was_cut()), (0, 7, true));
        let other = Mapping::new(&file, 4096).expect("a mapping");
        drop(mapping);
        assert!(!other.was_cut());
        file.set_len(0).expect("no size");
        // SAFETY: within the mapping.
        assert_eq!(unsafe { other.as_ptr().read_volatile() }, 0);
        assert!(other.was_cut());
    }
}
