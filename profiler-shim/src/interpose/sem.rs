//! Semaphores, unnamed and named.
//!
//! One whose value is 1 at first and that is posted only by whoever waited last is a lock, and is recorded as
//! one (`BINARY`): the wait takes it, the post gives it back. The first post by another thread, or the second
//! in a row, shows that it is none: from then on its waits are operations that are not held, as those of all
//! other semaphores.

use core::ffi::{c_char, c_int, c_uint};

use lockprof_wire::lock::kind;
use lockprof_wire::{Flags, Op};

use super::core::{
    Caller, ETIMEDOUT, Entry, Outcome, Request, Style, caller, destroyed, errno, find_or_make, initialised, lock_word,
    past, set_errno, tell,
};
use super::hook;
use super::operate::{done, operate};
use super::unwound::wait_in;
use super::wait::{begin_wait, end_wait, looks_taken};
use crate::real::{self, Clock, Ptr};
use crate::recorder::{self, Wait};
use crate::state::attach;
use crate::state::local::Local;
use crate::sys::clock;
use crate::tables::locks::{BINARY, Sight};

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

fn request(sem: Ptr, flags: u8) -> Request<Sem> {
    Request { object: sem, kind: kind::SEMAPHORE, flags, style: Sem }
}

/// 0 or the error number.
unsafe fn error_of(answer: c_int) -> c_int {
    // SAFETY: `errno` is the call's that just failed.
    if answer == 0 { 0 } else { unsafe { errno() } }
}

/// Waits: tries first, as only a try tells whether it has to.
unsafe fn wait(sem: Ptr, flags: u8, entry: Entry, block: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<Sem>(block()) };
        let request = request(sem, flags);
        let word = lock_word(caller, sem, kind::SEMAPHORE);
        if !attach::exact() {
            let before = errno();
            if real::sem_trywait(sem) == 0 {
                taken(caller, request);
                return 0;
            }
            set_errno(before);
        }
        let block = || error_of(block());
        let error = if word & BINARY != 0 {
            wait_for_lock(caller, request, word, block)
        } else {
            operate(request, caller, block, |_| true)
        };
        if error == 0 { 0 } else { -1 }
    }
}

/// Waits for one that is used as a lock.
#[inline(never)]
unsafe fn wait_for_lock(caller: Caller, request: Request<Sem>, word: u64, block: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let busy = !attach::exact() || looks_taken(request);
        let waiting = begin_wait(caller, word, request, busy);
        let error = wait_in(block);
        let now = clock::now();
        end_wait(caller, waiting);
        let duration = now.saturating_sub(waiting.since);
        if error != 0 {
            done(caller, word, request, waiting.since, duration, error, true);
        } else if !busy {
            taken(caller, request);
        } else {
            // It may have turned out to be no lock meanwhile.
            match still_lock(caller, request.object) {
                Ok(word) => {
                    let (address, wait) = (request.object as u64, Wait { duration, holder: waiting.holder });
                    recorder::push_contended(
                        caller.local,
                        address,
                        word as u32,
                        caller.stack,
                        request.flags,
                        now,
                        wait,
                    );
                }
                Err(word) => done(caller, word, request, waiting.since, duration, 0, true),
            }
        }
        error
    }
}

/// A wait that was over at once.
unsafe fn taken(caller: Caller, request: Request<Sem>) {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let now = clock::now();
        match still_lock(caller, request.object) {
            Ok(word) => {
                recorder::push(caller.local, request.object as u64, word as u32, caller.stack, request.flags, now);
            }
            Err(word) => done(caller, word, request, now, 0, 0, false),
        }
    }
}

/// The word of a semaphore that this thread got past: `Ok` if it is used as a lock. If this thread has it
/// already, somebody else has posted, and it is none.
unsafe fn still_lock(caller: Caller, sem: Ptr) -> Result<u64, u64> {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let word = lock_word(caller, sem, kind::SEMAPHORE);
        if word & BINARY == 0 {
            return Err(word);
        }
        if held(caller, sem, word).is_some() {
            no_lock(caller, sem, word);
            return Err(word & !BINARY);
        }
        Ok(word)
    }
}

/// This thread's acquisition of this very semaphore, if it has it as a lock.
unsafe fn held(caller: Caller, sem: Ptr, word: u64) -> Option<recorder::Held> {
    // SAFETY: the caller is the running hook's.
    unsafe { recorder::find_held(caller.local, sem as u64) }.filter(|held| held.row() == word as u32)
}

/// The semaphore is not used as a lock.
#[cold]
unsafe fn no_lock(caller: Caller, sem: Ptr, word: u64) {
    // SAFETY: the caller is the running hook's.
    unsafe {
        if let Some(tables) = (*caller.local).tables() {
            Local::rarely(caller.local, || tables.hand_over(sem as u64, word as u32, clock::now()));
        }
        recorder::drop_handed_over(caller.local);
    }
}

/// The traits of a semaphore with this value at first.
fn traits_with(value: u32) -> u64 {
    if value == 1 { BINARY } else { 0 }
}

hook!(sem_wait(sem: Ptr) -> c_int, "rsi", plain_wait);
unsafe extern "C" fn plain_wait(sem: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(sem, 0, entry, || real::sem_wait(sem)) }
}

hook!(sem_timedwait(sem: Ptr, until: Ptr) -> c_int, "rdx", timed_wait);
unsafe extern "C" fn timed_wait(sem: Ptr, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(sem, Flags::TIMED, entry, || real::sem_timedwait(sem, until)) }
}

hook!(sem_clockwait(sem: Ptr, clock: Clock, until: Ptr) -> c_int, "rcx", clock_wait);
unsafe extern "C" fn clock_wait(sem: Ptr, clock: Clock, until: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe { wait(sem, Flags::TIMED, entry, || real::sem_clockwait(sem, clock, until)) }
}

hook!(sem_trywait(sem: Ptr) -> c_int, "rsi", try_wait);
unsafe extern "C" fn try_wait(sem: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<Sem>(real::sem_trywait(sem)) };
        let word = lock_word(caller, sem, kind::SEMAPHORE);
        let answer = real::sem_trywait(sem);
        if answer == 0 {
            taken(caller, request(sem, Flags::TRY));
        } else {
            done(caller, word, request(sem, Flags::TRY), clock::now(), 0, error_of(answer), false);
        }
        answer
    }
}

hook!(sem_post(sem: Ptr) -> c_int, "rsi", post);
unsafe extern "C" fn post(sem: Ptr, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let Some(caller) = caller(entry) else { return real::sem_post(sem) };
        let word = lock_word(caller, sem, kind::SEMAPHORE);
        let now = clock::now();
        if word & BINARY != 0 {
            if let Some(held) = held(caller, sem, word) {
                let answer = real::sem_post(sem);
                if answer == 0 {
                    recorder::release(caller.local, held, now, 0);
                }
                return answer;
            }
            no_lock(caller, sem, word);
        }
        tell(caller, word, Op::Posted, 0, now, 0);
        real::sem_post(sem)
    }
}

hook!(sem_init(sem: Ptr, shared: c_int, value: c_uint) -> c_int, "rcx", init);
unsafe extern "C" fn init(sem: Ptr, shared: c_int, value: c_uint, entry: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::sem_init(sem, shared, value);
        if answer == 0 {
            initialised(sem, kind::SEMAPHORE, traits_with(value), value, entry);
        }
        answer
    }
}

hook!(sem_open(name: *const c_char, flags: c_int, mode: c_uint, value: c_uint) -> Ptr, "r8", open);
unsafe extern "C" fn open(name: *const c_char, flags: c_int, mode: c_uint, value: c_uint, entry: Entry) -> Ptr {
    // `sem_open` is variadic: what the program did not pass is ignored by the real function as well.
    // SAFETY: the program's own call, handed on.
    unsafe {
        let sem = real::sem_open(name, flags, mode, value);
        if !sem.is_null()
            && let Some(caller) = caller(entry)
        {
            let sight = caller.sight(kind::SEMAPHORE);
            let sight = match opened(sem, flags, value) {
                // Opening a name twice gives the same address: not a new one then.
                None => sight,
                Some(certain) => Sight { initialised: certain, traits: traits_with(value), initial: value, ..sight },
            };
            find_or_make(caller, sem, sight);
        }
        sem
    }
}

/// Whether `sem_open` made the semaphore, and so its value is the one at first: `None` if that is not so,
/// otherwise whether it is certain.
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

hook!(sem_destroy(sem: Ptr) -> c_int, "rsi", destroy);
unsafe extern "C" fn destroy(sem: Ptr, _: Entry) -> c_int {
    // SAFETY: the program's own call, handed on.
    unsafe {
        let answer = real::sem_destroy(sem);
        if answer == 0 {
            destroyed(sem);
        }
        answer
    }
}
