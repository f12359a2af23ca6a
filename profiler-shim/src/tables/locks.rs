//! From an address to the row of the lock that lives there now.
//!
//! Open-addressing tables, each larger than those before it, read without a lock. An entry belongs to an address for
//! ever, so threads keep pointers to it; its row changes with each generation (destroyed and initialised again: a new lock).

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::note;
use lockprof_wire::lock::TraitBits;
use lockprof_wire::{Kind, LockInfo};

use crate::sys::Ptr;
use crate::sys::backoff::Backoff;
use crate::sys::clock;
use crate::tables::Tables;
use crate::tables::lock_word::{AtomicLockWord, LockTraits, LockWord};
use crate::tables::object_marker;

/// An address, and the lock there.
#[repr(C)]
pub struct AddressEntry {
    pub address: AtomicU64,
    pub lock: AtomicLockWord,
}

/// The tables. Valid when zero: then there is none yet.
#[repr(C)]
pub struct AddressTable {
    levels: [Level; LEVELS],
    count: AtomicU32,
    backoff: Backoff,
    /// Rows for locks beyond the table's or the segment's capacity, by kind.
    many: [AtomicLockWord; KINDS],
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

/// Whether a row is one of those that stand for all locks without one: they are nowhere.
fn stands_for_many(info: &LockInfo) -> bool {
    info.address.load(Ordering::Relaxed) == 0
}

/// How a lock is seen for the first time.
#[derive(Clone, Copy)]
pub struct FirstUse {
    pub kind: Kind,
    /// By a call: a new lock in any case.
    pub initialised: bool,
    pub traits: LockTraits,
    pub stack: u32,
    /// A semaphore's value, a barrier's count.
    pub initial: u32,
}

impl Tables {
    /// The lock at an address, made where there is none. Never 0.
    #[cold]
    pub fn lock_at(&'static self, address: u64, first: FirstUse) -> (Option<&'static AddressEntry>, LockWord) {
        let Some(_guard) = self.allocating.lock() else {
            self.note(note::GAVE_UP);
            return (None, self.overflow_row(first.kind));
        };
        let entry = self.addresses.find_or_make(self, address);
        if let Some(entry) = entry {
            let known = entry.lock.load().living();
            if known != LockWord::NONE && !first.initialised {
                return (Some(entry), known);
            }
            let word = self.new_lock(address, first).unwrap_or_else(|| {
                self.note(note::LOCKS_FULL);
                self.overflow_row(first.kind).with_traits(first.traits)
            });
            if !word.has_row() {
                return (None, word);
            }
            if known != LockWord::NONE {
                // Initialised anew without having been destroyed: the old one is gone.
                self.gone(known);
            }
            // One without a row of its own is found again like any other: it costs no more.
            entry.lock.store(word);
            return (Some(entry), word);
        }
        self.note(note::LOCKS_FULL);
        (None, self.overflow_row(first.kind))
    }

    /// The lock is gone. A row that stands for many stays.
    fn gone(&self, word: LockWord) {
        let info = self.segment.lock(word.row());
        if !stands_for_many(info) {
            info.destroyed_ticks.store(clock::now(), Ordering::Relaxed);
        }
    }

    fn new_lock(&'static self, address: u64, first: FirstUse) -> Option<LockWord> {
        let module = self.modules.index_of(self, address);
        let row = self.segment.new_lock(|info| {
            info.address.store(address, Ordering::Relaxed);
            info.first_ticks.store(clock::now(), Ordering::Relaxed);
            info.destroyed_ticks.store(0, Ordering::Relaxed);
            info.origin_stack.store(first.stack, Ordering::Relaxed);
            info.kind.store(first.kind as u8, Ordering::Relaxed);
            info.initialised.store(u8::from(first.initialised), Ordering::Relaxed);
            info.module.store(module, Ordering::Relaxed);
            info.merged.store(1, Ordering::Relaxed);
            info.initial.store(first.initial, Ordering::Relaxed);
            info.traits.store(first.traits.published().bits(), Ordering::Relaxed);
        })?;
        Some(LockWord::new(row, first.kind, first.traits))
    }

    /// A lock of the same kind was put at this address without a call: the row of the one that lives there now.
    /// What was never held together with another lock keeps its row, since then its identity changes nothing.
    #[cold]
    pub fn renew(&'static self, object: Ptr, first: FirstUse) -> LockWord {
        let address = object as u64;
        let Some(_guard) = self.allocating.lock() else {
            self.note(note::GAVE_UP);
            return self.overflow_row(first.kind);
        };
        let found = self.addresses.find(address).map(|entry| (entry, entry.lock.load().living()));
        let Some((entry, known)) = found.filter(|(_, known)| known.has_row()) else {
            return self.overflow_row(first.kind);
        };
        // SAFETY: the caller is about to take the lock, so it is there.
        if unsafe { !object_marker::is_blank(object, first.kind) } && first.traits.is_tagged() {
            // Another thread was faster.
            return known;
        }
        let info = self.segment.lock(known.row());
        let nested = info.traits().is_nested();
        // Locks that come and go at one address must not take all rows.
        let room = self.header().lock_count.load(Ordering::Relaxed) < self.segment.layout().lock_slots / 2;
        let is_own = !stands_for_many(info);
        let word = match if nested && room && is_own { self.new_lock(address, first) } else { None } {
            Some(word) => {
                self.gone(known);
                word
            }
            None => {
                if nested || !is_own {
                    info.merged.fetch_add(1, Ordering::Relaxed);
                }
                if is_own {
                    let kept = info.traits().without(TraitBits::OF_TYPE);
                    info.traits.store(kept.with(first.traits.published()).bits(), Ordering::Relaxed);
                }
                known.with_traits(first.traits)
            }
        };
        entry.lock.store(word);
        if first.traits.is_tagged() {
            // Behind the row: who finds the tag finds the row.
            // SAFETY: as above.
            unsafe { object_marker::write_named(object, word, self.key.get()) };
        }
        word
    }

    /// Another thread gives the lock back than the one that took it. A semaphore is no lock from then on.
    #[cold]
    pub fn released_by_another(&'static self, address: u64, row: u32, ticks: u64) {
        let info: &LockInfo = self.segment.lock(row);
        info.change_traits(TraitBits::BINARY, TraitBits::HANDED_OVER);
        if let Some(entry) = self.addresses.find(address)
            && entry.lock.load().row() == row
        {
            entry.lock.no_binary();
        }
        if let Some(_guard) = self.allocating.lock() {
            self.cross_thread_releases.note(row, ticks);
        }
    }

    /// Makes the rows that stand for many locks, while there is room. Call before others record.
    pub fn make_overflow_rows(&'static self) {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_recorded()) {
            let first = FirstUse { kind, initialised: false, traits: LockTraits::NONE, stack: 0, initial: 0 };
            let made = self.new_lock(0, first).unwrap_or(LockWord::new(0, kind, LockTraits::NONE));
            self.addresses.many[kind as usize].store(made);
        }
    }

    /// The row that stands for all locks of a kind that have none of their own.
    fn overflow_row(&'static self, kind: Kind) -> LockWord {
        let many = self.addresses.many[kind as usize].load();
        if many.has_row() {
            self.segment.lock(many.row()).merged.fetch_add(1, Ordering::Relaxed);
        }
        many
    }

    /// The lock at an address is gone. Its row may be taken up again ([`Self::revive`]).
    pub fn forget_lock(&self, address: u64) {
        let Some(entry) = self.addresses.find(address) else { return };
        let word = entry.lock.destroy();
        if word.has_row() {
            self.gone(word);
        }
    }

    /// The word of the object that comes to the place of one that was destroyed, if it may go on with that one's row: it
    /// is of the same kind, made at the same place in the code. Only for kinds that do not nest, of which the order of
    /// locks does not ask which of the two it is. Needs neither a lock of the recorder's nor a system call: condition variables come and go with each request of
    /// a server.
    pub fn revive(&self, entry: &AddressEntry, first: FirstUse) -> Option<LockWord> {
        let word = LockWord::new(entry.lock.load().row(), first.kind, first.traits);
        if !word.has_row() || !entry.lock.was(word) {
            return None;
        }
        let info = self.segment.lock(word.row());
        let is_alike = !stands_for_many(info)
            && info.origin_stack.load(Ordering::Relaxed) == first.stack
            && info.initialised.load(Ordering::Relaxed) == u8::from(first.initialised)
            && info.initial.load(Ordering::Relaxed) == first.initial
            && info.name_len.load(Ordering::Relaxed) == 0;
        if !is_alike {
            return None;
        }
        info.destroyed_ticks.store(0, Ordering::Relaxed);
        entry.lock.revive();
        Some(word)
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
    pub fn name_lock(&'static self, address: u64, kind: Kind, stack: u32, name: &[u8]) {
        let (_, word) =
            self.lock_at(address, FirstUse { kind, initialised: false, traits: LockTraits::NONE, stack, initial: 0 });
        if !word.has_row() || stands_for_many(self.segment.lock(word.row())) {
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
        let info = self.segment.lock(word.row());
        info.name.store(at as u32, Ordering::Relaxed);
        // Release: the bytes are there before the length says so.
        info.name_len.store(len as u8, Ordering::Release);
    }
}
