//! Wire events become events of the order of locks: what [`Fold`](crate::model::order::Fold) is fed with while the
//! program runs.
//!
//! It judges nothing. What cannot be told apart (rows that stand for many locks) takes no part; that, too, is
//! counted, since the graph is not complete then.

mod aggregates;
mod at_exit;
mod merging;
mod sections;
#[cfg(test)]
mod tests;

pub use aggregates::{aggregated, tables};
pub use at_exit::left;
pub use merging::{Input, Merging, Source};
pub use sections::finish;

use super::decode::{self, Created, Done, EarlyAcquire, Hold, Moment, ThreadStart};
use super::image::traits_of;
use super::reducer::Reducer;
use crate::model::order::{Event, GuardLock, Misuse, MisuseKind, What};
use crate::model::{Kind, SiteKey, StackId, ThreadId};

/// Hands one event of a thread on.
fn apply(at_ns: u64, stack: StackId, what: What, thread: ThreadId, reducer: &mut Reducer) {
    hand_on(Input::Event(Event { at_ns, stack, what: what.in_first_list() }), thread, reducer);
}

/// Hands on what is said of a thread.
fn hand_on(input: Input, thread: ThreadId, reducer: &mut Reducer) {
    let order = &mut reducer.session.order;
    match input {
        _ if reducer.image.is_patched => reducer.accumulator.merging.add(thread, Source::Segment, input),
        Input::Event(event) | Input::Alone(event, _) => reducer.accumulator.order.apply(order, thread, event),
        Input::Spanned(guard, at_ns, until_ns) => {
            reducer.accumulator.order.spanned(order, thread, guard, at_ns, until_ns);
        }
        Input::Unreliable => reducer.accumulator.order.mark_unreliable(thread),
    }
}

/// Records of the thread may be missing.
pub fn mark_unreliable(thread: ThreadId, reducer: &mut Reducer) {
    hand_on(Input::Unreliable, thread, reducer);
}

/// The end of a hold that is more than a section: nested, taken again by its owner, never released, or with
/// a join in between.
#[inline(never)]
pub fn hold_ended(hold: Hold, key: SiteKey, thread: ThreadId, reducer: &mut Reducer) {
    let flags = hold.access.flags;
    if flags.is_reentry() {
        return;
    }
    let SiteKey { lock, mode, stack } = key;
    let start_ns = reducer.image.ticks.moment_ns(hold.ticks);
    let end_ns = start_ns + reducer.image.ticks.duration_ns(hold.held);
    if hold.is_section() {
        let guard = GuardLock { lock, mode, stack };
        return hand_on(Input::Spanned(guard, start_ns, end_ns), thread, reducer);
    }
    let position = hold.position;
    let (at_ns, what) = if flags.is_unreleased() {
        held_at_thread_exit(hold, key, thread, reducer);
        (start_ns, What::Kept { position, lock, mode })
    } else {
        (end_ns, What::Released { position, lock })
    };
    apply(at_ns, stack, what, thread, reducer);
}

/// The end of a hold with no other of libc's locks beside it, in a program whose own locks are recorded, too: there may have been
/// one of those.
#[inline(never)]
pub fn held_alone(hold: Hold, key: SiteKey, thread: ThreadId, reducer: &mut Reducer) {
    /// Of later ones only the order of those that are held with others is known.
    const MOST: u32 = 1 << 18;
    let SiteKey { lock, mode, stack } = key;
    let at_ns = reducer.image.ticks.moment_ns(hold.ticks);
    let until_ns = at_ns + reducer.image.ticks.duration_ns(hold.held);
    if reducer.image.held_alone >= MOST {
        reducer.session.order.log.missing_until(until_ns);
        return;
    }
    reducer.image.held_alone += 1;
    let event = Event { at_ns, stack, what: What::Section { lock, mode, until_ns } };
    hand_on(Input::Alone(event, hold.access.how()), thread, reducer);
}

fn held_at_thread_exit(hold: Hold, key: SiteKey, thread: ThreadId, reducer: &mut Reducer) {
    let SiteKey { lock, stack, .. } = key;
    let row = reducer.image.segment.lock(hold.access.lock);
    let robust = row.is_some_and(|info| traits_of(info).robust);
    if reducer.session.lock(lock).kind.is_always_owned() && !robust {
        let misuse = Misuse { kind: MisuseKind::HeldAtThreadExit, lock, stack, holder: stack };
        reducer.session.order.misused(misuse, thread, 1);
    }
}

/// A lock that is held beside others; `in_order`: it is part of the order.
pub fn acquired_early(early: EarlyAcquire, key: SiteKey, in_order: bool, thread: ThreadId, reducer: &mut Reducer) {
    reducer.image.recent.nested();
    let EarlyAcquire { access, position, restart, .. } = early;
    let SiteKey { lock, mode, stack } = key;
    let what = if in_order && !access.flags.is_reentry() {
        let (how, reacquired) = (access.how(), access.flags.is_reacquired());
        What::Acquired { lock, mode, how, reacquired, position, restart }
    } else {
        reducer.session.order.dropped += u64::from(!in_order);
        What::Reached { position, restart }
    };
    apply(reducer.image.ticks.moment_ns(early.ticks), stack, what, thread, reducer);
}

/// A wait that is over.
pub fn done(done: Done, key: SiteKey, thread: ThreadId, reducer: &mut Reducer) {
    let SiteKey { lock, stack, .. } = key;
    let at_ns = reducer.image.ticks.moment_ns(done.ticks);
    let until_ns = at_ns + reducer.image.ticks.duration_ns(done.wait);
    let row = reducer.session.lock(lock);
    let what = match row.kind {
        kind if kind.is_posted() => What::Taken { lock, until_ns },
        Kind::Barrier => What::Barrier { lock, count: done.parties, until_ns },
        Kind::Join => What::JoinedBy { how: done.access.how(), lock, key: row.address, until_ns },
        _ => return,
    };
    reducer.accumulator.order.belongs(thread, reducer.image.process);
    apply(at_ns, stack, what, thread, reducer);
}

/// A semaphore is about to be posted, a condition to be signalled.
pub fn posted(posted: Moment, thread: ThreadId, reducer: &mut Reducer) {
    let lock = reducer.lock(posted.lock);
    if reducer.session.lock(lock).kind.is_posted() {
        let stack = reducer.stack(posted.stack);
        apply(reducer.image.ticks.moment_ns(posted.ticks), stack, What::Posted { lock }, thread, reducer);
    }
}

/// A lock is about to be taken whose owner ended and held it.
pub fn owner_died(died: Moment, thread: ThreadId, reducer: &mut Reducer) {
    let (lock, stack) = (reducer.lock(died.lock), reducer.stack(died.stack));
    apply(reducer.image.ticks.moment_ns(died.ticks), stack, What::OwnerDied { lock }, thread, reducer);
}

/// A thread is about to be created.
pub fn created(created: Created, thread: ThreadId, reducer: &mut Reducer) {
    let stack = reducer.stack(created.stack);
    reducer.accumulator.order.belongs(thread, reducer.image.process);
    let what = What::Created { token: created.token };
    apply(reducer.image.ticks.moment_ns(created.ticks), stack, what, thread, reducer);
}

/// A thread begins.
pub fn started(start: ThreadStart, thread: ThreadId, reducer: &mut Reducer) {
    let what = What::Started { process: reducer.image.process, key: start.pthread, token: start.token };
    apply(reducer.image.ticks.moment_ns(start.ticks), StackId(0), what, thread, reducer);
}

/// A thread ends.
pub fn ended(end_ns: u64, thread: ThreadId, reducer: &mut Reducer) {
    apply(end_ns, StackId(0), What::Ended, thread, reducer);
}

/// A lock was used as it may not be.
pub fn misused(misuse: decode::Misuse, thread: ThreadId, reducer: &mut Reducer) {
    let holder = reducer.stack(misuse.holder);
    count_misuse(misuse, holder, (thread, 1), reducer);
}

fn count_misuse(misuse: decode::Misuse, holder: StackId, (thread, count): (ThreadId, u64), reducer: &mut Reducer) {
    let lock = reducer.lock(misuse.lock);
    // Of a lock that is not told apart from others, nothing can be said.
    if reducer.session.lock(lock).address != 0 {
        let stack = reducer.stack(misuse.stack);
        reducer.session.order.misused(Misuse { kind: misuse.kind, lock, stack, holder }, thread, count);
    }
}
