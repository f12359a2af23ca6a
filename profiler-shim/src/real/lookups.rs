//! Look-ups that would go past the hooks: a library opened with `RTLD_DEEPBIND` takes its functions from its own
//! dependencies first, libc among them, and a program may ask libc's handle for a function.
//!
//! Locks of which half the calls are seen are worse than none: what was given back unseen looks held for ever. So
//! libc's own symbol table says from the start on that these functions are where the hooks are. Only what is looked
//! up from now on sees that. Where another library stands between the hook and libc, the table is left as it is:
//! that library may still ask for the next function, and would find the hook, in a circle.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::real::following::leads_to_libc;
use crate::real::{Entry, RECORDED, TABLE};
use crate::sys;
use crate::sys::objects::{self, LinkMap};

/// Whether some functions can still be found past the hooks.
static SOME_PASS: AtomicU32 = AtomicU32::new(0);

/// Whether a library that looks into libc first may find a function there whose calls are recorded elsewhere.
pub fn some_pass() -> bool {
    SOME_PASS.load(Ordering::Relaxed) != 0
}

/// Makes libc's symbol table lead to the hooks. Call once, when all functions are found.
pub fn lead_here() {
    let Some(own) = objects::own() else { return };
    // SAFETY: an object of the program's start.
    for map in objects::at_start().filter(|map| unsafe { map.is_libc() }) {
        if !lead_from(map, own) {
            SOME_PASS.store(1, Ordering::Relaxed);
        }
    }
}

/// Makes one object's symbol table lead to the hooks; false if not all of it does.
fn lead_from(map: &'static LinkMap, own: &'static LinkMap) -> bool {
    const PAGE: u64 = 4096;
    let (mut low, mut high, mut all) = (u64::MAX, 0, true);
    for entry in hooked(own) {
        if leads_to_libc(entry) {
            each_word(map, entry, |word| {
                let at = word.as_ptr() as u64;
                (low, high) = (low.min(at & !(PAGE - 1)), high.max(at + 8));
            });
        } else {
            each_word(map, entry, |_| all = false);
        }
    }
    if low > high {
        return all;
    }
    // SAFETY: the table is the object's, and there is no code in that part of it.
    if !unsafe { map.is_only_readable(low, high) && sys::allow_writing(low, high - low, true) } {
        return false;
    }
    for entry in hooked(own).filter(|entry| leads_to_libc(entry)) {
        // SAFETY: our own object.
        let Some(hook) = (unsafe { own.find(entry.name, entry.version) }) else { continue };
        let value = (hook.address() as u64).wrapping_sub(map.bias);
        each_word(map, entry, |word| word.store(value, Ordering::Relaxed));
    }
    // SAFETY: as above.
    unsafe { sys::allow_writing(low, high - low, false) };
    all
}

/// The functions that have hooks, and whose hooks record.
fn hooked(own: &'static LinkMap) -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().filter(move |entry| {
        // SAFETY: our own object.
        entry.how.load(Ordering::Relaxed) == RECORDED && unsafe { own.find(entry.name, entry.version) }.is_some()
    })
}

/// Goes over the words that say where an object has this function, under whichever versions.
fn each_word(map: &'static LinkMap, entry: &Entry, mut each: impl FnMut(&'static AtomicU64)) {
    // SAFETY: an object of the program's start.
    unsafe {
        let Some(found) = map.find(entry.name, entry.version) else { return };
        let address = found.address();
        map.each_definition(entry.name, |other| {
            if let Some(word) = other.value().filter(|_| other.address() == address) {
                each(word);
            }
        });
    }
}
