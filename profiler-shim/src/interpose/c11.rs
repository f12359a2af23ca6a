//! C11 `<threads.h>`: glibc's own functions do not go through the `pthread_*` symbols.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::cond::condition;
use super::mutex::mutex;
use super::objects::destroy_lock;
use super::outcome::{C11, Request};
use super::{hook, initialising_hook};
use crate::probe;
use crate::real::{self, Ptr};

mutex!(C11, lock: mtx_lock, try: mtx_trylock, timed: mtx_timedlock, unlock: mtx_unlock);

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
