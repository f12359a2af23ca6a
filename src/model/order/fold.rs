//! Events become requests, lives and log.
//!
//! Each thread's events come in its own order; threads come in any order among each other (the collector reads
//! one ring after the other), so what joins two threads is resolved later, by [`Fold::settle`].

use rustc_hash::FxHashMap;

use super::{ChainId, Gate, How, Life, Link, Logged, LoggedWhat, Mark, MarkWhat, Order, Request, RequestKey, Run};
use crate::model::ids::{LockId, ProcessId, StackId, ThreadId};
use crate::model::profile::Mode;

/// One event of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, ns since the start of the session.
    pub at_ns: u64,
    /// Where.
    pub stack: StackId,
    /// What.
    pub what: What,
}

/// What an [`Event`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The thread begins. `key`: what a joiner calls it (its `pthread_t`); `token`: what its creator called it, 0 if unknown.
    Started {
        /// See above.
        process: ProcessId,
        /// See above.
        key: u64,
        /// See above.
        token: u32,
    },
    /// Took a lock, and holds it at least until it asks for another one or passes a mark.
    Acquired {
        /// The lock.
        lock: LockId,
        /// How it holds it.
        mode: Mode,
        /// How it asked.
        how: How,
        /// Inside a condition wait.
        reacquired: bool,
        /// Place in the thread's list of held locks: what was at this place or behind is given back.
        position: u32,
        /// Nothing acquired before is known to be held still.
        restart: bool,
    },
    /// Gave back what is at this place.
    Released {
        /// As in `Acquired`.
        position: u32,
        /// The lock, to be sure.
        lock: LockId,
    },
    /// Took a lock and gave it back, with nothing taken under it, by a request that would have waited for ever (others
    /// are acquired and released).
    Section {
        /// The lock.
        lock: LockId,
        /// How it held it.
        mode: Mode,
        /// When it gave it back, ns.
        until_ns: u64,
    },
    /// Asked for a lock and never had it, with what it holds now.
    Wanted {
        /// The lock.
        lock: LockId,
        /// How it wanted it.
        mode: Mode,
        /// How it asked.
        how: How,
    },
    /// Is about to create a thread.
    Created {
        /// What its `Started` calls it.
        token: u32,
    },
    /// Joined a thread.
    Joined {
        /// The lock of kind `Join` that stands for it.
        lock: LockId,
        /// What its `Started` calls it.
        key: u64,
        /// When it had, ns.
        until_ns: u64,
    },
    /// Met others at a barrier.
    Barrier {
        /// The barrier.
        lock: LockId,
        /// How many threads meet there.
        count: u32,
        /// When it went on, ns.
        until_ns: u64,
    },
    /// Posts a semaphore, signals a condition variable.
    Posted {
        /// Which.
        lock: LockId,
    },
    /// Had a semaphore, was woken on a condition variable.
    Taken {
        /// Which.
        lock: LockId,
        /// When, ns; `at_ns` is when it asked.
        until_ns: u64,
    },
    /// The thread ends.
    Ended,
}

/// A lock that a thread holds.
#[derive(Clone, Copy, Debug)]
struct Open {
    position: u32,
    /// Different for every acquisition of the thread.
    serial: u64,
    link: Link,
    /// The list of held locks with it on top.
    chain: ChainId,
}

/// What is remembered of a thread between its events.
#[derive(Debug, Default)]
struct State {
    process: ProcessId,
    open: Vec<Open>,
    serials: u64,
}

/// A creation whose thread is not known yet.
#[derive(Debug)]
struct Creation {
    thread: ThreadId,
    mark: u32,
    open: Vec<(u64, Gate)>,
}

/// A join whose thread is not known yet.
#[derive(Debug)]
struct Join {
    process: ProcessId,
    thread: ThreadId,
    mark: u32,
    key: u64,
    until_ns: u64,
    open: Vec<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Fold {
    states: Vec<State>,
    /// By process and token.
    creations: FxHashMap<(ProcessId, u32), Creation>,
    /// Threads whose creation was not read yet.
    started: Vec<(ProcessId, u32, ThreadId)>,
    /// By what joiners call them: when each began.
    keys: FxHashMap<(ProcessId, u64), Vec<(u64, ThreadId)>>,
    joins: Vec<Join>,
    /// Joins that were read since the last [`Fold::settle`]: the ring of the joined thread may be behind.
    fresh: Vec<Join>,
    /// What a creator held when it created a thread.
    held_at_creation: FxHashMap<ThreadId, Vec<(u64, Gate)>>,
}

impl Fold {
    /// Hand-overs of one thread that are kept as marks.
    pub const MOST_SOFT_MARKS: usize = 4096;
    /// Marks of one thread that are kept.
    pub const MOST_MARKS: usize = 1 << 16;

    /// Applies one event of a thread.
    pub fn apply(&mut self, order: &mut Order, thread: ThreadId, event: Event) {
        if thread.index() >= self.states.len() {
            self.states.resize_with(thread.index() + 1, State::default);
        }
        let Event { at_ns, stack, what } = event;
        let log = |order: &mut Order, until_ns, lock, what| {
            order.log.push(Logged { at_ns, until_ns, thread, lock, stack, what });
        };
        match what {
            What::Section { lock, mode, until_ns } => log(order, until_ns, lock, LoggedWhat::Section(mode)),
            What::Acquired { lock, mode, how, reacquired, position, restart } => {
                self.make_room(order, thread, at_ns, position, restart);
                let held = self.held(thread);
                if held != ChainId::EMPTY && how != How::Try {
                    let key = RequestKey { thread, lock, mode, how, reacquired, stack, held };
                    order.request(key, now(order_segment(order, thread)));
                }
                let link = Link { outer: held, lock, mode, stack };
                let state = &mut self.states[thread.index()];
                state.serials += 1;
                let chain = order.chains.intern(link);
                state.open.push(Open { position, serial: state.serials, link, chain });
                let blocks = how == How::Block;
                log(order, 0, lock, if blocks { LoggedWhat::Acquired(mode) } else { LoggedWhat::Tried(mode, how) });
            }
            What::Released { position, lock } => {
                if self.release(order, thread, position, lock) {
                    log(order, 0, lock, LoggedWhat::Released);
                }
            }
            What::Wanted { lock, mode, how } => {
                let held = self.held(thread);
                if held != ChainId::EMPTY && how != How::Try {
                    let key = RequestKey { thread, lock, mode, how, reacquired: false, stack, held };
                    if let Some(request) = order.request(key, now(order_segment(order, thread))) {
                        request.unanswered = true;
                    }
                }
            }
            What::Started { process, key, token } => {
                let state = &mut self.states[thread.index()];
                state.process = process;
                state.open.clear();
                order.life(thread).key = key;
                if key != 0 {
                    self.keys.entry((process, key)).or_default().push((at_ns, thread));
                }
                if token != 0 {
                    self.started.push((process, token, thread));
                }
            }
            What::Created { token } => {
                let open = self.gates(thread);
                if let Some(mark) = self.mark(order, thread, event, at_ns, MarkWhat::Created(None)) {
                    let process = self.states[thread.index()].process;
                    self.creations.insert((process, token), Creation { thread, mark, open });
                }
            }
            What::Joined { lock, key, until_ns } => {
                let held = self.held(thread);
                if held != ChainId::EMPTY {
                    let mode = Mode::Exclusive;
                    let key = RequestKey { thread, lock, mode, how: How::Block, reacquired: false, stack, held };
                    order.request(key, now(order_segment(order, thread)));
                }
                let open = self.gates(thread).into_iter().map(|(serial, _)| serial).collect();
                if let Some(mark) = self.mark(order, thread, event, until_ns, MarkWhat::Joined(None)) {
                    let process = self.states[thread.index()].process;
                    self.fresh.push(Join { process, thread, mark, key, until_ns, open });
                }
            }
            What::Barrier { lock, count, until_ns } => {
                self.mark(order, thread, event, until_ns, MarkWhat::Barrier { lock, count });
            }
            What::Posted { lock } => {
                self.mark(order, thread, event, at_ns, MarkWhat::Posted(lock));
            }
            What::Taken { lock, until_ns } => {
                self.mark(order, thread, event, until_ns, MarkWhat::Taken(lock));
            }
            What::Ended => self.make_room(order, thread, at_ns, 0, true),
        }
    }

    /// Counts requests without events of their own (folds): `chain` was held during `segments` of the thread.
    pub fn requested(&self, order: &mut Order, key: RequestKey, segments: (u32, u32), count: u64) -> Option<usize> {
        let (first, last) = segments;
        order.request(key, Run { first, last, count }).map(|request| request.runs.len())
    }

    /// The list of locks that the thread holds.
    pub fn held(&self, thread: ThreadId) -> ChainId {
        let open = self.states.get(thread.index()).and_then(|state| state.open.last());
        open.map_or(ChainId::EMPTY, |open| open.chain)
    }

    fn gates(&self, thread: ThreadId) -> Vec<(u64, Gate)> {
        let gate = |open: &Open| Gate { lock: open.link.lock, mode: open.link.mode, stack: open.link.stack };
        self.states[thread.index()].open.iter().map(|open| (open.serial, gate(open))).collect()
    }

    /// What is at this place or behind was given back, though nobody told.
    fn make_room(&mut self, order: &mut Order, thread: ThreadId, at_ns: u64, position: u32, restart: bool) {
        let open = &mut self.states[thread.index()].open;
        while let Some(last) = open.last().filter(|last| restart || last.position >= position) {
            let Link { lock, stack, .. } = last.link;
            order.log.push(Logged { at_ns, until_ns: 0, thread, lock, stack, what: LoggedWhat::Released });
            open.pop();
        }
    }

    fn release(&mut self, order: &mut Order, thread: ThreadId, position: u32, lock: LockId) -> bool {
        let open = &mut self.states[thread.index()].open;
        let is = |open: &Open| open.position == position && open.link.lock == lock;
        let Some(at) = open.iter().rposition(is) else { return false };
        let mut below = open.remove(at).link.outer;
        // The lists above it hold it no longer.
        for open in &mut open[at..] {
            open.link.outer = below;
            open.chain = order.chains.intern(open.link);
            below = open.chain;
        }
        true
    }

    fn mark(
        &mut self,
        order: &mut Order,
        thread: ThreadId,
        event: Event,
        until_ns: u64,
        what: MarkWhat,
    ) -> Option<u32> {
        let life: &mut Life = order.life(thread);
        let at = life.marks.len();
        if at >= Self::MOST_MARKS {
            life.must_dropped += u64::from(what.is_must());
            life.soft_dropped += u64::from(!what.is_must());
            return None;
        }
        if at >= Self::MOST_SOFT_MARKS && !what.is_must() {
            life.soft_dropped += 1;
            return None;
        }
        life.marks.push(Mark { at_ns: event.at_ns, until_ns, what, stack: event.stack });
        let (lock, stack, what) = (LockId(at as u32), event.stack, LoggedWhat::Mark);
        order.log.push(Logged { at_ns: event.at_ns, until_ns, thread, lock, stack, what });
        Some(at as u32)
    }

    /// Joins what was read of different threads. Call when all rings were read once more; `all`: nothing more comes.
    pub fn settle(&mut self, order: &mut Order, all: bool) {
        let (creations, held) = (&mut self.creations, &mut self.held_at_creation);
        self.started.retain(|(process, token, child)| match creations.remove(&(*process, *token)) {
            Some(creation) => {
                order.life(*child).creator = Some((creation.thread, creation.mark));
                order.life(creation.thread).marks[creation.mark as usize].what = MarkWhat::Created(Some(*child));
                if !creation.open.is_empty() {
                    held.insert(*child, creation.open);
                }
                false
            }
            None => !all,
        });
        if all {
            self.joins.append(&mut self.fresh);
        }
        let keys = &self.keys;
        self.joins.retain(|join| {
            let began = keys.get(&(join.process, join.key));
            // The same name is given to one thread after the other: the last that began before the join was over.
            let child = began.and_then(|began| began.iter().filter(|(at, _)| *at <= join.until_ns).max());
            let Some((_, child)) = child else { return !all };
            order.life(join.thread).marks[join.mark as usize].what = MarkWhat::Joined(Some(*child));
            if let Some(held) = held.remove(child)
                && order.life(*child).creator.is_some_and(|(creator, _)| creator == join.thread)
            {
                let still = held.into_iter().filter(|(serial, _)| join.open.contains(serial));
                order.life(*child).gates = still.map(|(_, gate)| gate).collect();
            }
            false
        });
        self.joins.append(&mut self.fresh);
    }
}

fn order_segment(order: &Order, thread: ThreadId) -> u32 {
    order.lives.get(thread.index()).map_or(0, |life| life.marks.len() as u32)
}

fn now(segment: u32) -> Run {
    Run { first: segment, last: segment, count: 1 }
}

impl Request {
    /// Whether the request was made in a segment between these, both included.
    pub fn within(&self, first: u32, last: u32) -> bool {
        self.runs.iter().any(|run| run.first <= last && first <= run.last)
    }
}
