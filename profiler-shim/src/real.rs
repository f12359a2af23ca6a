//! The functions that the hooks stand before, found without `dlsym` (which may allocate, and so lock).
//!
//! The loader's own list of objects is walked, and each object's dynamic symbol table is searched, from
//! the object behind this library on: what `RTLD_NEXT` means, so that another preloaded library stays in
//! the chain. Of several versions of a symbol the default one is taken (`pthread_cond_wait@@GLIBC_2.3.2`).

use core::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

/// An address of the program's: a mutex, a thread, a timeout.
pub type Ptr = *mut c_void;
/// `clockid_t`.
pub type Clock = c_int;

/// A real function.
pub struct Entry {
    name: &'static CStr,
    at: AtomicPtr<c_void>,
}

/// Declares the real functions, once each: this is the list of everything that is hooked or called.
macro_rules! real {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index { $($name,)* Count }

        /// All of them.
        pub static TABLE: [Entry; Index::Count as usize] = [
            $(Entry {
                // The name is written by the compiler and has no NUL inside.
                name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!(),
                },
                at: AtomicPtr::new(core::ptr::null_mut()),
            },)*
        ];

        /// Where each function's address is, bytes from the beginning of [`TABLE`].
        #[allow(non_upper_case_globals)]
        pub mod place {
            use super::{Entry, Index};
            use core::mem::offset_of;
            $(pub const $name: usize = Index::$name as usize * size_of::<Entry>() + offset_of!(Entry, at);)*
        }

        $(
            /// The next definition of the function of this name.
            #[allow(non_snake_case)]
            #[inline(always)]
            pub unsafe fn $name($($arg: $type),*) $(-> $result)? {
                let entry = &TABLE[Index::$name as usize];
                let mut at = entry.at.load(Ordering::Relaxed);
                if at.is_null() {
                    at = resolve(entry);
                }
                // SAFETY: the symbol of this name has this signature; `resolve` never gives null.
                unsafe {
                    let function: unsafe extern "C" fn($($type),*) $(-> $result)? = core::mem::transmute(at);
                    function($($arg),*)
                }
            }
        )*
    };
}

real! {
    fn pthread_mutex_init(mutex: Ptr, attr: Ptr) -> c_int;
    fn pthread_mutex_destroy(mutex: Ptr) -> c_int;
    fn pthread_mutex_lock(mutex: Ptr) -> c_int;
    fn pthread_mutex_trylock(mutex: Ptr) -> c_int;
    fn pthread_mutex_timedlock(mutex: Ptr, until: Ptr) -> c_int;
    fn pthread_mutex_clocklock(mutex: Ptr, clock: Clock, until: Ptr) -> c_int;
    fn pthread_mutex_unlock(mutex: Ptr) -> c_int;
    fn pthread_rwlock_init(lock: Ptr, attr: Ptr) -> c_int;
    fn pthread_rwlock_destroy(lock: Ptr) -> c_int;
    fn pthread_rwlock_rdlock(lock: Ptr) -> c_int;
    fn pthread_rwlock_tryrdlock(lock: Ptr) -> c_int;
    fn pthread_rwlock_timedrdlock(lock: Ptr, until: Ptr) -> c_int;
    fn pthread_rwlock_clockrdlock(lock: Ptr, clock: Clock, until: Ptr) -> c_int;
    fn pthread_rwlock_wrlock(lock: Ptr) -> c_int;
    fn pthread_rwlock_trywrlock(lock: Ptr) -> c_int;
    fn pthread_rwlock_timedwrlock(lock: Ptr, until: Ptr) -> c_int;
    fn pthread_rwlock_clockwrlock(lock: Ptr, clock: Clock, until: Ptr) -> c_int;
    fn pthread_rwlock_unlock(lock: Ptr) -> c_int;
    fn pthread_spin_init(lock: Ptr, shared: c_int) -> c_int;
    fn pthread_spin_destroy(lock: Ptr) -> c_int;
    fn pthread_spin_lock(lock: Ptr) -> c_int;
    fn pthread_spin_trylock(lock: Ptr) -> c_int;
    fn pthread_spin_unlock(lock: Ptr) -> c_int;
    fn pthread_cond_init(cond: Ptr, attr: Ptr) -> c_int;
    fn pthread_cond_destroy(cond: Ptr) -> c_int;
    fn pthread_cond_wait(cond: Ptr, mutex: Ptr) -> c_int;
    fn pthread_cond_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int;
    fn pthread_cond_clockwait(cond: Ptr, mutex: Ptr, clock: Clock, until: Ptr) -> c_int;
    fn pthread_cond_signal(cond: Ptr) -> c_int;
    fn pthread_cond_broadcast(cond: Ptr) -> c_int;
    fn sem_init(sem: Ptr, shared: c_int, value: c_uint) -> c_int;
    fn sem_destroy(sem: Ptr) -> c_int;
    fn sem_open(name: *const c_char, flags: c_int, mode: c_uint, value: c_uint) -> Ptr;
    fn sem_wait(sem: Ptr) -> c_int;
    fn sem_trywait(sem: Ptr) -> c_int;
    fn sem_timedwait(sem: Ptr, until: Ptr) -> c_int;
    fn sem_clockwait(sem: Ptr, clock: Clock, until: Ptr) -> c_int;
    fn sem_post(sem: Ptr) -> c_int;
    fn sem_getvalue(sem: Ptr, value: *mut c_int) -> c_int;
    fn pthread_barrier_init(barrier: Ptr, attr: Ptr, count: c_uint) -> c_int;
    fn pthread_barrier_destroy(barrier: Ptr) -> c_int;
    fn pthread_barrier_wait(barrier: Ptr) -> c_int;
    fn pthread_once(control: Ptr, routine: Ptr) -> c_int;
    fn call_once(control: Ptr, routine: Ptr);
    fn __cxa_guard_acquire(guard: Ptr) -> c_int;
    fn __cxa_guard_release(guard: Ptr);
    fn __cxa_guard_abort(guard: Ptr);
    fn mtx_init(mutex: Ptr, kind: c_int) -> c_int;
    fn mtx_destroy(mutex: Ptr);
    fn mtx_lock(mutex: Ptr) -> c_int;
    fn mtx_trylock(mutex: Ptr) -> c_int;
    fn mtx_timedlock(mutex: Ptr, until: Ptr) -> c_int;
    fn mtx_unlock(mutex: Ptr) -> c_int;
    fn cnd_init(cond: Ptr) -> c_int;
    fn cnd_destroy(cond: Ptr);
    fn cnd_wait(cond: Ptr, mutex: Ptr) -> c_int;
    fn cnd_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int;
    fn cnd_signal(cond: Ptr) -> c_int;
    fn cnd_broadcast(cond: Ptr) -> c_int;
    fn pthread_create(thread: Ptr, attr: Ptr, start: Ptr, arg: Ptr) -> c_int;
    fn thrd_create(thread: Ptr, start: Ptr, arg: Ptr) -> c_int;
    fn pthread_join(thread: Ptr, result: Ptr) -> c_int;
    fn pthread_tryjoin_np(thread: Ptr, result: Ptr) -> c_int;
    fn pthread_timedjoin_np(thread: Ptr, result: Ptr, until: Ptr) -> c_int;
    fn pthread_clockjoin_np(thread: Ptr, result: Ptr, clock: Clock, until: Ptr) -> c_int;
    fn thrd_join(thread: Ptr, result: Ptr) -> c_int;
    fn pthread_key_create(key: *mut c_uint, destructor: Ptr) -> c_int;
    fn pthread_setspecific(key: c_uint, value: Ptr) -> c_int;
    fn dlclose(handle: Ptr) -> c_int;
    fn __errno_location() -> *mut c_int;
    fn _exit(code: c_int);
    fn _Exit(code: c_int);
    fn on_exit(function: Ptr, argument: Ptr) -> c_int;
    fn prctl(option: c_int, a: c_long, b: c_long, c: c_long, d: c_long) -> c_int;
    fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long;
}

/// Finds all functions, so that no hook has to later.
pub fn resolve_all() {
    for entry in &TABLE {
        entry.at.store(find_next(entry.name), Ordering::Relaxed);
    }
    if locks_are_glibcs() {
        crate::tags::allow();
    }
}

/// Whether locks are taken by glibc itself, of version 2.30 or newer (read-write locks had another layout before
/// 2.25): another preloaded library may have locks of its own making in the place of glibc's.
fn locks_are_glibcs() -> bool {
    [Index::pthread_mutex_lock, Index::pthread_mutex_clocklock, Index::pthread_rwlock_wrlock].into_iter().all(|index| {
        let entry = &TABLE[index as usize];
        let found = entry.at.load(Ordering::Relaxed);
        !found.is_null() && is_in_libc(entry.name, found)
    })
}

/// Whether libc's own function of this name is at this address.
fn is_in_libc(name: &CStr, address: *mut c_void) -> bool {
    let mut object = first_object();
    while !object.is_null() {
        // SAFETY: nodes stay while their object is loaded, names end with a NUL.
        let map = unsafe { &*object };
        // SAFETY: as above.
        let path = unsafe { CStr::from_ptr(map.name) }.to_bytes();
        let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let is_libc = [&b"libc.so.6"[..], b"libc-2.", b"libpthread.so.0", b"libpthread-2."]
            .iter()
            .any(|known| file.starts_with(known));
        // SAFETY: as in `find_next`.
        if is_libc && unsafe { find_in(map.dynamic, map.bias, name) } == address {
            return true;
        }
        object = map.next;
    }
    false
}

#[cold]
fn resolve(entry: &Entry) -> *mut c_void {
    let at = find_next(entry.name);
    if at.is_null() {
        return missing as *mut c_void;
    }
    entry.at.store(at, Ordering::Relaxed);
    at
}

/// Stands for a function that no loaded object has: answers ENOSYS. A program cannot call it by a
/// link-time reference, since its own start would have failed without lockprof.
extern "C" fn missing() -> c_int {
    38
}

#[repr(C)]
pub struct LinkMap {
    pub bias: u64,
    pub name: *const c_char,
    dynamic: *const Dynamic,
    pub next: *const LinkMap,
    previous: *const LinkMap,
}

#[repr(C)]
struct Dynamic {
    tag: u64,
    value: u64,
}

#[repr(C)]
struct Debug {
    version: c_int,
    map: *const LinkMap,
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// The loader's list of objects, in the order of loading; null where there is none.
pub fn first_object() -> *const LinkMap {
    let debug: *const Debug;
    // The reference is weak: on a C library without it the recorder sleeps instead of failing to load.
    // SAFETY: reads our own offset table only.
    unsafe {
        core::arch::asm!(".weak _r_debug", "mov {}, qword ptr [rip + _r_debug@GOTPCREL]", out(reg) debug,
            options(nostack, preserves_flags, readonly));
    }
    if debug.is_null() {
        return core::ptr::null();
    }
    // SAFETY: the loader's structure lives as long as the process.
    unsafe { (*debug).map }
}

/// The path of this library as the loader has it.
pub fn own_path() -> Option<&'static CStr> {
    let own = own_dynamic();
    let mut object = first_object();
    while !object.is_null() {
        // SAFETY: nodes stay while their object is loaded, names end with a NUL.
        let map = unsafe { &*object };
        if core::ptr::eq(map.dynamic, own) {
            // SAFETY: as above.
            return Some(unsafe { CStr::from_ptr(map.name) });
        }
        object = map.next;
    }
    None
}

fn own_dynamic() -> *const Dynamic {
    let at: *const Dynamic;
    // SAFETY: takes an address in our own object.
    unsafe {
        core::arch::asm!(".hidden _DYNAMIC", "lea {}, [rip + _DYNAMIC]", out(reg) at,
            options(nostack, preserves_flags, pure, nomem));
    }
    at
}

fn find_next(name: &CStr) -> *mut c_void {
    let own = own_dynamic();
    let mut object = first_object();
    if object.is_null() {
        return find_next_elsewhere(name);
    }
    let mut behind_us = false;
    while !object.is_null() {
        // SAFETY: the loader's list is only appended to, and its nodes stay while the object is loaded;
        // the objects searched here are those of the program's start or ones that just called us.
        let (dynamic, bias, next) = unsafe { ((*object).dynamic, (*object).bias, (*object).next) };
        if core::ptr::eq(dynamic, own) {
            behind_us = true;
        } else if behind_us {
            // SAFETY: as above.
            let found = unsafe { find_in(dynamic, bias, name) };
            if !found.is_null() {
                return found;
            }
        }
        object = next;
    }
    core::ptr::null_mut()
}

/// On another C library than glibc, whose loader shows no list, nothing is recorded, but the program has to
/// work: children of a recorded program inherit the shim. musl's `dlsym` neither locks nor allocates.
#[cold]
fn find_next_elsewhere(name: &CStr) -> *mut c_void {
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
        let dlsym: extern "C" fn(*mut c_void, *const c_char) -> *mut c_void = core::mem::transmute(dlsym);
        dlsym(NEXT, name.as_ptr())
    }
}

#[derive(Clone, Copy)]
struct Tables {
    strings: *const u8,
    symbols: *const Symbol,
    hash: *const u32,
    versions: *const u16,
}

unsafe fn tables(mut dynamic: *const Dynamic, bias: u64) -> Option<Tables> {
    let (mut strings, mut symbols, mut hash, mut versions) = (0u64, 0u64, 0u64, 0u64);
    if dynamic.is_null() {
        return None;
    }
    // SAFETY: the dynamic section ends with a null tag.
    unsafe {
        while (*dynamic).tag != 0 {
            // glibc relocates these values in place, but not for read-only sections.
            let value = (*dynamic).value;
            let at = if value < bias { value + bias } else { value };
            match (*dynamic).tag {
                5 => strings = at,
                6 => symbols = at,
                0x6fff_fef5 => hash = at,
                0x6fff_fff0 => versions = at,
                _ => {}
            }
            dynamic = dynamic.add(1);
        }
    }
    (strings != 0 && symbols != 0 && hash != 0).then_some(Tables {
        strings: strings as *const u8,
        symbols: symbols as *const Symbol,
        hash: hash as *const u32,
        versions: versions as *const u16,
    })
}

/// Looks a defined function up in one object by its GNU hash table
/// (header: buckets, first symbol, filter words, shift; filter; buckets; chain).
unsafe fn find_in(dynamic: *const Dynamic, bias: u64, name: &CStr) -> *mut c_void {
    const HIDDEN_VERSION: u16 = 0x8000;
    const INDIRECT: u8 = 10;
    // SAFETY: the tables belong to a loaded object and have the format that the loader itself relies on.
    unsafe {
        let Some(tables) = tables(dynamic, bias) else { return core::ptr::null_mut() };
        let mut hash = 5381u32;
        for byte in name.to_bytes() {
            hash = hash.wrapping_mul(33).wrapping_add(u32::from(*byte));
        }
        let (buckets, first, filter_words) = (*tables.hash, *tables.hash.add(1), *tables.hash.add(2));
        if buckets == 0 {
            return core::ptr::null_mut();
        }
        let bucket_at = tables.hash.add(4 + 2 * filter_words as usize);
        let chain_at = bucket_at.add(buckets as usize);
        let mut number = *bucket_at.add((hash % buckets) as usize);
        if number < first {
            return core::ptr::null_mut();
        }
        loop {
            let chain = *chain_at.add((number - first) as usize);
            if chain | 1 == hash | 1 {
                let symbol = tables.symbols.add(number as usize);
                let text = CStr::from_ptr(tables.strings.add((*symbol).name as usize).cast());
                let hidden = !tables.versions.is_null() && *tables.versions.add(number as usize) & HIDDEN_VERSION != 0;
                if text == name && (*symbol).section != 0 && !hidden {
                    let at = bias + (*symbol).value;
                    if (*symbol).info & 15 == INDIRECT {
                        let choose: extern "C" fn() -> *mut c_void = core::mem::transmute(at);
                        return choose();
                    }
                    return at as *mut c_void;
                }
            }
            if chain & 1 != 0 {
                return core::ptr::null_mut();
            }
            number += 1;
        }
    }
}

/// A function that is called but never hooked, by name, from any loaded object; null where none has it.
pub fn find_function(name: &CStr) -> *mut c_void {
    let mut object = first_object();
    while !object.is_null() {
        // SAFETY: as in `find_next`.
        let (found, next) = unsafe { (find_in((*object).dynamic, (*object).bias, name), (*object).next) };
        if !found.is_null() {
            return found;
        }
        object = next;
    }
    core::ptr::null_mut()
}

impl LinkMap {
    /// An address inside the object.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn dynamic_address(&self) -> u64 {
        self.dynamic as u64
    }

    /// The first page of the object: where its ELF header is, found from its dynamic section downwards.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn first_page(&self) -> Option<u64> {
        // A shared object is linked at 0, so its bias is its first page; a fixed executable has bias 0.
        if self.bias != 0 {
            return Some(self.bias);
        }
        let mut page = self.dynamic as u64 & !4095;
        for _ in 0..(1 << 16) {
            if !crate::sys::is_mapped(page, 4096) {
                return None;
            }
            // SAFETY: the page is mapped; pages between the header and the dynamic section are readable.
            if unsafe { (page as *const u32).read() } == u32::from_le_bytes(*b"\x7fELF") {
                return Some(page);
            }
            page = page.checked_sub(4096)?;
        }
        None
    }
}
