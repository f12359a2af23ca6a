//! The tables over a segment of the smallest size, in a file of its own.

extern crate std;

use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::vec::Vec;

use lockprof_wire::layout::{SIZE_MIN, note};
use lockprof_wire::lock::TraitBits;
use lockprof_wire::{Kind, Layout};

use super::cross_thread_release::CrossThreadReleases;
use super::lock_word::{LockTraits, LockWord};
use super::locks::FirstUse;
use super::segment::PATH_MAX;
use super::*;
use crate::sys::Ids;

const MUTEX: FirstUse =
    FirstUse { kind: Kind::Mutex, initialised: false, traits: LockTraits::NONE, stack: 0, initial: 0 };

/// Tables over a segment of the smallest size.
pub fn tables() -> &'static Tables {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("lockprof-tables-{}-{number}\0", std::process::id());
    let name = std::env::temp_dir().join(name).into_os_string().into_encoded_bytes();
    let mut path = [0; PATH_MAX];
    path[..name.len()].copy_from_slice(&name);
    let layout = core::alloc::Layout::new::<Tables>();
    // SAFETY: all fields are valid when zero, and nobody gives the memory back.
    let tables: &'static Tables = unsafe { &*std::alloc::alloc_zeroed(layout).cast() };
    tables.segment.create(&path, Ids::own(), SIZE_MIN, false, false).expect("a segment in a temporary folder");
    let name = CStr::from_bytes_until_nul(&path).expect("a path");
    std::fs::remove_file(name.to_str().expect("a path")).expect("the segment has a name");
    tables
}

/// Where a lock is, in the tests: nothing is there.
fn address(number: u64) -> u64 {
    0x5000_0000 + number * 8
}

/// What a tag is checked by at an address.
fn check_at(address: u64) -> u32 {
    super::object_marker::Key::of(1, 7).check(address as crate::sys::Ptr)
}

/// A lock's tag names its row to this process, at this address, until the lock is destroyed.
#[test]
fn tags_name_rows() {
    use super::object_marker::{Key, forget, is_blank, named_row, write, write_named};
    // However far a copy is.
    for bit in 3..47 {
        assert_ne!(check_at(0x5000_0000), check_at(0x5000_0000 ^ 1 << bit), "{bit}");
    }
    // As large as any lock, and one at another address.
    let (mut object, mut other) = ([0u64; 8], [0u64; 8]);
    let (lock, copy): (crate::sys::Ptr, crate::sys::Ptr) = (object.as_mut_ptr().cast(), other.as_mut_ptr().cast());
    let (key, childs) = (Key::of(1, 7), Key::of(2, 8));
    for kind in [Kind::Mutex, Kind::Rwlock] {
        let usual = LockWord::new(4711, kind, LockTraits::NONE);
        // SAFETY: both are as large as a lock, and nobody else has them.
        unsafe {
            assert!(is_blank(lock, kind) && named_row(lock, kind, key).is_none());
            write_named(lock, usual, key);
            assert_eq!(named_row(lock, kind, key), Some(4711));
            assert_eq!(named_row(lock, kind, childs), None);
            core::ptr::copy_nonoverlapping(lock.cast::<u64>(), copy.cast::<u64>(), 8);
            assert!(!is_blank(copy, kind) && named_row(copy, kind, key).is_none());
            // Another process's tag stays.
            forget(lock, kind, childs);
            assert_eq!(named_row(lock, kind, key), Some(4711));
            forget(lock, kind, key);
            assert!(!is_blank(lock, kind) && named_row(lock, kind, key).is_none());
            // One of which something is particular is not found by its tag.
            write_named(lock, usual.with_traits(LockTraits::RECURSIVE), key);
            assert!(!is_blank(lock, kind) && named_row(lock, kind, key).is_none());
            write(lock, kind);
            assert!(!is_blank(lock, kind) && named_row(lock, kind, key).is_none());
            lock.cast::<u64>().write_bytes(0, 8);
        }
    }
}

#[test]
fn a_lock_keeps_its_row_until_it_is_gone() {
    let tables = tables();
    let (entry, first) = tables.lock_at(address(1), MUTEX);
    let (same, again) = tables.lock_at(address(1), MUTEX);
    assert_eq!((again, first.kind()), (first, Some(Kind::Mutex)));
    assert!(core::ptr::eq(entry.expect("an entry"), same.expect("an entry")));
    assert_ne!(first.row(), 0);
    assert_eq!(tables.segment.lock(first.row()).address.load(Ordering::Relaxed), address(1));

    tables.forget_lock(address(1));
    assert_ne!(tables.segment.lock(first.row()).destroyed_ticks.load(Ordering::Relaxed), 0);
    let (moved, second) = tables.lock_at(address(1), MUTEX);
    assert!(second.row() != first.row() && core::ptr::eq(entry.expect("an entry"), moved.expect("an entry")));

    let (_, third) = tables.lock_at(address(1), FirstUse { initialised: true, ..MUTEX });
    assert_ne!(third.row(), second.row(), "initialised anew without having been destroyed");
    assert_ne!(tables.segment.lock(second.row()).destroyed_ticks.load(Ordering::Relaxed), 0);
    tables.forget_lock(address(2));
    assert!(tables.addresses.find(address(2)).is_none());
}

#[test]
fn tables_grow_and_lose_nothing() {
    let tables = tables();
    // The first table has room for 768.
    let count = 3_500;
    let words: BTreeMap<u64, LockWord> =
        (0..count).map(|number| (address(number), tables.lock_at(address(number), MUTEX).1)).collect();
    let rows: BTreeSet<u32> = words.values().map(|word| word.row()).collect();
    assert_eq!(rows.len() as u64, count);
    for (address, word) in &words {
        let entry = tables.addresses.find(*address).expect("it was made");
        assert_eq!(entry.lock.load(), *word);
    }
    assert!(tables.addresses.find(address(count)).is_none());
    assert_eq!(tables.header().notes.load(Ordering::Relaxed) & note::LOCKS_FULL, 0);
}

#[test]
fn locks_beyond_the_last_row_are_one_of_their_kind() {
    let tables = tables();
    tables.make_overflow_rows();
    let most = u64::from(Layout::for_size(SIZE_MIN).lock_slots);
    let words: Vec<LockWord> = (0..most + 10).map(|number| tables.lock_at(address(number), MUTEX).1).collect();
    let rows: BTreeSet<u32> = words.iter().map(|word| word.row()).collect();
    assert!((most - 20..most).contains(&(rows.len() as u64)), "{} of {most}", rows.len());
    let last = words[words.len() - 1].row();
    let shared = words.iter().filter(|word| word.row() == last).count();
    assert_eq!(rows.len() - 1 + shared, words.len());
    assert_eq!(tables.segment.lock(last).merged.load(Ordering::Relaxed) as usize, shared + 1);
    assert_ne!(tables.header().notes.load(Ordering::Relaxed) & note::LOCKS_FULL, 0);
    // Such a lock is found again, and counts as one, however often it is met; its end is not that of the others.
    let (entry, again) = tables.lock_at(address(most + 5), MUTEX);
    assert!(again.row() == last && entry.is_some_and(|entry| entry.lock.load() == again));
    tables.forget_lock(address(most + 5));
    let (_, next) = tables.lock_at(address(most + 5), FirstUse { initialised: true, ..MUTEX });
    let info = tables.segment.lock(last);
    assert_eq!((next.row(), info.merged.load(Ordering::Relaxed) as usize), (last, shared + 2));
    assert_eq!(info.destroyed_ticks.load(Ordering::Relaxed), 0);
    let recursive = FirstUse { initialised: true, traits: LockTraits::RECURSIVE, ..MUTEX };
    assert!(tables.lock_at(address(most + 6), recursive).1.is_recursive());
    let (_, semaphore) = tables.lock_at(address(most + 99), FirstUse { kind: Kind::Semaphore, ..MUTEX });
    assert!(semaphore.row() != 0 && semaphore.row() != last);
}

#[test]
fn a_semaphore_that_is_handed_over_is_no_lock() {
    let tables = tables();
    let first = FirstUse { kind: Kind::Semaphore, traits: LockTraits::BINARY, initial: 1, ..MUTEX };
    let (entry, word) = tables.lock_at(address(1), first);
    assert_ne!(word, word.without_binary());
    assert!(!tables.cross_thread_releases.any() && tables.cross_thread_releases.last(word.row()).is_none());
    tables.released_by_another(address(1), word.row(), 77);
    assert_eq!(entry.expect("an entry").lock.load(), word.without_binary());
    assert_eq!(tables.segment.lock(word.row()).traits(), TraitBits::HANDED_OVER);
    assert!(tables.cross_thread_releases.any());
    assert_eq!(tables.cross_thread_releases.last(word.row()), Some(77));
}

#[test]
fn the_last_release_by_another_thread_counts() {
    // SAFETY: valid when zero.
    let released: CrossThreadReleases = unsafe { core::mem::zeroed() };
    assert!(!released.any());
    released.note(5, 100);
    released.note(5, 200);
    released.note(6, 300);
    assert_eq!([5, 6, 7].map(|row| released.last(row)), [Some(200), Some(300), None]);
    // The same place: the row before it is forgotten, and is not taken for this one.
    released.note(5 + 256, 400);
    assert_eq!([5, 5 + 256].map(|row| released.last(row)), [None, Some(400)]);
}

#[test]
fn what_is_carved_does_not_overlap_and_ends_with_the_file() {
    let tables = tables();
    let layout = Layout::for_size(SIZE_MIN);
    let mut end = layout.arena;
    let mut carved = 0u64;
    // Sizes below and above the least piece.
    for bytes in [64, 200, 4096, 16 << 10, 200 << 10, 1].into_iter().cycle() {
        let Some(at) = tables.segment.carve(bytes) else { break };
        assert!(at >= end && at.is_multiple_of(64) && at + bytes <= SIZE_MIN, "{bytes} at {at}");
        // SAFETY: within what was carved.
        let [first, last] = [at, (at + bytes - 1) & !3].map(|at| unsafe { tables.segment.at::<AtomicU32>(at) });
        assert_eq!((first.load(Ordering::Relaxed), last.load(Ordering::Relaxed)), (0, 0), "new memory");
        first.store(1, Ordering::Relaxed);
        last.store(1, Ordering::Relaxed);
        end = at + bytes;
        carved += bytes;
    }
    assert!(carved > (SIZE_MIN - layout.arena) / 2, "{carved} of {}", SIZE_MIN - layout.arena);
    assert_ne!(tables.header().notes.load(Ordering::Relaxed) & note::NO_MEMORY, 0);
}
