//! `pthread_rwlock_*`: also below `std::shared_mutex`.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::acquire::{acquire, try_acquire};
use super::outcome::{Posix, Request};
use super::release::release;
use super::{destroying_hook, hook, initialising_hook};
use crate::real::{self, Clock, Ptr};

fn request(lock: Ptr, flags: Flags) -> Request<Posix> {
    Request { object: lock, kind: Kind::Rwlock, flags, style: Posix }
}

/// The four ways to ask in one mode.
macro_rules! mode {
    ($flags:expr, $lock:ident, $trylock:ident, $timed:ident, $clocked:ident) => {
        hook! {
            fn $lock(lock: Ptr; entry) -> c_int {
                acquire(request(lock, $flags), entry, move || real::$trylock(lock), move || real::$lock(lock))
            }
        }

        hook! {
            fn $trylock(lock: Ptr; entry) -> c_int {
                try_acquire(request(lock, $flags), entry, move || real::$trylock(lock))
            }
        }

        hook! {
            fn $timed(lock: Ptr, until: Ptr; entry) -> c_int {
                let request = request(lock, $flags.with(Flags::TIMED));
                acquire(request, entry, move || real::$trylock(lock), move || real::$timed(lock, until))
            }
        }

        hook! {
            fn $clocked(lock: Ptr, clock: Clock, until: Ptr; entry) -> c_int {
                let request = request(lock, $flags.with(Flags::TIMED));
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
    pthread_rwlock_clockrdlock
);
mode!(
    Flags::NONE,
    pthread_rwlock_wrlock,
    pthread_rwlock_trywrlock,
    pthread_rwlock_timedwrlock,
    pthread_rwlock_clockwrlock
);

hook! {
    fn pthread_rwlock_unlock(lock: Ptr; entry) -> c_int {
        release(lock, entry, |lock| request(lock, Flags::NONE), |lock| real::pthread_rwlock_unlock(lock))
    }
}

initialising_hook!(Kind::Rwlock, fn pthread_rwlock_init(lock: Ptr, attr: Ptr));

destroying_hook!(Kind::Rwlock, fn pthread_rwlock_destroy(lock: Ptr));
