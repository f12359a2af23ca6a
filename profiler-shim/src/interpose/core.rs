//! What the hooks have in common: finding the thread, the stack and the lock; acquiring.

use core::ffi::c_int;
use core::sync::atomic::Ordering;

use lockprof_wire::lock::{kind, traits};
use lockprof_wire::{Flags, Op, Record};

use super::misuse;
use super::wait::{acquire_contended, looks_taken};
use crate::recorder::stack_of;
use crate::recorder::threads::local_slowly;
use crate::recorder::{self, Wait};
use crate::state::attach;
use crate::state::local::{CACHED_LOCKS, CachedLock, Local, local};
use crate::sys::Ptr;
use crate::sys::clock;
use crate::tables::locks::{RECURSIVE, ROBUST, Sight, TRAITS, UNTAGGED, traits_of};
use crate::tables::object_marker;

/// The stack pointer at a hook's entry: it points to the return address.
pub type Entry = *const u64;

pub const EBUSY: c_int = 16;
pub const EDEADLK: c_int = 35;
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

impl Caller {
    /// How a lock of this kind that is met for the first time is seen, but for its traits.
    pub fn sight(&self, kind: u8) -> Sight {
        Sight { kind, initialised: false, traits: 0, stack: self.stack, initial: 0 }
    }
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
        let stack = if (*this).is_free() { stack_of(this, entry as u64 + 8, *entry) } else { 0 };
        Some(Caller { local: this, stack })
    }
}

/// The answer of a real call that went past the recorder, since there is nothing to note it in: another thread attaches
/// the process just now, or there is no slot for this one. What was acquired is counted.
#[cold]
pub fn past<S: Style>(answer: c_int) -> c_int {
    if S::outcome(answer) == Outcome::Acquired {
        recorder::unrecorded();
    }
    answer
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
        lock_word_slowly(caller, object, kind)
    }
}

/// The same where the cache does not know it.
#[cold]
#[inline(never)]
unsafe fn lock_word_slowly(caller: Caller, object: Ptr, kind: u8) -> u64 {
    // SAFETY: the object is one of this kind.
    unsafe { find_or_make(caller, object, Sight { traits: traits_of(object, kind), ..caller.sight(kind) }) }
}

/// The lock at an address, made where it is new or `initialised`.
pub unsafe fn find_or_make(caller: Caller, object: Ptr, sight: Sight) -> u64 {
    let address = object as u64;
    // SAFETY: the caller is the running hook's.
    let Some(tables) = (unsafe { (*caller.local).tables() }) else { return 0 };
    // SAFETY: the thread's own data; the object is one of this kind.
    let found = move || unsafe {
        let known = tables.addresses.find(address);
        let word = known.map_or(0, |entry| entry.lock.load(Ordering::Relaxed));
        let same_kind = word as u32 != 0 && word >> 32 & 0xff == u64::from(sight.kind);
        let (entry, word) = if same_kind && !sight.initialised {
            (known, word)
        } else {
            if word as u32 != 0 && !same_kind {
                // Something else lives there now.
                tables.forget_lock(address);
            }
            if sight.traits & UNTAGGED == 0 {
                // Before the row can be seen: a lock with a row and without a tag is another one.
                object_marker::write(object, sight.kind);
            }
            tables.lock_at(address, sight)
        };
        if let Some(entry) = entry {
            (*caller.local).locks[cache_slot(address)] = CachedLock { address, entry };
        }
        word
    };
    // SAFETY: the caller is the running hook's.
    unsafe { Local::rarely(caller.local, found) }.unwrap_or(0)
}

/// The lock at an address that is to be taken. Where the tag is gone, another lock lives there than before.
#[inline(always)]
unsafe fn word_to_take<S>(caller: Caller, request: Request<S>) -> u64 {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let word = lock_word(caller, request.object, request.kind);
        if word & UNTAGGED == 0 && object_marker::is_blank(request.object, request.kind) {
            return new_object(caller, request.object, request.kind, word);
        }
        word
    }
}

/// A lock was put at this address without a call.
#[cold]
#[inline(never)]
unsafe fn new_object(caller: Caller, object: Ptr, kind: u8, word: u64) -> u64 {
    // Nothing is known of it where this is a signal handler inside the recorder.
    // SAFETY: the caller is the running hook's; the object is one of this kind.
    unsafe {
        let Some(tables) = (*caller.local).tables().filter(|_| word as u32 != 0) else { return word };
        let is = traits_of(object, kind);
        let nested = tables.segment.lock(word as u32).traits.load(Ordering::Relaxed) & traits::NESTED != 0;
        if !nested && is == word >> TRAITS << TRAITS {
            // Its identity changes nothing, so the row is kept, without a lock of ours.
            object_marker::write(object, kind);
            return word;
        }
        let renewed = Local::rarely(caller.local, || tables.renew(object, Sight { traits: is, ..caller.sight(kind) }));
        renewed.unwrap_or(word)
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
        let caller = Caller { local: this, stack: stack_of(this, entry as u64 + 8, *entry) };
        let word = word_to_take(caller, request);
        if word & (RECURSIVE | ROBUST | UNTAGGED) != 0 {
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
        let caller = Caller { local: this, stack: stack_of(this, entry as u64 + 8, *entry) };
        let word = lock_word(caller, request.object, request.kind);
        if word >> TRAITS != 0 || object_marker::is_blank(request.object, kind::MUTEX) {
            return acquire_unusual(request, caller, word, try_real, block);
        }
        acquire_plain(request, caller, word, block)
    }
}

/// Takes one of glibc's plain mutexes. Only on the hot path: the time stamp counter is read.
#[inline(always)]
unsafe fn acquire_plain<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    word: u64,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller is the running hook's; the object is a mutex.
    unsafe {
        let lock_word = request.object.cast::<u32>();
        if lock_word.read_volatile() != 0 {
            return acquire_contended(request, caller, word, true, block);
        }
        let now = clock::tsc();
        let answer = block();
        if answer == 0 && lock_word.read_volatile() == 1 {
            let (address, lock) = (request.object as u64, word as u32);
            recorder::push(caller.local, address, lock, caller.stack, request.flags, now);
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
        let Some(caller) = caller(entry) else { return past::<S>(block()) };
        let word = lock_word(caller, request.object, request.kind);
        acquire_unusual(request, caller, word, try_real, block)
    }
}

/// Where something is not as usual: `--exact`, a robust or a recursive mutex, a lock without a tag.
#[cold]
#[inline(never)]
unsafe fn acquire_unusual<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    mut word: u64,
    try_real: impl FnOnce() -> c_int,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let is_new = if word & UNTAGGED == 0 {
            object_marker::is_blank(request.object, request.kind)
        } else {
            // What could not have a tag was there before, or such locks are none of ours.
            traits_of(request.object, request.kind) & UNTAGGED == 0
        };
        if is_new {
            word = new_object(caller, request.object, request.kind, word);
        }
        if attach::exact() || word & ROBUST != 0 {
            let busy = looks_taken(request);
            return acquire_contended(request, caller, word, busy, block);
        }
        let is_plain = request.kind == kind::MUTEX && request.flags == 0 && word >> TRAITS << TRAITS & !UNTAGGED == 0;
        if is_plain && (*caller.local).is_hot() {
            return acquire_plain(request, caller, word, block);
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
pub unsafe fn acquired<S>(request: Request<S>, caller: Caller, word: u64, flags: u8) {
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
pub unsafe fn reentry(local: *mut Local, object: Ptr) -> u8 {
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
        let Some(caller) = caller(entry) else { return past::<S>(try_real()) };
        let word = word_to_take(caller, request);
        let answer = try_real();
        if answer == EOWNERDEAD {
            owner_died(caller, word, clock::now());
        }
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

/// A robust mutex is about to be noted as taken whose owner ended: whatever that thread did came before.
#[cold]
pub unsafe fn owner_died(caller: Caller, word: u64, ticks: u64) {
    let record =
        Record { ticks, lock: word as u32, stack: caller.stack, word: Record::pack(Op::OwnerDied, 0, 0), extra: 0 };
    // SAFETY: the caller is the running hook's.
    unsafe { recorder::write_order_mark(caller.local, record) };
}

#[cold]
pub unsafe fn failed(caller: Caller, word: u64, flags: u8, answer: c_int) {
    // SAFETY: the caller is the running hook's.
    unsafe { tell(caller, word, Op::Failed, flags, clock::now(), u64::from(answer.unsigned_abs())) };
}

/// An object was initialised: a new lock lives there. `initial`: a semaphore's value, a barrier's count.
pub unsafe fn initialised(object: Ptr, kind: u8, more_traits: u64, initial: u32, entry: Entry) {
    // SAFETY: the entry is the running hook's; the object is one of this kind.
    unsafe {
        if let Some(caller) = caller(entry) {
            no_longer_held(caller.local, object);
            let traits = traits_of(object, kind) | more_traits;
            find_or_make(caller, object, Sight { initialised: true, traits, initial, ..caller.sight(kind) });
        }
    }
}

/// An object was destroyed.
pub unsafe fn destroyed(object: Ptr) {
    // SAFETY: the thread is the running hook's.
    unsafe {
        if let Some(local) = thread()
            && let Some(tables) = (*local).tables()
        {
            no_longer_held(local, object);
            tables.forget_lock(object as u64);
        }
    }
}

/// What this thread holds of an object that is no more ends now: nobody will give it back.
unsafe fn no_longer_held(local: *mut Local, object: Ptr) {
    // SAFETY: the thread is the running hook's.
    unsafe {
        while let Some(held) = recorder::find_held(local, object as u64) {
            recorder::release(local, held, clock::now(), 0);
        }
    }
}

/// Destroys a lock.
pub unsafe fn destroy_lock(object: Ptr, kind: u8, entry: Entry, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the entry is the running hook's; the object is one of this kind.
    unsafe {
        let suspicion = misuse::before_destroy(object, kind);
        let answer = real();
        if let Some(suspicion) = suspicion {
            suspicion.destroyed(entry);
        }
        if answer == 0 {
            destroyed(object);
        }
        answer
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
