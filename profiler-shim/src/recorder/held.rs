//! The list of locks that a thread holds: an entry from the acquisition to the release.
//!
//! Places are reserved before they are filled, and an entry stays its acquisition's until all of it is
//! written down, so that a signal handler may come in between. What is released out of order stays in
//! its place, marked, until it is on top.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use lockprof_wire::thread::{HELD_SLOTS, PUBLISHED};
use lockprof_wire::{Flags, HeldEntry};

use super::order_cut;
use crate::state::local::Local;

/// Marks a held entry that was released out of order and not trimmed yet.
pub const RELEASED: u64 = u64::MAX;

/// Bit of [`HeldEntry::flags`], beside [`PUBLISHED`]: its `Hold` is written or about to be, so nobody reports it any more.
pub const ENDED: u64 = PUBLISHED << 1;

/// Another: the lock's destruction was asked for and refused.
pub const DOOMED: u64 = ENDED << 1;

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

/// Takes the next place of the list.
#[inline(always)]
pub fn reserve(local: &Local) -> Option<(u32, &'static HeldEntry)> {
    let depth = &local.slot().depth;
    let at = depth.load(Ordering::Relaxed);
    if at as usize >= HELD_SLOTS - 1 && !make_room(local, at) {
        order_cut();
        return None;
    }
    let entry = entry_at(local, at)?;
    local.set_depth(at + 1);
    // As in `push`.
    compiler_fence(Ordering::SeqCst);
    Some((at, entry))
}

/// The ticks come last: an entry without them is empty.
#[inline(always)]
pub fn fill(entry: &HeldEntry, address: u64, lock: u32, stack: u32, flags: Flags, ticks: u64) {
    entry.address.store(address, Ordering::Relaxed);
    entry.lock_and_stack.store(u64::from(lock) | u64::from(stack) << 32, Ordering::Relaxed);
    entry.flags.store(u64::from(flags.bits()), Ordering::Relaxed);
    entry.ticks.store(ticks, Ordering::Relaxed);
}

/// More than fits into the slot is held: moves on to a larger table in the arena.
#[cold]
fn make_room(local: &Local, at: u32) -> bool {
    if at + 1 < HELD_SLOTS as u32 + local.overflow_len.get() {
        return true;
    }
    let wanted = (local.overflow_len.get() * 2).max(512);
    let bytes = u64::from(wanted) * size_of::<HeldEntry>() as u64;
    // Mostly it was refused a short while ago.
    local.tables().is_some_and(|tables| tables.segment.may_carve(bytes))
        && local.on_slow_path(|| move_on(local, wanted, bytes)).unwrap_or(false)
}

/// Carves the larger table and copies what there is. Only in the slow path.
fn move_on(local: &Local, wanted: u32, bytes: u64) -> bool {
    let carved = local.tables().and_then(|tables| {
        let _guard = tables.allocating.lock()?;
        let at = tables.segment.carve(bytes)?;
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
        row_of(self.entry)
    }
}

/// The acquisition of this address, if it is all that the thread holds.
#[inline(always)]
pub fn only_held(local: &Local, address: u64) -> Option<Held> {
    let slot = local.slot();
    let entry = &slot.held[0];
    let is_it = slot.depth.load(Ordering::Relaxed) == 1
        && entry.address.load(Ordering::Relaxed) == address
        && entry.ticks.load(Ordering::Relaxed) != 0;
    is_it.then_some(Held { at: 0, entry })
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

/// Takes entries that were released out of order off the top.
#[inline(always)]
pub fn trim(local: &Local) {
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
        local.set_depth(at - 1);
    }
}

/// The row of an entry's lock; 0 if it has none.
pub fn row_of(entry: &HeldEntry) -> u32 {
    entry.lock_and_stack.load(Ordering::Relaxed) as u32
}
