//! Rows of the order of locks: lists of held locks, timelines of threads, requests, misuses, single events.
//!
//! As in `rows`: only ever add fields at the end; references are checked by the reader.

use serde::{Deserialize, Serialize};

use super::rows::{mode, mode_number, number};
use crate::model::order::{
    ChainId, GuardLock, How, Link, Logged, LoggedWhat, Misuse, MisuseKind, Order, Request, RequestKey, Run, SyncPoint,
    SyncWhat, ThreadTimeline,
};
use crate::model::{LockId, Mode, StackId, ThreadId};

// A value's number in the file is its place in these lists: only ever add at the end.
const HOWS: [How; 3] = [How::Block, How::Timed, How::Try];
const MISUSES: [MisuseKind; 7] = [
    MisuseKind::UnlockNotOwner,
    MisuseKind::UnlockNotLocked,
    MisuseKind::DestroyedWhileHeld,
    MisuseKind::HeldAtThreadExit,
    MisuseKind::WaitNotOwner,
    MisuseKind::WaitNotLocked,
    MisuseKind::Refused,
];
const EVENTS: [LoggedWhat; 10] = [
    LoggedWhat::Acquired(Mode::Exclusive),
    LoggedWhat::Acquired(Mode::Shared),
    LoggedWhat::Released,
    LoggedWhat::Section(Mode::Exclusive),
    LoggedWhat::Section(Mode::Shared),
    LoggedWhat::SyncPoint,
    LoggedWhat::Tried(Mode::Exclusive, How::Timed),
    LoggedWhat::Tried(Mode::Shared, How::Timed),
    LoggedWhat::Tried(Mode::Exclusive, How::Try),
    LoggedWhat::Tried(Mode::Shared, How::Try),
];

/// A lock, how it is held, and where it was taken.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct HeldRow {
    pub lock: u32,
    mode: u8,
    pub stack: u32,
}

impl HeldRow {
    fn new(lock: LockId, mode: Mode, stack: StackId) -> Self {
        Self { lock: lock.0, mode: mode_number(mode), stack: stack.0 }
    }

    fn parts(self) -> Option<(LockId, Mode, StackId)> {
        Some((LockId(self.lock), mode(self.mode)?, StackId(self.stack)))
    }
}

/// `CHAN`: a list of held locks. The first row is list 1: list 0 is the empty one.
#[derive(Serialize, Deserialize)]
pub struct ChainRow {
    /// This list's number less that of the list below: 1 or more.
    pub back: u32,
    pub top: HeldRow,
}

impl ChainRow {
    pub fn new(number: u32, link: &Link) -> Self {
        Self { back: number - link.outer.0, top: HeldRow::new(link.lock, link.mode, link.stack) }
    }

    /// `None` where a number has no meaning here.
    pub fn link(&self, outer: ChainId) -> Option<Link> {
        let (lock, mode, stack) = self.top.parts()?;
        Some(Link { outer, lock, mode, stack })
    }
}

/// `MARK`: a point in a thread's timeline; ascending by thread, then in the thread's order.
#[derive(Serialize, Deserialize)]
pub struct SyncPointRow {
    /// The thread's number less that of the row before (of 0 before the first).
    pub thread_step: u32,
    what: u8,
    /// The other thread (created, joined, outlived), or the lock.
    pub other: Option<u32>,
    /// Threads that meet at a barrier.
    count: u32,
    /// When it began, ns, less that of the row before (0 before the first row), modulo 2^64.
    pub at_step_ns: i64,
    pub wait_ns: u64,
    pub stack: u32,
}

impl SyncPointRow {
    pub fn new(thread_step: u32, last_ns: u64, sync_point: &SyncPoint) -> Self {
        let (what, other, count) = match sync_point.what {
            SyncWhat::Created(thread) => (0, thread.map(|thread| thread.0), 0),
            SyncWhat::Joined(thread) => (1, thread.map(|thread| thread.0), 0),
            SyncWhat::Barrier { lock, count } => (2, Some(lock.0), count),
            SyncWhat::Posted(lock) => (3, Some(lock.0), 0),
            SyncWhat::Taken(lock) => (4, Some(lock.0), 0),
            SyncWhat::Outlived(thread) => (5, thread.map(|thread| thread.0), 0),
        };
        Self {
            thread_step,
            what,
            other,
            count,
            at_step_ns: sync_point.at_ns.wrapping_sub(last_ns) as i64,
            wait_ns: sync_point.until_ns.wrapping_sub(sync_point.at_ns),
            stack: sync_point.stack.0,
        }
    }

    /// `None` where a number has no meaning here.
    pub fn sync_point(&self, at_ns: u64) -> Option<SyncPoint> {
        let lock = || self.other.map(LockId);
        let what = match self.what {
            0 => SyncWhat::Created(self.other.map(ThreadId)),
            1 => SyncWhat::Joined(self.other.map(ThreadId)),
            2 => SyncWhat::Barrier { lock: lock()?, count: self.count },
            3 => SyncWhat::Posted(lock()?),
            4 => SyncWhat::Taken(lock()?),
            5 => SyncWhat::Outlived(self.other.map(ThreadId)),
            _ => return None,
        };
        Some(SyncPoint { at_ns, until_ns: at_ns.wrapping_add(self.wait_ns), what, stack: StackId(self.stack) })
    }
}

/// `LIFE`: what else orders a thread with others. Row n is thread n.
#[derive(Serialize, Deserialize)]
pub struct TimelineRow {
    /// Who created it, and the position of that in the creator's sync points.
    pub creator: Option<(u32, u32)>,
    pub guards: Vec<HeldRow>,
    pub soft_dropped: u64,
    pub hard_dropped: u64,
    /// What joiners call it.
    pub key: u64,
}

impl From<&ThreadTimeline> for TimelineRow {
    fn from(timeline: &ThreadTimeline) -> Self {
        Self {
            creator: timeline.creator.map(|(thread, sync_point)| (thread.0, sync_point)),
            guards: timeline.guards.iter().map(|guard| HeldRow::new(guard.lock, guard.mode, guard.stack)).collect(),
            soft_dropped: timeline.soft_dropped,
            hard_dropped: timeline.hard_dropped,
            key: timeline.key,
        }
    }
}

impl TimelineRow {
    /// `None` where a number has no meaning here.
    pub fn guards(&self) -> Option<Vec<GuardLock>> {
        let guard = |row: &HeldRow| row.parts().map(|(lock, mode, stack)| GuardLock { lock, mode, stack });
        self.guards.iter().map(guard).collect()
    }
}

/// `EDGE`: a lock asked for while others were held.
#[derive(Serialize, Deserialize)]
pub struct RequestRow {
    thread: u32,
    wanted: HeldRow,
    how: u8,
    reacquired: bool,
    held: u32,
    unanswered: bool,
    /// First segment, last segment less the first, how often.
    pub runs: Vec<(u32, u32, u64)>,
}

impl From<&Request> for RequestRow {
    fn from(request: &Request) -> Self {
        let RequestKey { thread, lock, mode, how, reacquired, stack, held } = request.key;
        Self {
            thread: thread.0,
            wanted: HeldRow::new(lock, mode, stack),
            how: number(&HOWS, how),
            reacquired,
            held: held.0,
            unanswered: request.unanswered,
            runs: request.runs.iter().map(|run| (run.first, run.last - run.first, run.count)).collect(),
        }
    }
}

impl RequestRow {
    /// `None` where a number has no meaning here.
    pub fn request(self) -> Option<Request> {
        let (lock, mode, stack) = self.wanted.parts()?;
        let key = RequestKey {
            thread: ThreadId(self.thread),
            lock,
            mode,
            how: *HOWS.get(usize::from(self.how))?,
            reacquired: self.reacquired,
            stack,
            held: ChainId(self.held),
        };
        let run = |(first, span, count): (u32, u32, u64)| Some(Run { first, last: first.checked_add(span)?, count });
        let runs: Vec<_> = self.runs.into_iter().map(run).collect::<Option<_>>()?;
        (!runs.is_empty()).then_some(Request { key, runs, unanswered: self.unanswered })
    }
}

/// `MISU`: a lock used as it may not be; ascending by the first four fields.
#[derive(Serialize, Deserialize)]
pub struct MisuseRow {
    kind: u8,
    lock: u32,
    stack: u32,
    holder: u32,
    pub thread: u32,
    pub count: u64,
}

impl MisuseRow {
    pub fn new(misuse: Misuse, (thread, count): (ThreadId, u64)) -> Self {
        let Misuse { kind, lock, stack, holder } = misuse;
        let kind = number(&MISUSES, kind);
        Self { kind, lock: lock.0, stack: stack.0, holder: holder.0, thread: thread.0, count }
    }

    /// `None` where a number has no meaning here.
    pub fn misuse(&self) -> Option<Misuse> {
        Some(Misuse {
            kind: *MISUSES.get(usize::from(self.kind))?,
            lock: LockId(self.lock),
            stack: StackId(self.stack),
            holder: StackId(self.holder),
        })
    }
}

/// `ORDR`: what is missing. One row at most.
#[derive(Serialize, Deserialize)]
pub struct MissingRow {
    pub requests: u64,
    pub events: u64,
    pub events_complete_from_ns: u64,
}

impl MissingRow {
    /// `None` where nothing is missing. `logged`: single events are written.
    pub fn new(order: &Order, logged: bool) -> Option<Self> {
        let log = &order.log;
        let row = if logged || log.is_empty() {
            Self { requests: order.dropped, events: log.dropped, events_complete_from_ns: log.complete_from_ns }
        } else {
            let events = log.dropped.saturating_add(log.len() as u64);
            Self { requests: order.dropped, events, events_complete_from_ns: u64::MAX }
        };
        (row.requests != 0 || row.events != 0 || row.events_complete_from_ns != 0).then_some(row)
    }
}

/// `OEVT`: a single event, in the order in which they were written down.
#[derive(Serialize, Deserialize)]
pub struct OrderEventRow {
    pub thread: u32,
    what: u8,
    /// A sync point: its position in the thread's sync points.
    pub lock: u32,
    pub stack: u32,
    /// When it began, ns, less that of the row before (0 before the first row), modulo 2^64.
    pub at_step_ns: i64,
    /// Sections and sync points: how long it took.
    length_ns: u64,
}

impl OrderEventRow {
    pub fn new(last_ns: u64, event: &Logged) -> Self {
        let Logged { at_ns, until_ns, thread, lock, stack, what } = *event;
        let lasts = matches!(what, LoggedWhat::Section(_) | LoggedWhat::SyncPoint);
        Self {
            thread: thread.0,
            what: number(&EVENTS, what),
            lock: lock.0,
            stack: stack.0,
            at_step_ns: at_ns.wrapping_sub(last_ns) as i64,
            length_ns: if lasts { until_ns.wrapping_sub(at_ns) } else { 0 },
        }
    }

    /// `None` where a number has no meaning here.
    pub fn event(&self, at_ns: u64) -> Option<Logged> {
        let what = *EVENTS.get(usize::from(self.what))?;
        let lasts = matches!(what, LoggedWhat::Section(_) | LoggedWhat::SyncPoint);
        Some(Logged {
            at_ns,
            until_ns: if lasts { at_ns.wrapping_add(self.length_ns) } else { 0 },
            thread: ThreadId(self.thread),
            lock: LockId(self.lock),
            stack: StackId(self.stack),
            what,
        })
    }
}
