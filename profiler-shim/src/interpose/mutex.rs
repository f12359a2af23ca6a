//! `pthread_mutex_*`: also below `std::mutex` and its kin.

use core::ffi::c_int;

use lockprof_wire::Flags;
use lockprof_wire::lock::kind;

use super::core::{Entry, Posix, Request, acquire, acquire_mutex, destroy_lock, initialised, try_acquire};
use super::hook;
use super::release::release;
use crate::real::{self, Clock, Ptr};

fn request(mutex: Ptr, flags: u8) -> Request<Posix> {
    Request { object: mutex, kind: kind::MUTEX, flags, style: Posix }
}

hook!(pthread_mutex_lock(mutex: Ptr) -> c_int, "rsi", lock);
unsafe extern "C" fn lock(mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        acquire_mutex(
            request(mutex, 0),
            entry,
            move || real::pthread_mutex_trylock(mutex),
            move || real::pthread_mutex_lock(mutex),
        )
    }
}

hook!(pthread_mutex_trylock(mutex: Ptr) -> c_int, "rsi", trylock);
unsafe extern "C" fn trylock(mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { try_acquire(request(mutex, 0), entry, move || real::pthread_mutex_trylock(mutex)) }
}

hook!(pthread_mutex_timedlock(mutex: Ptr, until: Ptr) -> c_int, "rdx", timedlock);
unsafe extern "C" fn timedlock(mutex: Ptr, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        acquire(
            request(mutex, Flags::TIMED),
            entry,
            move || real::pthread_mutex_trylock(mutex),
            move || real::pthread_mutex_timedlock(mutex, until),
        )
    }
}

hook!(pthread_mutex_clocklock(mutex: Ptr, clock: Clock, until: Ptr) -> c_int, "rcx", clocklock);
unsafe extern "C" fn clocklock(mutex: Ptr, clock: Clock, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        acquire(
            request(mutex, Flags::TIMED),
            entry,
            move || real::pthread_mutex_trylock(mutex),
            move || real::pthread_mutex_clocklock(mutex, clock, until),
        )
    }
}

hook!(pthread_mutex_unlock(mutex: Ptr) -> c_int, "rsi", unlock);
unsafe extern "C" fn unlock(mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { release(request(mutex, 0), entry, move || real::pthread_mutex_unlock(mutex)) }
}

hook!(pthread_mutex_init(mutex: Ptr, attr: Ptr) -> c_int, "rdx", init);
unsafe extern "C" fn init(mutex: Ptr, attr: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_mutex_init(mutex, attr);
        if answer == 0 {
            initialised(mutex, kind::MUTEX, 0, 0, entry);
        }
        answer
    }
}

hook!(pthread_mutex_destroy(mutex: Ptr) -> c_int, "rsi", destroy);
unsafe extern "C" fn destroy(mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { destroy_lock(mutex, kind::MUTEX, entry, || real::pthread_mutex_destroy(mutex)) }
}
