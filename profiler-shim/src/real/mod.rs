//! The functions that the hooks stand before, found without `dlsym` (which may allocate, and so lock).
//!
//! Which definitions they are, and what the hooks do with calls of each, is decided in `definitions`.

pub mod blocking;
pub mod definitions;
mod following;
pub mod lookups;

use core::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

pub use lockprof_wire::Family;
use lockprof_wire::functions::Functions;

pub use crate::sys::Ptr;

/// `clockid_t`.
pub type Clock = c_int;

/// A real function.
#[repr(C)]
pub struct Entry {
    pub name: &'static CStr,
    /// The version of those that programs ask for by an old one; `None`: the default one.
    pub version: Option<&'static CStr>,
    pub family: Family,
    /// What the hook does with a call: [`UNRESOLVED`] and the like.
    pub how: AtomicU32,
    /// Null while it is not found.
    pub at: AtomicPtr<c_void>,
}

/// Where the entries are, for whoever opens this library in a running program: it finds and fills them by this.
#[cfg_attr(lockprof_preload, unsafe(no_mangle))]
#[allow(non_upper_case_globals, reason = "the name is an interface")]
pub static lockprof_functions: Functions<&'static Entry> = Functions {
    first: &TABLE[0],
    count: Index::Count as u32,
    bytes: size_of::<Entry>() as u32,
    name: core::mem::offset_of!(Entry, name) as u32,
    version: core::mem::offset_of!(Entry, version) as u32,
    how: core::mem::offset_of!(Entry, how) as u32,
    at: core::mem::offset_of!(Entry, at) as u32,
    recorded: RECORDED,
    family: core::mem::offset_of!(Entry, family) as u32,
};

/// Nobody has looked for the function yet.
pub const UNRESOLVED: u32 = 0;
/// Calls are recorded.
pub const RECORDED: u32 = 1;
/// Calls go on to the function as they are.
pub const PASSED: u32 = 2;

/// Declares the real functions, once each: this is the list of everything that is hooked or called.
macro_rules! real {
    ($($family:ident: fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?
        $(= $symbol:literal of $version:literal)?;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index { $($name,)* Count }

        /// All of them.
        pub static TABLE: [Entry; Index::Count as usize] = [
            $(Entry {
                name: terminated(real!(@symbol $name $($symbol)?)),
                version: real!(@version $($version)?),
                family: Family::$family,
                how: AtomicU32::new(UNRESOLVED),
                at: AtomicPtr::new(core::ptr::null_mut()),
            },)*
        ];

        /// Where each function's entry is, bytes from the beginning of [`TABLE`].
        #[allow(non_upper_case_globals, dead_code, reason = "not all of them have hooks")]
        pub mod place {
            use super::{Entry, Index};
            $(pub const $name: usize = Index::$name as usize * size_of::<Entry>();)*
        }

        $(
            /// The next definition of the function of this name.
            #[allow(non_snake_case)]
            #[allow(dead_code, reason = "some are only jumped to")]
            #[inline(always)]
            pub unsafe fn $name($($arg: $type),*) $(-> $result)? {
                let entry = &TABLE[Index::$name as usize];
                let mut at = entry.at.load(Ordering::Relaxed);
                if at.is_null() {
                    at = definitions::resolve(entry);
                }
                // SAFETY: the symbol of this name has this signature; `resolve` never gives null.
                unsafe {
                    let function: unsafe extern "C" fn($($type),*) $(-> $result)? = core::mem::transmute(at);
                    function($($arg),*)
                }
            }
        )*
    };
    (@symbol $name:ident) => { concat!(stringify!($name), "\0") };
    (@symbol $name:ident $symbol:literal) => { concat!($symbol, "\0") };
    (@version) => { None };
    (@version $version:literal) => { Some($version) };
}

/// A name that ends with its only NUL.
pub(super) const fn terminated(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        // Seen by the compiler.
        Err(_) => panic!(),
    }
}

real! {
    Mutex: fn pthread_mutex_init(mutex: Ptr, attr: Ptr) -> c_int;
    Mutex: fn pthread_mutex_destroy(mutex: Ptr) -> c_int;
    Mutex: fn pthread_mutex_lock(mutex: Ptr) -> c_int;
    Mutex: fn pthread_mutex_trylock(mutex: Ptr) -> c_int;
    Mutex: fn pthread_mutex_timedlock(mutex: Ptr, until: Ptr) -> c_int;
    Mutex: fn pthread_mutex_clocklock(mutex: Ptr, clock: Clock, until: Ptr) -> c_int;
    Mutex: fn pthread_mutex_unlock(mutex: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_init(lock: Ptr, attr: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_destroy(lock: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_rdlock(lock: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_tryrdlock(lock: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_timedrdlock(lock: Ptr, until: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_clockrdlock(lock: Ptr, clock: Clock, until: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_wrlock(lock: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_trywrlock(lock: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_timedwrlock(lock: Ptr, until: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_clockwrlock(lock: Ptr, clock: Clock, until: Ptr) -> c_int;
    RwLock: fn pthread_rwlock_unlock(lock: Ptr) -> c_int;
    Spin: fn pthread_spin_init(lock: Ptr, shared: c_int) -> c_int;
    Spin: fn pthread_spin_destroy(lock: Ptr) -> c_int;
    Spin: fn pthread_spin_lock(lock: Ptr) -> c_int;
    Spin: fn pthread_spin_trylock(lock: Ptr) -> c_int;
    Spin: fn pthread_spin_unlock(lock: Ptr) -> c_int;
    Cond: fn pthread_cond_init(cond: Ptr, attr: Ptr) -> c_int;
    Cond: fn pthread_cond_destroy(cond: Ptr) -> c_int;
    Cond: fn pthread_cond_wait(cond: Ptr, mutex: Ptr) -> c_int;
    Cond: fn pthread_cond_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int;
    Cond: fn pthread_cond_clockwait(cond: Ptr, mutex: Ptr, clock: Clock, until: Ptr) -> c_int;
    Cond: fn pthread_cond_signal(cond: Ptr) -> c_int;
    Cond: fn pthread_cond_broadcast(cond: Ptr) -> c_int;
    OldCond: fn old_cond_init(cond: Ptr, attr: Ptr) -> c_int = "pthread_cond_init" of c"GLIBC_2.2.5";
    OldCond: fn old_cond_destroy(cond: Ptr) -> c_int = "pthread_cond_destroy" of c"GLIBC_2.2.5";
    OldCond: fn old_cond_wait(cond: Ptr, mutex: Ptr) -> c_int = "pthread_cond_wait" of c"GLIBC_2.2.5";
    OldCond: fn old_cond_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int = "pthread_cond_timedwait" of c"GLIBC_2.2.5";
    OldCond: fn old_cond_signal(cond: Ptr) -> c_int = "pthread_cond_signal" of c"GLIBC_2.2.5";
    OldCond: fn old_cond_broadcast(cond: Ptr) -> c_int = "pthread_cond_broadcast" of c"GLIBC_2.2.5";
    Sem: fn sem_init(sem: Ptr, shared: c_int, value: c_uint) -> c_int;
    Sem: fn sem_destroy(sem: Ptr) -> c_int;
    Sem: fn sem_open(name: *const c_char, flags: c_int, mode: c_uint, value: c_uint) -> Ptr;
    Sem: fn sem_wait(sem: Ptr) -> c_int;
    Sem: fn sem_trywait(sem: Ptr) -> c_int;
    Sem: fn sem_timedwait(sem: Ptr, until: Ptr) -> c_int;
    Sem: fn sem_clockwait(sem: Ptr, clock: Clock, until: Ptr) -> c_int;
    Sem: fn sem_post(sem: Ptr) -> c_int;
    Sem: fn sem_getvalue(sem: Ptr, value: *mut c_int) -> c_int;
    Barrier: fn pthread_barrier_init(barrier: Ptr, attr: Ptr, count: c_uint) -> c_int;
    Barrier: fn pthread_barrier_destroy(barrier: Ptr) -> c_int;
    Barrier: fn pthread_barrier_wait(barrier: Ptr) -> c_int;
    Once: fn pthread_once(control: Ptr, routine: Ptr) -> c_int;
    C11Once: fn call_once(control: Ptr, routine: Ptr);
    Guard: fn __cxa_guard_acquire(guard: Ptr) -> c_int;
    Guard: fn __cxa_guard_release(guard: Ptr);
    Guard: fn __cxa_guard_abort(guard: Ptr);
    C11Mutex: fn mtx_init(mutex: Ptr, kind: c_int) -> c_int;
    C11Mutex: fn mtx_destroy(mutex: Ptr);
    C11Mutex: fn mtx_lock(mutex: Ptr) -> c_int;
    C11Mutex: fn mtx_trylock(mutex: Ptr) -> c_int;
    C11Mutex: fn mtx_timedlock(mutex: Ptr, until: Ptr) -> c_int;
    C11Mutex: fn mtx_unlock(mutex: Ptr) -> c_int;
    C11Cond: fn cnd_init(cond: Ptr) -> c_int;
    C11Cond: fn cnd_destroy(cond: Ptr);
    C11Cond: fn cnd_wait(cond: Ptr, mutex: Ptr) -> c_int;
    C11Cond: fn cnd_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int;
    C11Cond: fn cnd_signal(cond: Ptr) -> c_int;
    C11Cond: fn cnd_broadcast(cond: Ptr) -> c_int;
    Thread: fn pthread_create(thread: Ptr, attr: Ptr, start: Ptr, arg: Ptr) -> c_int;
    C11Thread: fn thrd_create(thread: Ptr, start: Ptr, arg: Ptr) -> c_int;
    Thread: fn pthread_join(thread: Ptr, result: Ptr) -> c_int;
    Thread: fn pthread_tryjoin_np(thread: Ptr, result: Ptr) -> c_int;
    Thread: fn pthread_timedjoin_np(thread: Ptr, result: Ptr, until: Ptr) -> c_int;
    Thread: fn pthread_clockjoin_np(thread: Ptr, result: Ptr, clock: Clock, until: Ptr) -> c_int;
    C11Thread: fn thrd_join(thread: Ptr, result: Ptr) -> c_int;
    Exec: fn execve(path: Ptr, argv: Ptr, envp: Ptr) -> c_int;
    Exec: fn execv(path: Ptr, argv: Ptr) -> c_int;
    Exec: fn execvp(file: Ptr, argv: Ptr) -> c_int;
    Exec: fn execvpe(file: Ptr, argv: Ptr, envp: Ptr) -> c_int;
    Exec: fn fexecve(fd: c_int, argv: Ptr, envp: Ptr) -> c_int;
    Exec: fn execl(path: Ptr, arg: Ptr) -> c_int;
    Exec: fn execle(path: Ptr, arg: Ptr) -> c_int;
    Exec: fn execlp(file: Ptr, arg: Ptr) -> c_int;
    Exec: fn posix_spawn(pid: Ptr, path: Ptr, actions: Ptr, attr: Ptr, argv: Ptr, envp: Ptr) -> c_int;
    Exec: fn posix_spawnp(pid: Ptr, file: Ptr, actions: Ptr, attr: Ptr, argv: Ptr, envp: Ptr) -> c_int;
    Exec: fn old_posix_spawn(pid: Ptr, path: Ptr, actions: Ptr, attr: Ptr, argv: Ptr, envp: Ptr) -> c_int = "posix_spawn" of c"GLIBC_2.2.5";
    Exec: fn old_posix_spawnp(pid: Ptr, file: Ptr, actions: Ptr, attr: Ptr, argv: Ptr, envp: Ptr) -> c_int = "posix_spawnp" of c"GLIBC_2.2.5";
    Exec: fn system(command: Ptr) -> c_int;
    Exec: fn popen(command: Ptr, mode: Ptr) -> Ptr;
    Own: fn pthread_key_create(key: *mut c_uint, destructor: Ptr) -> c_int;
    Own: fn pthread_setspecific(key: c_uint, value: Ptr) -> c_int;
    Own: fn dlopen(file: *const c_char, flags: c_int) -> Ptr;
    Own: fn dlmopen(namespace: c_long, file: *const c_char, flags: c_int) -> Ptr;
    Own: fn dlclose(handle: Ptr) -> c_int;
    Own: fn __errno_location() -> *mut c_int;
    Own: fn _exit(code: c_int);
    Own: fn _Exit(code: c_int);
    Own: fn on_exit(function: Ptr, argument: Ptr) -> c_int;
    Own: fn prctl(option: c_int, a: c_long, b: c_long, c: c_long, d: c_long) -> c_int;
    Own: fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long;
}

/// The entry of a function, for those that are asked for by their address.
macro_rules! entry {
    ($name:ident) => {
        &$crate::real::TABLE[$crate::real::place::$name / size_of::<$crate::real::Entry>()]
    };
}
pub(crate) use entry;

/// The entry of a call that may block.
macro_rules! entry_of_call {
    ($name:ident) => {
        &$crate::real::blocking::CALLS[$crate::real::blocking::place::$name / size_of::<$crate::real::Entry>()]
    };
}
pub(crate) use entry_of_call;
