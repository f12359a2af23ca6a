//! Taking a lock by the real functions.

use core::ffi::c_int;

use lockprof_wire::{Flags, Kind};

use super::glibc::{looks_taken, mutex_word, owner_of};
use super::objects::{lock_of, lock_to_acquire, look_again};
use super::outcome::{EDEADLK, EOWNERDEAD, Outcome, Request, Style};
use super::unwound::wait_in;
use crate::probe::{self, Caller, Entry, Lock, Waiting, caller, exact};
use crate::sys::{Ptr, clock};
use crate::tables::object_marker;

/// The answer of a real call that went past the recorder. What was acquired is counted.
#[cold]
pub fn past<S: Style>(answer: c_int) -> c_int {
    if S::outcome(answer) == Outcome::Acquired {
        probe::not_recorded();
    }
    answer
}

/// Takes a lock: tries first, since only a try tells whether it has to wait; `block` is the real call.
///
/// # Safety
/// The entry is the running hook's; the object is one of the request's kind.
#[inline(always)]
pub unsafe fn acquire<S: Style + Copy>(
    request: Request<S>,
    entry: Entry,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int + Copy,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        let Some(caller) = probe::hot_caller(entry) else {
            return acquire_slowly(request, entry, try_real, block);
        };
        let lock = lock_to_acquire(caller, request);
        if lock.word.needs_care() {
            return acquire_unusual(request, caller, lock, try_real, block);
        }
        let answer = try_real();
        if answer == 0 {
            probe::acquired(caller, lock, request.flags, clock::tsc());
            return 0;
        }
        tried(request, caller, lock, answer, block)
    }
}

/// Takes a mutex, the commonest case. If a plain one was free before the real call and is taken without waiters
/// behind it, nobody waited, and no try is needed. The time is taken before the call, and again behind it only in doubt.
///
/// # Safety
/// The entry is the running hook's; the object is a mutex.
#[inline(always)]
pub unsafe fn acquire_mutex<F: Family>(family: F, mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        let Some(caller) = probe::hot_caller(entry) else { return mutex_slowly(family, mutex, entry) };
        let Some(lock) = probe::named(caller.thread, mutex, Kind::Mutex) else {
            return unknown_mutex(family, mutex, caller);
        };
        acquire_plain(
            mutex,
            caller,
            lock,
            move || family.block(mutex),
            move || busy_mutex(family, mutex, caller, lock.row()),
            move |answer, since| doubtful_mutex(family, mutex, caller, lock.row(), answer, since),
        )
    }
}

/// Takes one of glibc's plain mutexes. Only on the hot path: the time stamp counter is read. `contended` is for one that
/// somebody has, `doubtful` for what the real call answered where it may have waited, with the time before it.
///
/// # Safety
/// The caller is the running hook's; the object is a mutex of this row.
#[inline(always)]
unsafe fn acquire_plain(
    mutex: Ptr,
    caller: Caller,
    lock: Lock,
    block: impl FnOnce() -> c_int,
    contended: impl FnOnce() -> c_int,
    doubtful: impl FnOnce(c_int, u64) -> c_int,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        if !mutex_word(mutex).is_free() {
            return contended();
        }
        let now = clock::tsc();
        let answer = block();
        if answer == 0 && mutex_word(mutex).is_taken_without_waiters() {
            probe::acquired(caller, lock, Flags::NONE, now);
            return 0;
        }
        doubtful(answer, now)
    }
}

/// The functions of one API by which a mutex is taken. Without data, so that it costs the hot path no register.
pub trait Family: Copy {
    /// How they answer.
    type Style: Style + Copy;
    /// A request of theirs.
    fn request(self, mutex: Ptr) -> Request<Self::Style>;
    /// The real try.
    ///
    /// # Safety
    /// `mutex` is one.
    unsafe fn try_real(self, mutex: Ptr) -> c_int;
    /// The real, blocking call.
    ///
    /// # Safety
    /// As [`Self::try_real`].
    unsafe fn block(self, mutex: Ptr) -> c_int;
}

/// What the hot path of a mutex leaves to others gets its parts in registers.
///
/// # Safety
/// As [`acquire_mutex`].
#[cold]
#[inline(never)]
unsafe fn mutex_slowly<F: Family>(family: F, mutex: Ptr, entry: Entry) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { acquire_slowly(family.request(mutex), entry, move || family.try_real(mutex), move || family.block(mutex)) }
}

/// A mutex whose tag names no row: a new one, or one of which something is particular.
///
/// # Safety
/// As [`acquire_mutex`]; the caller is the running hook's.
#[cold]
#[inline(never)]
unsafe fn unknown_mutex<F: Family>(family: F, mutex: Ptr, caller: Caller) -> c_int {
    let request = family.request(mutex);
    // SAFETY: the caller's contract.
    unsafe {
        let (try_real, block) = (move || family.try_real(mutex), move || family.block(mutex));
        let lock = lock_of(caller, mutex, Kind::Mutex);
        if !lock.word.is_usual() || object_marker::is_blank(mutex, Kind::Mutex) {
            return acquire_unusual(request, caller, lock, try_real, block);
        }
        acquire_plain_request(request, caller, lock, block)
    }
}

/// A plain mutex that somebody has.
///
/// # Safety
/// As [`unknown_mutex`]; the mutex has this row.
#[cold]
#[inline(never)]
unsafe fn busy_mutex<F: Family>(family: F, mutex: Ptr, caller: Caller, row: u32) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        acquire_contended(family.request(mutex), caller, Lock::plain_mutex(mutex, row), true, move || {
            family.block(mutex)
        })
    }
}

/// As [`doubtful`].
#[cold]
#[inline(never)]
fn doubtful_mutex<F: Family>(family: F, mutex: Ptr, caller: Caller, row: u32, answer: c_int, since: u64) -> c_int {
    doubtful(family.request(mutex), caller, Lock::plain_mutex(mutex, row), answer, since)
}

/// The same as a request, off the hot path.
///
/// # Safety
/// As [`acquire_plain`].
#[inline(never)]
unsafe fn acquire_plain_request<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    lock: Lock,
    block: impl FnOnce() -> c_int + Copy,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        acquire_plain(
            request.object,
            caller,
            lock,
            block,
            move || acquire_contended(request, caller, lock, true, block),
            move |answer, since| doubtful(request, caller, lock, answer, since),
        )
    }
}

/// The mutex was free, but somebody waits for it now: this thread may have had to wait as well.
#[cold]
#[inline(never)]
fn doubtful<S: Style + Copy>(request: Request<S>, caller: Caller, lock: Lock, answer: c_int, since: u64) -> c_int {
    /// Ticks within which no thread goes to sleep and wakes up again (0.2 µs at 5 GHz).
    const BRIEF: u64 = 1000;
    let now = clock::now();
    match S::outcome(answer) {
        Outcome::Acquired if now.saturating_sub(since) > BRIEF => {
            probe::acquired_after(caller, lock, request.flags, Waiting::unseen(since), now);
        }
        Outcome::Acquired => probe::acquired(caller, lock, request.flags, now),
        _ => failed(caller, lock, request.flags, answer),
    }
    answer
}

/// The same with every case looked at.
///
/// # Safety
/// As [`acquire`].
#[cold]
#[inline(never)]
unsafe fn acquire_slowly<S: Style + Copy>(
    request: Request<S>,
    entry: Entry,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int + Copy,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<S>(block()) };
        let lock = lock_of(caller, request.object, request.kind);
        acquire_unusual(request, caller, lock, try_real, block)
    }
}

/// Where something is not as usual: `--exact`, a robust or a recursive mutex, a lock without a tag.
///
/// # Safety
/// The caller is the running hook's; the object is one of the request's kind.
#[cold]
#[inline(never)]
unsafe fn acquire_unusual<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    lock: Lock,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int + Copy,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let lock = look_again(caller, request.object, request.kind, lock);
        if exact() || lock.word.is_robust() {
            let busy = looks_taken(request.object, request.kind);
            return acquire_contended(request, caller, lock, busy, block);
        }
        let usual = lock.word.is_usual_but_for_its_tag();
        if request.kind == Kind::Mutex && request.flags == Flags::NONE && usual && caller.thread.is_hot() {
            return acquire_plain_request(request, caller, lock, block);
        }
        tried(request, caller, lock, try_real(), block)
    }
}

/// Goes on as the try's answer says.
///
/// # Safety
/// The caller is the running hook's; the object is one of the request's kind.
#[cold]
#[inline(never)]
unsafe fn tried<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    lock: Lock,
    answer: c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    match S::outcome(answer) {
        // SAFETY: the caller is the running hook's.
        Outcome::Busy => return unsafe { acquire_contended(request, caller, lock, true, block) },
        Outcome::Acquired => acquired(request, caller, lock, Flags::NONE),
        // What the try refuses (a wrong kind, too many recursions), the real call refuses too.
        _ => failed(caller, lock, request.flags, answer),
    }
    answer
}

/// Notes an acquisition that did not wait.
fn acquired<S>(request: Request<S>, caller: Caller, lock: Lock, flags: Flags) {
    let reentry = reentry(caller, lock);
    probe::acquired(caller, lock, request.flags.with(flags).with(reentry), clock::now());
}

/// `Flags::REENTRY` if this thread has the lock already.
fn reentry(caller: Caller, lock: Lock) -> Flags {
    if lock.word.is_recursive() && probe::is_reentry(caller.thread, lock) { Flags::REENTRY } else { Flags::NONE }
}

fn failed(caller: Caller, lock: Lock, flags: Flags, answer: c_int) {
    probe::failed(caller, lock, flags, answer.unsigned_abs(), clock::now());
}

/// A try by the program itself.
///
/// # Safety
/// The entry is the running hook's; the object is one of the request's kind.
pub unsafe fn try_acquire<S: Style + Copy>(
    request: Request<S>,
    entry: Entry,
    try_real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        let Some(caller) = caller(entry) else { return past::<S>(try_real()) };
        let lock = lock_to_acquire(caller, request);
        let answer = try_real();
        if answer == EOWNERDEAD {
            probe::owner_died(caller, lock, clock::now());
        }
        match S::outcome(answer) {
            Outcome::Acquired => acquired(request, caller, lock, Flags::TRY),
            Outcome::Busy => probe::try_failed(caller, lock, request.flags, clock::now()),
            _ => failed(caller, lock, request.flags.with(Flags::TRY), answer),
        }
        answer
    }
}

/// The real, blocking call, with the thread's wait shown meanwhile. `busy`: it is known to be taken.
///
/// # Safety
/// The caller is the running hook's; the object is one of the request's kind.
#[inline(never)]
#[cold]
unsafe fn acquire_contended<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    lock: Lock,
    busy: bool,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller is the running hook's; the object is one of the request's kind.
    unsafe {
        let owner = busy.then(|| owner_of(request.object, request.kind));
        let waiting = probe::begin_wait(caller, lock, request.flags, owner);
        let answer = wait_in(block);
        let now = clock::now();
        probe::end_wait(caller.thread, waiting);
        if answer == EOWNERDEAD {
            probe::owner_died(caller, lock, now);
        }
        match S::outcome(answer) {
            Outcome::Acquired if busy => {
                probe::acquired_after(caller, lock, request.flags.with(reentry(caller, lock)), waiting, now);
            }
            Outcome::Acquired => acquired(request, caller, lock, Flags::NONE),
            Outcome::TimedOut => probe::timed_out(caller, lock, request.flags, waiting, now),
            _ => {
                failed(caller, lock, request.flags, answer);
                if answer == EDEADLK {
                    probe::refused_to_owner(caller, lock);
                }
            }
        }
        answer
    }
}
