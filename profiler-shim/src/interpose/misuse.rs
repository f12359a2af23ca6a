//! Locks that are used as they may not be: given back (or waited with on a condition) by a thread that does not hold
//! them, destroyed while held, asked for again by their owner and refused.
//!
//! Told only where both the lock's own words and what was recorded say so. The recorder does not see all: a
//! lock may have been taken before it came, in the parent of a fork, in another tables, or in a signal
//! handler that interrupted the recorder. In all of these the lock's words say that somebody has it whom the
//! recorder does not know, and nothing is told.

use core::ffi::c_int;
use core::sync::atomic::Ordering;

use lockprof_wire::lock::{kind, traits};
use lockprof_wire::record::misuse;
use lockprof_wire::{Op, Record};

use super::core::{Caller, Entry, Outcome, Posix, Request, Style, caller, lock_word, thread};
use super::wait::entry_of;
use crate::recorder;
use crate::state::local::Local;
use crate::sys::Ptr;
use crate::sys::clock;
use crate::tables::Tables;
use crate::tables::locks::NO_ELISION;

/// A misuse that is about to happen.
#[derive(Clone, Copy)]
pub struct Suspicion {
    /// A number of [`misuse`].
    payload: u64,
    /// The lock's row.
    row: u32,
    /// As `extra` of a `Waited` record.
    holder: u64,
    ticks: u64,
}

/// What a lock's own words say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    Free,
    /// Held by the thread with this kernel id; 0: by somebody.
    Held(u32),
    /// Nothing that can be relied on.
    Unclear,
}

/// Reads a lock's own words (glibc's layout, which is public ABI).
unsafe fn words_of(lock: Ptr, kind: u8) -> Words {
    // SAFETY: the object is one of this kind.
    let word = |number: usize| unsafe { lock.cast::<u32>().add(number).read_volatile() };
    match kind {
        kind::MUTEX => {
            // Plain, recursive, error-checking, adaptive; in the others the first word has more in it, or more
            // than one process uses it.
            let (state, owner, kind) = (word(0), word(2), word(4) & !NO_ELISION);
            match (kind, state) {
                (0..=3, 0) => Words::Free,
                // The owner is written behind the state and wiped before it.
                (0..=3, _) if owner != 0 => Words::Held(owner),
                _ => Words::Unclear,
            }
        }
        kind::RWLOCK => {
            const WRITER_HAS_IT: u32 = 2;
            const READERS: u32 = 3;
            let (readers, writer, shared) = (word(0), word(6), word(7));
            match (shared, readers >> READERS, readers & WRITER_HAS_IT) {
                (0, 0, 0) => Words::Free,
                (0, ..) => Words::Held(writer),
                _ => Words::Unclear,
            }
        }
        kind::SPINLOCK => {
            if word(0) == 1 {
                Words::Free
            } else {
                Words::Held(0)
            }
        }
        _ => Words::Unclear,
    }
}

/// The row of a lock, if it has one.
fn row_of(tables: &Tables, object: Ptr, kind: u8) -> u32 {
    let word = tables.addresses.find(object as u64).map_or(0, |entry| entry.lock.load(Ordering::Relaxed));
    if word >> 32 & 0xff == u64::from(kind) { word as u32 } else { 0 }
}

/// Who has this lock by both accounts, as `extra` of a `Waited` record; 0 if that is not so. `own`: the
/// slot of this thread, which is looked at as well if `with_own`.
fn recorded_holder(tables: &'static Tables, row: u32, owner: u32, own: u32, with_own: bool) -> u64 {
    let number = if owner != 0 {
        tables.slot_of(owner).filter(|number| with_own || *number != own)
    } else if tables.segment.lock(row).traits.load(Ordering::Relaxed) & traits::HANDED_OVER != 0 {
        // Whoever had it once may not know yet that it was taken away.
        None
    } else {
        /// More threads than that are not looked at.
        const LOOKS: u32 = 256;
        let count = tables.header().thread_count.load(Ordering::Relaxed).min(LOOKS);
        (0..count).find(|number| (with_own || *number != own) && entry_of(tables, *number, row, false).is_some())
    };
    let found = number.and_then(|number| Some((number, entry_of(tables, number, row, false)?.0)));
    found.map_or(0, |(number, stack)| u64::from(stack) | (u64::from(number) + 1) << 32)
}

/// Looks at a lock that this thread is about to give back without having it, as far as is known.
pub unsafe fn before_unlock<S>(local: *mut Local, request: Request<S>, entry: Entry) -> Option<Suspicion> {
    // SAFETY: the thread is the running hook's.
    let tables = unsafe { (*local).tables() }?;
    let mut row = row_of(tables, request.object, request.kind);
    // SAFETY: the thread is the running hook's; the object is one of this kind.
    let (slot, words) = unsafe { ((*local).slot(), words_of(request.object, request.kind)) };
    // SAFETY: as above.
    let own = unsafe { (*local).number };
    let (payload, holder) = match words {
        Words::Free => {
            if row == 0 {
                // SAFETY: the entry is the running hook's.
                row = unsafe { lock_word(caller(entry)?, request.object, request.kind) } as u32;
            }
            (misuse::UNLOCK_NOT_LOCKED, 0)
        }
        // Read locks have no owner; this one may have been taken where the recorder was not.
        Words::Held(0) if request.kind == kind::RWLOCK => return None,
        Words::Held(owner) if owner != slot.tid.load(Ordering::Relaxed) && row != 0 => {
            match recorded_holder(tables, row, owner, own, false) {
                0 => return None,
                holder => (misuse::UNLOCK_NOT_OWNER, holder),
            }
        }
        _ => return None,
    };
    Some(Suspicion { payload, row, holder, ticks: clock::now() })
}

/// Looks at the mutex of a condition wait that is about to begin, which this thread does not have as far as is known.
/// What libc does with it is an unlock, so that is told at once: the wait may never end.
#[cold]
pub unsafe fn before_wait(caller: Caller, mutex: Ptr, entry: Entry) {
    // SAFETY: the caller and the entry are the running hook's; the object is a mutex.
    unsafe {
        let request = Request { object: mutex, kind: kind::MUTEX, flags: 0, style: Posix };
        let Some(mut suspicion) = before_unlock(caller.local, request, entry) else { return };
        if suspicion.payload == misuse::UNLOCK_NOT_LOCKED {
            suspicion.payload = misuse::WAIT_NOT_LOCKED;
        } else {
            suspicion.payload = misuse::WAIT_NOT_OWNER;
            if gives_anyones(mutex) {
                suspicion.hand_over(caller, mutex);
            }
        }
        suspicion.tell(caller);
    }
}

/// Whether an unlock of this mutex succeeds whoever holds it: plain and adaptive ones do not look.
unsafe fn gives_anyones(mutex: Ptr) -> bool {
    const PLAIN: u32 = 0;
    const ADAPTIVE: u32 = 3;
    // SAFETY: the object is a mutex (glibc's layout, as in `words_of`).
    let kind = unsafe { mutex.cast::<u32>().add(4).read_volatile() } & !NO_ELISION;
    matches!(kind, PLAIN | ADAPTIVE)
}

/// A request was refused since this thread has the lock already.
#[cold]
pub unsafe fn refused(caller: Caller, object: Ptr, row: u32) {
    // SAFETY: the caller is the running hook's.
    unsafe {
        let Some(held) = recorder::find_held(caller.local, object as u64) else { return };
        let taken = held.entry.lock_and_stack.load(Ordering::Relaxed) >> 32;
        let holder = taken | (u64::from((*caller.local).number) + 1) << 32;
        Suspicion { payload: misuse::REFUSED, row, holder, ticks: clock::now() }.tell(caller);
    }
}

/// Looks at a lock that is about to be destroyed.
pub unsafe fn before_destroy(object: Ptr, kind: u8) -> Option<Suspicion> {
    // SAFETY: the thread is the running hook's; the object is one of this kind.
    let (local, words) = unsafe { (thread()?, words_of(object, kind)) };
    // SAFETY: as above.
    let tables = unsafe { (*local).tables() }?;
    let row = row_of(tables, object, kind);
    let Words::Held(owner) = words else { return None };
    if row == 0 {
        return None;
    }
    // SAFETY: as above.
    let own = unsafe { (*local).number };
    let holder = recorded_holder(tables, row, owner, own, true);
    (holder != 0).then(|| Suspicion { payload: misuse::DESTROYED_WHILE_HELD, row, holder, ticks: clock::now() })
}

impl Suspicion {
    /// The lock was given back, or the real call refused to do so.
    #[cold]
    pub unsafe fn unlocked<S: Style>(self, request: Request<S>, entry: Entry, answer: c_int) {
        let outcome = S::outcome(answer);
        // SAFETY: the entry is the running hook's.
        let Some(caller) = (unsafe { caller(entry) }) else { return };
        if !matches!(outcome, Outcome::Acquired | Outcome::Failed) {
            return;
        }
        if self.payload == misuse::UNLOCK_NOT_OWNER && outcome == Outcome::Acquired {
            // SAFETY: the caller is the running hook's.
            unsafe { self.hand_over(caller, request.object) };
        }
        self.tell(caller);
    }

    /// The lock was taken from its owner. It may be gone by now: its address is all that counts.
    unsafe fn hand_over(self, caller: Caller, object: Ptr) {
        // SAFETY: the caller is the running hook's.
        unsafe {
            if let Some(tables) = (*caller.local).tables() {
                Local::rarely(caller.local, || tables.hand_over(object as u64, self.row, self.ticks));
            }
        }
    }

    /// The lock was to be destroyed.
    #[cold]
    pub unsafe fn destroyed(self, entry: Entry) {
        // SAFETY: the entry is the running hook's.
        if let Some(caller) = unsafe { caller(entry) } {
            self.tell(caller);
        }
    }

    fn tell(self, caller: Caller) {
        let record = Record {
            ticks: self.ticks,
            lock: self.row,
            stack: caller.stack,
            word: Record::pack(Op::Misuse, 0, self.payload),
            extra: self.holder,
        };
        // SAFETY: the caller is the running hook's.
        unsafe { recorder::emit(caller.local, record) };
    }
}
