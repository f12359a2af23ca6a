//! `pthread_spin_*`.

use core::ffi::c_int;

use lockprof_wire::lock::kind;

use super::core::{Entry, Request, acquire, destroyed, initialised, posix, release, try_acquire};
use super::{hook, plain_hook};
use crate::real::{self, Ptr};

fn request(lock: Ptr) -> Request {
    Request { object: lock, kind: kind::SPINLOCK, flags: 0, outcome: posix }
}

hook!(pthread_spin_lock(lock: Ptr) -> c_int, "rsi", plain_lock);
unsafe extern "C" fn plain_lock(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { acquire(request(lock), entry, || real::pthread_spin_trylock(lock), || real::pthread_spin_lock(lock)) }
}

hook!(pthread_spin_trylock(lock: Ptr) -> c_int, "rsi", trylock);
unsafe extern "C" fn trylock(lock: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { try_acquire(request(lock), entry, || real::pthread_spin_trylock(lock)) }
}

plain_hook! {
    fn pthread_spin_unlock(lock: Ptr) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe { release(lock, || real::pthread_spin_unlock(lock)) }
    }
}

hook!(pthread_spin_init(lock: Ptr, shared: c_int) -> c_int, "rdx", init);
unsafe extern "C" fn init(lock: Ptr, shared: c_int, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::pthread_spin_init(lock, shared);
        if answer == 0 {
            initialised(lock, kind::SPINLOCK, entry);
        }
        answer
    }
}

plain_hook! {
    fn pthread_spin_destroy(lock: Ptr) -> c_int {
        // SAFETY: the program's own call, handed on.
        unsafe {
            let answer = real::pthread_spin_destroy(lock);
            if answer == 0 {
                destroyed(lock);
            }
            answer
        }
    }
}
