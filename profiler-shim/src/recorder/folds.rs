//! Folds: exact counters for what has no room in the ring.
//!
//! Each counter is changed by one instruction, so that a signal handler may do the same in between.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lockprof_wire::{Flags, FoldEntry, HeldEntry, Op, Record, fold};

use super::unrecorded_again;
use crate::state::local::{CACHED_FOLDS, Local};
use crate::sys::counters::{add_here, count_here, count_here_32};
use crate::tables::Tables;

/// Counts a record without an event; false where there is no room even for that. An acquisition that its thread has
/// counted already (a `Hold`) is then counted as unrecorded.
#[cold]
pub fn fold_record(local: &Local, record: Record, holder: u32) -> bool {
    fold_by(local, record, holder, 0)
}

/// The same of a call while a lock was held, which this stack had taken.
#[cold]
pub fn fold_call(local: &Local, record: Record, call: u32, taken: u32) -> bool {
    fold_by(local, record, call, taken)
}

fn fold_by(local: &Local, record: Record, holder: u32, segment: u32) -> bool {
    let key = Key { op_and_flags: key_of(record.word as u16), lock: record.lock, stack: record.stack, holder, segment };
    let found = find_fold(local, &key);
    if let Some(entry) = found {
        let payload = record.payload();
        if payload > entry.max.load(Ordering::Relaxed) {
            entry.max.fetch_max(payload, Ordering::Relaxed);
        }
        if !payload > entry.not_min.load(Ordering::Relaxed) {
            entry.not_min.fetch_max(!payload, Ordering::Relaxed);
        }
        add_here(&entry.sum, payload);
        count_here_32(&entry.buckets[fold::bucket(payload)]);
        count_here(&entry.count);
    } else if matches!(record.op(), Some(Op::Hold)) {
        unrecorded_again(local.slot());
    }
    found.is_some()
}

/// Operation and flags as they are part of a key.
fn key_of(op_and_flags: u16) -> u32 {
    u32::from(op_and_flags) & !(u32::from(Flags::CONTENDED.bits()) << 8)
}

/// The counter of a chain of held locks that ends with this acquisition, which hangs on the one around it. `segment`: see
/// [`segment_of_folds`]. `None` if there is no room.
#[inline(always)]
pub fn fold_early_acquire(
    local: &Local,
    segment: u32,
    around: Option<&'static FoldEntry>,
    entry: &HeldEntry,
) -> Option<&'static FoldEntry> {
    let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
    let flags = entry.record_flags();
    let key = Key {
        op_and_flags: key_of(u16::from(flags.bits()) << 8 | Op::EarlyAcquire as u16),
        lock: lock_and_stack as u32,
        stack: (lock_and_stack >> 32) as u32,
        holder: around.map_or(0, |around| around.place.load(Ordering::Relaxed)),
        segment,
    };
    find_fold(local, &key)
}

/// How many order marks the thread has written, as far as folds tell them apart: each value is a tree of its own,
/// and a thread that goes through barriers all day must not fill the memory with them.
pub fn segment_of_folds(local: &Local) -> u32 {
    const MOST: u32 = 256;
    let now = local.order_marks.load(Ordering::Relaxed);
    if local.folded_mark.load(Ordering::Relaxed) != now {
        local.folded_mark.store(now, Ordering::Relaxed);
        count_here_32(&local.fold_segments);
    }
    if local.fold_segments.load(Ordering::Relaxed) > MOST { fold::ANY_SEGMENT } else { now }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    op_and_flags: u32,
    lock: u32,
    stack: u32,
    holder: u32,
    segment: u32,
}

impl Key {
    fn of(entry: &FoldEntry) -> Self {
        let word = |word: &AtomicU32| word.load(Ordering::Relaxed);
        Self {
            op_and_flags: word(&entry.op_and_flags),
            lock: word(&entry.lock),
            stack: word(&entry.stack),
            holder: word(&entry.holder),
            segment: word(&entry.segment),
        }
    }

    /// 32 bits, of which each depends on all of the key: different ones choose tables and places in them.
    fn hash(self) -> u64 {
        let words = u64::from(self.lock) << 32 | u64::from(self.stack);
        let more = u64::from(self.holder) << 13 ^ u64::from(self.op_and_flags) << 50 ^ u64::from(self.segment) << 21;
        let mixed = (words ^ more).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ mixed >> 32).wrapping_mul(0xFF51_AFD7_ED55_8CCD) >> 32
    }

    fn is_early_acquire(self) -> bool {
        self.op_and_flags as u8 == Op::EarlyAcquire as u8
    }
}

#[inline(always)]
fn find_fold(local: &Local, key: &Key) -> Option<&'static FoldEntry> {
    let tables = local.tables()?;
    let cached = &local.folds[key.hash() as usize % CACHED_FOLDS];
    // SAFETY: entries are never given back.
    if let Some(entry) = unsafe { cached.get().as_ref() }
        && Key::of(entry) == *key
    {
        return Some(entry);
    }
    let first = &local.slot().folds;
    // Made from here, not inside the search: the program's stack may be small.
    let found = loop {
        match search_folds(tables, first, key) {
            Ok(entry) => break entry,
            Err(Some(full)) if make_fold_table(tables, local, full) => {}
            Err(_) => return overflow_entry(tables, first, key),
        }
    };
    cached.set(found);
    Some(found)
}

/// Most tables that a search looks into.
const DEEPEST: u32 = 12;

/// No table on a key's way has room: where the next one is to hang, and its capacity.
#[derive(Clone, Copy)]
struct Full {
    link: &'static AtomicU64,
    wanted: u64,
}

/// Searches the tables of a slot for a key, on its way from the first one. `Err(None)`: the way is as long as it may be.
#[inline(never)]
fn search_folds(tables: &Tables, first: &'static AtomicU64, key: &Key) -> Result<&'static FoldEntry, Option<Full>> {
    let hash = key.hash();
    let mut full = Full { link: first, wanted: fold::FIRST_ENTRIES };
    for depth in 0..DEEPEST {
        let at = full.link.load(Ordering::Relaxed);
        if at == 0 {
            return Err(Some(full));
        }
        // SAFETY: tables were carved for their capacity.
        let table: &'static fold::FoldTable = unsafe { tables.segment.at(at) };
        if let Some(entry) = search_table(table, at, key, hash) {
            return Ok(entry);
        }
        let wanted = fold::entries_below(table.capacity.load(Ordering::Relaxed));
        full = Full { link: &table.next[branch(hash, depth)], wanted };
    }
    Err(None)
}

/// On which branch of a table a key goes on.
fn branch(hash: u64, depth: u32) -> usize {
    const BITS: u32 = fold::BRANCHES.trailing_zeros();
    const _: () = assert!(fold::BRANCHES.is_power_of_two() && DEEPEST * BITS <= 32);
    (hash >> (32 - BITS * (depth + 1))) as usize % fold::BRANCHES
}

/// No room for more tables: an entry of the first one takes it, without lock and stack. A chain of held locks would say
/// nothing without them.
#[cold]
#[inline(never)]
fn overflow_entry(tables: &Tables, first: &AtomicU64, key: &Key) -> Option<&'static FoldEntry> {
    // SAFETY: the table was carved for its capacity.
    unsafe {
        let first = first.load(Ordering::Relaxed);
        if first == 0 || key.is_early_acquire() {
            return None;
        }
        let op_and_flags = key.op_and_flags & 0xff;
        let many = Key { op_and_flags, lock: 0, stack: 0, holder: 0, segment: 0 };
        claim(tables.segment.at(first), first, u64::from(key.op_and_flags as u8) % fold::FIRST_ENTRIES, &many)
    }
}

/// The entry of this key in the table at an offset, made if there is room. A part of the search, and a plain loop: each
/// call less is room on the program's stack.
#[inline(always)]
fn search_table(table: &'static fold::FoldTable, at: u64, key: &Key, hash: u64) -> Option<&'static FoldEntry> {
    const PROBES: u64 = 8;
    let capacity = table.capacity.load(Ordering::Relaxed);
    for probe in 0..PROBES {
        // The first entries are kept for what finds no other place.
        let found = claim(table, at, 16 + (hash + probe) % (capacity - 16), key);
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Entry `number` of the table at an offset, if it has this key or none yet.
#[inline(always)]
fn claim(table: &'static fold::FoldTable, at: u64, number: u64, key: &Key) -> Option<&'static FoldEntry> {
    // SAFETY: the entries follow their table, and the caller's number is one of them.
    let entry = unsafe { &*core::ptr::from_ref(table).add(1).cast::<FoldEntry>().add(number as usize) };
    if is_of(entry, key) {
        return Some(entry);
    }
    let place = at + size_of::<fold::FoldTable>() as u64 + number * size_of::<FoldEntry>() as u64;
    take(entry, key, place as u32).then_some(entry)
}

/// Whether an entry has this key. A call of its own: otherwise the search keeps the whole key on the program's stack.
#[inline(never)]
fn is_of(entry: &FoldEntry, key: &Key) -> bool {
    Key::of(entry) == *key
}

/// Gives an entry this key, if it has none yet. `place`: its offset in the segment.
#[cold]
#[inline(never)]
fn take(entry: &FoldEntry, key: &Key, place: u32) -> bool {
    if entry.op_and_flags.load(Ordering::Relaxed) != 0
        || entry.op_and_flags.compare_exchange(0, fold::CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return false;
    }
    entry.lock.store(key.lock, Ordering::Relaxed);
    entry.stack.store(key.stack, Ordering::Relaxed);
    entry.holder.store(key.holder, Ordering::Relaxed);
    entry.segment.store(key.segment, Ordering::Relaxed);
    entry.place.store(place, Ordering::Relaxed);
    // Release: the collector that sees the operation sees the key.
    entry.op_and_flags.store(key.op_and_flags, Ordering::Release);
    true
}

/// Hangs a new table where one is wanted; false if there is no room.
#[cold]
#[inline(never)]
fn make_fold_table(tables: &Tables, local: &Local, full: Full) -> bool {
    // Mostly it was refused a short while ago: then signals need not be kept away, nor the inner lock be taken.
    tables.segment.may_carve(fold::FoldTable::bytes(full.wanted))
        && local.on_slow_path(|| hang_fold_table(tables, full)).unwrap_or(false)
}

/// The same on the slow path. A signal handler may have done so meanwhile.
fn hang_fold_table(tables: &Tables, Full { link, wanted }: Full) -> bool {
    // Signals that wait are delivered behind this: by then the table must hang there.
    if link.load(Ordering::Relaxed) != 0 {
        return true;
    }
    let carved = tables.allocating.lock().and_then(|_guard| tables.segment.carve(fold::FoldTable::bytes(wanted)));
    if let Some(at) = carved {
        // SAFETY: it was carved just now.
        let table = unsafe { tables.segment.at::<fold::FoldTable>(at) };
        table.capacity.store(wanted, Ordering::Relaxed);
        // Release: the collector that sees the table sees its capacity.
        link.store(at, Ordering::Release);
    }
    carved.is_some()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use lockprof_wire::layout::note;

    use super::*;
    use crate::tables::tests::tables;

    const KEY: Key = Key { op_and_flags: Op::Hold as u32, lock: 0, stack: 3, holder: 0, segment: 0 };

    /// The tables on a key's way.
    fn way(tables: &'static Tables, first: &'static AtomicU64, key: &Key) -> Vec<&'static fold::FoldTable> {
        let mut link = first;
        let mut found = Vec::new();
        for depth in 0.. {
            let at = link.load(Ordering::Relaxed);
            if at == 0 {
                break;
            }
            // SAFETY: a table is there.
            let table: &'static fold::FoldTable = unsafe { tables.segment.at(at) };
            found.push(table);
            if depth == DEEPEST {
                break;
            }
            link = &table.next[branch(key.hash(), depth)];
        }
        found
    }

    /// As `find_fold`, without a thread.
    fn find(tables: &'static Tables, first: &'static AtomicU64, key: &Key) -> Option<&'static FoldEntry> {
        loop {
            match search_folds(tables, first, key) {
                Ok(entry) => return Some(entry),
                Err(Some(full)) if hang_fold_table(tables, full) => {}
                Err(_) => return overflow_entry(tables, first, key),
            }
        }
    }

    #[test]
    fn searches_are_short_and_sums_exact_when_no_more_can_be_told_apart() {
        const LOCKS: u32 = 200_000;
        static FIRST_TABLE: AtomicU64 = AtomicU64::new(0);
        let tables = tables();
        let key = |lock: u32| Key { lock, ..KEY };
        for lock in 1..=LOCKS {
            count_here(&find(tables, &FIRST_TABLE, &key(lock)).expect("a counter").count);
        }
        assert_ne!(tables.header().notes.load(Ordering::Relaxed) & note::NO_MEMORY, 0, "full");
        let longest = (1..=LOCKS).map(|lock| way(tables, &FIRST_TABLE, &key(lock)).len()).max();
        assert!(longest.is_some_and(|tables| tables <= 9), "{longest:?} tables are searched");
        let mut told_apart = 0;
        let mut overflow: Option<&FoldEntry> = None;
        for lock in 1..=LOCKS {
            let entry = find(tables, &FIRST_TABLE, &key(lock)).expect("a counter");
            if Key::of(entry) == key(lock) {
                assert_eq!(entry.count.load(Ordering::Relaxed), 1);
                told_apart += 1;
            } else {
                assert!(
                    Key::of(entry) == Key { stack: 0, ..KEY } && overflow.is_none_or(|one| core::ptr::eq(one, entry))
                );
                overflow = Some(entry);
            }
        }
        let together = overflow.expect("a counter of what cannot be told apart").count.load(Ordering::Relaxed);
        assert!(told_apart > 1_000, "{told_apart}");
        assert_eq!(told_apart + together, u64::from(LOCKS));
        let nested = Key { op_and_flags: Op::EarlyAcquire as u32, lock: LOCKS + 1, ..KEY };
        assert!(find(tables, &FIRST_TABLE, &nested).is_none_or(|entry| Key::of(entry) == nested));
    }

    #[test]
    fn keys_are_spread_over_the_branches() {
        for depth in 0..DEEPEST {
            let mut counts = [0; fold::BRANCHES];
            (0..4096).for_each(|lock| counts[branch(Key { lock, ..KEY }.hash(), depth)] += 1);
            assert!(counts.iter().all(|count| (800..1250).contains(count)), "{depth}: {counts:?}");
        }
    }
}
