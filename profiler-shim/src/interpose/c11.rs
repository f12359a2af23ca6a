//! C11 `<threads.h>`: glibc's own functions do not go through the `pthread_*` symbols.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::acquire::{Family, acquire, acquire_mutex, try_acquire};
use super::cond::condition;
use super::objects::destroy_lock;
use super::outcome::{C11, Request};
use super::release::release;
use super::{hook, initialising_hook};
use crate::probe;
use crate::real::{self, Ptr};

fn request(mutex: Ptr, flags: Flags) -> Request<C11> {
    Request { object: mutex, kind: Kind::Mutex, flags, style: C11 }
}

/// `mtx_lock` and its try.
#[derive(Clone, Copy)]
struct Mtx;

impl Family for Mtx {
    type Style = C11;

    fn request(self, mutex: Ptr) -> Request<C11> {
        request(mutex, Flags::NONE)
    }

    unsafe fn try_real(self, mutex: Ptr) -> c_int {
        // SAFETY: the caller's contract.
        unsafe { real::mtx_trylock(mutex) }
    }

    unsafe fn block(self, mutex: Ptr) -> c_int {
        // SAFETY: the caller's contract.
        unsafe { real::mtx_lock(mutex) }
    }
}

hook! {
    fn mtx_lock(mutex: Ptr; entry) -> c_int {
        acquire_mutex(Mtx, mutex, entry)
    }
}

hook! {
    fn mtx_trylock(mutex: Ptr; entry) -> c_int {
        try_acquire(request(mutex, Flags::NONE), entry, move || real::mtx_trylock(mutex))
    }
}

hook! {
    fn mtx_timedlock(mutex: Ptr, until: Ptr; entry) -> c_int {
        let request = request(mutex, Flags::TIMED);
        acquire(request, entry, move || real::mtx_trylock(mutex), move || real::mtx_timedlock(mutex, until))
    }
}

hook! {
    fn mtx_unlock(mutex: Ptr; entry) -> c_int {
        release(mutex, entry, |mutex| request(mutex, Flags::NONE), |mutex| real::mtx_unlock(mutex))
    }
}

initialising_hook!(Kind::Mutex, fn mtx_init(mutex: Ptr, variant: c_int));

hook! {
    fn mtx_destroy(mutex: Ptr; entry) {
        destroy_lock(mutex, Kind::Mutex, entry, || {
            real::mtx_destroy(mutex);
            0
        });
    }
}

condition!(C11, wait: cnd_wait, timed: cnd_timedwait, signal: cnd_signal, cnd_broadcast);

initialising_hook!(Kind::Condvar, fn cnd_init(cond: Ptr));

hook! {
    fn cnd_destroy(cond: Ptr; _entry) {
        real::cnd_destroy(cond);
        probe::destroyed(cond as u64);
    }
}
