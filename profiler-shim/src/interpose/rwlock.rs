//! `pthread_rwlock_*`: also below `std::shared_mutex`.

use core::ffi::c_int;

use lockprof_wire::Flags;
use lockprof_wire::lock::kind;

use super::core::{Entry, Posix, Request, acquire, destroy_lock, initialised, try_acquire};
use super::hook;
use super::release::release;
use crate::real::{self, Clock, Ptr};

fn request(lock: Ptr, flags: u8) -> Request<Posix> {
    Request { object: lock, kind: kind::RWLOCK, flags, style: Posix }
}

/// The four ways to ask in one mode.
macro_rules! mode {
    ($flags:expr, $lock:ident, $trylock:ident, $timed:ident, $clocked:ident,
     $lock_body:ident, $try_body:ident, $timed_body:ident, $clocked_body:ident) => {
        hook!($lock(lock: Ptr) -> c_int, "rsi", $lock_body);
        unsafe extern "C" fn $lock_body(lock: Ptr, entry: Entry) -> c_int {
            // SAFETY: the program's own call, handed on.
            unsafe { acquire(request(lock, $flags), entry, move || real::$trylock(lock), move || real::$lock(lock)) }
        }

        hook!($trylock(lock: Ptr) -> c_int, "rsi", $try_body);
        unsafe extern "C" fn $try_body(lock: Ptr, entry: Entry) -> c_int {
            // SAFETY: the program's own call, handed on.
            unsafe { try_acquire(request(lock, $flags), entry, move || real::$trylock(lock)) }
        }

        hook!($timed(lock: Ptr, until: Ptr) -> c_int, "rdx", $timed_body);
        unsafe extern "C" fn $timed_body(lock: Ptr, until: Ptr, entry: Entry) -> c_int {
            // SAFETY: the program's own call, handed on.
            unsafe {
                let request = request(lock, $flags | Flags::TIMED);
                acquire(request, entry, move || real::$trylock(lock), move || real::$timed(lock, until))
            }
        }

        hook!($clocked(lock: Ptr, clock: Clock, until: Ptr) -> c_int, "rcx", $clocked_body);
        unsafe extern "C" fn $clocked_body(lock: Ptr, clock: Clock, until: Ptr, entry: Entry) -> c_int {
            // SAFETY: the program's own call, handed on.
            unsafe {
                let request = request(lock, $flags | Flags::TIMED);
                acquire(request, entry, move || real::$trylock(lock), move || real::$clocked(lock, clock, until))
            }
        }
    };
}

mode!(
    Flags::SHARED,
    pthread_rwlock_rdlock,
    pthread_rwlock_tryrdlock,
    pthread_rwlock_timedrdlock,
    pthread_rwlock_clockrdlock,
    read,
    try_read,
    timed_read,
    clocked_read
);
mode!(
    0,
    pthread_rwlock_wrlock,
    pthread_rwlock_trywrlock,
    pthread_rwlock_timedwrlock,
    pthread_rwlock_clockwrlock,
    write,
    try_write,
    timed_write,
    clocked_write
);

hook!(pthread_rwlock_unlock(lock: Ptr) -> c_int, "rsi", unlock);
unsafe extern "C" fn unlock(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { release(request(lock, 0), entry, move || real::pthread_rwlock_unlock(lock)) }
}

hook!(pthread_rwlock_init(lock: Ptr, attr: Ptr) -> c_int, "rdx", init);
unsafe extern "C" fn init(lock: Ptr, attr: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_rwlock_init(lock, attr);
        if answer == 0 {
            initialised(lock, kind::RWLOCK, 0, 0, entry);
        }
        answer
    }
}

hook!(pthread_rwlock_destroy(lock: Ptr) -> c_int, "rsi", destroy);
unsafe extern "C" fn destroy(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { destroy_lock(lock, kind::RWLOCK, entry, || real::pthread_rwlock_destroy(lock)) }
}
