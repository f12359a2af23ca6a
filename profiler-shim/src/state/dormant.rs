//! A shim that was preloaded without a session sleeps: hooks hand their calls on, and somebody may wake it.
//!
//! The word that all hooks look at is in a page of the library's own data, over which a file in a private folder is
//! mapped. Whoever may write to that file (the user, root) wakes the process by a store; the segment with what is
//! recorded is made in the same folder. A child of a fork that finds its parent asleep gets a page of its own.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::control::{FILE, MAGIC, PREFIX, SUFFIX};
use lockprof_wire::{Control, VERSION};

use crate::real::definitions;
use crate::sys::text::decimal;
use crate::sys::{self, objects};
use crate::tables::segment::PATH_MAX;

/// See the module. In a program that records from its start it stays as it is here.
pub static CONTROL: Control = Control::awake();
/// The process that made the page's file, which it removes at its end; 0: none.
static MADE_BY: AtomicU32 = AtomicU32::new(0);
/// Memory file systems first.
const PLACES: [&str; 2] = ["/dev/shm/", "/tmp/"];

/// Whether hooks do nothing.
pub fn is_asleep() -> bool {
    CONTROL.asleep.load(Ordering::Relaxed) != 0
}

/// Whether it sleeps, or may do so again.
pub fn may_sleep() -> bool {
    is_asleep() || MADE_BY.load(Ordering::Relaxed) != 0
}

/// There is nobody who could wake it.
pub fn for_ever() {
    CONTROL.asleep.store(1, Ordering::Relaxed);
}

/// Makes the page that this process can be woken by. `in_child` runs in the children of its forks. Writes the folder's path, or nothing where there is no place.
pub fn fall_asleep(path: &mut [u8; PATH_MAX], in_child: extern "C" fn()) {
    definitions::resolve_all();
    if !make_page(path) {
        path[0] = 0;
        for_ever();
        return;
    }
    // A fork's child has the page of its parent.
    let register = objects::find_function(c"__register_atfork");
    if MADE_BY.swap(sys::getpid(), Ordering::Relaxed) == 0 && !register.is_null() {
        // SAFETY: libc's function of this name has this signature.
        unsafe {
            let register: extern "C" fn(*const c_void, *const c_void, extern "C" fn(), *const c_void) -> c_int =
                core::mem::transmute(register);
            register(core::ptr::null(), core::ptr::null(), in_child, core::ptr::null());
        }
    }
}

/// Makes a page of its own for the child of a fork, as [`fall_asleep`]; false where there is no place.
pub fn own_page(path: &mut [u8; PATH_MAX]) -> bool {
    let made = make_page(path);
    if made {
        MADE_BY.store(sys::getpid(), Ordering::Relaxed);
    }
    made
}

/// Makes the page in the first place that allows it.
fn make_page(path: &mut [u8; PATH_MAX]) -> bool {
    PLACES.into_iter().any(|place| make_page_in(place, path))
}

fn make_page_in(place: &str, path: &mut [u8; PATH_MAX]) -> bool {
    let mut file = [0u8; PATH_MAX];
    write_paths(place, path, &mut file);
    let (Ok(folder), Ok(name)) = (CStr::from_bytes_until_nul(path), CStr::from_bytes_until_nul(&file)) else {
        return false;
    };
    if !sys::private_folder(folder) {
        return false;
    }
    // There is one where this process was another program before, or from a process that had the same number.
    let Some(fd) = sys::create(name).ok().or_else(|| sys::open_write(name)) else { return false };
    // Who recorded that other program goes on with this one.
    let unused = sys::try_flock(fd);
    // SAFETY: the page is aligned and holds nothing else; it consists of atomics, for which any bytes are valid.
    let mapped = sys::ftruncate(fd, size_of::<Control>() as u64)
        && unsafe { sys::map_over((&raw const CONTROL).cast_mut().cast(), size_of::<Control>(), fd) };
    if mapped && unused {
        CONTROL.asleep.store(1, Ordering::Relaxed);
        CONTROL.version.store(VERSION, Ordering::Relaxed);
        // Release: whoever sees it finds the rest.
        CONTROL.magic.store(MAGIC, Ordering::Release);
    }
    if unused {
        sys::release_flock(fd);
    }
    sys::close(fd);
    mapped
}

/// Writes `PLACE lockprof-PID-NAMESPACE-asleep` (two processes may have one number) and the name of the page's file in it, each with a final NUL.
fn write_paths(place: &str, folder: &mut [u8; PATH_MAX], file: &mut [u8; PATH_MAX]) {
    let mut len = 0;
    let mut put = |byte: u8| {
        (folder[len], file[len]) = (byte, byte);
        len += 1;
    };
    place.bytes().chain(PREFIX.bytes()).for_each(&mut put);
    decimal(u64::from(sys::getpid()), &mut put);
    put(b'-');
    decimal(sys::pid_namespace(), &mut put);
    SUFFIX.bytes().for_each(&mut put);
    folder[len] = 0;
    for (to, byte) in file[len..].iter_mut().zip(b"/".iter().chain(FILE.as_bytes()).chain(b"\0")) {
        *to = *byte;
    }
}

/// Nobody will wake this process any more: removes what it can be woken by.
pub fn remove_page() {
    if MADE_BY.load(Ordering::Relaxed) != sys::getpid() {
        return;
    }
    let (mut folder, mut file) = ([0u8; PATH_MAX], [0u8; PATH_MAX]);
    for place in PLACES {
        write_paths(place, &mut folder, &mut file);
        if let (Ok(folder), Ok(file)) = (CStr::from_bytes_until_nul(&folder), CStr::from_bytes_until_nul(&file)) {
            sys::unlink(file);
            sys::rmdir(folder);
        }
    }
}
