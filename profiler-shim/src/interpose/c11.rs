//! C11 `<threads.h>`: glibc's own functions do not go through the `pthread_*` symbols.

use core::ffi::c_int;

use lockprof_wire::Flags;
use lockprof_wire::lock::kind;

use super::cond::{posted, wait};
use super::core::{C11, Entry, Request, acquire, acquire_mutex, destroy_lock, destroyed, initialised, try_acquire};
use super::hook;
use super::release::release;
use crate::real::{self, Ptr};

fn mutex_request(mutex: Ptr, flags: u8) -> Request<C11> {
    Request { object: mutex, kind: kind::MUTEX, flags, style: C11 }
}

fn cond_request(cond: Ptr, flags: u8) -> Request<C11> {
    Request { object: cond, kind: kind::CONDVAR, flags, style: C11 }
}

hook!(mtx_lock(mutex: Ptr) -> c_int, "rsi", lock);
unsafe extern "C" fn lock(mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        acquire_mutex(mutex_request(mutex, 0), entry, move || real::mtx_trylock(mutex), move || real::mtx_lock(mutex))
    }
}

hook!(mtx_trylock(mutex: Ptr) -> c_int, "rsi", trylock);
unsafe extern "C" fn trylock(mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { try_acquire(mutex_request(mutex, 0), entry, move || real::mtx_trylock(mutex)) }
}

hook!(mtx_timedlock(mutex: Ptr, until: Ptr) -> c_int, "rdx", timedlock);
unsafe extern "C" fn timedlock(mutex: Ptr, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let request = mutex_request(mutex, Flags::TIMED);
        acquire(request, entry, move || real::mtx_trylock(mutex), move || real::mtx_timedlock(mutex, until))
    }
}

hook!(mtx_unlock(mutex: Ptr) -> c_int, "rsi", unlock);
unsafe extern "C" fn unlock(mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { release(mutex_request(mutex, 0), entry, move || real::mtx_unlock(mutex)) }
}

hook!(mtx_init(mutex: Ptr, variant: c_int) -> c_int, "rdx", init);
unsafe extern "C" fn init(mutex: Ptr, variant: c_int, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::mtx_init(mutex, variant);
        if answer == 0 {
            initialised(mutex, kind::MUTEX, 0, 0, entry);
        }
        answer
    }
}

hook!(mtx_destroy(mutex: Ptr), "rsi", destroy);
unsafe extern "C" fn destroy(mutex: Ptr, entry: Entry) {
    // SAFETY: the program's own call, handed on.
    unsafe {
        destroy_lock(mutex, kind::MUTEX, entry, || {
            real::mtx_destroy(mutex);
            0
        });
    }
}

hook!(cnd_wait(cond: Ptr, mutex: Ptr) -> c_int, "rdx", plain_wait);
unsafe extern "C" fn plain_wait(cond: Ptr, mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(cond_request(cond, 0), mutex, entry, move || real::cnd_wait(cond, mutex)) }
}

hook!(cnd_timedwait(cond: Ptr, mutex: Ptr, until: Ptr) -> c_int, "rcx", timed_wait);
unsafe extern "C" fn timed_wait(cond: Ptr, mutex: Ptr, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(cond_request(cond, Flags::TIMED), mutex, entry, move || real::cnd_timedwait(cond, mutex, until)) }
}

hook!(cnd_init(cond: Ptr) -> c_int, "rsi", cond_init);
unsafe extern "C" fn cond_init(cond: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::cnd_init(cond);
        if answer == 0 {
            initialised(cond, kind::CONDVAR, 0, 0, entry);
        }
        answer
    }
}

hook!(cnd_destroy(cond: Ptr), "rsi", cond_destroy);
unsafe extern "C" fn cond_destroy(cond: Ptr, _: Entry) {
    // SAFETY: the program's own call, handed on.
    unsafe {
        real::cnd_destroy(cond);
        destroyed(cond);
    }
}

hook!(cnd_signal(cond: Ptr) -> c_int, "rsi", signal);
unsafe extern "C" fn signal(cond: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        posted(cond, entry);
        real::cnd_signal(cond)
    }
}

hook!(cnd_broadcast(cond: Ptr) -> c_int, "rsi", broadcast);
unsafe extern "C" fn broadcast(cond: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        posted(cond, entry);
        real::cnd_broadcast(cond)
    }
}
