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
    marks: Vec<(u8, [Index; 3], bool, u32, u64, u64)>,
    lives: Vec<RawLife>,
    requests: Vec<RawRequest>,
    misuses: Vec<(MisuseKind, [Index; 4], u64)>,
    events: Vec<(u8, Mode, [Index; 3], u64, u64)>,
    missing: [u64; 3],
}

/// Whether it has a creator, the creator and its mark, gates, marks that were not kept.
type RawLife = (bool, [Index; 2], Vec<([Index; 2], Mode)>, u64, u64);
/// Thread, lock, stack and list; mode; how; inside a condition wait, without an answer; runs.
type RawRequest = ([Index; 4], Mode, How, [bool; 2], Vec<([Index; 2], u64)>);

fn mode() -> impl Strategy<Value = Mode> {
    select(vec![Mode::Exclusive, Mode::Shared])
}

prop_compose! {
    /// An order of locks, a few dozen rows in each part.
    pub fn raw_order()(
        links in vec((any::<[Index; 3]>(), mode()), 0..12),
        marks in vec((0..6u8, any::<[Index; 3]>(), any::<bool>(), any::<u32>(), any::<u64>(), any::<u64>()), 0..16),
        lives in vec(
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
        RawOrder { links, marks, lives, requests, misuses, events, missing }
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
        for (what, [who, other, place], known, count, at_ns, until_ns) in &self.marks {
            let what = match what {
                0 => MarkWhat::Created(known.then(|| thread(other))),
                1 => MarkWhat::Joined(known.then(|| thread(other))),
                2 => MarkWhat::Barrier { lock: lock(other), count: *count },
                3 => MarkWhat::Posted(lock(other)),
                4 => MarkWhat::Outlived(known.then(|| thread(other))),
                _ => MarkWhat::Taken(lock(other)),
            };
            let mark = Mark { at_ns: *at_ns, until_ns: *until_ns, what, stack: stack(place) };
            order.life(thread(who)).marks.push(mark);
        }
        for (at, (known, [creator, mark], gates, soft, must)) in self.lives.iter().enumerate() {
            if at >= session.threads.len() {
                break;
            }
            // Creators come before their threads here, so that there is no ring.
            let creator = thread(creator);
            let marks = order.lives.get(creator.index()).map_or(0, |life| life.marks.len());
            let creator = (*known && creator.index() < at && marks > 0).then(|| (creator, mark.index(marks) as u32));
            let gate = |([which, place], mode): &([Index; 2], Mode)| Gate {
                lock: lock(which),
                mode: *mode,
                stack: stack(place),
            };
            let life = order.life(ThreadId::from(at));
            life.creator = creator;
            life.gates = gates.iter().map(gate).collect();
            (life.soft_dropped, life.must_dropped, life.key) = (*soft, *must, soft ^ must);
        }
        for ([who, which, place, held], mode, how, [reacquired, unanswered], runs) in &self.requests {
            if order.chains.is_empty() {
                break;
            }
            let thread = thread(who);
            let marks = order.lives.get(thread.index()).map_or(0, |life| life.marks.len());
            let run = |([from, to], count): &([Index; 2], u64)| {
                let (from, to) = (from.index(marks + 1) as u32, to.index(marks + 1) as u32);
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
                let marks = order.lives.get(thread.index()).map_or(0, |life| life.marks.len());
                let (what, lock, until_ns) = match what {
                    0 => (LoggedWhat::Acquired(*mode), lock(which), 0),
                    1 => (LoggedWhat::Released, lock(which), 0),
                    3 if marks > 0 => (LoggedWhat::Mark, LockId::from(which.index(marks)), *until_ns),
                    _ => (LoggedWhat::Section(*mode), lock(which), *until_ns),
                };
                order.log.push(Logged { at_ns, until_ns, thread, lock, stack: stack(place), what });
            }
        }
        order
    }
}
