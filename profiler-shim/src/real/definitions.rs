//! Which definition of a function a call reaches behind its hook, and whether it is libc's.
//!
//! What `RTLD_NEXT` means: the first one behind this library, among the objects of the program's start. So another
//! library that stands before libc's functions and hands calls on (a sanitizer, a preloaded wrapper) stays in the
//! chain. But a library may have functions of its own by these names, with other arguments on other objects: calls
//! of those are none of the recorder's, and go on exactly as they came.
//!
//! Objects that are opened later may be closed again, so nothing that lies in one is remembered.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use crate::real::following::{leads_to_libc, next, next_definition};
use crate::real::{Entry, Family, PASSED, RECORDED, TABLE, UNRESOLVED, entry};
use crate::real::{blocking, lookups};
use crate::sys::objects::headers::Object;
use crate::sys::objects::{self, LinkMap, Memory, Part};
use crate::sys::{self, Undisturbed};
use crate::tables::object_marker;

const NEW: u32 = 0;
const UNDER_WAY: u32 = 1;
const DONE: u32 = 2;

static STATE: AtomicU32 = AtomicU32::new(NEW);
/// Families whose functions are somebody else's: bits by [`Family`].
static FOREIGN: AtomicU32 = AtomicU32::new(0);

/// The families whose calls are not recorded because the functions are not libc's: bits by [`Family`].
pub fn foreign() -> u32 {
    FOREIGN.load(Ordering::Relaxed)
}

/// Finds all functions, so that no hook has to later.
pub fn resolve_all() {
    /// Tenths of a second at least: the thread that looks may have been left behind by a fork.
    const ATTEMPTS: u32 = 200_000;
    // A handler in between would wait for what it interrupted.
    let _undisturbed = Undisturbed::now();
    // Acquire: pairs with the Release store below.
    if STATE.compare_exchange(NEW, UNDER_WAY, Ordering::Acquire, Ordering::Acquire).is_err() {
        for _ in 0..ATTEMPTS {
            if STATE.load(Ordering::Acquire) == DONE {
                return;
            }
            sys::sched_yield();
        }
        return;
    }
    if objects::first().is_null() {
        TABLE.iter().chain(&blocking::CALLS).for_each(|entry| {
            entry.at.store(find_elsewhere(entry.name), Ordering::Relaxed);
            entry.how.store(PASSED, Ordering::Release);
        });
    } else {
        objects::remember_start();
        let foreign = find_all();
        FOREIGN.store(foreign, Ordering::Relaxed);
        if locks_are_glibcs() {
            object_marker::allow();
        }
        let is_late = objects::was_opened_late();
        find_blocking(is_late);
        for entry in &TABLE {
            if is_late {
                // Until whoever opened this library leads calls here.
                entry.how.store(PASSED, Ordering::Release);
                continue;
            }
            let recorded = foreign & entry.family.bit() == 0 && !entry.at.load(Ordering::Relaxed).is_null();
            // Release: whoever reads it finds the address.
            entry.how.store(if recorded || is_always_ours(entry) { RECORDED } else { PASSED }, Ordering::Release);
        }
        if !is_late {
            lookups::lead_here();
        }
    }
    STATE.store(DONE, Ordering::Release);
}

/// Finds the calls that may block. Each is for itself: a library may well have a `send` or a `connect` of its own, whose
/// calls go on as they came.
fn find_blocking(is_late: bool) {
    for entry in &blocking::CALLS {
        let found = next(entry);
        if let Some((_, at)) = found {
            entry.at.store(at, Ordering::Relaxed);
        }
        let recorded = !is_late && found.is_some_and(|(map, _)| is_libcs_or_leads_there(map, entry.name));
        // Release: whoever reads it finds the address.
        entry.how.store(if recorded { RECORDED } else { PASSED }, Ordering::Release);
    }
}

/// Those whose hooks find the real function anew for each call.
fn is_always_ours(entry: &Entry) -> bool {
    entry.family == Family::Guard
}

/// Finds the next definition of each function; bits of the families that are not libc's.
fn find_all() -> u32 {
    let mut foreign = 0;
    for entry in &TABLE {
        let Some((map, found)) = next(entry) else { continue };
        entry.at.store(found, Ordering::Relaxed);
        if !matches!(entry.family, Family::Own | Family::Guard) && !is_libcs_or_leads_there(map, entry.name) {
            foreign |= entry.family.bit();
        }
    }
    // What waits on a condition gives a mutex back.
    for (mutex, conds) in
        [(Family::Mutex, &[Family::Cond, Family::OldCond][..]), (Family::C11Mutex, &[Family::C11Cond])]
    {
        if foreign & mutex.bit() != 0 {
            foreign |= conds.iter().fold(0, |all, cond| all | cond.bit());
        }
    }
    foreign
}

/// The next function of a name that is asked for once.
pub fn next_of(name: &CStr) -> Option<*mut c_void> {
    resolve_all();
    next_definition(name, None).map(|(_, found)| found)
}

/// Whether a definition is libc's, or one that hands calls on to libc's.
fn is_libcs_or_leads_there(map: &'static LinkMap, name: &CStr) -> bool {
    // SAFETY: an object of the program's start.
    unsafe {
        if map.is_libc() {
            return true;
        }
        // POSIX reserves these names, and nobody preloads a library for any other reason than to stand before them.
        let reserved = [&b"pthread_"[..], b"sem_"].iter().any(|start| name.to_bytes().starts_with(start));
        let needed = || objects::at_start().any(|other| other.needs(map.file()));
        // Whoever hands calls on has to ask the loader for the next function, by its name.
        let asks = || (map.imports(c"dlsym") || map.imports(c"dlvsym")) && has_string(map, name);
        reserved && !needed() || asks()
    }
}

/// Whether the object has this string anywhere but among the names that it exports and needs.
///
/// # Safety
/// The object is loaded.
unsafe fn has_string(map: &'static LinkMap, name: &CStr) -> bool {
    let wanted = name.to_bytes_with_nul();
    // SAFETY: the object's headers say what of it is readable.
    unsafe {
        let names = map.names();
        map.parts().filter(|part| part.rights & (Part::READABLE | Part::WRITABLE) == Part::READABLE).any(|part| {
            let bytes = core::slice::from_raw_parts(part.start as *const u8, part.len as usize);
            let mut at = 0;
            while let Some(found) = bytes[at..].iter().position(|byte| *byte == wanted[0]) {
                at += found;
                if bytes[at..].starts_with(wanted) && !names.contains(&(part.start + at as u64)) {
                    return true;
                }
                at += 1;
            }
            false
        })
    }
}

/// Whether locks are taken by glibc itself, of version 2.30 or newer (read-write locks had another layout before
/// 2.25): another preloaded library may have locks of its own making in the place of glibc's.
fn locks_are_glibcs() -> bool {
    let locks = [entry!(pthread_mutex_lock), entry!(pthread_mutex_clocklock), entry!(pthread_rwlock_wrlock)];
    locks.into_iter().all(leads_to_libc)
}

/// The address of a function that no object of the program's start has. Never null.
#[cold]
pub fn resolve(entry: &'static Entry) -> *mut c_void {
    if entry.how.load(Ordering::Acquire) == UNRESOLVED {
        resolve_all();
    }
    let at = entry.at.load(Ordering::Relaxed);
    if at.is_null() { missing as *mut c_void } else { at }
}

/// For a call that its hook does not record and has no address for: where it goes on; null if there is one by now.
#[cfg_attr(not(lockprof_preload), allow(dead_code))]
pub unsafe extern "C" fn resolve_for_call(entry: &'static Entry, return_address: u64) -> *mut c_void {
    if entry.how.load(Ordering::Acquire) == UNRESOLVED {
        resolve_all();
        if entry.how.load(Ordering::Acquire) == RECORDED || !entry.at.load(Ordering::Relaxed).is_null() {
            return core::ptr::null_mut();
        }
    }
    let found = of_object_at(return_address, entry.name).unwrap_or(core::ptr::null_mut());
    if !found.is_null() {
        return found;
    }
    of_older_libc(entry.name).unwrap_or(missing as *mut c_void)
}

/// What the object at an address in use defines by this name.
pub fn of_object_at(address: u64, name: &CStr) -> Option<*mut c_void> {
    let map = if objects::places_are_known() {
        // SAFETY: the address is in use, so its object is there, and its node.
        unsafe { *objects::place_of(address)?.node }
    } else {
        Object::from_list(address)?.1
    };
    // SAFETY: as above.
    unsafe { map.find(name, None) }.map(|found| found.address())
}

/// Older C libraries consist of several files, which may be opened late; the caller needs the one that it calls.
fn of_older_libc(name: &CStr) -> Option<*mut c_void> {
    objects::opened_later().find_map(|map| {
        let (mut file, mut len) = ([0u8; 16], 0);
        let known = Memory::Checked.string(map.name as u64, |byte| {
            if byte == b'/' {
                len = 0;
            } else if len < file.len() {
                file[len] = byte;
                len += 1;
            }
        });
        let is_libc = known && [&b"libpthread"[..], b"libdl"].iter().any(|known| file.starts_with(known));
        // SAFETY: glibc never unloads the one, and the caller needs the other.
        is_libc.then(|| unsafe { map.find(name, None) })?.map(|found| found.address())
    })
}

/// Stands for a function that no loaded object has: answers ENOSYS. A program cannot call it by a
/// link-time reference, since its own start would have failed without lockprof.
extern "C" fn missing() -> c_int {
    38
}

/// On another C library than glibc, whose loader shows no list, nothing is recorded, but the program has to
/// work: children of a recorded program inherit the shim. musl's `dlsym` neither locks nor allocates.
#[cold]
fn find_elsewhere(name: &CStr) -> *mut c_void {
    const NEXT: *mut c_void = usize::MAX as *mut c_void;
    let dlsym: *const c_void;
    // SAFETY: reads our own offset table only; the reference is weak.
    unsafe {
        core::arch::asm!(".weak dlsym", "mov {}, qword ptr [rip + dlsym@GOTPCREL]", out(reg) dlsym,
            options(nostack, preserves_flags, readonly));
    }
    if dlsym.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the function of this name has this signature; the name ends with a NUL.
    unsafe {
        let dlsym: extern "C" fn(*mut c_void, *const core::ffi::c_char) -> *mut c_void = core::mem::transmute(dlsym);
        dlsym(NEXT, name.as_ptr())
    }
}
