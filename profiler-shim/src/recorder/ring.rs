//! The ring: records are written where there is room, and folded where there is none.

use core::sync::atomic::{Ordering, compiler_fence};

use lockprof_wire::ring::{self, RESERVE, RingHeader};
use lockprof_wire::{HeldEntry, Op, Record};

use super::folds::fold_record;
use super::{nested, unrecorded};
use crate::state::local::Local;
use crate::sys::clock;
use crate::sys::counters::count_here;

/// How many records ahead the ring's memory is fetched: eight lines.
const PREFETCHED: u64 = 16;

/// Writes a record for which room is known to be there, and no write to be under way. The parts of the record
/// come one by one, in registers; `extra` is asked for when handlers write nothing any more.
#[inline(always)]
pub unsafe fn write(local: *mut Local, ticks: u64, lock_and_stack: u64, word: u64, extra: impl FnOnce() -> u64) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let this = &*local;
        this.writing.store(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let extra = extra();
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
    unsafe { write(local, record.ticks, lock_and_stack, record.word, || record.extra) };
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

/// Writes a record, or folds it if the ring is full; false where there is no room for either.
///
/// # Safety
/// `local` is this thread's.
#[cold]
#[inline(never)]
pub unsafe fn emit(local: *mut Local, record: Record) -> bool {
    // SAFETY: the caller's contract.
    unsafe { write_where_room(local, record) || fold_record(local, record, 0) }
}

/// Writes a record, unless the ring is full or a write is under way.
pub unsafe fn write_where_room(local: *mut Local, record: Record) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let backoff = &(*local).backoff;
        let left = backoff.load(Ordering::Relaxed);
        if left > 0 || (*local).writing.load(Ordering::Relaxed) != 0 {
            // The ring was full a moment ago (looking at the collector's progress each time would cost more
            // than the fold), or this is a signal handler inside a write.
            backoff.store(left.saturating_sub(1), Ordering::Relaxed);
            return false;
        }
        if has_room(local, 1, u64::from(RESERVE)) || (grow_ring(local) && has_room(local, 1, u64::from(RESERVE))) {
            write_record(local, record);
            return true;
        }
        backoff.store(FOLDS_BETWEEN_LOOKS, Ordering::Relaxed);
        false
    }
}

/// A contended acquisition: two records, which may use the reserve.
#[cold]
#[inline(never)]
pub unsafe fn emit_contended(local: *mut Local, entry: &HeldEntry, hold: Record) -> bool {
    let wait = entry.wait.load(Ordering::Relaxed);
    let holder = entry.holder.load(Ordering::Relaxed);
    let waited = Record {
        ticks: hold.ticks.saturating_sub(wait),
        word: Record::pack(Op::Waited, hold.flags(), wait),
        extra: holder,
        ..hold
    };
    // SAFETY: the caller's contract is that of `emit`.
    unsafe { emit_essential(local, &[waited, hold], holder as u32) }
}

/// Slots that stay free for signal handlers and for the way to the next ring.
const LAST: u64 = 16;

/// Writes records that may use the reserve, or folds them; whether they were written.
pub unsafe fn emit_essential(local: *mut Local, records: &[Record], holder: u32) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let written = write_essential(local, records);
        if !written {
            for record in records {
                let holder = if matches!(record.op(), Some(Op::Waited)) { holder } else { 0 };
                fold_record(local, *record, holder);
            }
        }
        written
    }
}

/// Writes records that may use the reserve, all or none.
pub unsafe fn write_essential(local: *mut Local, records: &[Record]) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let count = records.len() as u64;
        let this = &*local;
        if this.writing.load(Ordering::Relaxed) != 0 || this.backoff.load(Ordering::Relaxed) == u32::MAX {
            return false;
        }
        if !has_room(local, count, u64::from(RESERVE)) {
            grow_ring(local);
        }
        let room = has_room(local, count, LAST);
        if room {
            records.iter().for_each(|record| write_record(local, *record));
        }
        room
    }
}

/// Writes what orders this thread after or before others for certain: the creation of a thread, the end of a
/// join or of a barrier. The count goes first: a handler that folds in between comes after what has happened.
pub unsafe fn write_order_mark(local: *mut Local, record: Record) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let marks = &(*local).order_marks;
        marks.store(marks.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let written = write_essential(local, &[record]);
        if !written {
            marks.store(marks.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
            nested::cut();
        }
        written
    }
}

/// The end of an operation that is not held: condition, barrier, join, once, semaphore; failures and tries.
/// Counted as an acquisition where `acquired`. `orders`: see [`write_order_mark`].
pub unsafe fn emit_done(local: *mut Local, record: Record, acquired: bool, orders: bool) {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let noted =
            if orders { write_order_mark(local, record) || fold_record(local, record, 0) } else { emit(local, record) };
        match (acquired, noted) {
            (true, true) => count_here(&(*local).slot().acquisitions),
            (true, false) => unrecorded(),
            _ => {}
        }
    }
}

/// Takes a larger ring, if there is one and room for it.
#[cold]
unsafe fn grow_ring(local: *mut Local) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let this = &*local;
        let capacity = this.ring_mask as u32 + 1;
        if this.ring.is_null()
            || capacity >= ring::MAX_CAPACITY
            || this.writing.load(Ordering::Relaxed) != 0
            || !has_room(local, 1, 0)
        {
            return false;
        }
        Local::rarely(local, || move_on(local, capacity)).unwrap_or(false)
    }
}

/// Carves the larger ring and goes on there. Only in the rare part.
unsafe fn move_on(local: *mut Local, capacity: u32) -> bool {
    // SAFETY: the caller's contract is that of `emit`.
    unsafe {
        let this = &mut *local;
        let larger = capacity * ring::GROWTH;
        let carved = (*local).tables().and_then(|tables| {
            let _guard = tables.making.lock()?;
            Some((tables, tables.segment.carve_from_half(RingHeader::bytes(larger))?))
        });
        if let Some((tables, at)) = carved {
            let link =
                Record { ticks: clock::now(), word: Record::pack(Op::NextRing, 0, 0), extra: at, ..Record::default() };
            // From here on the hot path of a handler finds no room, and folds.
            this.backoff.store(u32::MAX, Ordering::Relaxed);
            this.soft_limit.store(0, Ordering::Relaxed);
            write_record(local, link);
            // Handlers fold from here on: what they would write behind the link would be lost.
            this.writing.store(1, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            this.use_ring(tables, at, larger);
            compiler_fence(Ordering::SeqCst);
            this.backoff.store(0, Ordering::Relaxed);
            this.writing.store(0, Ordering::Relaxed);
        }
        carved.is_some()
    }
}
