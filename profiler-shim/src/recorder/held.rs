//! The list of locks that a thread holds: an entry at the acquisition, a record at the release.
//!
//! Places are reserved before they are filled, and an entry stays its acquisition's until all of it is
//! written down, so that a signal handler may come in between. What is released out of order stays in
//! its place, marked, until it is on top.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use lockprof_wire::record::{OPENED, extra_hold};
use lockprof_wire::thread::{HELD_SLOTS, TOLD};
use lockprof_wire::{Flags, HeldEntry, Op, Record};

use super::ring::{emit, emit_contended, emit_essential, write};
use super::{nested, unrecorded};
use crate::state::local::Local;
use crate::sys::counters::count_here;

/// Marks a held entry that was released out of order and not trimmed yet.
const RELEASED: u64 = u64::MAX;

/// Bit of [`HeldEntry::flags`], beside [`TOLD`]: its `Hold` is written or about to be, so nobody tells it any more.
pub const ENDED: u64 = TOLD << 1;

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
pub fn entry_at(local: &Local, at: u32) -> Option<&'static HeldEntry> {
    // SAFETY: the slot is mapped; the overflow has `overflow_len` entries.
    unsafe {
        if (at as usize) < HELD_SLOTS {
            return Some(&(&local.slot().held)[at as usize]);
        }
        let beyond = at - HELD_SLOTS as u32;
        if beyond < local.overflow_len.get() { Some(&*local.overflow.get().add(beyond as usize)) } else { None }
    }
}

/// Notes that this thread has the lock now.
#[inline(always)]
pub fn push(local: &Local, address: u64, lock: u32, stack: u32, flags: u8, ticks: u64) {
    let slot = local.slot();
    if slot.depth.load(Ordering::Relaxed) != 0 {
        return push_above(local, address, lock, stack, flags, ticks);
    }
    slot.depth.store(1, Ordering::Relaxed);
    // Reserved before it is filled: a signal handler in between takes the next one.
    compiler_fence(Ordering::SeqCst);
    fill(&slot.held[0], address, lock, stack, flags, ticks);
    count_here(&slot.acquisitions);
}

/// The same where something is held already.
#[inline(never)]
fn push_above(local: &Local, address: u64, lock: u32, stack: u32, flags: u8, ticks: u64) {
    let Some((at, entry)) = reserve(local) else { return unrecorded() };
    fill(entry, address, lock, stack, flags, ticks);
    count_here(&local.slot().acquisitions);
    nested::publish(local, at);
}

/// Notes that this thread has the lock after waiting for it.
pub fn push_contended(local: &Local, address: u64, lock: u32, stack: u32, flags: u8, ticks: u64, wait: Wait) {
    let Some((at, entry)) = reserve(local) else { return unrecorded() };
    entry.wait.store(wait.duration, Ordering::Relaxed);
    entry.holder.store(wait.holder, Ordering::Relaxed);
    fill(entry, address, lock, stack, flags | Flags::CONTENDED, ticks);
    count_here(&local.slot().acquisitions);
    if at > 0 {
        nested::publish(local, at);
    }
}

/// Takes the next place of the list.
#[inline(always)]
fn reserve(local: &Local) -> Option<(u32, &'static HeldEntry)> {
    let depth = &local.slot().depth;
    let at = depth.load(Ordering::Relaxed);
    if at as usize >= HELD_SLOTS - 1 && !make_room(local, at) {
        nested::cut();
        return None;
    }
    let entry = entry_at(local, at)?;
    depth.store(at + 1, Ordering::Relaxed);
    // As in `push`.
    compiler_fence(Ordering::SeqCst);
    Some((at, entry))
}

/// The ticks come last: an entry without them is empty.
#[inline(always)]
fn fill(entry: &HeldEntry, address: u64, lock: u32, stack: u32, flags: u8, ticks: u64) {
    entry.address.store(address, Ordering::Relaxed);
    entry.lock_and_stack.store(u64::from(lock) | u64::from(stack) << 32, Ordering::Relaxed);
    entry.flags.store(u64::from(flags), Ordering::Relaxed);
    entry.ticks.store(ticks, Ordering::Relaxed);
}

/// More than fits into the slot is held: moves on to a larger table in the arena.
#[cold]
fn make_room(local: &Local, at: u32) -> bool {
    if at + 1 < HELD_SLOTS as u32 + local.overflow_len.get() {
        return true;
    }
    local.on_slow_path(|| move_on(local)).unwrap_or(false)
}

/// Carves the larger table and copies what there is. Only in the slow path.
fn move_on(local: &Local) -> bool {
    let wanted = (local.overflow_len.get() * 2).max(512);
    let carved = local.tables().and_then(|tables| {
        let _guard = tables.allocating.lock()?;
        let at = tables.segment.carve(u64::from(wanted) * size_of::<HeldEntry>() as u64)?;
        Some((tables, at))
    });
    let made = carved.is_some();
    if let Some((tables, offset)) = carved {
        // SAFETY: it was carved just now, for so many entries.
        let table: *const HeldEntry = unsafe { tables.segment.at::<HeldEntry>(offset) };
        for number in 0..local.overflow_len.get() as usize {
            // SAFETY: the old table has so many entries, and the new one more.
            unsafe { copy_entry(&*local.overflow.get().add(number), &*table.add(number)) };
        }
        local.overflow.set(table);
        local.overflow_len.set(wanted);
        let slot = local.slot();
        slot.held_overflow_len.store(0, Ordering::Relaxed);
        // Release: the collector that sees the table sees its entries; the length comes last.
        slot.held_overflow.store(offset, Ordering::Release);
        slot.held_overflow_len.store(u64::from(wanted), Ordering::Release);
    }
    made
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
    pub at: u32,
    pub entry: &'static HeldEntry,
}

impl Held {
    /// The lock's row.
    pub fn row(&self) -> u32 {
        self.entry.lock_and_stack.load(Ordering::Relaxed) as u32
    }
}

/// The latest acquisition of this address that is still held.
#[inline(always)]
pub fn find_held(local: &Local, address: u64) -> Option<Held> {
    let slot = local.slot();
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

/// Whether this acquisition was not released yet.
pub fn live(entry: &HeldEntry) -> bool {
    !matches!(entry.ticks.load(Ordering::Relaxed), 0 | RELEASED)
}

/// Searches from both ends: locks are given back in the opposite order mostly, in the same order sometimes.
#[cold]
#[inline(never)]
fn find_deeper(local: &Local, address: u64) -> Option<Held> {
    const NEAR: u32 = 64;
    let depth = local.slot().depth.load(Ordering::Relaxed);
    let is = |at: u32| {
        let entry = entry_at(local, at)?;
        (entry.address.load(Ordering::Relaxed) == address && live(entry)).then_some(Held { at, entry })
    };
    let far = depth.saturating_sub(NEAR);
    (far..depth).rev().find_map(is).or_else(|| (0..far).find_map(is))
}

/// Marks an entry as ended, in one instruction: a signal handler in between may find the lock free, and end it itself
/// (`recorder::drop_unseen`). False if that is so. From here on no handler tells it.
#[inline(always)]
fn claim(entry: &HeldEntry) -> bool {
    let ended: u8;
    // SAFETY: the word is a valid one.
    unsafe {
        core::arch::asm!("bts qword ptr [{word}], {bit}", "setc {ended}", word = in(reg) entry.flags.as_ptr(),
            bit = const ENDED.trailing_zeros(), ended = out(reg_byte) ended, options(nostack));
    }
    ended == 0
}

/// Notes that this acquisition ended at `now`. Call after the real release.
#[inline(always)]
pub fn release(local: &Local, held: Held, now: u64, flags: u8) {
    let Held { at, entry } = held;
    if !claim(entry) {
        return;
    }
    let marks = entry.flags.load(Ordering::Relaxed);
    let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
    let ticks = entry.ticks.load(Ordering::Relaxed);
    let flags = marks as u8 | flags;
    let word = Record::pack(Op::Hold, flags, now.saturating_sub(ticks));
    if flags & Flags::CONTENDED == 0
        && local.head.load(Ordering::Relaxed) < local.soft_limit.load(Ordering::Relaxed)
        && local.writing.load(Ordering::Relaxed) == 0
    {
        // SAFETY: there is room up to the soft limit, and no write is under way.
        unsafe { write(local, ticks, lock_and_stack, word, || extra_of(at, marks)) };
    } else {
        release_slowly(local, entry, word, extra_of(at, marks));
    }
    // The entry stays this acquisition's until all of it is written down.
    compiler_fence(Ordering::SeqCst);
    let depth = &local.slot().depth;
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

/// `extra` of the `Hold` of an entry with these marks.
#[inline(always)]
fn extra_of(at: u32, marks: u64) -> u64 {
    const TOLD_TO_OPENED: u32 = OPENED.trailing_zeros() - TOLD.trailing_zeros();
    extra_hold(at) | (marks & TOLD) << TOLD_TO_OPENED
}

/// Where the hold was contended, or the ring is full.
#[cold]
#[inline(never)]
fn release_slowly(local: &Local, entry: &HeldEntry, word: u64, extra: u64) {
    let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
    let record = Record {
        ticks: entry.ticks.load(Ordering::Relaxed),
        lock: lock_and_stack as u32,
        stack: (lock_and_stack >> 32) as u32,
        word,
        extra,
    };
    let opened = extra & OPENED != 0;
    let written = if record.flags() & Flags::CONTENDED != 0 {
        emit_contended(local, entry, record)
    } else if opened {
        emit_essential(local, &[record], 0)
    } else {
        emit(local, record)
    };
    if opened && !written {
        nested::begin_anew(local);
    }
}

/// Takes entries that were released out of order off the top.
#[inline(always)]
fn trim(local: &Local) {
    let depth = &local.slot().depth;
    loop {
        let at = depth.load(Ordering::Relaxed);
        if at == 0 {
            return;
        }
        let Some(entry) = entry_at(local, at - 1) else { return };
        if entry.ticks.load(Ordering::Relaxed) != RELEASED {
            return;
        }
        entry.ticks.store(0, Ordering::Relaxed);
        depth.store(at - 1, Ordering::Relaxed);
    }
}
