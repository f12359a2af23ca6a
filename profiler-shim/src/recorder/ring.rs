//! The ring: records are written where there is room, and folded where there is none.

use core::sync::atomic::{Ordering, compiler_fence};

use lockprof_wire::ring::{self, RESERVE, RingHeader};
use lockprof_wire::{Flags, HeldEntry, Op, Record};

use super::folds::fold_record;
use super::{order_cut, unrecorded};
use crate::state::local::Local;
use crate::sys::clock;
use crate::sys::counters::count_here;

/// How many records ahead the ring's memory is fetched: eight lines.
const PREFETCHED: u64 = 16;

/// Writes a record. Its parts come one by one, in registers; `extra` is asked for when handlers write nothing any more.
///
/// # Safety
/// The ring is known to have room, and no write is under way.
#[inline(always)]
pub unsafe fn write(local: &Local, ticks: u64, lock_and_stack: u64, word: u64, extra: impl FnOnce() -> u64) {
    local.writing.store(1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    let extra = extra();
    let number = local.writer.next();
    // SAFETY: the caller's contract.
    let ring = unsafe { local.ring().unwrap_unchecked() };
    let (slots, mask) = local.ring_slots();
    // SAFETY: the caller's contract: there is a ring, and masked numbers are within it. A prefetch never faults.
    let slot = unsafe {
        // The collector has had the lines further on: fetch them back before they are needed.
        let ahead = slots.add(((number + PREFETCHED) & mask) as usize);
        core::arch::asm!("prefetchw byte ptr [{}]", in(reg) ahead, options(nostack, preserves_flags, readonly));
        &*slots.add((number & mask) as usize)
    };
    local.writer.publish(ring, slot, number, [ticks, lock_and_stack, word, extra]);
    compiler_fence(Ordering::SeqCst);
    local.writing.store(0, Ordering::Relaxed);
}

/// Writes a record.
///
/// # Safety
/// As [`write`].
unsafe fn write_record(local: &Local, record: Record) {
    let [ticks, lock_and_stack, word, extra] = record.words();
    // SAFETY: the caller's contract.
    unsafe { write(local, ticks, lock_and_stack, word, || extra) };
}

/// Whether there is room for `wanted` records, leaving `reserve` slots; looks at the collector's progress.
fn has_room(local: &Local, wanted: u64, reserve: u64) -> bool {
    let Some(ring) = local.ring() else { return false };
    local.writer.has_room(ring, local.ring_slots().1 + 1, wanted, reserve)
}

/// Records that are folded after the ring was found full, before it is looked at again.
const FOLDS_BETWEEN_LOOKS: u32 = 64;

/// Writes a record, or folds it if the ring is full; false where there is no room for either.
#[cold]
#[inline(never)]
pub fn emit(local: &Local, record: Record) -> bool {
    write_where_room(local, record) || fold_record(local, record, 0)
}

/// Writes a record, unless the ring is full or a write is under way.
pub fn write_where_room(local: &Local, record: Record) -> bool {
    let backoff = &local.backoff;
    let left = backoff.load(Ordering::Relaxed);
    if left > 0 || local.writing.load(Ordering::Relaxed) != 0 {
        // The ring was full a moment ago (looking at the collector's progress each time would cost more
        // than the fold), or this is a signal handler inside a write.
        backoff.store(left.saturating_sub(1), Ordering::Relaxed);
        return false;
    }
    if has_room(local, 1, u64::from(RESERVE)) || (grow_ring(local) && has_room(local, 1, u64::from(RESERVE))) {
        // SAFETY: there is room, and no write is under way.
        unsafe { write_record(local, record) };
        return true;
    }
    backoff.store(FOLDS_BETWEEN_LOOKS, Ordering::Relaxed);
    false
}

/// A contended acquisition: two records, which may use the reserve.
#[cold]
#[inline(never)]
pub fn emit_contended(local: &Local, entry: &HeldEntry, hold: Record) -> bool {
    let wait = entry.wait.load(Ordering::Relaxed);
    let holder = entry.holder.load(Ordering::Relaxed);
    let waited = Record {
        ticks: hold.ticks.saturating_sub(wait),
        word: Record::pack(Op::Waited, hold.flags(), wait),
        extra: holder,
        ..hold
    };
    emit_essential(local, &[waited, hold], holder as u32)
}

/// Slots that stay free for signal handlers and for the way to the next ring.
const LAST: u64 = 16;

/// Writes records that may use the reserve, or folds them; whether they were written.
pub fn emit_essential(local: &Local, records: &[Record], holder: u32) -> bool {
    let written = write_essential(local, records);
    if !written {
        for record in records {
            let holder = if matches!(record.op(), Some(Op::Waited)) { holder } else { 0 };
            fold_record(local, *record, holder);
        }
    }
    written
}

/// Writes records that may use the reserve, all or none.
pub fn write_essential(local: &Local, records: &[Record]) -> bool {
    let count = records.len() as u64;
    if local.writing.load(Ordering::Relaxed) != 0 || local.backoff.load(Ordering::Relaxed) == u32::MAX {
        return false;
    }
    if !has_room(local, count, u64::from(RESERVE)) {
        grow_ring(local);
    }
    let room = has_room(local, count, LAST);
    if room {
        // SAFETY: there is room, and no write is under way.
        records.iter().for_each(|record| unsafe { write_record(local, *record) });
    }
    room
}

/// Writes what orders this thread after or before others for certain: the creation of a thread, the end of a
/// join or of a barrier. The count goes first: a handler that folds in between comes after what has happened.
pub fn write_order_mark(local: &Local, record: Record) -> bool {
    let marks = &local.order_marks;
    marks.store(marks.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    let written = write_essential(local, &[record]);
    if !written {
        marks.store(marks.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
        order_cut();
    }
    written
}

/// The end of an operation that is not held: condition, barrier, join, once, semaphore; failures and tries.
/// Counted as an acquisition where `acquired`. `orders`: see [`write_order_mark`].
pub fn emit_done(local: &Local, record: Record, acquired: bool, orders: bool) {
    let noted =
        if orders { write_order_mark(local, record) || fold_record(local, record, 0) } else { emit(local, record) };
    match (acquired, noted) {
        (true, true) => count_here(&local.slot().acquisitions),
        (true, false) => unrecorded(),
        _ => {}
    }
}

/// Takes a larger ring, if there is one and room for it.
#[cold]
fn grow_ring(local: &Local) -> bool {
    let capacity = local.ring_slots().1 as u32 + 1;
    if local.ring().is_none()
        || capacity >= ring::MAX_CAPACITY
        || local.writing.load(Ordering::Relaxed) != 0
        || !has_room(local, 1, 0)
    {
        return false;
    }
    local.on_slow_path(|| move_on(local, capacity)).unwrap_or(false)
}

/// Carves the larger ring and goes on there. Only in the slow path.
fn move_on(local: &Local, capacity: u32) -> bool {
    let larger = capacity * ring::GROWTH;
    let carved = local.tables().and_then(|tables| {
        let _guard = tables.allocating.lock()?;
        Some((tables, tables.segment.carve_from_half(RingHeader::bytes(larger))?))
    });
    if let Some((tables, at)) = carved {
        let link = Record {
            ticks: clock::now(),
            word: Record::pack(Op::NextRing, Flags::NONE, 0),
            extra: at,
            ..Record::default()
        };
        // From here on the hot path of a handler finds no room, and folds.
        local.backoff.store(u32::MAX, Ordering::Relaxed);
        local.writer.look_first();
        // SAFETY: `grow_ring` saw room, and no write under way; the slow path keeps handlers out.
        unsafe { write_record(local, link) };
        // Handlers fold from here on: what they would write behind the link would be lost.
        local.writing.store(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        local.use_ring(tables, at, larger);
        compiler_fence(Ordering::SeqCst);
        local.backoff.store(0, Ordering::Relaxed);
        local.writing.store(0, Ordering::Relaxed);
    }
    carved.is_some()
}
