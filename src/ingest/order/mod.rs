//! Records become events of the order of locks: what [`Fold`] is fed with while the program runs.
//!
//! It judges nothing. What cannot be told apart (rows that stand for many locks) takes no part; that, too, is
//! counted, since the graph is not complete then.

mod folds;
mod rest;
mod tape;
#[cfg(test)]
mod tests;

pub use folds::{Looks, tables};
pub use tape::Tape;

use lockprof_wire::record::{OPENED, RESTART, misuse};
use lockprof_wire::{Flags, Record};

use super::clock::Ticks;
use super::image::{Image, traits_of};
use crate::model::order::{Event, Fold, Gate, How, Logged, LoggedWhat, Misuse, MisuseKind, What};
use crate::model::{Kind, LockId, Mode, Order, Session, SiteKey, StackId, ThreadId};

/// See the module.
#[derive(Default)]
pub struct Orders {
    fold: Fold,
}

/// A record whose lock and stack are known to the session.
#[derive(Clone, Copy)]
pub struct Placed {
    /// The record.
    pub record: Record,
    /// Who wrote it.
    pub thread: ThreadId,
    /// Its lock, stack and mode.
    pub key: SiteKey,
    /// Whether acquisitions of the lock are part of the order.
    pub ordered: bool,
}

impl Placed {
    fn position(&self) -> u32 {
        self.record.extra as u32
    }

    fn has(&self, flag: u8) -> bool {
        self.record.flags() & flag != 0
    }

    fn event(&self, at_ns: u64, what: What) -> Event {
        Event { at_ns, stack: self.key.stack, what }
    }
}

impl Orders {
    /// A hold without anything beside it: only single events tell of it.
    fn section(order: &mut Order, thread: ThreadId, key: SiteKey, flags: u8, at_ns: u64, until_ns: u64) {
        let SiteKey { lock, stack, mode } = key;
        let mut log = |at_ns, until_ns, what| order.log.push(Logged { at_ns, until_ns, thread, lock, stack, what });
        match how_of(flags) {
            How::Block => log(at_ns, until_ns, LoggedWhat::Section(mode)),
            how => {
                log(at_ns, 0, LoggedWhat::Tried(mode, how));
                log(until_ns, 0, LoggedWhat::Released);
            }
        }
    }

    /// The end of a hold that is more than a section: nested, taken again by its owner, never given back, or with
    /// a join in between.
    #[inline(never)]
    pub fn hold_ended(&mut self, placed: Placed, image: &Image, session: &mut Session) {
        if placed.has(Flags::REENTRY) {
            return;
        }
        let SiteKey { lock, mode, stack } = placed.key;
        let start_ns = image.ticks.moment_ns(placed.record.ticks);
        let end_ns = start_ns + image.ticks.duration_ns(placed.record.payload());
        if is_section(placed.record) {
            let gate = Gate { lock, mode, stack };
            return self.fold.spanned(&mut session.order, placed.thread, gate, start_ns, end_ns);
        }
        let position = placed.position();
        let (at_ns, what) = if placed.has(Flags::UNRELEASED) {
            self.held_at_thread_exit(placed, image, session);
            (start_ns, What::Kept { position, lock, mode })
        } else {
            (end_ns, What::Released { position, lock })
        };
        self.fold.apply(&mut session.order, placed.thread, placed.event(at_ns, what));
    }

    fn held_at_thread_exit(&mut self, placed: Placed, image: &Image, session: &mut Session) {
        let SiteKey { lock, stack, .. } = placed.key;
        let row = image.segment.lock(placed.record.lock);
        let robust = row.is_some_and(|info| traits_of(info).robust);
        if session.lock(lock).kind != Kind::Semaphore && !robust {
            let misuse = Misuse { kind: MisuseKind::HeldAtThreadExit, lock, stack, holder: stack };
            session.order.misused(misuse, placed.thread, 1);
        }
    }

    /// A lock that is held beside others.
    pub fn opened(&mut self, placed: Placed, ticks: &Ticks, order: &mut Order) {
        let (position, restart) = (placed.position(), placed.record.extra & RESTART != 0);
        let SiteKey { lock, mode, .. } = placed.key;
        let what = if placed.ordered && !placed.has(Flags::REENTRY) {
            let (how, reacquired) = (how_of(placed.record.flags()), placed.has(Flags::REACQUIRED));
            What::Acquired { lock, mode, how, reacquired, position, restart }
        } else {
            order.dropped += u64::from(!placed.ordered);
            What::Reached { position, restart }
        };
        let at_ns = ticks.moment_ns(placed.record.ticks);
        self.fold.apply(order, placed.thread, placed.event(at_ns, what));
    }

    /// A wait that is over.
    pub fn done(&mut self, placed: Placed, image: &Image, session: &mut Session) {
        let record = placed.record;
        let SiteKey { lock, .. } = placed.key;
        let at_ns = image.ticks.moment_ns(record.ticks);
        let until_ns = at_ns + image.ticks.duration_ns(record.payload());
        let address = session.lock(lock).address;
        let what = match session.lock(lock).kind {
            Kind::Semaphore | Kind::Condvar => What::Taken { lock, until_ns },
            Kind::Barrier => What::Barrier { lock, count: record.extra as u32, until_ns },
            Kind::Join => What::JoinedBy { how: how_of(record.flags()), lock, key: address, until_ns },
            _ => return,
        };
        self.fold.belongs(placed.thread, image.process);
        self.fold.apply(&mut session.order, placed.thread, placed.event(at_ns, what));
    }

    /// A semaphore is about to be posted, a condition to be signalled.
    pub fn posted(&mut self, record: Record, thread: ThreadId, image: &mut Image, session: &mut Session) {
        let lock = image.lock(session, record.lock);
        if matches!(session.lock(lock).kind, Kind::Semaphore | Kind::Condvar) {
            let stack = image.stack(session, record.stack);
            let event = Event { at_ns: image.ticks.moment_ns(record.ticks), stack, what: What::Posted { lock } };
            self.fold.apply(&mut session.order, thread, event);
        }
    }

    /// A lock is about to be taken whose owner ended and held it.
    pub fn owner_died(&mut self, record: Record, thread: ThreadId, image: &mut Image, session: &mut Session) {
        let (lock, stack) = (image.lock(session, record.lock), image.stack(session, record.stack));
        let event = Event { at_ns: image.ticks.moment_ns(record.ticks), stack, what: What::OwnerDied { lock } };
        self.fold.apply(&mut session.order, thread, event);
    }

    /// A thread is about to be created.
    pub fn created(&mut self, record: Record, thread: ThreadId, image: &mut Image, session: &mut Session) {
        let stack = image.stack(session, record.stack);
        let at_ns = image.ticks.moment_ns(record.ticks);
        let event = Event { at_ns, stack, what: What::Created { token: record.extra as u32 } };
        self.fold.belongs(thread, image.process);
        self.fold.apply(&mut session.order, thread, event);
    }

    /// A thread begins.
    pub fn started(&mut self, record: Record, thread: ThreadId, image: &Image, session: &mut Session) {
        let what = What::Started { process: image.process, key: record.extra, token: record.stack };
        let event = Event { at_ns: image.ticks.moment_ns(record.ticks), stack: StackId(0), what };
        self.fold.apply(&mut session.order, thread, event);
    }

    /// A thread ends.
    pub fn ended(&mut self, record: Record, thread: ThreadId, image: &Image, session: &mut Session) {
        let event = Event { at_ns: image.ticks.moment_ns(record.ticks), stack: StackId(0), what: What::Ended };
        self.fold.apply(&mut session.order, thread, event);
    }

    /// A lock was used as it may not be.
    pub fn misused(record: Record, thread: ThreadId, image: &mut Image, session: &mut Session) {
        let holder = image.stack(session, record.extra as u32);
        count_misuse(record, holder, record.payload(), (thread, 1), image, session);
    }

    /// Records of the thread may have been folded here.
    pub fn doubt(&mut self, thread: ThreadId) {
        self.fold.doubt(thread);
    }

    /// Joins what was read of different threads.
    pub fn settle(&mut self, order: &mut Order, all: bool) {
        self.fold.settle(order, all);
    }
}

fn count_misuse(
    record: Record,
    holder: StackId,
    number: u64,
    (thread, count): (ThreadId, u64),
    image: &mut Image,
    session: &mut Session,
) {
    let kind = match number {
        misuse::UNLOCK_NOT_OWNER => MisuseKind::UnlockNotOwner,
        misuse::UNLOCK_NOT_LOCKED => MisuseKind::UnlockNotLocked,
        misuse::DESTROYED_WHILE_HELD => MisuseKind::DestroyedWhileHeld,
        misuse::WAIT_NOT_OWNER => MisuseKind::WaitNotOwner,
        misuse::WAIT_NOT_LOCKED => MisuseKind::WaitNotLocked,
        misuse::REFUSED => MisuseKind::Refused,
        _ => return,
    };
    let lock = image.lock(session, record.lock);
    // Of a lock that is not told apart from others, nothing can be said.
    if session.lock(lock).address != 0 {
        let stack = image.stack(session, record.stack);
        session.order.misused(Misuse { kind, lock, stack, holder }, thread, count);
    }
}

/// Whether a `Hold` is a plain section: nothing was held beside it, and it was given back.
#[inline(always)]
pub fn is_section(record: Record) -> bool {
    record.extra & OPENED == 0 && record.flags() & (Flags::REENTRY | Flags::UNRELEASED) == 0
}

/// How a lock was asked for, by the flags. Going on with an interrupted hold waits for nobody.
fn how_of(flags: u8) -> How {
    if flags & (Flags::TRY | Flags::CONTINUED) != 0 {
        How::Try
    } else if flags & Flags::TIMED != 0 {
        How::Timed
    } else {
        How::Block
    }
}

/// The mode that the flags tell.
fn mode_of(flags: u8) -> Mode {
    if flags & Flags::SHARED != 0 { Mode::Shared } else { Mode::Exclusive }
}

/// The session's lock of a row, if it takes part.
fn lock_in_order(image: &mut Image, session: &mut Session, row: u32) -> Option<LockId> {
    let lock = image.lock(session, row);
    session.lock(lock).nests().then_some(lock)
}
