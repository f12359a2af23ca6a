//! `pthread_spin_*`.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::acquire::{acquire, try_acquire};
use super::outcome::{Posix, Request};
use super::release::release;
use super::{destroying_hook, hook, initialising_hook};
use crate::real::{self, Ptr};

fn request(lock: Ptr) -> Request<Posix> {
    Request { object: lock, kind: Kind::Spinlock, flags: Flags::NONE, style: Posix }
}

hook! {
    fn pthread_spin_lock(lock: Ptr; entry) -> c_int {
        acquire(request(lock), entry, move || real::pthread_spin_trylock(lock), move || real::pthread_spin_lock(lock))
    }
}

hook! {
    fn pthread_spin_trylock(lock: Ptr; entry) -> c_int {
        try_acquire(request(lock), entry, move || real::pthread_spin_trylock(lock))
    }
}

hook! {
    fn pthread_spin_unlock(lock: Ptr; entry) -> c_int {
        release(lock, entry, request, |lock| real::pthread_spin_unlock(lock))
    }
}

initialising_hook!(Kind::Spinlock, fn pthread_spin_init(lock: Ptr, shared: c_int));

destroying_hook!(Kind::Spinlock, fn pthread_spin_destroy(lock: Ptr));
