//! Waits in Rust's `std` and in `parking_lot`. Their locks do not name who has them.

use super::memory::Memory;
use super::wait::{FutexWait, RawState, RawWait};
use crate::model::{Kind, Mode};
use crate::sites::rust::path;

/// How the place that is waited at leads to the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is the lock.
    Here,
    /// It is the lock, or the word behind it.
    HereOrBehind,
    /// It belongs to the thread: `parking_lot` keeps the lock's address before it.
    Parked,
    /// It belongs to the thread, and there is no lock.
    Thread,
}

/// The end of a function's path, what it waits for, and how.
pub type Row = (&'static str, &'static str, Kind, Mode, Place);

/// Functions that wait.
const WAITERS: &[Row] = &[
    ("futex::Mutex::lock_contended", "std::sync::Mutex", Kind::Mutex, Mode::Exclusive, Place::Here),
    ("futex_mutex::Mutex::lock_contended", "std::sync::Mutex", Kind::Mutex, Mode::Exclusive, Place::Here),
    ("RwLock::read_contended", "std::sync::RwLock", Kind::Rwlock, Mode::Shared, Place::HereOrBehind),
    ("RwLock::write_contended", "std::sync::RwLock", Kind::Rwlock, Mode::Exclusive, Place::HereOrBehind),
    ("Condvar::wait_optional_timeout", "std::sync::Condvar", Kind::Condvar, Mode::Exclusive, Place::Here),
    ("Condvar::wait", "std::sync::Condvar", Kind::Condvar, Mode::Exclusive, Place::Here),
    ("Condvar::wait_timeout", "std::sync::Condvar", Kind::Condvar, Mode::Exclusive, Place::Here),
    ("futex::Once::call", "std::sync::Once", Kind::Once, Mode::Exclusive, Place::Here),
    ("futex::Once::wait", "std::sync::Once", Kind::Once, Mode::Exclusive, Place::Here),
    ("Parker::park", "thread::unpark", Kind::Semaphore, Mode::Exclusive, Place::Thread),
    ("Parker::park_timeout", "thread::unpark", Kind::Semaphore, Mode::Exclusive, Place::Thread),
    ("thread::park", "thread::unpark", Kind::Semaphore, Mode::Exclusive, Place::Thread),
    ("thread::park_timeout", "thread::unpark", Kind::Semaphore, Mode::Exclusive, Place::Thread),
    ("RawMutex::lock_slow", "parking_lot::Mutex", Kind::Mutex, Mode::Exclusive, Place::Parked),
    ("RawRwLock::lock_exclusive_slow", "parking_lot::RwLock", Kind::Rwlock, Mode::Exclusive, Place::Parked),
    ("RawRwLock::lock_shared_slow", "parking_lot::RwLock", Kind::Rwlock, Mode::Shared, Place::Parked),
    ("RawRwLock::lock_upgradable_slow", "parking_lot::RwLock", Kind::Rwlock, Mode::Exclusive, Place::Parked),
    ("RawRwLock::upgrade_slow", "parking_lot::RwLock", Kind::Rwlock, Mode::Exclusive, Place::Parked),
    ("Condvar::wait_until_internal", "parking_lot::Condvar", Kind::Condvar, Mode::Exclusive, Place::Parked),
    ("Once::call_once_slow", "parking_lot::Once", Kind::Once, Mode::Exclusive, Place::Parked),
];

/// What a function of these libraries waits for, by its symbol.
pub fn waiter(symbol: &str) -> Option<&'static Row> {
    const MARKS: [&str; 6] = ["_contended", "wait", "Once", "park", "_slow", "once"];
    if !MARKS.iter().any(|mark| symbol.contains(mark)) {
        return None;
    }
    let path = path(symbol)?;
    let is_known = ["std::", "parking_lot::", "dashmap::"].iter().any(|library| path.starts_with(library));
    if !is_known {
        return None;
    }
    WAITERS.iter().find(|(end, ..)| path.strip_suffix(end).is_some_and(|before| before.ends_with("::")))
}

/// The wait in such a function.
pub fn wait(symbol: &str, futex: &FutexWait, memory: &Memory<'_>) -> Option<RawWait> {
    let (_, noun, kind, mode, place) = *waiter(symbol)?;
    let address = match place {
        Place::Here | Place::Thread => futex.address,
        Place::HereOrBehind => rwlock(futex.address, memory),
        Place::Parked => parked(kind, futex.address, memory)?,
    };
    let state = match kind {
        Kind::Mutex | Kind::Rwlock => held(kind, place, address, memory),
        Kind::Once => RawState::NotRecorded,
        _ => RawState::Nobody,
    };
    Some(RawWait { kind, noun, address, mode, timed: futex.timed, state })
}

/// The wait for a mutex of `std`.
pub fn mutex(futex: &FutexWait, memory: &Memory<'_>) -> RawWait {
    let address = futex.address;
    let state = held(Kind::Mutex, Place::Here, address, memory);
    RawWait { kind: Kind::Mutex, noun: "std::sync::Mutex", address, mode: Mode::Exclusive, timed: futex.timed, state }
}

/// Readers wait at a read-write lock's state, writers at the word behind it, which only counts.
fn rwlock(at: u64, memory: &Memory<'_>) -> u64 {
    const WAITING: u32 = 3 << 30;
    let is_state = memory.half(at).is_some_and(|state| state & WAITING != 0 && state & !WAITING != 0);
    if is_state { at } else { at.wrapping_sub(4) }
}

/// The address that `parking_lot` keeps for a thread that is parked: within some words before the one it sleeps at.
fn parked(kind: Kind, at: u64, memory: &Memory<'_>) -> Option<u64> {
    /// From the key to the parker's word, as far as compilers lay the thread's data out.
    const BEFORE: [u64; 3] = [32, 24, 40];
    const BEHIND: [u64; 2] = [8, 4];
    let places =
        BEFORE.map(|before| at.wrapping_sub(before)).into_iter().chain(BEHIND.map(|behind| at.wrapping_add(behind)));
    let mut keys = places.filter_map(|place| memory.word(place)).filter(|key| *key > 4096);
    match kind {
        // Taken, and somebody is parked.
        Kind::Mutex => keys.find(|key| memory.half(*key).is_some_and(|word| word & 3 == 3)),
        // A writer that waits for readers to leave does so at the next address.
        Kind::Rwlock => {
            const TAKEN: u64 = !7;
            let is_one = |key: &u64| key & 7 <= 1 && memory.word(key & !7).is_some_and(|word| word & TAKEN != 0);
            keys.find(is_one).map(|key| key & !7)
        }
        _ => keys.find(|key| memory.half(*key & !3).is_some()),
    }
}

/// Whether somebody has the lock.
fn held(kind: Kind, place: Place, address: u64, memory: &Memory<'_>) -> RawState {
    let Some(word) = memory.half(address) else { return RawState::NotRecorded };
    const COUNT: u32 = (1 << 30) - 1;
    match (kind, place) {
        (Kind::Mutex, Place::Parked) if word & 1 == 0 => RawState::Free,
        (Kind::Mutex, Place::Here) if word == 0 => RawState::Free,
        (Kind::Rwlock, Place::Parked) => match memory.word(address).unwrap_or(0) {
            // Bits for those parked, an upgradable reader and a writer; behind them the readers.
            word if word >> 4 == 0 && word & 12 == 0 => RawState::Free,
            word if word & 8 == 0 => RawState::Readers((word >> 4) as u32),
            _ => RawState::NotRecorded,
        },
        (Kind::Rwlock, _) => match word & COUNT {
            0 => RawState::Free,
            COUNT => RawState::NotRecorded,
            readers => RawState::Readers(readers),
        },
        _ => RawState::NotRecorded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_wait() {
        let kind = |symbol| waiter(symbol).map(|row| (row.2, row.4));
        let mutex = Some((Kind::Mutex, Place::Here));
        assert_eq!(kind("_ZN3std3sys4sync5mutex5futex5Mutex14lock_contended17h0f0a94e99b717832E"), mutex);
        assert_eq!(kind("_RNvMNtNtNtNtCsjrHSEGnQ3l9_3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended"), mutex);
        let parked = Some((Kind::Mutex, Place::Parked));
        assert_eq!(kind("_ZN11parking_lot9raw_mutex8RawMutex9lock_slow17h0f0a94e99b717832E"), parked);
        assert_eq!(kind("_ZN3own5Mutex14lock_contended17h0f0a94e99b717832E"), None);
        assert_eq!(kind("pthread_cond_wait"), None);
    }
}
