//! Which lock an object is.

use core::sync::atomic::Ordering;

use lockprof_wire::{Flags, Kind};

use super::caller::{Caller, Thread, thread};
use crate::recorder;
use crate::state::local::{CACHED_LOCKS, CachedLock};
use crate::sys::{Ptr, clock};
pub use crate::tables::lock_word::{LockTraits, LockWord};
pub use crate::tables::locks::FirstUse;
use crate::tables::object_marker;

/// A lock: where it is, and what the table of addresses says of it.
#[derive(Clone, Copy)]
pub struct Lock {
    pub address: u64,
    pub word: LockWord,
}

impl Lock {
    /// A mutex of which nothing is particular.
    pub fn plain_mutex(mutex: Ptr, row: u32) -> Self {
        Self { address: mutex as u64, word: LockWord::new(row, Kind::Mutex, LockTraits::NONE) }
    }

    /// Its row in the segment; 0 if it has none.
    pub fn row(self) -> u32 {
        self.word.row()
    }
}

/// Place of an address in a thread's cache.
#[inline(always)]
fn cache_slot(address: u64) -> usize {
    ((address >> 4) ^ (address >> 12)) as usize % CACHED_LOCKS
}

/// The lock of this kind at an address, if this thread met it before.
#[inline(always)]
pub fn known(thread: Thread, address: u64, kind: Kind) -> Option<Lock> {
    let cached = thread.0.locks[cache_slot(address)].get();
    if cached.address != address {
        return None;
    }
    // SAFETY: an entry of the cache with an address has a pointer; entries of the table are never given back.
    let word = unsafe { (*cached.entry).lock.load() };
    word.is_of(kind).then_some(Lock { address, word })
}

/// The lock that an object's own tag names: one of which nothing is particular, and which this process met before.
///
/// # Safety
/// The object is one of this kind.
#[inline(always)]
pub unsafe fn named(thread: Thread, object: Ptr, kind: Kind) -> Option<Lock> {
    // SAFETY: the caller's contract.
    let row = unsafe { object_marker::named_row(object, kind, thread.0.key.get()) }?;
    Some(Lock { address: object as u64, word: LockWord::new(row, kind, LockTraits::NONE) })
}

/// The lock at an address, made where it is new or `first.initialised`.
///
/// # Safety
/// The object is one of this kind.
pub unsafe fn find_or_make(caller: Caller, object: Ptr, first: FirstUse) -> Lock {
    let address = object as u64;
    let local = caller.thread.0;
    if let Some(word) = revived(caller.thread, address, first) {
        return Lock { address, word };
    }
    // SAFETY: the thread's own data; the caller's contract.
    let found = move || unsafe {
        let Some(tables) = local.tables() else { return LockWord::NONE };
        let known = tables.addresses.find(address);
        let word = known.map_or(LockWord::NONE, |entry| entry.lock.load().living());
        let same_kind = word.is_of(first.kind);
        let (entry, word) = if same_kind && !first.initialised {
            (known, word)
        } else {
            if word.has_row() && !same_kind {
                // Something else lives there now.
                tables.forget_lock(address);
            }
            if first.traits.is_tagged() {
                // Before the row can be seen: a lock with a row and without a tag is another one.
                object_marker::write(object, first.kind);
            }
            let made = tables.lock_at(address, first);
            // Only here: where the lock is known, another object may be there by now, and its tag another thread's.
            if made.1.has_row() && first.traits.is_tagged() && made.1.traits() == first.traits {
                object_marker::write_named(object, made.1, tables.key.get());
            }
            made
        };
        if let Some(entry) = entry {
            local.locks[cache_slot(address)].set(CachedLock { address, entry });
        }
        word
    };
    let word = local.on_slow_path(found).unwrap_or(LockWord::NONE);
    Lock { address, word }
}

/// The word of a lock that goes on with the row of one that was destroyed there.
fn revived(thread: Thread, address: u64, first: FirstUse) -> Option<LockWord> {
    if first.kind.nests() {
        return None;
    }
    let tables = thread.0.tables()?;
    let cached = thread.0.locks[cache_slot(address)].get();
    if cached.address == address {
        // SAFETY: an entry of the cache with an address has a pointer; entries of the table are never given back.
        return tables.revive(unsafe { &*cached.entry }, first);
    }
    let entry = tables.addresses.find(address)?;
    let word = tables.revive(entry, first)?;
    thread.0.locks[cache_slot(address)].set(CachedLock { address, entry });
    Some(word)
}

/// A lock was put at this address without a call: `first` says what the new one is.
///
/// # Safety
/// The object is one of this kind.
#[cold]
#[inline(never)]
pub unsafe fn renewed(caller: Caller, object: Ptr, first: FirstUse, lock: Lock) -> Lock {
    let local = caller.thread.0;
    // Nothing is known of it where this is a signal handler inside the recorder.
    let Some(tables) = local.tables().filter(|_| lock.row() != 0) else { return lock };
    let nested = tables.segment.lock(lock.row()).traits().is_nested();
    if !nested && first.traits == lock.word.traits() {
        // Its identity changes nothing, so the row is kept, without a lock of ours.
        // SAFETY: the caller's contract.
        unsafe { object_marker::write_named(object, lock.word, tables.key.get()) };
        return lock;
    }
    let word = local.on_slow_path(|| tables.renew(object, first)).unwrap_or(lock.word);
    Lock { word, ..lock }
}

/// An object was initialised: a new lock lives there.
///
/// # Safety
/// The object is one of this kind.
pub unsafe fn initialised(caller: Caller, object: Ptr, first: FirstUse) {
    no_longer_held(caller.thread, object as u64);
    // SAFETY: the caller's contract.
    unsafe { find_or_make(caller, object, FirstUse { initialised: true, ..first }) };
}

/// A lock was destroyed.
///
/// # Safety
/// The object was one of this kind until now.
pub unsafe fn lock_destroyed(object: Ptr, kind: Kind) {
    if let Some(tables) = thread().and_then(|thread| thread.0.tables()) {
        // SAFETY: the caller's contract.
        unsafe { object_marker::forget(object, kind, tables.key.get()) };
    }
    destroyed(object as u64);
}

/// An object was destroyed.
pub fn destroyed(address: u64) {
    if let Some(thread) = thread()
        && let Some(tables) = thread.0.tables()
    {
        no_longer_held(thread, address);
        tables.forget_lock(address);
    }
}

/// A lock was to be destroyed, and is still there: the program may not look at that.
pub fn not_destroyed(address: u64) {
    if let Some(held) = thread().and_then(|thread| recorder::find_held(thread.0, address)) {
        held.entry.flags.fetch_or(recorder::DOOMED, Ordering::Relaxed);
    }
}

/// What this thread holds of an object that is no more ends now: nobody will give it back.
fn no_longer_held(thread: Thread, address: u64) {
    while let Some(held) = recorder::find_held(thread.0, address) {
        recorder::release(thread.0, held, clock::now(), Flags::NONE);
    }
}

/// Whether this thread has the lock already.
#[cold]
#[inline(never)]
pub fn is_reentry(thread: Thread, lock: Lock) -> bool {
    recorder::find_held(thread.0, lock.address).is_some()
}

/// A semaphore turns out to be no lock.
#[cold]
pub fn not_a_lock(thread: Thread, lock: Lock) -> Lock {
    if let Some(tables) = thread.0.tables() {
        thread.0.on_slow_path(|| tables.released_by_another(lock.address, lock.row(), clock::now()));
    }
    recorder::drop_cross_thread_releases(thread.0);
    Lock { word: lock.word.without_binary(), ..lock }
}

/// A semaphore's value or a barrier's count at first; 0 where it is not known.
pub(super) fn initial_of(thread: Thread, lock: Lock) -> u32 {
    let tables = thread.0.tables().filter(|_| lock.row() != 0);
    tables.map_or(0, |tables| tables.segment.lock(lock.row()).initial.load(Ordering::Relaxed))
}

/// Gives the lock at an address the user's name.
pub fn name(caller: Caller, address: u64, name: &[u8]) {
    let local = caller.thread.0;
    let Some(tables) = local.tables() else { return };
    let known = tables.addresses.find(address).and_then(|found| found.lock.load().kind());
    let kind = known.unwrap_or(Kind::Mutex);
    local.on_slow_path(|| tables.name_lock(address, kind, caller.stack, name));
}
