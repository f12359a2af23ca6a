//! Locks that are used as they may not be: given back (or waited with on a condition) by a thread that does not hold
//! them, destroyed while held, asked for again by their owner and refused.
//!
//! Reported only where both the lock's own words and what was recorded say so. The recorder does not see all: a
//! lock may have been taken before it came, in the parent of a fork, in another process, or in a signal
//! handler that interrupted the recorder. In all of these the lock's words say that somebody has it whom the
//! recorder does not know, and nothing is reported.

use core::sync::atomic::Ordering;

use lockprof_wire::lock_layout::LockState;
use lockprof_wire::record::misuse;
use lockprof_wire::{Flags, Kind, Op, Record};

use super::caller::{Caller, Thread, thread};
use super::locks::{Lock, LockWord};
use super::wait::{entry_of, holder};
use crate::recorder;
use crate::sys::clock;
use crate::tables::Tables;

/// A misuse that is about to happen.
#[derive(Clone, Copy)]
pub struct Misuse {
    /// A number of [`misuse`].
    payload: u64,
    /// The lock's row; 0 if it has none yet.
    row: u32,
    address: u64,
    /// As `extra` of a `Waited` record.
    holder: u64,
    ticks: u64,
}

/// The row of a lock, if it has one.
fn row_of(tables: &Tables, address: u64, kind: Kind) -> u32 {
    let word = tables.addresses.find(address).map(|entry| entry.lock.load());
    word.filter(|word| word.is_of(kind)).map_or(0, LockWord::row)
}

/// Who has this lock by both accounts, as `extra` of a `Waited` record; 0 if that is not so. `own`: the
/// slot of this thread, which is looked at as well if `with_own`.
fn recorded_holder(tables: &'static Tables, row: u32, owner: Option<u32>, own: u32, with_own: bool) -> u64 {
    let number = if let Some(owner) = owner {
        tables.slot_of(owner).filter(|number| with_own || *number != own)
    } else if tables.segment.lock(row).traits().is_handed_over() {
        // Whoever had it once may not know yet that it was taken away.
        None
    } else {
        /// More threads than that are not looked at.
        const LOOKS: u32 = 256;
        let count = tables.header().thread_count.load(Ordering::Relaxed).min(LOOKS);
        (0..count).find(|number| (with_own || *number != own) && entry_of(tables, *number, row, false).is_some())
    };
    let found = number.and_then(|number| Some((number, entry_of(tables, number, row, false)?.0)));
    found.map_or(0, |(number, stack)| holder(number, stack))
}

/// Looks at a lock that this thread is about to give back without having it, as far as is known.
pub fn before_release(thread: Thread, address: u64, kind: Kind, state: LockState) -> Option<Misuse> {
    let (tables, slot, own) = (thread.0.tables()?, thread.0.slot(), thread.0.number());
    let row = row_of(tables, address, kind);
    let (payload, holder) = match state {
        LockState::Free => (misuse::UNLOCK_NOT_LOCKED, 0),
        // Read locks have no owner; this one may have been taken where the recorder was not.
        LockState::Held if kind == Kind::Rwlock => return None,
        LockState::Held | LockState::HeldBy(_)
            if state.owner() != Some(slot.tid.load(Ordering::Relaxed)) && row != 0 =>
        {
            match recorded_holder(tables, row, state.owner(), own, false) {
                0 => return None,
                holder => (misuse::UNLOCK_NOT_OWNER, holder),
            }
        }
        _ => return None,
    };
    Some(Misuse { payload, row, address, holder, ticks: clock::now() })
}

/// A request was refused since this thread has the lock already.
#[cold]
pub fn refused_to_owner(caller: Caller, lock: Lock) {
    let (held, own) = (recorder::find_held(caller.thread.0, lock.address), caller.thread.0.number());
    let Some(held) = held else { return };
    let taken = (held.entry.lock_and_stack.load(Ordering::Relaxed) >> 32) as u32;
    let holder = holder(own, taken);
    let (row, address) = (lock.row(), lock.address);
    Misuse { payload: misuse::REFUSED, row, address, holder, ticks: clock::now() }.report(caller);
}

/// Looks at a lock that is about to be destroyed.
pub fn before_destroy(address: u64, kind: Kind, state: LockState) -> Option<Misuse> {
    if !matches!(state, LockState::Held | LockState::HeldBy(_)) {
        return None;
    }
    let thread = thread()?;
    let (tables, own) = (thread.0.tables()?, thread.0.number());
    let row = row_of(tables, address, kind);
    if row == 0 {
        return None;
    }
    let holder = recorded_holder(tables, row, state.owner(), own, true);
    let ticks = clock::now();
    (holder != 0).then_some(Misuse { payload: misuse::DESTROYED_WHILE_HELD, row, address, holder, ticks })
}

impl Misuse {
    /// Whether the lock has no row yet: the caller finds one for the report ([`Self::of`]).
    pub fn needs_lock(self) -> bool {
        self.row == 0
    }

    /// The same of this lock.
    pub fn of(self, lock: Lock) -> Self {
        Self { row: lock.row(), ..self }
    }

    /// It is a wait on a condition that gives the lock back. `takes`: such a release succeeds whoever has the lock.
    pub fn by_wait(self, caller: Caller, takes: bool) -> Self {
        if self.payload == misuse::UNLOCK_NOT_LOCKED {
            return Self { payload: misuse::WAIT_NOT_LOCKED, ..self };
        }
        if takes {
            self.released_by_another(caller);
        }
        Self { payload: misuse::WAIT_NOT_OWNER, ..self }
    }

    /// The lock was given back all the same: it was taken from its owner, if it had one.
    pub fn went_through(self, caller: Caller) {
        if self.payload == misuse::UNLOCK_NOT_OWNER {
            self.released_by_another(caller);
        }
    }

    /// The lock was taken from its owner. It may be gone by now: its address is all that counts.
    fn released_by_another(self, caller: Caller) {
        if let Some(tables) = caller.thread.0.tables() {
            caller.thread.0.on_slow_path(|| tables.released_by_another(self.address, self.row, self.ticks));
        }
    }

    /// Writes it down.
    pub fn report(self, caller: Caller) {
        let record = Record {
            ticks: self.ticks,
            lock: self.row,
            stack: caller.stack,
            word: Record::pack(Op::Misuse, Flags::NONE, self.payload),
            extra: self.holder,
        };
        recorder::emit(caller.thread.0, record);
    }
}
