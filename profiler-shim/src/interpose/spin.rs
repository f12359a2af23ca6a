//! `pthread_spin_*`.

use core::ffi::c_int;

use lockprof_wire::lock::kind;

use super::core::{Entry, Posix, Request, acquire, destroy_lock, initialised, try_acquire};
use super::hook;
use super::release::release;
use crate::real::{self, Ptr};

fn request(lock: Ptr) -> Request<Posix> {
    Request { object: lock, kind: kind::SPINLOCK, flags: 0, style: Posix }
}

hook!(pthread_spin_lock(lock: Ptr) -> c_int, "rsi", plain_lock);
unsafe extern "C" fn plain_lock(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        acquire(request(lock), entry, move || real::pthread_spin_trylock(lock), move || real::pthread_spin_lock(lock))
    }
}

hook!(pthread_spin_trylock(lock: Ptr) -> c_int, "rsi", trylock);
unsafe extern "C" fn trylock(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { try_acquire(request(lock), entry, move || real::pthread_spin_trylock(lock)) }
}

hook!(pthread_spin_unlock(lock: Ptr) -> c_int, "rsi", unlock);
unsafe extern "C" fn unlock(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { release(request(lock), entry, move || real::pthread_spin_unlock(lock)) }
}

hook!(pthread_spin_init(lock: Ptr, shared: c_int) -> c_int, "rdx", init);
unsafe extern "C" fn init(lock: Ptr, shared: c_int, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_spin_init(lock, shared);
        if answer == 0 {
            initialised(lock, kind::SPINLOCK, 0, 0, entry);
        }
        answer
    }
}

hook!(pthread_spin_destroy(lock: Ptr) -> c_int, "rsi", destroy);
unsafe extern "C" fn destroy(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { destroy_lock(lock, kind::SPINLOCK, entry, || real::pthread_spin_destroy(lock)) }
}
