//! The log as a trace: events in the order of time, with what belongs together found.

use rustc_hash::{FxHashMap, FxHashSet};

use super::requests::{RequestView, holds};
use crate::model::order::{ChainId, How, Link, Logged, LoggedWhat, Run, SyncWhat};
use crate::model::{LockId, Mode, Session, StackId, ThreadId};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Acquire(Mode),
    Release,
    /// Passes the sync point with this number.
    SyncPoint(u32),
}

/// Which part of what was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Begin,
    End,
}

/// No event.
pub(super) const NONE: u32 = u32::MAX;

/// An event of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Event {
    pub at_ns: u64,
    pub thread: ThreadId,
    pub what: What,
    /// The lock; `LockId(0)` for sync points.
    pub lock: LockId,
    pub stack: StackId,
    /// The release of an acquisition, the acquisition of a release.
    pub mate: u32,
    /// The latest acquisition of the lock before this one that kept everybody out.
    pub exclusive_before: u32,
    /// What the thread held before an acquisition; `None` where that is not known.
    pub held: Option<ChainId>,
    /// Its place among the events of the thread.
    pub place: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub events: Vec<Event>,
    /// The events of each thread.
    pub by_thread: Vec<Vec<u32>>,
    /// The acquisitions of each lock, and the place of each among them.
    pub by_lock: FxHashMap<LockId, Vec<u32>>,
    /// By thread: where its sync points are among its events.
    sync_points: Vec<FxHashMap<u32, u32>>,
    /// By thread: events that lie in the part of the recording of which not everything is known.
    pub before: Vec<u32>,
    /// What is taken and given back but does not keep anybody out: it only hands over.
    pub loose: FxHashSet<LockId>,
    /// Everything that was recorded is here.
    pub complete: bool,
}

impl Trace {
    pub fn new(session: &Session) -> Self {
        let log = &session.order.log;
        let threads = session.threads.len().max(session.order.timelines.len());
        let mut raw: Vec<(u64, u32, Part, &Logged)> = Vec::with_capacity(log.len());
        let mut taken: FxHashMap<(ThreadId, LockId), u32> = FxHashMap::default();
        for (number, event) in (1u32..).zip(log.events().filter(|event| event.thread.index() < threads)) {
            match event.what {
                LoggedWhat::Section(_) => {
                    raw.push((event.at_ns, number, Part::Begin, event));
                    raw.push((event.until_ns.max(event.at_ns), number, Part::End, event));
                }
                LoggedWhat::SyncPoint => raw.push((event.until_ns.max(event.at_ns), number, Part::Begin, event)),
                LoggedWhat::Acquired(_) | LoggedWhat::Tried(..) => {
                    *taken.entry((event.thread, event.lock)).or_default() += 1;
                    raw.push((event.at_ns, number, Part::Begin, event));
                }
                LoggedWhat::Released => {
                    match taken.get_mut(&(event.thread, event.lock)).filter(|taken| **taken > 0) {
                        Some(taken) => *taken -= 1,
                        // Taken in the part that was dropped: it was held at its end in any case.
                        None => raw.push((log.complete_from_ns.min(event.at_ns), 0, Part::Begin, event)),
                    }
                    raw.push((event.at_ns, number, Part::End, event));
                }
            }
        }
        raw.sort_by_key(|(at_ns, number, part, _)| (*at_ns, *number, *part));
        let mut trace = Self {
            by_thread: vec![Vec::new(); threads],
            sync_points: vec![FxHashMap::default(); threads],
            before: vec![0; threads],
            complete: log.dropped == 0,
            ..Self::default()
        };
        let mut open: Vec<Vec<(LockId, u32, Option<ChainId>)>> = vec![Vec::new(); threads];
        for (at_ns, _, part, event) in raw {
            trace.add(session, &mut open[event.thread.index()], at_ns, part, event);
        }
        if !trace.complete {
            for (before, events) in trace.before.iter_mut().zip(&trace.by_thread) {
                let known = |at: &u32| trace.events[*at as usize].at_ns <= log.complete_from_ns;
                *before = events.partition_point(known) as u32;
            }
        }
        trace.chain();
        trace
    }

    fn push(&mut self, at_ns: u64, thread: ThreadId, what: What, lock: LockId, stack: StackId) -> u32 {
        let number = self.events.len() as u32;
        let place = self.by_thread[thread.index()].len() as u32;
        let (mate, exclusive_before, held) = (NONE, NONE, None);
        self.events.push(Event { at_ns, thread, what, lock, stack, mate, exclusive_before, held, place });
        self.by_thread[thread.index()].push(number);
        number
    }

    fn add(
        &mut self,
        session: &Session,
        open: &mut Vec<(LockId, u32, Option<ChainId>)>,
        at_ns: u64,
        part: Part,
        event: &Logged,
    ) {
        let Logged { thread, lock, stack, .. } = *event;
        let mode = match event.what {
            LoggedWhat::SyncPoint => {
                let number = self.push(at_ns, thread, What::SyncPoint(lock.0), LockId(0), stack);
                let place = self.events[number as usize].place;
                self.sync_points[thread.index()].insert(lock.0, place);
                return;
            }
            _ if part == Part::End => None,
            LoggedWhat::Released => Some(Mode::Exclusive),
            LoggedWhat::Acquired(mode) | LoggedWhat::Tried(mode, _) | LoggedWhat::Section(mode) => Some(mode),
        };
        let Some(row) = session.locks.get(lock.index()).filter(|row| row.merged <= 1) else { return };
        if !holds(row) {
            self.loose.insert(lock);
        }
        match mode {
            Some(mode) => {
                let outer = open.last().map_or(Some(ChainId::EMPTY), |last| last.2);
                let chain = outer.and_then(|outer| session.order.chains.find(&Link { outer, lock, mode, stack }));
                let number = self.push(at_ns, thread, What::Acquire(mode), lock, stack);
                self.events[number as usize].held = outer;
                open.push((lock, number, chain));
            }
            None => {
                let Some(at) = open.iter().rposition(|(known, ..)| *known == lock) else { return };
                let (_, taken, _) = open.remove(at);
                let mut below = at.checked_sub(1).map_or(Some(ChainId::EMPTY), |at| open[at].2);
                for (lock, taken, chain) in &mut open[at..] {
                    let event = &self.events[*taken as usize];
                    let What::Acquire(mode) = event.what else { continue };
                    let (lock, stack) = (*lock, event.stack);
                    *chain = below.and_then(|outer| session.order.chains.find(&Link { outer, lock, mode, stack }));
                    below = *chain;
                }
                let given = self.push(at_ns, thread, What::Release, lock, stack);
                self.events[taken as usize].mate = given;
                self.events[given as usize].mate = taken;
            }
        }
    }

    /// Finds which acquisitions of a lock follow each other.
    fn chain(&mut self) {
        let mut last: FxHashMap<LockId, u32> = FxHashMap::default();
        for number in 0..self.events.len() as u32 {
            let event = &mut self.events[number as usize];
            if let What::Acquire(mode) = event.what {
                event.exclusive_before = last.get(&event.lock).copied().unwrap_or(NONE);
                self.by_lock.entry(event.lock).or_default().push(number);
                if mode == Mode::Exclusive {
                    last.insert(event.lock, number);
                }
            }
        }
    }

    /// The place of a thread's sync point among its events: behind them where it was not kept.
    pub fn sync_point(&self, thread: ThreadId, sync_point: u32) -> Option<u32> {
        self.sync_points.get(thread.index())?.get(&sync_point).copied()
    }

    /// Where a request was made: places among the events of its thread, ascending.
    pub fn instances(&self, session: &Session, want: &RequestView<'_>, is_join: bool) -> Vec<u32> {
        let Some(events) = self.by_thread.get(want.thread.index()) else { return Vec::new() };
        let before = self.before[want.thread.index()];
        let mut identities = Vec::new();
        if is_join {
            let sync_points =
                session.order.timelines.get(want.thread.index()).map_or(&[][..], |timeline| &timeline.sync_points);
            let joins = |run: &Run| run.first..=run.last.min(sync_points.len() as u32);
            identities.extend(want.runs.iter().flat_map(joins).filter_map(|sync_point| {
                let joins = sync_points
                    .get(sync_point as usize)
                    .is_some_and(|sync_point| matches!(sync_point.what, SyncWhat::Joined(_)));
                self.sync_point(want.thread, sync_point).filter(|_| joins)
            }));
        } else if want.how != How::Try {
            identities.extend(events.iter().filter_map(|number| {
                let event = &self.events[*number as usize];
                let same = event.lock == want.lock && event.stack == want.stack && event.held == Some(want.held);
                (same && event.what == What::Acquire(want.mode)).then_some(event.place)
            }));
        }
        identities.retain(|place| *place >= before);
        identities.sort_unstable();
        if want.unanswered {
            identities.push(events.len() as u32);
        }
        identities
    }
}
