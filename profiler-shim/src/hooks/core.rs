//! What the hooks have in common: finding the thread, the stack and the lock; acquiring, releasing, blocking.

use core::ffi::c_int;
use core::sync::atomic::Ordering;

use lockprof_wire::lock::kind;
use lockprof_wire::record::misuse;
use lockprof_wire::{Flags, Op, Record};

use crate::clock;
use crate::locks::{RECURSIVE, ROBUST, Sight, TRAITS, mutex_traits};
use crate::process::{self, Process};
use crate::real::Ptr;
use crate::recorder::{self, Wait};
use crate::thread::{CACHED_LOCKS, CachedLock, Local, local, local_slowly};
use crate::unwind::capture::capture;

/// The stack pointer at a hook's entry: it points to the return address.
pub type Entry = *const u64;

pub const EBUSY: c_int = 16;
pub const ETIMEDOUT: c_int = 110;
pub const EOWNERDEAD: c_int = 130;

/// What a real function's answer means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Acquired,
    Busy,
    TimedOut,
    Failed,
}

/// How a family of functions answers.
pub trait Style {
    /// What an answer means.
    fn outcome(answer: c_int) -> Outcome;
}

/// `pthread_*`: an error number.
#[derive(Clone, Copy)]
pub struct Posix;

impl Style for Posix {
    fn outcome(answer: c_int) -> Outcome {
        match answer {
            0 | EOWNERDEAD => Outcome::Acquired,
            EBUSY => Outcome::Busy,
            ETIMEDOUT => Outcome::TimedOut,
            _ => Outcome::Failed,
        }
    }
}

/// C11's functions: glibc's `thrd_success`, `thrd_busy`, `thrd_error`, `thrd_nomem`, `thrd_timedout`.
#[derive(Clone, Copy)]
pub struct C11;

impl Style for C11 {
    fn outcome(answer: c_int) -> Outcome {
        match answer {
            0 => Outcome::Acquired,
            1 => Outcome::Busy,
            4 => Outcome::TimedOut,
            _ => Outcome::Failed,
        }
    }
}

/// A hook's thread, and its caller's stack.
#[derive(Clone, Copy)]
pub struct Caller {
    pub local: *mut Local,
    pub stack: u32,
}

/// The thread and the stack of a hook that runs; `None` if it is not recorded.
#[cold]
#[inline(never)]
pub unsafe fn caller(entry: Entry) -> Option<Caller> {
    let mut this = local();
    // SAFETY: a thread's pointer stays valid; the entry is the hook's own.
    unsafe {
        if this.is_null() || !(*this).is_hot() {
            this = local_slowly(entry as u64 + 8)?;
        }
        let stack = if (*this).is_free() { capture(this, entry as u64 + 8, *entry) } else { 0 };
        Some(Caller { local: this, stack })
    }
}

/// The thread of a hook that needs no stack.
#[inline(always)]
pub unsafe fn thread() -> Option<*mut Local> {
    let this = local();
    // SAFETY: a thread's pointer stays valid. A fork's child finds zeros there: it is not attached.
    (!this.is_null() && unsafe { (*this).is_attached() }).then_some(this)
}

/// Place of an address in a thread's cache.
#[inline(always)]
fn cache_slot(address: u64) -> usize {
    ((address >> 4) ^ (address >> 12)) as usize % CACHED_LOCKS
}

/// The lock at an address: row | kind << 32 | flags.
#[inline(always)]
pub unsafe fn lock_word(caller: Caller, object: Ptr, kind: u8) -> u64 {
    let address = object as u64;
    // SAFETY: the thread's own cache.
    unsafe {
        let cached = (*caller.local).locks.as_ptr().add(cache_slot(address));
        if (*cached).address == address {
            let word = (*(*cached).entry).lock.load(Ordering::Relaxed);
            if word >> 32 & 0xff == u64::from(kind) && word as u32 != 0 {
                return word;
            }
        }
        lock_word_slowly(caller, object, kind, false)
    }
}

/// The same where the cache does not know it; `initialised`: it is a new lock in any case.
#[cold]
#[inline(never)]
pub unsafe fn lock_word_slowly(caller: Caller, object: Ptr, kind: u8, initialised: bool) -> u64 {
    let address = object as u64;
    let Some(process) = Process::attached() else { return 0 };
    // SAFETY: the thread's own data; the object is one of this kind.
    unsafe {
        if !(*caller.local).enter() {
            return 0;
        }
        let known = process.addresses.find(address);
        let word = known.map_or(0, |entry| entry.lock.load(Ordering::Relaxed));
        let same_kind = word as u32 != 0 && word >> 32 & 0xff == u64::from(kind);
        let (entry, word) = if same_kind && !initialised {
            (known, word)
        } else {
            if word as u32 != 0 && !same_kind {
                // Something else lives there now.
                process.forget_lock(address);
            }
            let traits = if kind == kind::MUTEX { mutex_traits(object) } else { 0 };
            process.lock_at(address, Sight { kind, initialised, traits, stack: caller.stack })
        };
        if let Some(entry) = entry {
            (*caller.local).locks[cache_slot(address)] = CachedLock { address, entry };
        }
        (*caller.local).leave();
        word
    }
}

/// A request for a lock. Small enough to stay in registers on the hot path.
#[derive(Clone, Copy)]
pub struct Request<S> {
    pub object: Ptr,
    pub kind: u8,
    /// `Flags::SHARED`, `Flags::TIMED`.
    pub flags: u8,
    pub style: S,
}

/// Takes a lock: tries first, since only a try tells whether it has to wait; `block` is the real call.
#[inline(always)]
pub unsafe fn acquire<S: Style + Copy>(
    request: Request<S>,
    entry: Entry,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    let this = local();
    // SAFETY: a thread's pointer stays valid; the entry is the running hook's.
    unsafe {
        if this.is_null() || !(*this).is_hot() {
            return acquire_slowly(request, entry, try_real, block);
        }
        let caller = Caller { local: this, stack: capture(this, entry as u64 + 8, *entry) };
        let word = lock_word(caller, request.object, request.kind);
        if word & (RECURSIVE | ROBUST) != 0 {
            return acquire_unusual(request, caller, word, try_real, block);
        }
        let answer = try_real();
        if answer == 0 {
            let (address, lock) = (request.object as u64, word as u32);
            recorder::push(this, address, lock, caller.stack, request.flags, clock::tsc());
            return 0;
        }
        tried(request, caller, word, answer, block)
    }
}

/// Takes a mutex, the commonest case. glibc's plain mutex has a lock word of 0 free, 1 taken, 2 taken and
/// perhaps waited for (public ABI): if it was free before the real call and is 1 behind it, nobody waited,
/// and no try is needed. The time is taken before the call, and again behind it only in doubt.
#[inline(always)]
pub unsafe fn acquire_mutex<S: Style + Copy>(
    request: Request<S>,
    entry: Entry,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    let this = local();
    // SAFETY: a thread's pointer stays valid; the entry is the running hook's; the object is a mutex.
    unsafe {
        if this.is_null() || !(*this).is_hot() {
            return acquire_slowly(request, entry, try_real, block);
        }
        let caller = Caller { local: this, stack: capture(this, entry as u64 + 8, *entry) };
        let word = lock_word(caller, request.object, request.kind);
        if word >> TRAITS != 0 {
            return acquire_unusual(request, caller, word, try_real, block);
        }
        let lock_word = request.object.cast::<u32>();
        if lock_word.read_volatile() != 0 {
            return acquire_contended(request, caller, word, true, block);
        }
        let now = clock::tsc();
        let answer = block();
        if answer == 0 && lock_word.read_volatile() == 1 {
            let (address, lock) = (request.object as u64, word as u32);
            recorder::push(this, address, lock, caller.stack, request.flags, now);
            return 0;
        }
        doubtful(request, caller, word, answer, now)
    }
}

/// The mutex was free, but somebody waits for it now: this thread may have had to wait as well.
#[cold]
#[inline(never)]
unsafe fn doubtful<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    word: u64,
    answer: c_int,
    since: u64,
) -> c_int {
    /// Ticks within which no thread goes to sleep and wakes up again (0.2 µs at 5 GHz).
    const BRIEF: u64 = 1000;
    // SAFETY: the caller is the running hook's.
    unsafe {
        let now = clock::now();
        let duration = now.saturating_sub(since);
        match S::outcome(answer) {
            Outcome::Acquired => {
                let (address, lock) = (request.object as u64, word as u32);
                if duration > BRIEF {
                    let wait = Wait { duration, holder: 0 };
                    recorder::push_contended(caller.local, address, lock, caller.stack, request.flags, now, wait);
                } else {
                    recorder::push(caller.local, address, lock, caller.stack, request.flags, now);
                }
            }
            _ => failed(caller, word, request.flags, answer),
        }
        answer
    }
}

/// The same with every case looked at.
#[cold]
#[inline(never)]
unsafe fn acquire_slowly<S: Style + Copy>(
    request: Request<S>,
    entry: Entry,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return block() };
        let word = lock_word(caller, request.object, request.kind);
        acquire_unusual(request, caller, word, try_real, block)
    }
}

/// Where something is not as usual: `--exact`, a robust or a recursive mutex.
#[cold]
#[inline(never)]
unsafe fn acquire_unusual<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    word: u64,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        if process::exact() || word & ROBUST != 0 {
            let busy = looks_taken(request);
            return acquire_contended(request, caller, word, busy, block);
        }
        tried(request, caller, word, try_real(), block)
    }
}

/// Goes on as the try's answer says.
#[cold]
#[inline(never)]
unsafe fn tried<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    word: u64,
    answer: c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        match S::outcome(answer) {
            Outcome::Busy => return acquire_contended(request, caller, word, true, block),
            Outcome::Acquired => acquired(request, caller, word, 0),
            // What the try refuses (a wrong kind, too many recursions), the real call refuses too.
            _ => failed(caller, word, request.flags, answer),
        }
        answer
    }
}

/// Notes an acquisition that did not wait.
unsafe fn acquired<S>(request: Request<S>, caller: Caller, word: u64, flags: u8) {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let mut flags = request.flags | flags;
        if word & RECURSIVE != 0 {
            flags |= reentry(caller.local, request.object);
        }
        let now = clock::now();
        recorder::push(caller.local, request.object as u64, word as u32, caller.stack, flags, now);
    }
}

/// `Flags::REENTRY` if this thread has the lock already.
#[cold]
#[inline(never)]
unsafe fn reentry(local: *mut Local, object: Ptr) -> u8 {
    // SAFETY: the thread is the running hook's.
    if unsafe { recorder::find_held(local, object as u64) }.is_some() { Flags::REENTRY } else { 0 }
}

/// A try by the program itself.
pub unsafe fn try_acquire<S: Style + Copy>(
    request: Request<S>,
    entry: Entry,
    try_real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the entry is the running hook's.
    unsafe {
        let Some(caller) = caller(entry) else { return try_real() };
        let word = lock_word(caller, request.object, request.kind);
        let answer = try_real();
        match S::outcome(answer) {
            Outcome::Acquired => acquired(request, caller, word, Flags::TRY),
            Outcome::Busy => tell(caller, word, Op::TryFailed, request.flags | Flags::TRY, clock::now(), 0),
            _ => failed(caller, word, request.flags | Flags::TRY, answer),
        }
        answer
    }
}

/// Writes a record that is no acquisition.
#[cold]
#[inline(never)]
pub unsafe fn tell(caller: Caller, word: u64, op: Op, flags: u8, ticks: u64, payload: u64) {
    let record =
        Record { ticks, lock: word as u32, stack: caller.stack, word: Record::pack(op, flags, payload), extra: 0 };
    // SAFETY: the caller is the running hook's.
    unsafe { recorder::emit(caller.local, record) };
}

#[cold]
unsafe fn failed(caller: Caller, word: u64, flags: u8, answer: c_int) {
    // SAFETY: the caller is the running hook's.
    unsafe { tell(caller, word, Op::Failed, flags, clock::now(), u64::from(answer.unsigned_abs())) };
}

/// The real, blocking call, with the thread's wait shown meanwhile. `busy`: it is known to be taken.
#[inline(never)]
#[cold]
unsafe fn acquire_contended<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    word: u64,
    busy: bool,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let waiting = begin_wait(caller, word, request, busy);
        let answer = block();
        let now = clock::now();
        end_wait(caller, word);
        match S::outcome(answer) {
            Outcome::Acquired if busy => {
                let mut flags = request.flags;
                if word & RECURSIVE != 0 {
                    flags |= reentry(caller.local, request.object);
                }
                let wait = Wait { duration: now.saturating_sub(waiting.since), holder: waiting.holder };
                let address = request.object as u64;
                recorder::push_contended(caller.local, address, word as u32, caller.stack, flags, now, wait);
            }
            Outcome::Acquired => acquired(request, caller, word, 0),
            Outcome::TimedOut => {
                let waited = now.saturating_sub(waiting.since);
                tell(caller, word, Op::TimedOut, request.flags, waiting.since, waited);
            }
            _ => failed(caller, word, request.flags, answer),
        }
        answer
    }
}

/// Whether a lock's own word says that it is held (glibc's layout, which is public ABI): what stands for
/// a try where there is none.
unsafe fn looks_taken<S>(request: Request<S>) -> bool {
    const OWNER_DIED: u32 = 1 << 30;
    // SAFETY: the object is one of the kind.
    let word = unsafe { request.object.cast::<u32>().read_volatile() };
    match request.kind {
        kind::SPINLOCK => word != 1,
        kind::MUTEX => word != 0 && word & OWNER_DIED == 0,
        _ => word != 0,
    }
}

/// A wait that began.
#[derive(Clone, Copy)]
pub struct Waiting {
    pub since: u64,
    pub holder: u64,
}

/// Shows that this thread waits. `blame`: look who holds the lock.
pub unsafe fn begin_wait<S>(caller: Caller, word: u64, request: Request<S>, blame: bool) -> Waiting {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let slot = (*caller.local).slot();
        let process = Process::attached();
        let holder = match process {
            Some(process) if blame => find_holder(process, caller, word as u32, request.object, request.kind),
            _ => 0,
        };
        let since = clock::now();
        slot.wait_stack.store(caller.stack, Ordering::Relaxed);
        slot.wait_since.store(since, Ordering::Relaxed);
        slot.wait_holder.store(holder, Ordering::Relaxed);
        slot.wait_flags.store(u64::from(request.flags), Ordering::Relaxed);
        // Release: a reader that sees the lock sees the rest.
        slot.wait_lock.store(word as u32, Ordering::Release);
        if let Some(process) = process
            && word as u32 != 0
        {
            let info = process.segment.lock(word as u32);
            let waiters = info.waiters.fetch_add(1, Ordering::Relaxed) + 1;
            info.max_waiters.fetch_max(waiters, Ordering::Relaxed);
        }
        Waiting { since, holder }
    }
}

/// Shows that the wait is over.
pub unsafe fn end_wait(caller: Caller, word: u64) {
    // SAFETY: the caller is the running hook's.
    unsafe {
        (*caller.local).slot().wait_lock.store(0, Ordering::Release);
        if let Some(process) = Process::attached()
            && word as u32 != 0
        {
            process.segment.lock(word as u32).waiters.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Who has the lock: holder's stack | thread slot + 1 << 32; 0 if it cannot be seen.
unsafe fn find_holder(process: &'static Process, caller: Caller, lock: u32, object: Ptr, kind: u8) -> u64 {
    // Offsets of `__data.__owner` and `__data.__cur_writer`: part of glibc's public ABI.
    let owner = match kind {
        // SAFETY: the object is a `pthread_mutex_t`.
        kind::MUTEX => unsafe { object.cast::<u32>().add(2).read_volatile() },
        // SAFETY: the object is a `pthread_rwlock_t`.
        kind::RWLOCK => unsafe { object.cast::<u32>().add(6).read_volatile() },
        _ => 0,
    };
    // SAFETY: the caller is the running hook's.
    let own = unsafe { (*caller.local).number };
    if owner != 0
        && let Some(number) = process.locals.slot_of(process, owner)
        && let Some((stack, _)) = entry_of(process, number, lock, true)
    {
        return u64::from(stack) | (u64::from(number) + 1) << 32;
    }
    /// More threads than that are not looked at: it would delay the waiter.
    const LOOKS: u32 = 256;
    let count = process.header().thread_count.load(Ordering::Relaxed);
    let mut best: Option<(u64, u32, u32)> = None;
    for number in (0..count.min(LOOKS)).filter(|number| *number != own) {
        if let Some((stack, ticks)) = entry_of(process, number, lock, false)
            && best.is_none_or(|(since, _, _)| ticks < since)
        {
            best = Some((ticks, stack, number));
        }
    }
    best.map_or(0, |(_, stack, number)| u64::from(stack) | (u64::from(number) + 1) << 32)
}

/// The stack with which a thread took the lock, and when. `just_left`: also if it gave it back just now.
fn entry_of(process: &'static Process, number: u32, lock: u32, just_left: bool) -> Option<(u32, u64)> {
    let slot = process.segment.thread(number);
    let depth = slot.depth.load(Ordering::Relaxed) as usize;
    let looked = slot.held.len().min(depth + usize::from(just_left));
    slot.held[..looked].iter().rev().find_map(|entry| {
        let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
        let ticks = entry.ticks.load(Ordering::Relaxed);
        (lock_and_stack as u32 == lock && (just_left || (ticks != 0 && ticks != u64::MAX)))
            .then_some(((lock_and_stack >> 32) as u32, ticks))
    })
}

/// Gives a lock back; the record is written after the real release.
#[inline(always)]
pub unsafe fn release(object: Ptr, real: impl FnOnce() -> c_int) -> c_int {
    let this = local();
    // SAFETY: the thread is the running hook's.
    unsafe {
        if this.is_null() || !(*this).is_hot() {
            return release_slowly(object, real);
        }
        let Some(at) = recorder::find_held(this, object as u64) else { return release_unknown(this, object, real) };
        let now = clock::tsc();
        let answer = real();
        if answer == 0 {
            recorder::release(this, at, now, 0);
        }
        answer
    }
}

#[cold]
#[inline(never)]
unsafe fn release_slowly(object: Ptr, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the thread is the running hook's.
    unsafe {
        let Some(local) = thread() else { return real() };
        let Some(at) = recorder::find_held(local, object as u64) else { return release_unknown(local, object, real) };
        let now = clock::now();
        let answer = real();
        if answer == 0 {
            recorder::release(local, at, now, 0);
        }
        answer
    }
}

/// Not held as far as the recorder knows: after a cancelled wait it is held all the same.
#[cold]
#[inline(never)]
unsafe fn release_unknown(local: *mut Local, object: Ptr, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the thread is the running hook's.
    unsafe {
        let pending = (*local).pending;
        if pending.mutex == object as u64 && pending.mutex != 0 {
            // `pthread_cond_wait` was cancelled: it took the mutex again before the clean-up handlers ran.
            (*local).pending.mutex = 0;
            end_wait(
                Caller { local, stack: pending.stack },
                u64::from((*local).slot().wait_lock.load(Ordering::Relaxed)),
            );
            let now = clock::now();
            recorder::push(local, pending.mutex, pending.mutex_lock, pending.stack, Flags::REACQUIRED, now);
            return release(object, real);
        }
        let answer = real();
        if answer == 0
            && let Some(process) = Process::attached()
            && let Some(entry) = process.addresses.find(object as u64)
        {
            let word = entry.lock.load(Ordering::Relaxed);
            tell(Caller { local, stack: 0 }, word, Op::Misuse, 0, clock::now(), misuse::UNLOCK_NOT_OWNER);
        }
        answer
    }
}

/// A blocking operation that is not held afterwards (barrier, join, once, semaphore, condition).
pub unsafe fn operate<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    block: impl FnOnce() -> c_int,
    waited: impl FnOnce(c_int) -> bool,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let word = lock_word(caller, request.object, request.kind);
        let waiting = begin_wait(caller, word, request, false);
        let answer = block();
        let duration = clock::now().saturating_sub(waiting.since);
        end_wait(caller, word);
        done(caller, word, request, waiting.since, duration, answer, waited(answer));
        answer
    }
}

/// Writes down how an operation ended.
pub unsafe fn done<S: Style>(
    caller: Caller,
    word: u64,
    request: Request<S>,
    since: u64,
    duration: u64,
    answer: c_int,
    waited: bool,
) {
    let outcome = S::outcome(answer);
    let (op, payload) = match outcome {
        Outcome::Acquired => (Op::Done, if waited { duration } else { 0 }),
        Outcome::Busy => (Op::TryFailed, 0),
        Outcome::TimedOut => (Op::TimedOut, duration),
        Outcome::Failed => (Op::Failed, u64::from(answer.unsigned_abs())),
    };
    let flags = request.flags | if waited && op == Op::Done { Flags::CONTENDED } else { 0 };
    let record = Record {
        ticks: since,
        lock: word as u32,
        stack: caller.stack,
        word: Record::pack(op, flags, payload),
        extra: 0,
    };
    // SAFETY: the caller is the running hook's.
    unsafe { recorder::emit_done(caller.local, record, op == Op::Done) };
}

/// An object was initialised: a new lock lives there.
pub unsafe fn initialised(object: Ptr, kind: u8, entry: Entry) {
    // SAFETY: the entry is the running hook's.
    unsafe {
        if let Some(caller) = caller(entry) {
            lock_word_slowly(caller, object, kind, true);
        }
    }
}

/// An object was destroyed.
pub unsafe fn destroyed(object: Ptr) {
    // SAFETY: the thread is the running hook's.
    if unsafe { thread() }.is_some()
        && let Some(process) = Process::attached()
    {
        process.forget_lock(object as u64);
    }
}

/// Reads `errno`.
pub unsafe fn errno() -> c_int {
    // SAFETY: libc's function has no preconditions.
    unsafe { *crate::real::__errno_location() }
}

/// Writes `errno`.
pub unsafe fn set_errno(value: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *crate::real::__errno_location() = value };
}
