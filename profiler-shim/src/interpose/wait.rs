//! Waits: the real, blocking call, with what the thread waits for shown meanwhile, and who has it.

use core::ffi::c_int;
use core::sync::atomic::{Ordering, compiler_fence};

use lockprof_wire::Op;
use lockprof_wire::lock::kind;

use super::core::{Caller, EDEADLK, EOWNERDEAD, Outcome, Request, Style, acquired, failed, owner_died, reentry, tell};
use super::misuse;
use super::unwound::wait_in;
use crate::recorder::waits::leave_waits;
use crate::recorder::{self, Wait};
use crate::sys::Ptr;
use crate::sys::clock;
use crate::tables::Tables;
use crate::tables::locks::RECURSIVE;

/// The real, blocking call, with the thread's wait shown meanwhile. `busy`: it is known to be taken.
#[inline(never)]
#[cold]
pub unsafe fn acquire_contended<S: Style + Copy>(
    request: Request<S>,
    caller: Caller,
    word: u64,
    busy: bool,
    block: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let waiting = begin_wait(caller, word, request, busy);
        let answer = wait_in(block);
        let now = clock::now();
        end_wait(caller, waiting);
        if answer == EOWNERDEAD {
            owner_died(caller, word, now);
        }
        match S::outcome(answer) {
            Outcome::Acquired if busy => {
                let mut flags = request.flags;
                if word & RECURSIVE != 0 {
                    flags |= reentry(caller.local, request.object);
                }
                let wait = Wait { duration: now.saturating_sub(waiting.since), holder: waiting.holder };
                let address = request.object as u64;
                recorder::push_contended(caller.local, address, word as u32, caller.stack, flags, now, wait);
            }
            Outcome::Acquired => acquired(request, caller, word, 0),
            Outcome::TimedOut => {
                let waited = now.saturating_sub(waiting.since);
                tell(caller, word, Op::TimedOut, request.flags, waiting.since, waited);
            }
            _ => {
                failed(caller, word, request.flags, answer);
                if answer == EDEADLK {
                    misuse::refused(caller, request.object, word as u32);
                }
            }
        }
        answer
    }
}

/// Whether a lock's own word says that it is held (glibc's layout, which is public ABI): what stands for
/// a try where there is none.
pub unsafe fn looks_taken<S>(request: Request<S>) -> bool {
    const OWNER_DIED: u32 = 1 << 30;
    // SAFETY: the object is one of the kind.
    let word = unsafe { request.object.cast::<u32>().read_volatile() };
    match request.kind {
        kind::SPINLOCK => word != 1,
        kind::MUTEX => word != 0 && word & OWNER_DIED == 0,
        kind::SEMAPHORE => word == 0,
        _ => word != 0,
    }
}

/// A wait that began.
#[derive(Clone, Copy)]
pub struct Waiting {
    pub since: u64,
    pub holder: u64,
    /// Waits of this thread around it.
    around: u32,
}

/// Shows that this thread waits. `blame`: look who holds the lock.
pub unsafe fn begin_wait<S>(caller: Caller, word: u64, request: Request<S>, blame: bool) -> Waiting {
    // SAFETY: the caller is the running hook's.
    unsafe {
        // What this thread lost to others meanwhile must not look as if it held it while it waits.
        recorder::drop_handed_over(caller.local);
        let depth = (*caller.local).slot().depth.load(Ordering::Relaxed);
        recorder::drop_unseen(caller.local, depth, Some((request.object as u64, false)));
        let slot = (*caller.local).slot();
        let tables = (*caller.local).tables();
        let holder = match tables {
            Some(tables) if blame => find_holder(tables, caller, word as u32, request.object, request.kind),
            _ => 0,
        };
        let since = clock::now();
        slot.wait_stack.store(caller.stack, Ordering::Relaxed);
        slot.wait_since.store(since, Ordering::Relaxed);
        slot.wait_holder.store(holder, Ordering::Relaxed);
        slot.wait_flags.store(u64::from(request.flags), Ordering::Relaxed);
        // Release: a reader that sees the lock sees the rest.
        slot.wait_lock.store(word as u32, Ordering::Release);
        // Reserved before it is filled: a signal handler in between takes the next place.
        let around = (*caller.local).waits.load(Ordering::Relaxed);
        (*caller.local).waits.store(around + 1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let place = (*caller.local).waited_for.get(around as usize);
        if let (Some(tables), Some(place)) = (tables.filter(|_| word as u32 != 0), place) {
            let info = tables.segment.lock(word as u32);
            let waiters = info.waiters.fetch_add(1, Ordering::Relaxed) + 1;
            info.max_waiters.fetch_max(waiters, Ordering::Relaxed);
            place.store(word as u32, Ordering::Relaxed);
        }
        Waiting { since, holder, around }
    }
}

/// Shows that the wait is over.
pub unsafe fn end_wait(caller: Caller, waiting: Waiting) {
    // SAFETY: the caller is the running hook's.
    unsafe { leave_waits(caller.local, waiting.around) };
}

/// Who has the lock: holder's stack | thread slot + 1 << 32; 0 if it cannot be seen.
pub unsafe fn find_holder(tables: &'static Tables, caller: Caller, lock: u32, object: Ptr, kind: u8) -> u64 {
    // Offsets of `__data.__owner` and `__data.__cur_writer`: part of glibc's public ABI.
    let owner = match kind {
        // SAFETY: the object is a `pthread_mutex_t`.
        kind::MUTEX => unsafe { object.cast::<u32>().add(2).read_volatile() },
        // SAFETY: the object is a `pthread_rwlock_t`.
        kind::RWLOCK => unsafe { object.cast::<u32>().add(6).read_volatile() },
        _ => 0,
    };
    // SAFETY: the caller is the running hook's.
    let own = unsafe { (*caller.local).number };
    if owner != 0
        && let Some(number) = tables.slot_of(owner)
        && let Some((stack, _)) = entry_of(tables, number, lock, true)
    {
        return u64::from(stack) | (u64::from(number) + 1) << 32;
    }
    /// More threads than that are not looked at: it would delay the waiter.
    const LOOKS: u32 = 256;
    let count = tables.header().thread_count.load(Ordering::Relaxed);
    let mut best: Option<(u64, u32, u32)> = None;
    for number in (0..count.min(LOOKS)).filter(|number| *number != own) {
        if let Some((stack, ticks)) = entry_of(tables, number, lock, false)
            && best.is_none_or(|(since, _, _)| ticks < since)
        {
            best = Some((ticks, stack, number));
        }
    }
    best.map_or(0, |(_, stack, number)| u64::from(stack) | (u64::from(number) + 1) << 32)
}

/// The stack with which a thread took the lock, and when. `just_left`: also if it gave it back just now.
pub fn entry_of(tables: &'static Tables, number: u32, lock: u32, just_left: bool) -> Option<(u32, u64)> {
    let slot = tables.segment.thread(number);
    let depth = slot.depth.load(Ordering::Relaxed) as usize;
    let looked = slot.held.len().min(depth + usize::from(just_left));
    slot.held[..looked].iter().rev().find_map(|entry| {
        let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
        let ticks = entry.ticks.load(Ordering::Relaxed);
        (lock_and_stack as u32 == lock && (just_left || (ticks != 0 && ticks != u64::MAX)))
            .then_some(((lock_and_stack >> 32) as u32, ticks))
    })
}
