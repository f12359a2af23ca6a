//! What `RTLD_NEXT` means for a hook: the first definition behind this library, among the objects of the program's start.
//! Where this library was opened late, calls are led to the hooks from libc's own functions, so those come next.

use core::ffi::{CStr, c_void};

use super::Entry;
use crate::sys::objects::{self, LinkMap};

/// The next definition, and the object that has it.
pub fn next(entry: &Entry) -> Option<(&'static LinkMap, *mut c_void)> {
    next_definition(entry.name, entry.version)
}

/// The same by name and version.
pub fn next_definition(name: &CStr, version: Option<&CStr>) -> Option<(&'static LinkMap, *mut c_void)> {
    let own = objects::own();
    let is_late = objects::was_opened_late();
    let is_own = |map: &&'static LinkMap| own.is_some_and(|own| core::ptr::eq(*map, own));
    let behind_us = objects::at_start().skip_while(|map| !is_late && !is_own(map)).skip(usize::from(!is_late));
    // SAFETY: these objects are loaded.
    let candidates = behind_us.filter(|map| !is_late || unsafe { map.is_libc() });
    // SAFETY: as above.
    let mut found = candidates.filter_map(|map| Some((map, unsafe { map.find(name, version) }?.address())));
    found.next()
}

/// Whether libc's own function is the next one behind a hook.
pub fn leads_to_libc(entry: &Entry) -> bool {
    // SAFETY: these objects are loaded.
    next(entry).is_some_and(|(map, _)| unsafe { map.is_libc() })
}
