//! From an address to the row of the lock that lives there now.
//!
//! Open-addressing tables, each larger than those before it, read without a lock. An entry belongs to an address for
//! ever, so threads keep pointers to it; its row changes with each generation (destroyed and initialised again: a new lock).

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::note;
use lockprof_wire::lock::traits;
use lockprof_wire::{Kind, LockInfo};

use crate::sys::Ptr;
use crate::sys::backoff::Backoff;
use crate::sys::clock;
use crate::tables::Tables;
use crate::tables::object_marker;

/// An address and, in one word, the lock there: row | kind << 32 | traits ([`RECURSIVE`] and the like);
/// 0 while there is none.
#[repr(C)]
pub struct AddressEntry {
    pub address: AtomicU64,
    pub lock: AtomicU64,
}

/// Bit of [`AddressEntry::lock`]: its owner may take it again.
pub const RECURSIVE: u64 = 1 << 40;
/// Bit of [`AddressEntry::lock`]: it survives the death of its owner. A try on one that cannot be recovered
/// leaves it locked (glibc 2.36), so it is never tried first.
pub const ROBUST: u64 = 1 << 41;
/// Bit of [`AddressEntry::lock`]: a mutex that is not just glibc's plain one (error-checking, adaptive,
/// priority-inheriting, with lock elision): its lock word does not tell whether it was free.
pub const PECULIAR: u64 = 1 << 42;
/// Bit of [`AddressEntry::lock`]: it has no tag of ours and never gets one (see `object_marker`).
pub const UNTAGGED: u64 = 1 << 43;
/// Bit of [`AddressEntry::lock`]: a semaphore that is used as a lock.
pub const BINARY: u64 = 1 << 44;
/// Bit of [`AddressEntry::lock`]: readers wait behind a waiting writer.
pub const WRITERS_FIRST: u64 = 1 << 45;
/// Where the bits of traits begin.
pub const TRAITS: u32 = 40;

/// The tables. Valid when zero: then there is none yet.
#[repr(C)]
pub struct AddressTable {
    levels: [Level; LEVELS],
    count: AtomicU32,
    backoff: Backoff,
    /// Rows for locks beyond the table's or the segment's capacity, by kind.
    many: [AtomicU64; KINDS],
}

/// One table; the last one takes what is new.
#[repr(C)]
struct Level {
    entries: AtomicPtr<AddressEntry>,
    mask: AtomicU64,
    used: AtomicU64,
}

/// Numbers of [`Kind`].
const KINDS: usize = Kind::ALL.len();
/// Mostly there are five at most; more where memory comes in smaller pieces only.
const LEVELS: usize = 16;
/// Entries of the first table and of the largest one.
const FIRST: usize = 1 << 10;
const LARGEST: usize = 1 << 21;
/// How much larger the next table is: few tables, so that a search looks at few of them.
const GROWTH: usize = 8;

/// Where the search for an address begins.
fn hash(address: u64) -> u64 {
    (address >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

impl Level {
    /// The entry of an address, or the empty one where it would be.
    fn place_of(&self, address: u64) -> (&'static AddressEntry, bool) {
        let (entries, mask) = (self.entries.load(Ordering::Relaxed), self.mask.load(Ordering::Relaxed));
        let mut at = hash(address) & mask;
        loop {
            // SAFETY: `at` is within the mask; the table is never given back, and never full.
            let entry = unsafe { &*entries.add(at as usize) };
            match entry.address.load(Ordering::Relaxed) {
                0 => return (entry, false),
                found if found == address => return (entry, true),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.used.load(Ordering::Relaxed) < self.mask.load(Ordering::Relaxed) / 4 * 3
    }
}

impl AddressTable {
    /// The entry of an address, if it has one.
    pub fn find(&self, address: u64) -> Option<&'static AddressEntry> {
        // Acquire: pairs with the Release store in `add_level`.
        let levels = self.levels.get(..self.count.load(Ordering::Acquire) as usize)?;
        levels.iter().rev().map(|level| level.place_of(address)).find_map(|(entry, found)| found.then_some(entry))
    }

    /// The entry of an address, made where it is new. Call under the inner lock.
    fn find_or_make(&self, tables: &Tables, address: u64) -> Option<&'static AddressEntry> {
        if let Some(entry) = self.find(address) {
            return Some(entry);
        }
        let last = |count: u32| self.levels.get((count as usize).checked_sub(1)?).filter(|level| level.has_room());
        let level = last(self.count.load(Ordering::Relaxed)).or_else(|| {
            self.backoff.attempt(|| self.add_level(tables))?;
            last(self.count.load(Ordering::Relaxed))
        })?;
        level.used.store(level.used.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let (entry, _) = level.place_of(address);
        entry.address.store(address, Ordering::Relaxed);
        Some(entry)
    }

    /// Makes room for so many new addresses. Call under the inner lock.
    pub fn make_ready(&self, tables: &Tables, addresses: u32) {
        let last = |count: u32| self.levels.get((count as usize).checked_sub(1)?);
        let has_room = last(self.count.load(Ordering::Relaxed)).is_some_and(|level| {
            let room = level.mask.load(Ordering::Relaxed) / 4 * 3;
            level.used.load(Ordering::Relaxed) + u64::from(addresses) < room
        });
        if !has_room {
            self.add_level(tables);
        }
    }

    /// A larger table, or one that is not where there is little room.
    fn add_level(&self, tables: &Tables) -> Option<()> {
        let count = self.count.load(Ordering::Relaxed);
        let level = self.levels.get(count as usize)?;
        let last =
            count.checked_sub(1).map(|last| self.levels[last as usize].mask.load(Ordering::Relaxed) as usize + 1);
        if last == Some(LARGEST) {
            return None;
        }
        let mut entries = last.map_or(FIRST, |last| (last * GROWTH).min(LARGEST));
        let at = loop {
            match tables.take(entries * size_of::<AddressEntry>()) {
                Some(at) => break at,
                None if entries <= last.unwrap_or(FIRST) => return None,
                None => entries /= 2,
            }
        };
        level.entries.store(at.cast(), Ordering::Relaxed);
        level.mask.store(entries as u64 - 1, Ordering::Relaxed);
        // Release: who sees the count finds the table.
        self.count.store(count + 1, Ordering::Release);
        Some(())
    }
}

/// How a lock is seen for the first time.
#[derive(Clone, Copy)]
pub struct FirstUse {
    pub kind: u8,
    /// By a call: a new lock in any case.
    pub initialised: bool,
    /// [`RECURSIVE`] and the like.
    pub traits: u64,
    pub stack: u32,
    /// A semaphore's value, a barrier's count.
    pub initial: u32,
}

impl Tables {
    /// The lock at an address, made where there is none. Never 0.
    #[cold]
    pub fn lock_at(&'static self, address: u64, first: FirstUse) -> (Option<&'static AddressEntry>, u64) {
        let Some(_guard) = self.allocating.lock() else {
            self.note(note::GAVE_UP);
            return (None, self.overflow_row(first.kind));
        };
        let entry = self.addresses.find_or_make(self, address);
        if let Some(entry) = entry {
            let known = entry.lock.load(Ordering::Relaxed);
            if known != 0 && !first.initialised {
                return (Some(entry), known);
            }
            if let Some(word) = self.new_lock(address, first) {
                if known != 0 {
                    // Initialised anew without having been destroyed: the old one is gone.
                    self.segment.lock(known as u32).destroyed_ticks.store(clock::now(), Ordering::Relaxed);
                }
                entry.lock.store(word, Ordering::Relaxed);
                return (Some(entry), word);
            }
        }
        self.note(note::LOCKS_FULL);
        let many = self.overflow_row(first.kind);
        (None, many)
    }

    fn new_lock(&'static self, address: u64, first: FirstUse) -> Option<u64> {
        let module = self.modules.index_of(self, address);
        let row = self.segment.new_lock(|info| {
            info.address.store(address, Ordering::Relaxed);
            info.first_ticks.store(clock::now(), Ordering::Relaxed);
            info.destroyed_ticks.store(0, Ordering::Relaxed);
            info.origin_stack.store(first.stack, Ordering::Relaxed);
            info.kind.store(first.kind, Ordering::Relaxed);
            info.initialised.store(u8::from(first.initialised), Ordering::Relaxed);
            info.module.store(module, Ordering::Relaxed);
            info.merged.store(1, Ordering::Relaxed);
            info.initial.store(first.initial, Ordering::Relaxed);
            info.traits.store(traits_for_reader(first.traits), Ordering::Relaxed);
        })?;
        Some(u64::from(row) | u64::from(first.kind) << 32 | first.traits)
    }

    /// A lock of the same kind was put at this address without a call: the row of the one that lives there now.
    /// What was never held together with another lock keeps its row, since then its identity changes nothing.
    #[cold]
    pub fn renew(&'static self, object: Ptr, first: FirstUse) -> u64 {
        let address = object as u64;
        let Some(_guard) = self.allocating.lock() else {
            self.note(note::GAVE_UP);
            return self.overflow_row(first.kind);
        };
        let found = self.addresses.find(address).map(|entry| (entry, entry.lock.load(Ordering::Relaxed)));
        let Some((entry, known)) = found.filter(|(_, known)| *known as u32 != 0) else {
            return self.overflow_row(first.kind);
        };
        // SAFETY: the caller is about to take the lock, so it is there.
        if unsafe { !object_marker::is_blank(object, first.kind) } && first.traits & UNTAGGED == 0 {
            // Another thread was faster.
            return known;
        }
        let info = self.segment.lock(known as u32);
        let nested = info.traits.load(Ordering::Relaxed) & traits::NESTED != 0;
        // Locks that come and go at one address must not take all rows.
        let room = self.header().lock_count.load(Ordering::Relaxed) < self.segment.layout().lock_slots / 2;
        let word = match if nested && room { self.new_lock(address, first) } else { None } {
            Some(word) => {
                info.destroyed_ticks.store(clock::now(), Ordering::Relaxed);
                word
            }
            None => {
                if nested {
                    info.merged.fetch_add(1, Ordering::Relaxed);
                }
                let kept = info.traits.load(Ordering::Relaxed) & !OF_KIND;
                info.traits.store(kept | traits_for_reader(first.traits), Ordering::Relaxed);
                known & ((1 << TRAITS) - 1) | first.traits
            }
        };
        entry.lock.store(word, Ordering::Relaxed);
        if first.traits & UNTAGGED == 0 {
            // Behind the row: who finds the tag finds the row.
            // SAFETY: as above.
            unsafe { object_marker::write(object, first.kind) };
        }
        word
    }

    /// Another thread gives the lock back than the one that took it. A semaphore is no lock from then on.
    #[cold]
    pub fn released_by_another(&'static self, address: u64, row: u32, ticks: u64) {
        let info: &LockInfo = self.segment.lock(row);
        info.traits.fetch_and(!traits::BINARY, Ordering::Relaxed);
        info.traits.fetch_or(traits::HANDED_OVER, Ordering::Relaxed);
        if let Some(entry) = self.addresses.find(address)
            && entry.lock.load(Ordering::Relaxed) as u32 == row
        {
            entry.lock.fetch_and(!BINARY, Ordering::Relaxed);
        }
        if let Some(_guard) = self.allocating.lock() {
            self.cross_thread_releases.note(row, ticks);
        }
    }

    /// Makes the rows that stand for many locks, while there is room. Call before others record.
    pub fn make_overflow_rows(&'static self) {
        for kind in Kind::ALL.iter().filter(|kind| kind.is_recorded()).map(|kind| *kind as u8) {
            let first = FirstUse { kind, initialised: false, traits: 0, stack: 0, initial: 0 };
            let made = self.new_lock(0, first).unwrap_or(u64::from(kind) << 32);
            self.addresses.many[usize::from(kind)].store(made, Ordering::Relaxed);
        }
    }

    /// The row that stands for all locks of a kind that have none of their own.
    fn overflow_row(&'static self, kind: u8) -> u64 {
        let many = self.addresses.many[usize::from(kind) % KINDS].load(Ordering::Relaxed);
        if many as u32 != 0 {
            self.segment.lock(many as u32).merged.fetch_add(1, Ordering::Relaxed);
        }
        many
    }

    /// The lock at an address is gone.
    pub fn forget_lock(&self, address: u64) {
        let Some(entry) = self.addresses.find(address) else { return };
        let word = entry.lock.swap(0, Ordering::Relaxed);
        if word as u32 != 0 {
            self.segment.lock(word as u32).destroyed_ticks.store(clock::now(), Ordering::Relaxed);
        }
    }

    /// Forgets the locks in memory that is gone with a module.
    pub fn forget_locks_in(&self, start: u64, end: u64) {
        for row in 1..self.header().lock_count.load(Ordering::Relaxed) {
            let info = self.segment.lock(row);
            let address = info.address.load(Ordering::Relaxed);
            if (start..end).contains(&address) && info.destroyed_ticks.load(Ordering::Relaxed) == 0 {
                self.forget_lock(address);
            }
        }
    }

    /// Gives the lock at an address the user's name.
    pub fn name_lock(&'static self, address: u64, kind: u8, stack: u32, name: &[u8]) {
        let (_, word) = self.lock_at(address, FirstUse { kind, initialised: false, traits: 0, stack, initial: 0 });
        if word as u32 == 0 {
            return;
        }
        let Some(_guard) = self.allocating.lock() else { return };
        let len = name.len().min(255);
        let Some(at) = self.segment.carve(len as u64) else { return };
        for (number, byte) in name[..len].iter().enumerate() {
            // SAFETY: `carve` unlocked `len` bytes at `at`.
            let to: &core::sync::atomic::AtomicU8 = unsafe { self.segment.at(at + number as u64) };
            to.store(*byte, Ordering::Relaxed);
        }
        let info = self.segment.lock(word as u32);
        info.name.store(at as u32, Ordering::Relaxed);
        // Release: the bytes are there before the length says so.
        info.name_len.store(len as u8, Ordering::Release);
    }
}

/// Traits that a lock has from its initialisation on.
const OF_KIND: u8 = traits::RECURSIVE | traits::ROBUST | traits::WRITERS_FIRST;

/// The bits of [`AddressEntry::lock`] that the collector is told, as it knows them.
fn traits_for_reader(word: u64) -> u8 {
    let told = [
        (RECURSIVE, traits::RECURSIVE),
        (ROBUST, traits::ROBUST),
        (WRITERS_FIRST, traits::WRITERS_FIRST),
        (BINARY, traits::BINARY),
    ];
    told.iter().filter(|(bit, _)| word & bit != 0).fold(0, |all, (_, told)| all | told)
}

/// Bit of a mutex's `__data.__kind`: it was asked to be plain, so that glibc never elides it.
pub const NO_ELISION: u32 = 512;
