//! Nested acquisitions are published when they happen: what the analysis of lock order lives on.
//!
//! A `Hold` record comes at the release, which is too late (a deadlocked thread never gets there), and does
//! not say what was held around it. So where something is held already, an `EarlyAcquire` record is written for each
//! acquisition that was not published yet, from the outermost on, and marked as published in the held list. The
//! collector has the open ones of a thread as a list: an `EarlyAcquire` adds to it, a `Hold` with `PUBLISHED_EARLY` takes off.
//!
//! - An acquisition is published only after all live ones around it, so behind the innermost published one no search
//!   is needed.
//! - Where the ring has no room, the chain is folded instead, and nothing is marked: the fold says it all.
//! - If the `Hold` of a published one had to be folded, the collector's list is wrong from then on: all marks are
//!   wiped at the next nested acquisition, and the first `EarlyAcquire` says so (`RESTART`).
//! - A signal handler that interrupts the publishing folds its own chains.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use lockprof_wire::lock::TraitBits;
use lockprof_wire::record::{RESTART, extra_hold};
use lockprof_wire::thread::PUBLISHED;
use lockprof_wire::{Flags, HeldEntry, Op, Record};

use super::cross_thread::drop_cross_thread_releases;
use super::folds::{fold_early_acquire, segment_of_folds};
use super::held::{ENDED, entry_at, live, row_of};
use super::order_cut;
use super::release::begin_anew;
use super::ring::{write, write_where_room};
use super::unseen::drop_unseen;
use crate::state::local::Local;
use crate::sys::counters::count_here;
use crate::tables::Tables;

/// Publishes the acquisition at this position and of those around it, if it is nested in another one.
#[inline(never)]
pub fn publish(local: &Local, at: u32) {
    let (Some(tables), Some(entry)) = (local.tables(), entry_at(local, at)) else { return };
    if tables.cross_thread_releases.any() {
        drop_cross_thread_releases(local);
    }
    if !counts(entry) {
        return;
    }
    drop_unseen(local, at, Some((entry.address.load(Ordering::Relaxed), true)));
    let anew = local.restart.load(Ordering::Relaxed) != 0;
    let Some(from) = first_unpublished(local, at, anew) else { return };
    if local.publishing.load(Ordering::Relaxed) != 0 {
        return fold(tables, local, at);
    }
    local.publishing.store(1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    if anew {
        (0..at).filter_map(|below| entry_at(local, below)).for_each(|entry| mark(&entry.flags, false));
    }
    let published = (from..=at).all(|position| {
        let Some(entry) = entry_at(local, position) else { return true };
        if !counts(entry) || is_published(entry) {
            return true;
        }
        mark_nested(tables, row_of(entry));
        write_early_acquire(local, entry, position)
    });
    compiler_fence(Ordering::SeqCst);
    local.publishing.store(0, Ordering::Relaxed);
    if !published {
        fold(tables, local, at);
    }
}

/// Whether an entry takes part: a re-entry is no event, what is not known cannot be ordered, and what this
/// handler interrupted may have been given back already.
fn counts(entry: &HeldEntry) -> bool {
    const NOT: u64 = Flags::REENTRY.bits() as u64 | ENDED;
    live(entry) && entry.flags.load(Ordering::Relaxed) & NOT == 0 && row_of(entry) != 0
}

fn is_published(entry: &HeldEntry) -> bool {
    entry.flags.load(Ordering::Relaxed) & PUBLISHED != 0
}

fn mark(flags: &AtomicU64, published: bool) {
    let others = flags.load(Ordering::Relaxed) & !PUBLISHED;
    flags.store(if published { others | PUBLISHED } else { others }, Ordering::Relaxed);
}

/// The outermost position that has to be published; `None` where nothing is held around `at`.
fn first_unpublished(local: &Local, at: u32, anew: bool) -> Option<u32> {
    let mut from = None;
    for below in (0..at).rev() {
        // The same lock counts, too, unless it is a re-entry: a reader that reads once more.
        let Some(entry) = entry_at(local, below).filter(|entry| counts(entry)) else { continue };
        if !anew && is_published(entry) {
            return from.or(Some(at));
        }
        from = Some(below);
    }
    from
}

/// Writes an `EarlyAcquire` record and marks the entry; false if the ring has no room.
fn write_early_acquire(local: &Local, entry: &HeldEntry, position: u32) -> bool {
    // Taken down before the record is written: a handler in between may put it up again.
    let restart = local.restart.swap(0, Ordering::Relaxed) != 0;
    let ticks = entry.ticks.load(Ordering::Relaxed);
    let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
    let word = Record::pack(Op::EarlyAcquire, entry.record_flags(), 0);
    let extra = extra_hold(position) | if restart { RESTART } else { 0 };
    let fast = local.writer.has_room_surely() && local.writing.load(Ordering::Relaxed) == 0;
    if fast {
        // SAFETY: there is room up to the soft limit, and no write is under way.
        unsafe { write(local, ticks, lock_and_stack, word, || extra) };
    } else {
        let (lock, stack) = (lock_and_stack as u32, (lock_and_stack >> 32) as u32);
        if !write_where_room(local, Record { ticks, lock, stack, word, extra }) {
            if restart {
                begin_anew(local);
            }
            return false;
        }
    }
    mark(&entry.flags, true);
    true
}

/// Counts the chain of held locks up to this position. A plain loop: closures that are called take room on the program's
/// stack.
#[cold]
#[inline(never)]
fn fold(tables: &Tables, local: &Local, at: u32) {
    let segment = segment_of_folds(local);
    let mut innermost = None;
    for position in 0..=at {
        let Some(entry) = entry_at(local, position).filter(|entry| counts(entry)) else { continue };
        mark_nested(tables, row_of(entry));
        innermost = fold_early_acquire(local, segment, innermost, entry);
        if innermost.is_none() {
            break;
        }
    }
    match innermost {
        Some(innermost) => count_here(&innermost.count),
        None => order_cut(),
    }
}

fn mark_nested(tables: &Tables, row: u32) {
    let info = tables.segment.lock(row);
    if !info.traits().is_nested() {
        info.change_traits(TraitBits::default(), TraitBits::NESTED);
    }
}
