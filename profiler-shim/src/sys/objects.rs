//! The loaded objects and their symbol tables, as the loader keeps them.
//!
//! Any object may be unloaded by another thread at any moment, with its node in the loader's list, but for two
//! kinds: those of the program's start, which stay as long as the process, and those that the running call needs
//! (its callers, what it locks). Only these are read directly; everything else by [`Memory::Checked`].

pub mod headers;
mod symbols;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use self::symbols::Dynamic;
pub use self::symbols::Part;
use crate::sys;

/// The beginning of the loader's `struct link_map`, which is public.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LinkMap {
    pub bias: u64,
    pub name: *const c_char,
    dynamic: *const Dynamic,
    pub next: *const LinkMap,
}

/// The beginning of the loader's `struct r_debug`, which is public.
#[repr(C)]
struct Debug {
    version: c_int,
    map: *const LinkMap,
    brk: u64,
    state: c_int,
    /// Where the loader itself is.
    loader: u64,
}

/// The last object of the program's start in the loader's list, which is only appended to.
static LAST_AT_START: AtomicPtr<LinkMap> = AtomicPtr::new(core::ptr::null_mut());
/// The node of this library, which is never unloaded.
static OWN: AtomicPtr<LinkMap> = AtomicPtr::new(core::ptr::null_mut());
/// Whether this library was opened while the program ran.
static OPENED_LATE: AtomicBool = AtomicBool::new(false);

/// The loader's list of objects, in the order of loading; null where there is none.
pub fn first() -> *const LinkMap {
    // SAFETY: the loader's structure lives as long as the process.
    unsafe { debug().as_ref() }.map_or(core::ptr::null(), |debug| debug.map)
}

fn debug() -> *const Debug {
    let debug: *const Debug;
    // The reference is weak: on a C library without it the recorder sleeps instead of failing to load.
    // SAFETY: reads our own offset table only.
    unsafe {
        core::arch::asm!(".weak _r_debug", "mov {}, qword ptr [rip + _r_debug@GOTPCREL]", out(reg) debug,
            options(nostack, preserves_flags, readonly));
    }
    debug
}

/// glibc's `struct dl_find_object` on x86-64.
#[repr(C)]
pub struct Place {
    flags: u64,
    pub start: u64,
    pub end: u64,
    pub node: *const LinkMap,
    /// Address of `.eh_frame_hdr`.
    pub tables: u64,
    reserved: [u64; 7],
}

type FindObject = unsafe extern "C" fn(u64, *mut Place) -> c_int;

/// `_dl_find_object` (glibc 2.35), which answers without the loader's lock; null on older ones.
static FIND_OBJECT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Whether the loader can be asked for [`place_of`].
pub fn places_are_known() -> bool {
    !FIND_OBJECT.load(Ordering::Relaxed).is_null()
}

/// Where the object is that an address lies in. Its node may be gone at once, unless the object is in use.
pub fn place_of(address: u64) -> Option<Place> {
    let find = FIND_OBJECT.load(Ordering::Relaxed);
    if find.is_null() {
        return None;
    }
    let mut place = Place { flags: 0, start: 0, end: 0, node: core::ptr::null(), tables: 0, reserved: [0; 7] };
    // SAFETY: the symbol of this name has this signature since glibc 2.35.
    let answer = unsafe {
        let find: FindObject = core::mem::transmute(find);
        find(address, &raw mut place)
    };
    (answer == 0).then_some(place)
}

/// Keeps in mind which objects belong to the program's start. Call before it opens any, or while this library is being
/// opened: nothing is unloaded meanwhile.
pub fn remember_start() {
    if !LAST_AT_START.load(Ordering::Acquire).is_null() {
        return;
    }
    // SAFETY: the loader's structure lives as long as the process.
    let loader = unsafe { debug().as_ref() }.map_or(0, |debug| debug.loader);
    let own = own_dynamic();
    let (mut last, mut next, mut is_late) = (core::ptr::null(), first(), false);
    // SAFETY: nothing is unloaded now.
    while let Some(map) = unsafe { next.as_ref() } {
        if core::ptr::eq(map.dynamic, own) {
            OWN.store(next.cast_mut(), Ordering::Relaxed);
            // The loader came with the start: whoever comes behind it may, but need not.
            if is_late {
                break;
            }
        }
        if !is_late {
            last = next;
        }
        is_late |= loader != 0 && map.bias == loader && OWN.load(Ordering::Relaxed).is_null();
        next = map.next;
    }
    let is_late = is_late && !OWN.load(Ordering::Relaxed).is_null();
    if !is_late {
        // SAFETY: as above.
        while let Some(map) = unsafe { last.as_ref() }.filter(|map| !map.next.is_null()) {
            last = map.next;
        }
    }
    OPENED_LATE.store(is_late, Ordering::Relaxed);
    LAST_AT_START.store(last.cast_mut(), Ordering::Release);
    FIND_OBJECT.store(find_function(c"_dl_find_object"), Ordering::Relaxed);
}

/// Whether somebody opened this library while the program ran. Then nothing of the program is bound to the hooks: whoever
/// opened it leads calls to them.
pub fn was_opened_late() -> bool {
    OPENED_LATE.load(Ordering::Relaxed)
}

/// The objects of the program's start: those are never unloaded.
pub fn at_start() -> impl Iterator<Item = &'static LinkMap> {
    let last = LAST_AT_START.load(Ordering::Acquire).cast_const();
    let mut next = if last.is_null() { last } else { first() };
    core::iter::from_fn(move || {
        // SAFETY: nodes of these objects live as long as the process.
        let map = unsafe { next.as_ref() }?;
        next = if core::ptr::eq(map, last) { core::ptr::null() } else { map.next };
        Some(map)
    })
}

/// Copies of the nodes of all objects that were opened later. What was unloaded meanwhile may be among them.
pub fn opened_later() -> impl Iterator<Item = LinkMap> {
    /// A list that was changed while it was read might lead in a circle.
    const MOST: usize = 4096;
    let last = LAST_AT_START.load(Ordering::Acquire).cast_const();
    // SAFETY: a node of the program's start.
    let mut next = unsafe { last.as_ref() }.map_or(core::ptr::null(), |map| map.next);
    core::iter::from_fn(move || {
        let [bias, name, dynamic, following] = Memory::Checked.words::<4>(next as u64)?;
        let map = LinkMap {
            bias,
            name: name as *const c_char,
            dynamic: dynamic as *const Dynamic,
            next: following as *const LinkMap,
        };
        next = map.next;
        Some(map)
    })
    .take(MOST)
}

/// How memory is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It is there.
    Present,
    /// It may be gone: the kernel looks.
    Checked,
}

impl Memory {
    /// Words at an address that is a multiple of eight; `None` if they are not there.
    pub fn words<const N: usize>(self, at: u64) -> Option<[u64; N]> {
        if at == 0 || at & 7 != 0 {
            return None;
        }
        match self {
            // SAFETY: whoever chose this vouches for the memory.
            Self::Present => Some(unsafe { (at as *const [u64; N]).read_volatile() }),
            Self::Checked => {
                let mut words = [0; N];
                sys::read_memory(at, &mut words).then_some(words)
            }
        }
    }

    /// Goes over the bytes of a string up to its NUL; false if it is not there.
    pub fn string(self, at: u64, mut each: impl FnMut(u8)) -> bool {
        const LONGEST: u64 = 4096;
        let mut word_at = at & !7;
        // An aligned word never reaches into another page.
        while word_at < at + LONGEST {
            let Some([word]) = self.words::<1>(word_at) else { return false };
            for (number, byte) in word.to_le_bytes().into_iter().enumerate() {
                if word_at + number as u64 >= at {
                    if byte == 0 {
                        return true;
                    }
                    each(byte);
                }
            }
            word_at += 8;
        }
        false
    }
}

/// The node of this library.
pub fn own() -> Option<&'static LinkMap> {
    // SAFETY: null, or the node of an object that is never unloaded.
    unsafe { OWN.load(Ordering::Relaxed).as_ref() }
}

fn own_dynamic() -> *const Dynamic {
    let own: *const Dynamic;
    // SAFETY: takes an address in our own object.
    unsafe {
        core::arch::asm!(".hidden _DYNAMIC", "lea {}, [rip + _DYNAMIC]", out(reg) own,
            options(nostack, preserves_flags, pure, nomem));
    }
    own
}

/// A function that is called but never hooked, by name, from an object of the program's start; null where none has it.
pub fn find_function(name: &CStr) -> *mut c_void {
    // SAFETY: these objects are loaded.
    at_start().find_map(|map| unsafe { map.find(name, None) }).map_or(core::ptr::null_mut(), |found| found.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libc() -> &'static LinkMap {
        remember_start();
        // SAFETY: an object of the program's start.
        at_start().find(|map| unsafe { map.is_libc() && map.find(c"pthread_cond_wait", None).is_some() }).expect("libc")
    }

    #[test]
    fn versions_are_told_apart() {
        // SAFETY: an object of the program's start.
        let find = |name, version| unsafe { libc().find(name, version) }.map(|found| found.address());
        let newest = find(c"pthread_cond_wait", None);
        assert!(newest.is_some());
        assert_eq!(find(c"pthread_cond_wait", Some(c"GLIBC_2.3.2")), newest);
        assert_ne!(find(c"pthread_cond_wait", Some(c"GLIBC_2.2.5")), newest);
        assert_eq!(find(c"pthread_cond_wait", Some(c"GLIBC_9.9")), None);
        assert_eq!(find(c"no_such_function", None), None);
    }

    #[test]
    fn memory_that_is_not_there_is_an_answer() {
        let text = c"a string that ends";
        for memory in [Memory::Present, Memory::Checked] {
            let mut len = 0;
            assert!(memory.string(text.as_ptr() as u64, |_| len += 1));
            assert_eq!(len, text.count_bytes());
        }
        assert_eq!(Memory::Checked.words::<1>(0x1000), None);
        assert_eq!(Memory::Checked.words::<1>(1 << 62), None);
        assert!(!Memory::Checked.string(0x1000, |_| {}));
    }

    #[test]
    fn places_of_the_programs_start() {
        remember_start();
        let here = text_address();
        if places_are_known() {
            let place = place_of(here).expect("this program");
            assert!((place.start..place.end).contains(&here));
            assert!(place_of(0x1000).is_none());
        }
    }

    fn text_address() -> u64 {
        text_address as fn() -> u64 as usize as u64
    }
}
