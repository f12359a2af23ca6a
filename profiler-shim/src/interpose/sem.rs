//! Semaphores, unnamed and named.
//!
//! One whose value is 1 at first and that is posted only by whoever waited last is a lock, and is recorded as
//! one (`LockTraits::BINARY`): the wait takes it, the post gives it back. The first post by another thread, or the second
//! in a row, shows that it is none: from then on its waits are operations that are not held, as those of all
//! other semaphores.

use core::ffi::{c_char, c_int, c_uint};

use lockprof_wire::{Flags, Kind};

use super::acquire::past;
use super::glibc::looks_taken;
use super::objects::{initialise, lock_of};
use super::operate::{done, operate};
use super::outcome::{ETIMEDOUT, Outcome, Request, Style, errno, set_errno};
use super::unwound::wait_in;
use super::{forgetting_hook, hook};
use crate::probe::{self, Caller, Entry, FirstUse, Lock, LockTraits, caller, exact};
use crate::real::{self, Clock};
use crate::sys::{Ptr, clock};

const EAGAIN: c_int = 11;

/// Answers are 0 or -1 with `errno`; here they are taken as 0 or the error number.
#[derive(Clone, Copy)]
struct Sem;

impl Style for Sem {
    fn outcome(error: c_int) -> Outcome {
        match error {
            0 => Outcome::Acquired,
            EAGAIN => Outcome::Busy,
            ETIMEDOUT => Outcome::TimedOut,
            _ => Outcome::Failed,
        }
    }
}

fn request(sem: Ptr, flags: Flags) -> Request<Sem> {
    Request { object: sem, kind: Kind::Semaphore, flags, style: Sem }
}

/// 0 or the error number of the call that was just made.
fn error_of(answer: c_int) -> c_int {
    if answer == 0 { 0 } else { errno() }
}

/// Waits: tries first, as only a try tells whether it has to.
///
/// # Safety
/// The entry is the running hook's; the object is a semaphore.
unsafe fn wait(sem: Ptr, flags: Flags, entry: Entry, block: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<Sem>(block()) };
        let request = request(sem, flags);
        let lock = lock_of(caller, sem, Kind::Semaphore);
        if !exact() {
            let before = errno();
            if real::sem_trywait(sem) == 0 {
                taken(caller, request);
                return 0;
            }
            set_errno(before);
        }
        let block = || error_of(block());
        let error = if lock.word.is_binary() {
            wait_for_lock(caller, request, lock, block)
        } else {
            operate(request, caller, block, |_| true)
        };
        if error == 0 { 0 } else { -1 }
    }
}

/// Waits for one that is used as a lock.
///
/// # Safety
/// The caller is the running hook's; the object is one of the request's kind.
#[inline(never)]
unsafe fn wait_for_lock(caller: Caller, request: Request<Sem>, lock: Lock, block: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller is the running hook's; the object is a semaphore.
    unsafe {
        let busy = !exact() || looks_taken(request.object, request.kind);
        let waiting = probe::begin_wait(caller, lock, request.flags, busy.then_some(0));
        let error = wait_in(block);
        let now = clock::now();
        probe::end_wait(caller.thread, waiting);
        let duration = now.saturating_sub(waiting.since);
        if error != 0 {
            done(caller, lock, request, waiting.since, duration, error, true);
        } else if !busy {
            taken(caller, request);
        } else {
            // It may have turned out to be no lock meanwhile.
            match still_lock(caller, request.object) {
                Ok(lock) => probe::acquired_after(caller, lock, request.flags, waiting, now),
                Err(lock) => done(caller, lock, request, waiting.since, duration, 0, true),
            }
        }
        error
    }
}

/// A wait that was over at once.
///
/// # Safety
/// The object is a semaphore.
unsafe fn taken(caller: Caller, request: Request<Sem>) {
    let now = clock::now();
    // SAFETY: the object is a semaphore.
    match unsafe { still_lock(caller, request.object) } {
        Ok(lock) => probe::acquired(caller, lock, request.flags, now),
        Err(lock) => done(caller, lock, request, now, 0, 0, false),
    }
}

/// The semaphore that this thread got past: `Ok` if it is used as a lock. If this thread has it already, somebody else has
/// posted, and it is none.
///
/// # Safety
/// The object is a semaphore.
unsafe fn still_lock(caller: Caller, sem: Ptr) -> Result<Lock, Lock> {
    // SAFETY: the object is a semaphore.
    let lock = unsafe { lock_of(caller, sem, Kind::Semaphore) };
    if !lock.word.is_binary() {
        return Err(lock);
    }
    if held(caller, lock).is_some() {
        return Err(probe::not_a_lock(caller.thread, lock));
    }
    Ok(lock)
}

/// This thread's acquisition of this very semaphore, if it has it as a lock.
fn held(caller: Caller, lock: Lock) -> Option<probe::Held> {
    probe::held(caller.thread, lock.address).filter(|held| held.row() == lock.row())
}

/// The traits of a semaphore with this value at first.
fn traits_with(value: u32) -> LockTraits {
    LockTraits::BINARY.when(value == 1)
}

hook! {
    fn sem_wait(sem: Ptr; entry) -> c_int {
        wait(sem, Flags::NONE, entry, || real::sem_wait(sem))
    }
}

hook! {
    fn sem_timedwait(sem: Ptr, until: Ptr; entry) -> c_int {
        wait(sem, Flags::TIMED, entry, || real::sem_timedwait(sem, until))
    }
}

hook! {
    fn sem_clockwait(sem: Ptr, clock: Clock, until: Ptr; entry) -> c_int {
        wait(sem, Flags::TIMED, entry, || real::sem_clockwait(sem, clock, until))
    }
}

hook! {
    fn sem_trywait(sem: Ptr; entry) -> c_int {
        let Some(caller) = caller(entry) else { return past::<Sem>(real::sem_trywait(sem)) };
        let lock = lock_of(caller, sem, Kind::Semaphore);
        let answer = real::sem_trywait(sem);
        if answer == 0 {
            taken(caller, request(sem, Flags::TRY));
        } else {
            done(caller, lock, request(sem, Flags::TRY), clock::now(), 0, error_of(answer), false);
        }
        answer
    }
}

hook! {
    fn sem_post(sem: Ptr; entry) -> c_int {
        let Some(caller) = caller(entry) else { return real::sem_post(sem) };
        let lock = lock_of(caller, sem, Kind::Semaphore);
        let now = clock::now();
        if lock.word.is_binary() {
            if let Some(held) = held(caller, lock) {
                let answer = real::sem_post(sem);
                if answer == 0 {
                    probe::released(caller.thread, held, now);
                }
                return answer;
            }
            probe::not_a_lock(caller.thread, lock);
        }
        probe::posted(caller, lock, now);
        real::sem_post(sem)
    }
}

hook! {
    fn sem_init(sem: Ptr, shared: c_int, value: c_uint; entry) -> c_int {
        let traits = traits_with(value);
        initialise(sem, Kind::Semaphore, traits, value, entry, || real::sem_init(sem, shared, value))
    }
}

hook! {
    fn sem_open(name: *const c_char, flags: c_int, mode: c_uint, value: c_uint; entry) -> Ptr {
        // `sem_open` is variadic: what the program did not pass is ignored by the real function as well.
        let sem = real::sem_open(name, flags, mode, value);
        if !sem.is_null()
            && let Some(caller) = caller(entry)
        {
            let first =
                FirstUse { kind: Kind::Semaphore, initialised: false, traits: LockTraits::NONE, stack: caller.stack, initial: 0 };
            let first = match opened(sem, flags, value) {
                // Opening a name twice gives the same address: not a new one then.
                None => first,
                Some(certain) => FirstUse { initialised: certain, traits: traits_with(value), initial: value, ..first },
            };
            probe::find_or_make(caller, sem, first);
        }
        sem
    }
}

/// Whether `sem_open` made the semaphore, and so its value is the one at first: `None` if that is not so,
/// otherwise whether it is certain.
///
/// # Safety
/// The object is a semaphore.
unsafe fn opened(sem: Ptr, flags: c_int, value: c_uint) -> Option<bool> {
    const CREATE: c_int = 0o100;
    const EXCLUSIVE: c_int = 0o200;
    if flags & CREATE == 0 {
        return None;
    }
    let mut now: c_int = 0;
    // SAFETY: the semaphore was opened just now.
    let known = unsafe { real::sem_getvalue(sem, &raw mut now) } == 0;
    (flags & EXCLUSIVE != 0 || known && now as c_uint == value).then_some(flags & EXCLUSIVE != 0)
}

forgetting_hook!(fn sem_destroy(sem: Ptr));
