//! Why a cycle is of its class, as facts: locks, threads and places. The sentences are made of them by the renderers.

use super::Class;
use super::clocks::Clocks;
use super::guard_locks::LegGuard;
use super::links::{In, Via};
use super::verdict::{Grounds, Verdict};
use crate::model::order::{SyncPoint, SyncWhat};
use crate::model::{HangKind, LockId, Session, StackId, Stacks, ThreadId};

/// Why a cycle is of its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It happened.
    Hung {
        /// How.
        kind: HangKind,
        /// Threads that waited outside of a ring.
        others: usize,
    },
    /// A schedule was found.
    Schedule,
    /// A leg gives up after a time.
    Timed,
    /// A lock's row stands for many locks.
    Merged(LockId),
    /// The schedule takes this lock, in this place, earlier than recorded.
    HandOver(LockId, StackId),
    /// No schedule without changing the order of critical sections.
    NoWitness,
    /// The requests are not in the log any more.
    NotKept,
    /// Creations, joins or hand-overs were not kept.
    Dropped,
    /// There were too many combinations.
    TooMany,
    /// Readers meet at this lock; a writer that queues, by this thread in this place, may block them.
    Readers(LockId, Option<(ThreadId, StackId)>),
    /// This lock was taken, in this place, after a signal that was sent under it.
    Signal(LockId, StackId),
    /// One leg is always over before another begins.
    Before {
        /// What orders them, where one thing says it.
        link: Option<Link>,
        /// A lock that both hold as well.
        guard: Option<LockId>,
    },
    /// Two legs hold the same lock.
    Guard(LegGuard, LegGuard),
    /// No two threads.
    OneThread,
    /// The legs were seen in different runs.
    CrossRun,
    /// The same, and all of them held a lock of this one's class.
    CrossRunUnder(LockId),
}

/// What orders two legs. A place that is not known is [`Stacks::UNKNOWN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A thread is created here only after the other leg.
    Created(StackId),
    /// A thread is joined here before the other leg.
    Joined(StackId),
    /// The answer here says that a mutex's owner had ended.
    Outlived(StackId),
    /// The threads meet at a barrier.
    Met(Option<LockId>, StackId),
    /// A post, or a signal, and the wait that needed it.
    Posted {
        /// The semaphore or condition.
        lock: Option<LockId>,
        /// Where it is posted.
        posted: StackId,
        /// Where it is waited for.
        taken: StackId,
    },
}

/// The cause of a verdict. The way from one leg to another is looked for here, and not while cycles are classified.
pub(super) fn resolve(session: &Session, verdict: &Verdict, hard: &Clocks<'_>, soft: &Clocks<'_>) -> Cause {
    match &verdict.grounds {
        Grounds::Schedule => Cause::Schedule,
        Grounds::Timed => Cause::Timed,
        Grounds::Merged(lock) => Cause::Merged(*lock),
        Grounds::HandOver(event) => Cause::HandOver(event.lock, event.stack),
        Grounds::NoWitness => Cause::NoWitness,
        Grounds::NotKept => Cause::NotKept,
        Grounds::Dropped => Cause::Dropped,
        Grounds::TooMany => Cause::TooMany,
        Grounds::Readers(lock, writer) => {
            Cause::Readers(*lock, writer.as_ref().map(|writer| (writer.thread, writer.stack)))
        }
        Grounds::Signal(event) => Cause::Signal(event.lock, event.stack),
        Grounds::Before { earlier, later, guard } => {
            let is_soft = verdict.class == Class::SoftOrdered;
            let clocks = if is_soft { soft } else { hard };
            let path = clocks.path(earlier.0, earlier.1, later.0, later.1);
            let step = if is_soft { Clocks::soft_on(&path) } else { path.first().copied() };
            Cause::Before { link: step.map(|step| link(session, step)), guard: *guard }
        }
        Grounds::Guard(one, other) => Cause::Guard(*one, *other),
        Grounds::OneThread => Cause::OneThread,
        Grounds::CrossRun => Cause::CrossRun,
        Grounds::CrossRunUnder(lock) => Cause::CrossRunUnder(*lock),
    }
}

fn link(session: &Session, (to, link): (u32, In)) -> Link {
    let sync_point = |thread: u32, number: u32| -> Option<&SyncPoint> {
        session.order.timelines.get(thread as usize)?.sync_points.get(number as usize)
    };
    let at = |sync_point: Option<&SyncPoint>| sync_point.map_or(Stacks::UNKNOWN, |sync_point| sync_point.stack);
    let lock = |sync_point: Option<&SyncPoint>| match sync_point.map(|sync_point| sync_point.what) {
        Some(SyncWhat::Barrier { lock, .. } | SyncWhat::Posted(lock) | SyncWhat::Taken(lock)) => Some(lock),
        _ => None,
    };
    let (before, after) =
        (sync_point(link.node, link.upto.saturating_sub(1)), sync_point(to, link.seg.saturating_sub(1)));
    match link.via {
        Via::Created => Link::Created(at(before)),
        Via::Joined => Link::Joined(at(after)),
        Via::Outlived => Link::Outlived(at(after)),
        Via::Met { .. } => {
            // Into a round by an arrival; out of it by the sync_point before the segment.
            let arrival = before.filter(|sync_point| matches!(sync_point.what, SyncWhat::Barrier { .. }));
            let sync_point = arrival.or(after);
            Link::Met(lock(sync_point), at(sync_point))
        }
        Via::Posted => Link::Posted { lock: lock(before), posted: at(before), taken: at(after) },
    }
}
