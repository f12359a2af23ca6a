//! The end of an acquisition: its `Hold` record.

use core::sync::atomic::{Ordering, compiler_fence};

use lockprof_wire::record::{PUBLISHED_EARLY, extra_hold};
use lockprof_wire::thread::PUBLISHED;
use lockprof_wire::{Flags, HeldEntry, Op, Record};

use super::held::{ENDED, Held, RELEASED, trim};
use super::ring::{emit, emit_contended, emit_essential, write};
use crate::state::local::Local;

/// Marks an entry as ended, in one instruction: a signal handler in between may find the lock free, and end it itself
/// (`recorder::drop_unseen`). False if that is so. From here on no handler reports it.
#[inline(always)]
fn claim(entry: &HeldEntry) -> bool {
    // SAFETY: the word is a valid one.
    unsafe {
        core::arch::asm!("bts qword ptr [{word}], {bit}", "jc {ended}", word = in(reg) entry.flags.as_ptr(),
            bit = const ENDED.trailing_zeros(), ended = label { return false }, options(nostack));
    }
    true
}

/// Notes that this acquisition ended at `now`. Call after the real release.
#[inline(always)]
pub fn release(local: &Local, held: Held, now: u64, flags: Flags) {
    let Held { at, entry } = held;
    if !claim(entry) {
        return;
    }
    let marks = entry.flags.load(Ordering::Relaxed);
    let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
    let ticks = entry.ticks.load(Ordering::Relaxed);
    let flags = Flags::from_bits(marks as u8).with(flags);
    let word = Record::pack(Op::Hold, flags, now.saturating_sub(ticks));
    if !flags.is_contended() && local.writer.has_room_surely() && local.writing.load(Ordering::Relaxed) == 0 {
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
        local.set_depth(at);
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
    const TO_EXTRA: u32 = PUBLISHED_EARLY.trailing_zeros() - PUBLISHED.trailing_zeros();
    extra_hold(at) | (marks & PUBLISHED) << TO_EXTRA
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
    let published = extra & PUBLISHED_EARLY != 0;
    let written = if record.flags().is_contended() {
        emit_contended(local, entry, record)
    } else if published {
        emit_essential(local, &[record], 0)
    } else {
        emit(local, record)
    };
    if published && !written {
        begin_anew(local);
    }
}

/// What the collector has as open is not to be relied on: the next `EarlyAcquire` says so.
pub fn begin_anew(local: &Local) {
    local.restart.store(1, Ordering::Relaxed);
}
