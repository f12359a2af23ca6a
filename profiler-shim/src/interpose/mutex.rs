//! `pthread_mutex_*`: also below `std::mutex` and its kin.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::acquire::{Family, acquire, acquire_mutex, try_acquire};
use super::outcome::{Posix, Request};
use super::release::release;
use super::{destroying_hook, hook, initialising_hook};
use crate::real::{self, Clock, Ptr};

fn request(mutex: Ptr, flags: Flags) -> Request<Posix> {
    Request { object: mutex, kind: Kind::Mutex, flags, style: Posix }
}

/// `pthread_mutex_lock` and its try.
#[derive(Clone, Copy)]
struct Pthread;

impl Family for Pthread {
    type Style = Posix;

    fn request(self, mutex: Ptr) -> Request<Posix> {
        request(mutex, Flags::NONE)
    }

    unsafe fn try_real(self, mutex: Ptr) -> c_int {
        // SAFETY: the caller's contract.
        unsafe { real::pthread_mutex_trylock(mutex) }
    }

    unsafe fn block(self, mutex: Ptr) -> c_int {
        // SAFETY: the caller's contract.
        unsafe { real::pthread_mutex_lock(mutex) }
    }
}

hook! {
    fn pthread_mutex_lock(mutex: Ptr; entry) -> c_int {
        acquire_mutex(Pthread, mutex, entry)
    }
}

hook! {
    fn pthread_mutex_trylock(mutex: Ptr; entry) -> c_int {
        try_acquire(request(mutex, Flags::NONE), entry, move || real::pthread_mutex_trylock(mutex))
    }
}

hook! {
    fn pthread_mutex_timedlock(mutex: Ptr, until: Ptr; entry) -> c_int {
        acquire(
            request(mutex, Flags::TIMED),
            entry,
            move || real::pthread_mutex_trylock(mutex),
            move || real::pthread_mutex_timedlock(mutex, until),
        )
    }
}

hook! {
    fn pthread_mutex_clocklock(mutex: Ptr, clock: Clock, until: Ptr; entry) -> c_int {
        acquire(
            request(mutex, Flags::TIMED),
            entry,
            move || real::pthread_mutex_trylock(mutex),
            move || real::pthread_mutex_clocklock(mutex, clock, until),
        )
    }
}

hook! {
    fn pthread_mutex_unlock(mutex: Ptr; entry) -> c_int {
        release(mutex, entry, |mutex| request(mutex, Flags::NONE), |mutex| real::pthread_mutex_unlock(mutex))
    }
}

initialising_hook!(Kind::Mutex, fn pthread_mutex_init(mutex: Ptr, attr: Ptr));

destroying_hook!(Kind::Mutex, fn pthread_mutex_destroy(mutex: Ptr));
