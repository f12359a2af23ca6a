//! `pthread_mutex_*`: also below `std::mutex` and its kin. C11's mutexes are made by the same rows.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::acquire::acquire;
use super::outcome::{Posix, Request};
use super::{destroying_hook, hook, initialising_hook};
use crate::real::{self, Clock, Ptr};

/// The four functions of one API that take a mutex and give it back, how they answer, and its `request`s.
macro_rules! mutex {
    ($style:ident, lock: $lock:ident, try: $trylock:ident, timed: $timed:ident, unlock: $unlock:ident) => {
        fn request(mutex: Ptr, flags: Flags) -> Request<$style> {
            Request { object: mutex, kind: Kind::Mutex, flags, style: $style }
        }

        /// What takes a mutex, for the hot path.
        #[derive(Clone, Copy)]
        struct Functions;

        impl $crate::interpose::acquire::Family for Functions {
            type Style = $style;

            fn request(self, mutex: Ptr) -> Request<$style> {
                request(mutex, Flags::NONE)
            }

            unsafe fn try_real(self, mutex: Ptr) -> c_int {
                // SAFETY: the caller's contract.
                unsafe { real::$trylock(mutex) }
            }

            unsafe fn block(self, mutex: Ptr) -> c_int {
                // SAFETY: the caller's contract.
                unsafe { real::$lock(mutex) }
            }
        }

        hook! {
            fn $lock(mutex: Ptr; entry) -> c_int {
                $crate::interpose::acquire::acquire_mutex(Functions, mutex, entry)
            }
        }

        hook! {
            fn $trylock(mutex: Ptr; entry) -> c_int {
                let request = request(mutex, Flags::NONE);
                $crate::interpose::acquire::try_acquire(request, entry, move || real::$trylock(mutex))
            }
        }

        hook! {
            fn $timed(mutex: Ptr, until: Ptr; entry) -> c_int {
                $crate::interpose::acquire::acquire(
                    request(mutex, Flags::TIMED),
                    entry,
                    move || real::$trylock(mutex),
                    move || real::$timed(mutex, until),
                )
            }
        }

        hook! {
            fn $unlock(mutex: Ptr; entry) -> c_int {
                $crate::interpose::release::release(
                    mutex,
                    entry,
                    |mutex| request(mutex, Flags::NONE),
                    |mutex| real::$unlock(mutex),
                )
            }
        }
    };
}
pub(super) use mutex;

mutex!(
    Posix,
    lock: pthread_mutex_lock,
    try: pthread_mutex_trylock,
    timed: pthread_mutex_timedlock,
    unlock: pthread_mutex_unlock
);

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

initialising_hook!(Kind::Mutex, fn pthread_mutex_init(mutex: Ptr, attr: Ptr));

destroying_hook!(Kind::Mutex, fn pthread_mutex_destroy(mutex: Ptr));
