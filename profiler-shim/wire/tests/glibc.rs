//! The layouts in `lock_layout::glibc` against locks of the glibc that the test runs on.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an ordinary program"
)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "every block calls libc on an object that the test itself made")]

use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, zeroed};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use libc::{c_int, pthread_mutex_t, pthread_rwlock_t};
use lockprof_wire::Kind;
use lockprof_wire::lock::TraitBits;
use lockprof_wire::lock_layout::LockState;
use lockprof_wire::lock_layout::glibc::{self, MutexType, MutexWord, OnceWord, RwlockType};

// Not in the `libc` crate.
unsafe extern "C" {
    fn pthread_once(control: *mut c_int, routine: extern "C" fn()) -> c_int;
    fn pthread_mutexattr_setprioceiling(attributes: *mut libc::pthread_mutexattr_t, ceiling: c_int) -> c_int;
    fn pthread_rwlockattr_setkind_np(attributes: *mut libc::pthread_rwlockattr_t, kind: c_int) -> c_int;
}
const PTHREAD_MUTEX_ADAPTIVE_NP: c_int = 3;

/// An object that several threads use at one address.
struct Object<T>(Box<UnsafeCell<T>>);

unsafe impl<T> Send for Object<T> {}
unsafe impl<T> Sync for Object<T> {}

impl<T> Object<T> {
    fn zeroed() -> Self {
        Self(Box::new(UnsafeCell::new(unsafe { zeroed() })))
    }

    fn at(&self) -> *mut T {
        self.0.get()
    }

    fn word(&self, number: usize) -> u32 {
        assert!((number + 1) * 4 <= size_of::<T>(), "word {number} is behind the end");
        unsafe { self.at().cast::<u32>().add(number).read_volatile() }
    }

    fn words(&self) -> impl Fn(usize) -> u32 {
        |number| self.word(number)
    }

    fn state(&self, kind: Kind) -> LockState {
        glibc::state(kind, self.words())
    }

    fn is_taken(&self, kind: Kind) -> bool {
        glibc::is_taken(kind, self.word(0))
    }
}

fn ok(answer: c_int) {
    assert_eq!(answer, 0);
}

fn tid() -> u32 {
    unsafe { libc::gettid() as u32 }
}

/// A mutex that is made with attributes.
fn mutex(set: impl FnOnce(*mut libc::pthread_mutexattr_t)) -> Object<pthread_mutex_t> {
    let made = Object::zeroed();
    unsafe {
        let mut attributes = MaybeUninit::uninit();
        ok(libc::pthread_mutexattr_init(attributes.as_mut_ptr()));
        set(attributes.as_mut_ptr());
        ok(libc::pthread_mutex_init(made.at(), attributes.as_ptr()));
    }
    made
}

fn mutex_of(of: c_int) -> Object<pthread_mutex_t> {
    mutex(|attributes| ok(unsafe { libc::pthread_mutexattr_settype(attributes, of) }))
}

fn rwlock(set: impl FnOnce(*mut libc::pthread_rwlockattr_t)) -> Object<pthread_rwlock_t> {
    let made = Object::zeroed();
    unsafe {
        let mut attributes = MaybeUninit::uninit();
        ok(libc::pthread_rwlockattr_init(attributes.as_mut_ptr()));
        set(attributes.as_mut_ptr());
        ok(libc::pthread_rwlock_init(made.at(), attributes.as_ptr()));
    }
    made
}

/// Waits until what is asked is so.
fn until(is: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("it never was so");
}

#[test]
fn sizes() {
    let sizes = [
        (Kind::Mutex, size_of::<pthread_mutex_t>()),
        (Kind::Rwlock, size_of::<pthread_rwlock_t>()),
        (Kind::Condvar, size_of::<libc::pthread_cond_t>()),
        (Kind::Semaphore, size_of::<libc::sem_t>()),
        (Kind::Barrier, size_of::<libc::pthread_barrier_t>()),
        (Kind::Spinlock, size_of::<libc::pthread_spinlock_t>()),
    ];
    for (kind, size) in sizes {
        assert_eq!(glibc::size(kind), size as u64, "{kind:?}");
        assert!(glibc::state_bytes(kind) <= size, "{kind:?}");
        assert!(glibc::spare_word(kind).is_none_or(|word| (word + 1) * 8 <= size), "{kind:?}");
    }
}

#[test]
fn mutexes_of_the_four_types() {
    let types = [
        libc::PTHREAD_MUTEX_NORMAL,
        libc::PTHREAD_MUTEX_RECURSIVE,
        libc::PTHREAD_MUTEX_ERRORCHECK,
        PTHREAD_MUTEX_ADAPTIVE_NP,
    ];
    let made = types.map(|of| (of, mutex_of(of)));
    let default = (libc::PTHREAD_MUTEX_NORMAL, Object(Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))));
    for (of, mutex) in made.into_iter().chain([default]) {
        let is = MutexType::read(mutex.words());
        assert_eq!(is.is_recursive(), of == libc::PTHREAD_MUTEX_RECURSIVE, "{of}");
        assert_eq!(is.has_plain_word(), of == libc::PTHREAD_MUTEX_NORMAL, "{of}");
        assert!(!is.is_robust() && !is.is_shared() && !glibc::uses_spare_word(Kind::Mutex, mutex.words()), "{of}");
        assert_eq!(glibc::traits(Kind::Mutex, mutex.words()).is_recursive(), is.is_recursive(), "{of}");
        assert_eq!(mutex.state(Kind::Mutex), LockState::Free, "{of}");
        assert!(!mutex.is_taken(Kind::Mutex) && MutexWord(mutex.word(0)).is_free(), "{of}");

        ok(unsafe { libc::pthread_mutex_lock(mutex.at()) });
        assert_eq!(mutex.state(Kind::Mutex), LockState::HeldBy(tid()), "{of}");
        assert_eq!(glibc::named_owner(Kind::Mutex, mutex.words()), tid(), "{of}");
        assert!(mutex.is_taken(Kind::Mutex) && MutexWord(mutex.word(0)).is_taken_without_waiters(), "{of}");
        assert!(glibc::may_be_held_by(tid(), Kind::Mutex, false, mutex.words()), "{of}");
        assert!(!glibc::may_be_held_by(tid() + 1, Kind::Mutex, false, mutex.words()), "{of}");

        // Somebody waits.
        thread::scope(|scope| {
            scope.spawn(|| unsafe {
                ok(libc::pthread_mutex_lock(mutex.at()));
                ok(libc::pthread_mutex_unlock(mutex.at()));
            });
            until(|| !MutexWord(mutex.word(0)).is_taken_without_waiters());
            assert_eq!(mutex.state(Kind::Mutex), LockState::HeldBy(tid()), "{of}");
            ok(unsafe { libc::pthread_mutex_unlock(mutex.at()) });
        });
        assert_eq!(mutex.state(Kind::Mutex), LockState::Free, "{of}");

        // Another thread's unlock.
        ok(unsafe { libc::pthread_mutex_lock(mutex.at()) });
        let unlocks = thread::scope(|scope| scope.spawn(|| unsafe { libc::pthread_mutex_unlock(mutex.at()) }).join());
        assert_eq!(is.lets_anyone_unlock(), unlocks.unwrap() == 0, "{of}");
    }
}

#[test]
fn mutexes_with_options_are_not_relied_on() {
    let robust = || {
        mutex(|attributes| unsafe {
            ok(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST));
        })
    };
    let shared = mutex(|attributes| unsafe {
        ok(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED));
    });
    let inherits = mutex(|attributes| unsafe {
        ok(libc::pthread_mutexattr_setprotocol(attributes, libc::PTHREAD_PRIO_INHERIT));
    });
    let protects = mutex(|attributes| unsafe {
        ok(libc::pthread_mutexattr_setprotocol(attributes, libc::PTHREAD_PRIO_PROTECT));
        ok(pthread_mutexattr_setprioceiling(attributes, 1));
    });
    for (name, mutex) in [("robust", robust()), ("shared", shared), ("inherits", inherits), ("protects", protects)] {
        let is = MutexType::read(mutex.words());
        assert_eq!(is.is_robust(), name == "robust", "{name}");
        assert_eq!(is.is_shared(), matches!(name, "robust" | "shared"), "{name}");
        assert_eq!(is.has_plain_word(), name == "shared", "{name}");
        assert!(!is.lets_anyone_unlock() && !is.is_recursive(), "{name}");
        assert_eq!(glibc::uses_spare_word(Kind::Mutex, mutex.words()), is.is_shared(), "{name}");
        assert_eq!(glibc::traits(Kind::Mutex, mutex.words()), TraitBits::ROBUST.when(name == "robust"), "{name}");
        assert_eq!(mutex.state(Kind::Mutex), LockState::Unclear, "{name}");
        if name != "protects" {
            assert!(!mutex.is_taken(Kind::Mutex), "{name}");
            ok(unsafe { libc::pthread_mutex_lock(mutex.at()) });
            assert_eq!(mutex.state(Kind::Mutex), LockState::Unclear, "{name}");
            assert_eq!(glibc::named_owner(Kind::Mutex, mutex.words()), tid(), "{name}");
            assert!(mutex.is_taken(Kind::Mutex), "{name}");
            ok(unsafe { libc::pthread_mutex_unlock(mutex.at()) });
        }
    }

    // The owner ends and holds it: whoever asks next takes it.
    let mutex = Arc::new(robust());
    let theirs = Arc::clone(&mutex);
    thread::spawn(move || ok(unsafe { libc::pthread_mutex_lock(theirs.at()) })).join().unwrap();
    until(|| !mutex.is_taken(Kind::Mutex));
    assert_ne!(mutex.word(0), 0);
    assert_eq!(unsafe { libc::pthread_mutex_lock(mutex.at()) }, libc::EOWNERDEAD);
}

#[test]
fn rwlocks() {
    let lock = rwlock(|_| ());
    let is = RwlockType::read(lock.words());
    assert!(!is.is_shared() && !is.lets_writers_first());
    let may = |tid, shared| glibc::may_be_held_by(tid, Kind::Rwlock, shared, lock.words());
    let free = || {
        assert_eq!(lock.state(Kind::Rwlock), LockState::Free);
        assert!(!lock.is_taken(Kind::Rwlock) && !may(tid(), true) && !may(tid(), false));
    };
    free();
    ok(unsafe { libc::pthread_rwlock_wrlock(lock.at()) });
    assert_eq!(lock.state(Kind::Rwlock), LockState::HeldBy(tid()));
    assert_eq!(glibc::named_owner(Kind::Rwlock, lock.words()), tid());
    assert!(lock.is_taken(Kind::Rwlock) && may(tid(), false) && !may(tid() + 1, false) && !may(tid(), true));
    ok(unsafe { libc::pthread_rwlock_unlock(lock.at()) });
    // The phase of writers goes on: the word is not zero.
    assert_ne!(lock.word(0), 0);
    free();

    ok(unsafe { libc::pthread_rwlock_rdlock(lock.at()) });
    assert_eq!(lock.state(Kind::Rwlock), LockState::Held);
    assert!(lock.is_taken(Kind::Rwlock) && may(tid(), true) && !may(tid(), false));
    thread::scope(|scope| {
        scope.spawn(|| unsafe {
            ok(libc::pthread_rwlock_wrlock(lock.at()));
            ok(libc::pthread_rwlock_unlock(lock.at()));
        });
        // A writer waits for the reader: it is not named yet.
        until(|| may(tid() + 1, false));
        assert_eq!(lock.state(Kind::Rwlock), LockState::Held);
        ok(unsafe { libc::pthread_rwlock_unlock(lock.at()) });
    });
    free();
}

#[test]
fn rwlocks_with_options() {
    // 0: readers, 1: writers (which does nothing), 2: writers, where no reader reads again.
    for (preference, writers_first) in [(0, false), (1, false), (2, true)] {
        let lock = rwlock(|attributes| ok(unsafe { pthread_rwlockattr_setkind_np(attributes, preference) }));
        let traits = glibc::traits(Kind::Rwlock, lock.words());
        assert_eq!(traits, TraitBits::WRITERS_FIRST.when(writers_first), "{preference}");
    }
    let shared = rwlock(|attributes| {
        ok(unsafe { libc::pthread_rwlockattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) });
    });
    assert!(glibc::uses_spare_word(Kind::Rwlock, shared.words()));
    ok(unsafe { libc::pthread_rwlock_wrlock(shared.at()) });
    assert_eq!(shared.state(Kind::Rwlock), LockState::Unclear);
    assert!(shared.is_taken(Kind::Rwlock));
}

#[test]
fn spin_locks_and_semaphores() {
    let spin: Object<libc::pthread_spinlock_t> = Object::zeroed();
    ok(unsafe { libc::pthread_spin_init(spin.at(), libc::PTHREAD_PROCESS_PRIVATE) });
    assert_eq!((spin.state(Kind::Spinlock), spin.is_taken(Kind::Spinlock)), (LockState::Free, false));
    ok(unsafe { libc::pthread_spin_lock(spin.at()) });
    assert_eq!((spin.state(Kind::Spinlock), spin.is_taken(Kind::Spinlock)), (LockState::Held, true));
    assert!(glibc::may_be_held_by(tid(), Kind::Spinlock, false, spin.words()));
    ok(unsafe { libc::pthread_spin_unlock(spin.at()) });
    assert_eq!(spin.state(Kind::Spinlock), LockState::Free);

    let sem: Object<libc::sem_t> = Object::zeroed();
    ok(unsafe { libc::sem_init(sem.at(), 0, 2) });
    for (left, taken) in [(1, false), (0, true)] {
        ok(unsafe { libc::sem_wait(sem.at()) });
        assert_eq!(glibc::semaphore_value(sem.words()), left);
        assert_eq!(sem.is_taken(Kind::Semaphore), taken);
        assert_eq!(glibc::may_be_held_by(tid(), Kind::Semaphore, false, sem.words()), taken);
    }
    // Somebody waits: that is counted in another word.
    thread::scope(|scope| {
        scope.spawn(|| ok(unsafe { libc::sem_wait(sem.at()) }));
        until(|| sem.word(1) != 0);
        assert_eq!(glibc::semaphore_value(sem.words()), 0);
        ok(unsafe { libc::sem_post(sem.at()) });
    });
}

#[test]
fn once() {
    static SEEN: std::sync::Mutex<Option<OnceWord>> = std::sync::Mutex::new(None);
    static CONTROL: Control = Control(UnsafeCell::new(0));
    struct Control(UnsafeCell<c_int>);
    unsafe impl Sync for Control {}
    fn word() -> OnceWord {
        OnceWord(unsafe { CONTROL.0.get().read_volatile() } as u32)
    }
    extern "C" fn routine() {
        *SEEN.lock().unwrap() = Some(word());
    }
    assert!(!word().is_done() && !word().is_running());
    ok(unsafe { pthread_once(CONTROL.0.get(), routine) });
    let during = SEEN.lock().unwrap().expect("it ran");
    assert!(during.is_running() && !during.is_done());
    assert!(word().is_done() && !word().is_running());
}

#[test]
fn spare_words_stay_as_they_are() {
    const TAG: u64 = u64::from_le_bytes(*b"lockprof");
    let soon = || {
        let mut now = MaybeUninit::<libc::timespec>::zeroed();
        unsafe {
            ok(libc::clock_gettime(libc::CLOCK_REALTIME, now.as_mut_ptr()));
            let mut now = now.assume_init();
            now.tv_nsec = (now.tv_nsec + 1_000_000).min(999_999_999);
            now
        }
    };
    for of in [
        libc::PTHREAD_MUTEX_NORMAL,
        libc::PTHREAD_MUTEX_RECURSIVE,
        libc::PTHREAD_MUTEX_ERRORCHECK,
        PTHREAD_MUTEX_ADAPTIVE_NP,
    ] {
        let mutex = mutex_of(of);
        let cond: Object<libc::pthread_cond_t> = Object::zeroed();
        let spare = unsafe { mutex.at().cast::<u64>().add(glibc::spare_word(Kind::Mutex).unwrap()) };
        assert_eq!(unsafe { spare.read_volatile() }, 0);
        unsafe {
            spare.write_volatile(TAG);
            for _ in 0..2 {
                ok(libc::pthread_mutex_lock(mutex.at()));
                let (tell, told) = channel();
                thread::scope(|scope| {
                    let mutex = &mutex;
                    scope.spawn(move || {
                        assert_eq!(libc::pthread_mutex_trylock(mutex.at()), libc::EBUSY);
                        assert_eq!(
                            libc::pthread_mutex_timedlock(mutex.at(), &raw const *Box::new(soon())),
                            libc::ETIMEDOUT
                        );
                        tell.send(()).unwrap();
                        ok(libc::pthread_mutex_lock(mutex.at()));
                        ok(libc::pthread_mutex_unlock(mutex.at()));
                    });
                    told.recv().unwrap();
                    let waited = libc::pthread_cond_timedwait(cond.at(), mutex.at(), &raw const *Box::new(soon()));
                    assert_eq!(waited, libc::ETIMEDOUT);
                    ok(libc::pthread_mutex_unlock(mutex.at()));
                });
            }
            assert_eq!(spare.read_volatile(), TAG, "{of}");
            ok(libc::pthread_mutex_destroy(mutex.at()));
        }
    }
    let lock = rwlock(|_| ());
    let spare = unsafe { lock.at().cast::<u64>().add(glibc::spare_word(Kind::Rwlock).unwrap()) };
    unsafe {
        assert_eq!(spare.read_volatile(), 0);
        spare.write_volatile(TAG);
        for ask in [libc::pthread_rwlock_rdlock, libc::pthread_rwlock_wrlock] {
            ok(ask(lock.at()));
            thread::scope(|scope| {
                scope.spawn(|| {
                    ok(libc::pthread_rwlock_wrlock(lock.at()));
                    ok(libc::pthread_rwlock_unlock(lock.at()));
                });
                thread::sleep(Duration::from_millis(5));
                ok(libc::pthread_rwlock_unlock(lock.at()));
            });
        }
        assert_eq!(spare.read_volatile(), TAG);
    }
}
