//! Waits: what a thread waits for is shown meanwhile, and who has it.

use core::sync::atomic::{Ordering, compiler_fence};

use lockprof_wire::Flags;

use super::caller::{Caller, Thread};
use super::locks::Lock;
use crate::recorder::{self, waits};
use crate::state::local::{PendingWait, local};
use crate::sys::clock;
use crate::tables::Tables;

/// A wait that began.
#[derive(Clone, Copy)]
pub struct Waiting {
    /// Ticks.
    pub since: u64,
    /// As `extra` of a `Waited` record.
    pub holder: u64,
    /// Waits of this thread around it.
    around: u32,
}

impl Waiting {
    /// A wait that nobody saw, and that is over.
    pub fn unseen(since: u64) -> Self {
        Self { since, holder: 0, around: 0 }
    }
}

/// Shows that the caller waits. `owner`: the kernel's id of the thread that has the lock by its own words, 0 if they do
/// not say; `None`: nobody is to be looked for.
pub fn begin_wait(caller: Caller, lock: Lock, flags: Flags, owner: Option<u32>) -> Waiting {
    let local = caller.thread.0;
    // What this thread lost to others meanwhile must not look as if it held it while it waits.
    recorder::drop_cross_thread_releases(local);
    let slot = local.slot();
    recorder::drop_unseen(local, slot.depth.load(Ordering::Relaxed), Some((lock.address, false)));
    let tables = local.tables();
    let holder = match (tables, owner) {
        (Some(tables), Some(owner)) => find_holder(tables, local.number(), lock.row(), owner),
        _ => 0,
    };
    let since = clock::now();
    slot.wait_stack.store(caller.stack, Ordering::Relaxed);
    slot.wait_since.store(since, Ordering::Relaxed);
    slot.wait_holder.store(holder, Ordering::Relaxed);
    slot.wait_flags.store(u64::from(flags.bits()), Ordering::Relaxed);
    // Release: a reader that sees the lock sees the rest.
    slot.wait_lock.store(lock.row(), Ordering::Release);
    // Reserved before it is filled: a signal handler in between takes the next place.
    let around = local.waits.load(Ordering::Relaxed);
    local.waits.store(around + 1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    let place = local.waited_for.get(around as usize);
    if let (Some(tables), Some(place)) = (tables.filter(|_| lock.row() != 0), place) {
        let info = tables.segment.lock(lock.row());
        let waiters = info.waiters.fetch_add(1, Ordering::Relaxed) + 1;
        info.max_waiters.fetch_max(waiters, Ordering::Relaxed);
        place.store(lock.row(), Ordering::Relaxed);
    }
    Waiting { since, holder, around }
}

/// Shows that the wait is over.
pub fn end_wait(thread: Thread, waiting: Waiting) {
    waits::leave_waits(thread.0, waiting.around);
}

/// The innermost wait of the thread that runs was left without an end (cancellation, an exception).
pub fn left_without_end() {
    if let Some(local) = local() {
        // Frames are left from the innermost on.
        waits::leave_wait(local);
    }
}

/// While the caller waits on a condition, this mutex is what the wait takes again even if it never returns. Gives what to
/// [`take_pending`] with.
pub fn with_pending(caller: Caller, mutex: Lock) -> PendingWait {
    let pending = PendingWait { mutex: mutex.address, mutex_lock: mutex.row(), stack: caller.stack };
    caller.thread.0.pending.replace(pending)
}

/// The wait returned.
pub fn take_pending(thread: Thread, outer: PendingWait) {
    thread.0.pending.set(outer);
}

/// Who has a lock, as `extra` of a `Waited` record: the thread with this slot, which took it with this stack.
pub(super) fn holder(number: u32, stack: u32) -> u64 {
    u64::from(stack) | (u64::from(number) + 1) << 32
}

/// Who has the lock ([`holder`]); 0 if it cannot be seen.
fn find_holder(tables: &'static Tables, own: u32, row: u32, owner: u32) -> u64 {
    if owner != 0
        && let Some(number) = tables.slot_of(owner)
        && let Some((stack, _)) = entry_of(tables, number, row, true)
    {
        return holder(number, stack);
    }
    /// More threads than that are not looked at: it would delay the waiter.
    const LOOKS: u32 = 256;
    let count = tables.header().thread_count.load(Ordering::Relaxed);
    let mut best: Option<(u64, u32, u32)> = None;
    for number in (0..count.min(LOOKS)).filter(|number| *number != own) {
        if let Some((stack, ticks)) = entry_of(tables, number, row, false)
            && best.is_none_or(|(since, _, _)| ticks < since)
        {
            best = Some((ticks, stack, number));
        }
    }
    best.map_or(0, |(_, stack, number)| holder(number, stack))
}

/// The stack with which a thread took the lock, and when. `just_left`: also if it gave it back just now.
pub(super) fn entry_of(tables: &'static Tables, number: u32, row: u32, just_left: bool) -> Option<(u32, u64)> {
    let slot = tables.segment.thread(number);
    let depth = slot.depth.load(Ordering::Relaxed) as usize;
    let looked = slot.held.len().min(depth + usize::from(just_left));
    slot.held[..looked].iter().rev().find_map(|entry| {
        let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
        let ticks = entry.ticks.load(Ordering::Relaxed);
        (lock_and_stack as u32 == row && (just_left || (ticks != 0 && ticks != u64::MAX)))
            .then_some(((lock_and_stack >> 32) as u32, ticks))
    })
}
