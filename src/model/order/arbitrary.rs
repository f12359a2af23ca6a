//! Random orders of locks, for the tests of every room that takes a session.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::model::{Kind, Session};

/// Rows whose references are still to be pointed at something.
#[derive(Clone, Debug)]
pub struct RawOrder {
    links: Vec<([Index; 3], Mode)>,
    sync_points: Vec<(u8, [Index; 3], bool, u32, u64, u64)>,
    timelines: Vec<RawTimeline>,
    requests: Vec<RawRequest>,
    misuses: Vec<(MisuseKind, [Index; 4], u64)>,
    events: Vec<(u8, Mode, [Index; 3], u64, u64)>,
    missing: [u64; 3],
}

/// Whether it has a creator, the creator and its sync point, guards, sync points that were not kept.
type RawTimeline = (bool, [Index; 2], Vec<([Index; 2], Mode)>, u64, u64);
/// Thread, lock, stack and list; mode; how; inside a condition wait, without an answer; runs.
type RawRequest = ([Index; 4], Mode, How, [bool; 2], Vec<([Index; 2], u64)>);

fn mode() -> impl Strategy<Value = Mode> {
    select(vec![Mode::Exclusive, Mode::Shared])
}

prop_compose! {
    /// An order of locks, a few dozen rows in each part.
    pub fn raw_order()(
        links in vec((any::<[Index; 3]>(), mode()), 0..12),
        sync_points in vec((0..6u8, any::<[Index; 3]>(), any::<bool>(), any::<u32>(), any::<u64>(), any::<u64>()), 0..16),
        timelines in vec(
            (any::<bool>(), any::<[Index; 2]>(), vec((any::<[Index; 2]>(), mode()), 0..3), 0..9u64, 0..9u64), 0..6,
        ),
        requests in vec(
            (any::<[Index; 4]>(), mode(), select(vec![How::Block, How::Timed, How::Try]), any::<[bool; 2]>(),
             vec((any::<[Index; 2]>(), 1..1u64 << 40), 1..4)),
            0..12,
        ),
        misuses in vec(
            (select(&MisuseKind::ALL[..]), any::<[Index; 4]>(), 0..1u64 << 40),
            0..6,
        ),
        events in vec((0..4u8, mode(), any::<[Index; 3]>(), any::<u64>(), any::<u64>()), 0..24),
        missing in prop::array::uniform3(0..3u64),
    ) -> RawOrder {
        RawOrder { links, sync_points, timelines, requests, misuses, events, missing }
    }
}

impl RawOrder {
    /// The order, with references to what the session has: threads and locks there must be.
    pub fn of(&self, session: &Session) -> Order {
        let thread = |index: &Index| ThreadId::from(index.index(session.threads.len()));
        let lock = |index: &Index| LockId::from(index.index(session.locks.len()));
        let stack = |index: &Index| StackId::from(index.index(session.stacks.len()));
        let mut order = Order::default();
        for ([outer, which, place], mode) in &self.links {
            let outer = ChainId(outer.index(order.chains.len() + 1) as u32);
            order.chains.intern(Link { outer, lock: lock(which), mode: *mode, stack: stack(place) });
        }
        for (what, [who, other, place], known, count, at_ns, until_ns) in &self.sync_points {
            let what = match what {
                0 => SyncWhat::Created(known.then(|| thread(other))),
                1 => SyncWhat::Joined(known.then(|| thread(other))),
                2 => SyncWhat::Barrier { lock: lock(other), count: *count },
                3 => SyncWhat::Posted(lock(other)),
                4 => SyncWhat::Outlived(known.then(|| thread(other))),
                _ => SyncWhat::Taken(lock(other)),
            };
            let sync_point = SyncPoint { at_ns: *at_ns, until_ns: *until_ns, what, stack: stack(place) };
            order.timeline(thread(who)).sync_points.push(sync_point);
        }
        for (at, (known, [creator, sync_point], guards, soft, must)) in self.timelines.iter().enumerate() {
            if at >= session.threads.len() {
                break;
            }
            // Creators come before their threads here, so that there is no ring.
            let creator = thread(creator);
            let sync_points = order.timelines.get(creator.index()).map_or(0, |timeline| timeline.sync_points.len());
            let creator = (*known && creator.index() < at && sync_points > 0)
                .then(|| (creator, sync_point.index(sync_points) as u32));
            let guard = |([which, place], mode): &([Index; 2], Mode)| GuardLock {
                lock: lock(which),
                mode: *mode,
                stack: stack(place),
            };
            let timeline = order.timeline(ThreadId::from(at));
            timeline.creator = creator;
            timeline.guards = guards.iter().map(guard).collect();
            (timeline.soft_dropped, timeline.hard_dropped, timeline.key) = (*soft, *must, soft ^ must);
        }
        for ([who, which, place, held], mode, how, [reacquired, unanswered], runs) in &self.requests {
            if order.chains.is_empty() {
                break;
            }
            let thread = thread(who);
            let sync_points = order.timelines.get(thread.index()).map_or(0, |timeline| timeline.sync_points.len());
            let run = |([from, to], count): &([Index; 2], u64)| {
                let (from, to) = (from.index(sync_points + 1) as u32, to.index(sync_points + 1) as u32);
                Run { first: from.min(to), last: from.max(to), count: *count }
            };
            let key = RequestKey {
                thread,
                lock: lock(which),
                mode: *mode,
                how: *how,
                reacquired: *reacquired,
                stack: stack(place),
                held: ChainId(1 + held.index(order.chains.len()) as u32),
            };
            order.insert(Request { key, runs: runs.iter().map(run).collect(), unanswered: *unanswered });
        }
        for (kind, [which, place, holder, who], count) in &self.misuses {
            let misuse = Misuse { kind: *kind, lock: lock(which), stack: stack(place), holder: stack(holder) };
            order.misused(misuse, thread(who), *count);
        }
        let [dropped, log_dropped, complete_from_ns] = self.missing;
        order.dropped = dropped;
        // Single events are kept where there is a cycle, and not otherwise.
        if order.is_cyclic(|lock| session.lock(lock).kind == Kind::Join) {
            (order.log.dropped, order.log.complete_from_ns) = (log_dropped, complete_from_ns);
            for (what, mode, [who, which, place], at_ns, until_ns) in &self.events {
                let (at_ns, thread) = (*at_ns, thread(who));
                let sync_points = order.timelines.get(thread.index()).map_or(0, |timeline| timeline.sync_points.len());
                let (what, lock, until_ns) = match what {
                    0 => (LoggedWhat::Acquired(*mode), lock(which), 0),
                    1 => (LoggedWhat::Released, lock(which), 0),
                    3 if sync_points > 0 => (LoggedWhat::SyncPoint, LockId::from(which.index(sync_points)), *until_ns),
                    _ => (LoggedWhat::Section(*mode), lock(which), *until_ns),
                };
                order.log.push(Logged { at_ns, until_ns, thread, lock, stack: stack(place), what });
            }
        }
        order
    }
}
