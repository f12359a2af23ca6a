//! Writes down what the hooks saw: the list of held locks, the ring, the folds.
//!
//! Everything here may be interrupted by a signal handler that does the same: places are reserved before
//! they are filled (held entries), and what comes while a ring slot is being written is folded.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use lockprof_wire::layout::note;
use lockprof_wire::record::extra_hold;
use lockprof_wire::ring::{self, RESERVE, RingHeader};
use lockprof_wire::thread::HELD_SLOTS;
use lockprof_wire::{Flags, FoldEntry, HeldEntry, Op, Record, ThreadSlot, fold};

use crate::clock;
use crate::process::Process;
use crate::thread::{CACHED_FOLDS, Local, add_here, count_here, count_here_32};

/// Marks a held entry that was released out of order and not trimmed yet.
const RELEASED: u64 = u64::MAX;

/// A wait, as it is kept with the acquisition that ended it.
#[derive(Clone, Copy)]
pub struct Wait {
    /// Ticks.
    pub duration: u64,
    /// As `extra` of a `Waited` record.
    pub holder: u64,
}

/// The held entry at a position.
#[inline(always)]
unsafe fn held(local: *mut Local, at: u32) -> Option<&'static HeldEntry> {
    // SAFETY: the slot is mapped; the overflow has `overflow_len` entries.
    unsafe {
        if (at as usize) < HELD_SLOTS {
            return Some(&(&(*local).slot().held)[at as usize]);
        }
        let beyond = at - HELD_SLOTS as u32;
        if beyond < (*local).overflow_len { Some(&*(*local).overflow.add(beyond as usize)) } else { None }
    }
}

/// Notes that this thread has the lock now.
///
/// # Safety
/// `local` is this thread's.
#[inline(always)]
pub unsafe fn push(local: *mut Local, address: u64, lock: u32, stack: u32, flags: u8, ticks: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        let slot = (*local).slot();
        let depth = &slot.depth;
        let at = depth.load(Ordering::Relaxed);
        if at as usize >= HELD_SLOTS - 1 && !make_room(local, at) {
            unrecorded();
            return;
        }
        depth.store(at + 1, Ordering::Relaxed);
        // Reserved before it is filled: a signal handler in between takes the next one.
        compiler_fence(Ordering::SeqCst);
        let Some(entry) = held(local, at) else { return };
        entry.address.store(address, Ordering::Relaxed);
        entry.lock_and_stack.store(u64::from(lock) | u64::from(stack) << 32, Ordering::Relaxed);
        entry.flags.store(u64::from(flags), Ordering::Relaxed);
        entry.ticks.store(ticks, Ordering::Relaxed);
        count_here(&slot.acquisitions);
    }
}

/// Notes that this thread has the lock after waiting for it.
pub unsafe fn push_contended(
    local: *mut Local,
    address: u64,
    lock: u32,
    stack: u32,
    flags: u8,
    ticks: u64,
    wait: Wait,
) {
    // SAFETY: the caller's contract is that of `push`.
    unsafe {
        let at = (*local).slot().depth.load(Ordering::Relaxed);
        if let Some(entry) = held(local, at) {
            entry.wait.store(wait.duration, Ordering::Relaxed);
            entry.holder.store(wait.holder, Ordering::Relaxed);
        }
        push(local, address, lock, stack, flags | Flags::CONTENDED, ticks);
        if at as usize >= HELD_SLOTS - 1
            && let Some(entry) = held(local, at)
        {
            // The room was made only now.
            entry.wait.store(wait.duration, Ordering::Relaxed);
            entry.holder.store(wait.holder, Ordering::Relaxed);
        }
    }
}

/// More than fits into the slot is held: moves on to a larger table in the arena.
#[cold]
unsafe fn make_room(local: *mut Local, at: u32) -> bool {
    // SAFETY: the caller's contract is that of `push`.
    unsafe {
        let this = &mut *local;
        if at + 1 < HELD_SLOTS as u32 + this.overflow_len {
            return true;
        }
        if !this.enter() {
            return false;
        }
        let wanted = (this.overflow_len * 2).max(512);
        let carved = Process::attached().and_then(|process| {
            let _guard = process.making.lock()?;
            let at = process.segment.carve(u64::from(wanted) * size_of::<HeldEntry>() as u64)?;
            Some((process, at))
        });
        let made = carved.is_some();
        if let Some((process, offset)) = carved {
            let table: *const HeldEntry = process.segment.at::<HeldEntry>(offset);
            for number in 0..this.overflow_len as usize {
                copy_entry(&*this.overflow.add(number), &*table.add(number));
            }
            this.overflow = table;
            this.overflow_len = wanted;
            let slot = this.slot();
            slot.held_overflow_len.store(0, Ordering::Relaxed);
            // Release: the collector that sees the table sees its entries; the length comes last.
            slot.held_overflow.store(offset, Ordering::Release);
            slot.held_overflow_len.store(u64::from(wanted), Ordering::Release);
        }
        this.leave();
        made
    }
}

fn copy_entry(from: &HeldEntry, to: &HeldEntry) {
    let copy = |from: &AtomicU64, to: &AtomicU64| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    copy(&from.address, &to.address);
    copy(&from.lock_and_stack, &to.lock_and_stack);
    copy(&from.flags, &to.flags);
    copy(&from.wait, &to.wait);
    copy(&from.holder, &to.holder);
    copy(&from.ticks, &to.ticks);
}

/// An acquisition that is still held: its position and its entry.
#[derive(Clone, Copy)]
pub struct Held {
    at: u32,
    entry: &'static HeldEntry,
}

/// The latest acquisition of this address that is still held.
#[inline(always)]
pub unsafe fn find_held(local: *mut Local, address: u64) -> Option<Held> {
    // SAFETY: the caller's contract is that of `push`.
    unsafe {
        let slot = (*local).slot();
        let at = slot.depth.load(Ordering::Relaxed).wrapping_sub(1);
        // What was released out of order is never on top.
        if let Some(entry) = slot.held.get(at as usize)
            && entry.address.load(Ordering::Relaxed) == address
            && entry.ticks.load(Ordering::Relaxed) != 0
        {
            return Some(Held { at, entry });
        }
        find_deeper(local, address)
    }
}

fn live(entry: &HeldEntry) -> bool {
    !matches!(entry.ticks.load(Ordering::Relaxed), 0 | RELEASED)
}

/// Searches from both ends: locks are given back in the opposite order mostly, in the same order sometimes.
#[cold]
#[inline(never)]
unsafe fn find_deeper(local: *mut Local, address: u64) -> Option<Held> {
    const NEAR: u32 = 64;
    // SAFETY: the caller's contract is that of `push`.
    let depth = unsafe { (*local).slot() }.depth.load(Ordering::Relaxed);
    let is = |at: u32| {
        // SAFETY: as above.
        let entry = unsafe { held(local, at) }?;
        (entry.address.load(Ordering::Relaxed) == address && live(entry)).then_some(Held { at, entry })
    };
    let far = depth.saturating_sub(NEAR);
    (far..depth).rev().find_map(is).or_else(|| (0..far).find_map(is))
}

/// Notes that this acquisition ended at `now`. Call after the real release.
#[inline(always)]
pub unsafe fn release(local: *mut Local, held: Held, now: u64, flags: u8) {
    // SAFETY: the caller's contract is that of `push`.
    unsafe {
        let Held { at, entry } = held;
        let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
        let ticks = entry.ticks.load(Ordering::Relaxed);
        let flags = entry.flags.load(Ordering::Relaxed) as u8 | flags;
        let word = Record::pack(Op::Hold, flags, now.saturating_sub(ticks));
        let ring = &*local;
        if flags & Flags::CONTENDED == 0
            && ring.head.load(Ordering::Relaxed) < ring.soft_limit.load(Ordering::Relaxed)
            && ring.writing.load(Ordering::Relaxed) == 0
        {
            write(local, ticks, lock_and_stack, word, extra_hold(at));
        } else {
            release_slowly(local, held, word);
        }
        // The entry stays this acquisition's until all of it is written down.
        compiler_fence(Ordering::SeqCst);
        let depth = &ring.slot().depth;
        if at + 1 == depth.load(Ordering::Relaxed) {
            entry.ticks.store(0, Ordering::Relaxed);
            depth.store(at, Ordering::Relaxed);
            if at > 0 {
                trim(local);
            }
        } else {
            entry.ticks.store(RELEASED, Ordering::Relaxed);
        }
    }
}

/// Where the hold was contended, or the ring is full.
#[cold]
#[inline(never)]
unsafe fn release_slowly(local: *mut Local, held: Held, word: u64) {
    // SAFETY: the caller's contract is that of `push`.
    unsafe {
        let lock_and_stack = held.entry.lock_and_stack.load(Ordering::Relaxed);
        let record = Record {
            ticks: held.entry.ticks.load(Ordering::Relaxed),
            lock: lock_and_stack as u32,
            stack: (lock_and_stack >> 32) as u32,
            word,
            extra: extra_hold(held.at),
        };
        if record.flags() & Flags::CONTENDED != 0 {
            emit_contended(local, held.entry, record);
        } else {
            emit_slowly(local, record);
        }
    }
}

/// Takes entries that were released out of order off the top.
#[inline(always)]
unsafe fn trim(local: *mut Local) {
    // SAFETY: the caller's contract is that of `push`.
    unsafe {
        let depth = &(*local).slot().depth;
        loop {
            let at = depth.load(Ordering::Relaxed);
            if at == 0 {
                return;
            }
            let Some(entry) = held(local, at - 1) else { return };
            if entry.ticks.load(Ordering::Relaxed) != RELEASED {
                return;
            }
            entry.ticks.store(0, Ordering::Relaxed);
            depth.store(at - 1, Ordering::Relaxed);
        }
    }
}

/// Writes a record, or folds it if the ring is full.
///
/// # Safety
/// `local` is this thread's.
pub unsafe fn emit(local: *mut Local, record: Record) {
    // SAFETY: the caller's contract.
    unsafe { emit_slowly(local, record) };
}

/// How many records ahead the ring's memory is fetched: eight lines.
const PREFETCHED: u64 = 16;

/// Writes a record for which room is known to be there, and no write to be under way. The parts of the record
/// come one by one, in registers.
#[inline(always)]
unsafe fn write(local: *mut Local, ticks: u64, lock_and_stack: u64, word: u64, extra: u64) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let this = &*local;
        this.writing.store(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let number = this.head.load(Ordering::Relaxed);
        let (slots, mask) = (this.ring_slots, this.ring_mask);
        // The collector has had the lines further on: fetch them back before they are needed.
        let ahead = slots.add(((number + PREFETCHED) & mask) as usize);
        core::arch::asm!("prefetchw byte ptr [{}]", in(reg) ahead, options(nostack, preserves_flags, readonly));
        (*slots.add((number & mask) as usize)).store(ticks, lock_and_stack, word, extra);
        this.head.store(number + 1, Ordering::Relaxed);
        // Release: pairs with the collector's Acquire load; the slot is complete.
        (*this.ring).head.store(number + 1, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        this.writing.store(0, Ordering::Relaxed);
    }
}

unsafe fn write_record(local: *mut Local, record: Record) {
    let lock_and_stack = u64::from(record.lock) | u64::from(record.stack) << 32;
    // SAFETY: the caller's contract is that of `write`.
    unsafe { write(local, record.ticks, lock_and_stack, record.word, record.extra) };
}

/// Whether there is room for `wanted` records, leaving `reserve` slots; looks at the collector's progress.
unsafe fn has_room(local: *mut Local, wanted: u64, reserve: u64) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let this = &*local;
        if this.ring.is_null() {
            return false;
        }
        // Acquire: pairs with the collector's Release store; the slots before the tail may be overwritten.
        let tail = (*this.ring).tail.load(Ordering::Acquire);
        let capacity = this.ring_mask + 1;
        let head = this.head.load(Ordering::Relaxed);
        this.soft_limit.store((tail + capacity).saturating_sub(u64::from(RESERVE)), Ordering::Relaxed);
        head + wanted + reserve <= tail + capacity
    }
}

/// Records that are folded after the ring was found full, before it is looked at again.
const FOLDS_BETWEEN_LOOKS: u32 = 64;

#[cold]
#[inline(never)]
unsafe fn emit_slowly(local: *mut Local, record: Record) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let patience = &(*local).patience;
        let left = patience.load(Ordering::Relaxed);
        if left > 0 || (*local).writing.load(Ordering::Relaxed) != 0 {
            // The ring was full a moment ago (looking at the collector's progress each time would cost more
            // than the fold), or this is a signal handler inside a write.
            patience.store(left.saturating_sub(1), Ordering::Relaxed);
            fold_record(local, record, 0);
        } else if has_room(local, 1, u64::from(RESERVE)) || (grow_ring(local) && has_room(local, 1, u64::from(RESERVE)))
        {
            write_record(local, record);
        } else {
            patience.store(FOLDS_BETWEEN_LOOKS, Ordering::Relaxed);
            fold_record(local, record, 0);
        }
    }
}

/// A contended acquisition: two records, which may use the reserve.
#[cold]
#[inline(never)]
unsafe fn emit_contended(local: *mut Local, entry: &HeldEntry, hold: Record) {
    let wait = entry.wait.load(Ordering::Relaxed);
    let holder = entry.holder.load(Ordering::Relaxed);
    let waited = Record {
        ticks: hold.ticks.saturating_sub(wait),
        word: Record::pack(Op::Waited, hold.flags(), wait),
        extra: holder,
        ..hold
    };
    // SAFETY: the caller's contract is that of `emit`.
    unsafe { emit_essential(local, &[waited, hold], holder as u32) };
}

/// Slots that stay free for signal handlers and for the way to the next ring.
const LAST: u64 = 16;

/// Writes records that may use the reserve; folds them together if there is no room for all.
unsafe fn emit_essential(local: *mut Local, records: &[Record], holder: u32) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let count = records.len() as u64;
        let this = &*local;
        let free = this.writing.load(Ordering::Relaxed) == 0 && this.patience.load(Ordering::Relaxed) != u32::MAX;
        if free && !has_room(local, count, u64::from(RESERVE)) {
            grow_ring(local);
        }
        if free && has_room(local, count, LAST) {
            records.iter().for_each(|record| write_record(local, *record));
            return true;
        }
        for record in records {
            let holder = if matches!(record.op(), Some(Op::Waited)) { holder } else { 0 };
            fold_record(local, *record, holder);
        }
        false
    }
}

/// Records that a thread wrote to a waiting operation's end: condition, barrier, join, once, semaphore;
/// failures and tries. Counted as an acquisition where `acquired`.
pub unsafe fn emit_done(local: *mut Local, record: Record, acquired: bool) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        emit(local, record);
        if acquired {
            count_here(&(*local).slot().acquisitions);
        }
    }
}

/// Takes a larger ring, if there is one and room for it.
#[cold]
unsafe fn grow_ring(local: *mut Local) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let this = &mut *local;
        let capacity = this.ring_mask as u32 + 1;
        if this.ring.is_null()
            || capacity >= ring::MAX_CAPACITY
            || this.writing.load(Ordering::Relaxed) != 0
            || !has_room(local, 1, 0)
            || !this.enter()
        {
            return false;
        }
        let larger = capacity * ring::GROWTH;
        let carved = Process::attached().and_then(|process| {
            let _guard = process.making.lock()?;
            let Some(at) = process.segment.carve_from_half(RingHeader::bytes(larger)) else {
                process.note(note::NO_MEMORY);
                return None;
            };
            Some((process, at))
        });
        if let Some((process, at)) = carved {
            let link =
                Record { ticks: clock::now(), word: Record::pack(Op::NextRing, 0, 0), extra: at, ..Record::default() };
            // From here on the hot path of a handler finds no room, and folds.
            this.patience.store(u32::MAX, Ordering::Relaxed);
            this.soft_limit.store(0, Ordering::Relaxed);
            write_record(local, link);
            // Handlers fold from here on: what they would write behind the link would be lost.
            this.writing.store(1, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            this.use_ring(process, at, larger);
            compiler_fence(Ordering::SeqCst);
            this.patience.store(0, Ordering::Relaxed);
            this.writing.store(0, Ordering::Relaxed);
        }
        this.leave();
        carved.is_some()
    }
}

/// Counts a record without an event. Each counter is changed by one instruction, so that a signal handler
/// may do the same in between.
#[cold]
unsafe fn fold_record(local: *mut Local, record: Record, holder: u32) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let key = Key {
            op_and_flags: record.word as u16 as u32 & !(u32::from(Flags::CONTENDED) << 8),
            lock: record.lock,
            stack: record.stack,
            holder,
        };
        if let Some(entry) = find_fold(local, key) {
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
            unrecorded_again((*local).slot());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    op_and_flags: u32,
    lock: u32,
    stack: u32,
    holder: u32,
}

impl Key {
    fn of(entry: &FoldEntry) -> Self {
        Self {
            op_and_flags: entry.op_and_flags.load(Ordering::Relaxed),
            lock: entry.lock.load(Ordering::Relaxed),
            stack: entry.stack.load(Ordering::Relaxed),
            holder: entry.holder.load(Ordering::Relaxed),
        }
    }

    fn hash(self) -> u64 {
        let mixed = u64::from(self.lock) << 32 | u64::from(self.stack);
        (mixed ^ u64::from(self.holder) << 13 ^ u64::from(self.op_and_flags) << 50).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            >> 32
    }
}

unsafe fn find_fold(local: *mut Local, key: Key) -> Option<&'static FoldEntry> {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let cached = &mut (*local).folds[key.hash() as usize % CACHED_FOLDS];
        if !cached.is_null() && Key::of(&**cached) == key {
            return Some(&**cached);
        }
        let found = search_folds(local, key)?;
        (*local).folds[key.hash() as usize % CACHED_FOLDS] = found;
        Some(found)
    }
}

/// Searches the slot's tables, which grow by a factor of eight up to a limit.
unsafe fn search_folds(local: *mut Local, key: Key) -> Option<&'static FoldEntry> {
    const FIRST: u64 = 64;
    const LARGEST: u64 = 512;
    const PROBES: u64 = 8;
    let process = Process::attached()?;
    // SAFETY: tables were carved for their capacity.
    unsafe {
        let mut link: &AtomicU64 = &(*local).slot().folds;
        let mut capacity = FIRST;
        loop {
            let mut at = link.load(Ordering::Relaxed);
            if at == 0 {
                let Some(made) = make_fold_table(process, local, link, capacity) else {
                    // No room for more: entry 0 of the first table takes it, without lock and stack.
                    let first = (*local).slot().folds.load(Ordering::Relaxed);
                    if first == 0 {
                        return None;
                    }
                    let many = Key { op_and_flags: key.op_and_flags & 0xff, lock: 0, stack: 0, holder: 0 };
                    let base: *const FoldEntry =
                        core::ptr::from_ref(process.segment.at::<fold::FoldTable>(first)).add(1).cast();
                    return claim(&*base.add(usize::from(key.op_and_flags as u8) % FIRST as usize), many);
                };
                at = made;
            }
            let table: &'static fold::FoldTable = process.segment.at(at);
            let entries: *const FoldEntry = core::ptr::from_ref(table).add(1).cast();
            let capacity_here = table.capacity.load(Ordering::Relaxed);
            for probe in 0..PROBES {
                // The first entries are kept for what finds no other place.
                let number = 16 + (key.hash() + probe) % (capacity_here - 16);
                if let Some(entry) = claim(&*entries.add(number as usize), key) {
                    return Some(entry);
                }
            }
            link = &table.next;
            capacity = (capacity_here * 8).min(LARGEST);
        }
    }
}

/// The entry, if it has this key or none yet.
fn claim(entry: &'static FoldEntry, key: Key) -> Option<&'static FoldEntry> {
    let known = Key::of(entry);
    if known == key {
        return Some(entry);
    }
    if known.op_and_flags != 0
        || entry.op_and_flags.compare_exchange(0, fold::CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        return None;
    }
    entry.lock.store(key.lock, Ordering::Relaxed);
    entry.stack.store(key.stack, Ordering::Relaxed);
    entry.holder.store(key.holder, Ordering::Relaxed);
    // Release: the collector that sees the operation sees the key.
    entry.op_and_flags.store(key.op_and_flags, Ordering::Release);
    Some(entry)
}

/// Hangs a new table on `link`, unless a signal handler has done so meanwhile; its offset.
unsafe fn make_fold_table(process: &Process, local: *mut Local, link: &AtomicU64, capacity: u64) -> Option<u64> {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        if !(*local).enter() {
            return None;
        }
        // Signals that wait are delivered by `leave`: by then the table must hang there.
        let known = link.load(Ordering::Relaxed);
        let made = if known != 0 {
            Some(known)
        } else {
            let carved =
                process.making.lock().and_then(|_guard| process.segment.carve(fold::FoldTable::bytes(capacity)));
            if let Some(at) = carved {
                process.segment.at::<fold::FoldTable>(at).capacity.store(capacity, Ordering::Relaxed);
                // Release: the collector that sees the table sees its capacity.
                link.store(at, Ordering::Release);
            }
            carved
        };
        (*local).leave();
        made
    }
}

/// What was pushed last goes on with an earlier acquisition: it is not counted again.
pub unsafe fn not_an_acquisition(local: *mut Local) {
    // SAFETY: the caller's contract is that of `push`.
    add_here(unsafe { &(*local).slot().acquisitions }, 1u64.wrapping_neg());
}

/// An acquisition that could not be noted: it is counted.
#[cold]
pub fn unrecorded() {
    if let Some(process) = Process::attached() {
        process.header().unrecorded.fetch_add(1, Ordering::Relaxed);
    }
}

/// The same for one that was already counted with its thread.
#[cold]
fn unrecorded_again(slot: &ThreadSlot) {
    add_here(&slot.acquisitions, 1u64.wrapping_neg());
    unrecorded();
}

/// Begins a thread's part of its ring.
pub unsafe fn thread_started(local: *mut Local, tid: u32) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let start = Record {
            ticks: clock::now(),
            lock: tid,
            stack: 0,
            word: Record::pack(Op::ThreadStart, 0, 0),
            extra: u64::from((*local).serial),
        };
        emit_essential(local, &[start], 0);
    }
}

/// Ends a thread's part of its ring: what it still holds is told.
pub unsafe fn thread_ended(local: *mut Local) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let now = clock::now();
        let depth = (*local).slot().depth.load(Ordering::Relaxed);
        for at in (0..depth).rev() {
            if let Some(entry) = held(local, at).filter(|entry| live(entry)) {
                release(local, Held { at, entry }, now, Flags::UNRELEASED);
            }
        }
        (*local).slot().depth.store(0, Ordering::Relaxed);
        let end = Record { ticks: now, word: Record::pack(Op::ThreadEnd, 0, 0), ..Record::default() };
        emit_essential(local, &[end], 0);
    }
}
