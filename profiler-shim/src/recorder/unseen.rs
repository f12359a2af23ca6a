//! Locks that were given back by calls which the recorder did not see (inlined code, a library with another libc).
//!
//! The held list alone would say that they are held for ever, and false orders, deadlocks and misuse would follow. So
//! before anything is written about a held lock (another one taken, a wait, the end of the thread), its own words are
//! looked at: one that is free, or another thread's, is not held any more. In all other cases, and where words are not
//! those of glibc, the list is believed.
//!
//! The lock's memory may be gone, so the kernel is asked first. That is done once for each pair of a held lock and one
//! taken within: of a pair that was met before, there is nothing new to see. Where thousands of pairs showed nothing, the
//! program's calls are all seen, and no more are looked at but at the ends of threads.

use core::sync::atomic::{AtomicU32, Ordering, compiler_fence};

use lockprof_wire::layout::note;
use lockprof_wire::lock_layout::LockState;
use lockprof_wire::lock_layout::glibc;
use lockprof_wire::{Flags, HeldEntry, Kind};

use super::held::{DOOMED, ENDED, Held, entry_at, live};
use super::release::release;
use crate::state::dormant;
use crate::state::local::{CHECKED_PAIRS, Local};
use crate::sys;
use crate::sys::clock;
use crate::tables::Tables;
use crate::tables::object_marker;

/// An acquisition is about to be given back: a signal handler that finds the lock free before that is written down takes
/// nothing off. Gives what to [`end_release`] with.
#[inline(always)]
pub fn begin_release(local: &Local, held: Held) -> u64 {
    let releasing = &local.releasing;
    let outer = releasing.load(Ordering::Relaxed);
    releasing.store(held.entry.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    outer
}

/// It was given back, and written down.
#[inline(always)]
pub fn end_release(local: &Local, outer: u64) {
    compiler_fence(Ordering::SeqCst);
    local.releasing.store(outer, Ordering::Relaxed);
}

/// Pairs that are looked at in a process where nothing was ever given back unseen.
const TRIAL: u32 = 4096;
/// What is left of them; [`FOUND`] since something was given back unseen: then every pair is looked at.
static LEFT: AtomicU32 = AtomicU32::new(TRIAL);
const FOUND: u32 = u32::MAX;

/// Takes off the list what is not held any more, below position `end`. `within`: the address of what is taken or
/// waited for, and whether this thread has it now; `None`: the thread ends.
#[inline(always)]
pub fn drop_unseen(local: &Local, end: u32, within: Option<(u64, bool)>) {
    let looks = within.is_none() || LEFT.load(Ordering::Relaxed) != 0;
    // What was taken awake may have been given back asleep: the reader of the recording knows of that.
    if end != 0 && looks && object_marker::allowed() && !dormant::may_sleep() {
        drop_below(local, end, within);
    }
}

#[inline(never)]
fn drop_below(local: &Local, end: u32, within: Option<(u64, bool)>) {
    /// Of more locks at a time only the innermost are looked at.
    const NEAR: u32 = 8;
    let first = if within.is_some() { end.saturating_sub(NEAR) } else { 0 };
    for at in (first..end).rev() {
        let Some(entry) = entry_at(local, at).filter(|entry| live(entry)) else { continue };
        let being_released = entry.ticks.load(Ordering::Relaxed) == local.releasing.load(Ordering::Relaxed);
        if being_released || entry.flags.load(Ordering::Relaxed) & ENDED != 0 {
            continue;
        }
        let address = entry.address.load(Ordering::Relaxed);
        let pair = within.map(|(other, _)| &local.checked_pairs[pair_slot(address, other)]);
        let mark = within.map_or(0, |(other, _)| address ^ other.rotate_left(32));
        if pair.as_ref().is_some_and(|known| known.get() == mark) {
            continue;
        }
        let Some(tables) = local.tables() else { return };
        let elsewhere = local.on_slow_path(|| is_elsewhere(tables, local, entry, within));
        if elsewhere == Some(true) {
            // Of one that was to be destroyed, the program may have used the memory for something else.
            if entry.flags.load(Ordering::Relaxed) & DOOMED == 0 {
                LEFT.store(FOUND, Ordering::Relaxed);
                tables.note(note::UNSEEN_RELEASE);
            }
            release(local, Held { at, entry }, clock::now(), Flags::NONE);
        } else if let Some(pair) = pair {
            pair.set(mark);
            let less = |left: u32| if left == FOUND { None } else { left.checked_sub(1) };
            let _ = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

fn pair_slot(held: u64, other: u64) -> usize {
    const _: () = assert!(CHECKED_PAIRS == 64);
    ((held ^ other.rotate_left(20)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize
}

/// Whether a lock's own words say that this thread does not have it.
fn is_elsewhere(tables: &Tables, local: &Local, entry: &HeldEntry, within: Option<(u64, bool)>) -> bool {
    let address = entry.address.load(Ordering::Relaxed);
    let row = entry.lock_and_stack.load(Ordering::Relaxed) as u32;
    if row == 0 {
        return false;
    }
    let Some(kind) = tables.segment.lock(row).kind() else { return false };
    let flags = entry.record_flags();
    if kind == Kind::Mutex && within == Some((address, true)) {
        // Taken again, and it is not one that may be (`Flags::REENTRY`).
        return !flags.is_reentry();
    }
    let bytes = glibc::state_bytes(kind);
    if bytes == 0 {
        return false;
    }
    // A spin lock has four bytes, so the word that it lies in.
    let mut words = [0u64; 4];
    match sys::peek(address & !7, &mut words[..bytes.div_ceil(8)]) {
        Some(true) => {}
        // There is nothing any more, so nothing is held.
        Some(false) => return true,
        None => return false,
    }
    let first = address as usize % 8 / 4;
    let half = |number: usize| (words[(first + number) / 2 % 4] >> ((first + number) % 2 * 32)) as u32;
    match glibc::state(kind, half) {
        LockState::Free => true,
        LockState::HeldBy(owner) if kind == Kind::Mutex || !flags.is_shared() => {
            let own = local.number();
            tables.slot_of(owner).is_some_and(|slot| slot != own)
        }
        LockState::HeldBy(_) | LockState::Held | LockState::Unclear => false,
    }
}
