//! Events become requests, lives and log.
//!
//! Each thread's events come in its own order; threads come in any order among each other (the collector reads
//! one ring after the other), so what joins two threads is resolved later, by [`Fold::settle`].

use super::kin::{Creation, Join, Kin};
use super::{
    ChainId, Event, Gate, How, Link, Logged, LoggedWhat, Mark, MarkWhat, Order, Request, RequestKey, Run, What,
};
use crate::model::ids::{LockId, ProcessId, StackId, ThreadId};
use crate::model::profile::Mode;

/// A lock that a thread holds.
#[derive(Clone, Copy, Debug)]
struct Open {
    position: u32,
    /// Different for every acquisition of the thread.
    serial: u64,
    at_ns: u64,
    lock: LockId,
    mode: Mode,
    stack: StackId,
    /// The list of held locks with it on top, once something was asked for under it.
    chain: Option<ChainId>,
}

/// What is remembered of a thread between its events.
#[derive(Debug, Default)]
struct State {
    process: ProcessId,
    key: u64,
    open: Vec<Open>,
    /// What was held before a restart and was not told again yet.
    doubtful: Vec<Open>,
    serials: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Fold {
    states: Vec<State>,
    kin: Kin,
}

impl Fold {
    /// Hand-overs of one thread that are kept as marks.
    pub const MOST_SOFT_MARKS: usize = 4096;
    /// Marks of one thread that are kept.
    pub const MOST_MARKS: usize = 1 << 16;
    /// Locks that a thread holds at one time; requests under more are counted as dropped.
    pub const MOST_HELD: usize = 1 << 16;

    /// A thread is one of this process: where its beginning was not seen, nothing else says so.
    pub fn belongs(&mut self, thread: ThreadId, process: ProcessId) {
        if thread.index() >= self.states.len() {
            self.states.resize_with(thread.index() + 1, State::default);
        }
        self.states[thread.index()].process = process;
    }

    /// Applies one event of a thread.
    pub fn apply(&mut self, order: &mut Order, thread: ThreadId, event: Event) {
        if thread.index() >= self.states.len() {
            self.states.resize_with(thread.index() + 1, State::default);
        }
        let Event { at_ns, stack, what } = event;
        match what {
            What::Acquired { .. } | What::Reached { .. } | What::Section { .. } => {}
            _ => self.forget_doubtful(order, thread, at_ns),
        }
        let log = |order: &mut Order, until_ns, lock, what| {
            order.log.push(Logged { at_ns, until_ns, thread, lock, stack, what });
        };
        match what {
            What::Section { lock, mode, until_ns } => log(order, until_ns, lock, LoggedWhat::Section(mode)),
            What::Acquired { lock, mode, how, reacquired, position, restart } => {
                self.make_room(order, thread, at_ns, position, restart);
                if self.known_again(thread, position, lock, at_ns) {
                    return;
                }
                self.forget_doubtful(order, thread, at_ns);
                if how != How::Try {
                    self.request(order, thread, lock, mode, how, reacquired, stack);
                }
                let state = &mut self.states[thread.index()];
                if state.open.len() >= Self::MOST_HELD {
                    order.dropped += 1;
                    return;
                }
                state.serials += 1;
                state.open.push(Open { position, serial: state.serials, at_ns, lock, mode, stack, chain: None });
                log(order, 0, lock, LoggedWhat::Acquired(mode));
            }
            What::Reached { position, restart } => self.make_room(order, thread, at_ns, position, restart),
            What::Released { position, lock } => {
                if self.release(thread, position, lock) {
                    log(order, 0, lock, LoggedWhat::Released);
                }
            }
            What::Kept { position, lock, mode } => {
                if !self.release(thread, position, lock) {
                    log(order, 0, lock, LoggedWhat::Acquired(mode));
                }
            }
            What::Wanted { lock, mode, how } => {
                if how != How::Try
                    && let Some(request) = self.request(order, thread, lock, mode, how, false, stack)
                {
                    request.unanswered = true;
                }
            }
            What::Started { process, key, token } => {
                let state = &mut self.states[thread.index()];
                (state.process, state.key) = (process, key);
                state.open.clear();
                order.life(thread);
                self.kin.named(process, key, thread, at_ns);
                self.kin.started(order, process, thread, token);
            }
            What::Created { token } => {
                let open = self.gates(thread);
                if let Some(mark) = self.mark(order, thread, event, at_ns, MarkWhat::Created(None)) {
                    let process = self.states[thread.index()].process;
                    self.kin.created(order, process, token, Creation { thread, mark, open });
                }
            }
            What::Joined { lock, key, until_ns } | What::JoinedInTime { lock, key, until_ns } => {
                let how = if matches!(what, What::Joined { .. }) { How::Block } else { How::Timed };
                self.request(order, thread, lock, Mode::Exclusive, how, false, stack);
                let open = self.gates(thread).into_iter().map(|(serial, _)| serial).collect();
                if let Some(mark) = self.mark(order, thread, event, until_ns, MarkWhat::Joined(None)) {
                    let process = self.states[thread.index()].process;
                    self.kin.joined(Join { process, thread, mark, key, at_ns, until_ns, open });
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
            What::Ended => {
                self.make_room(order, thread, at_ns, 0, false);
                let state = &self.states[thread.index()];
                self.kin.ended(state.process, state.key, thread, at_ns);
            }
        }
    }

    /// The list of locks that the thread holds; `None` where there is no room for it.
    pub fn held(&mut self, order: &mut Order, thread: ThreadId) -> Option<ChainId> {
        let Some(state) = self.states.get_mut(thread.index()) else { return Some(ChainId::EMPTY) };
        // Lists are made when something is asked for under them: most never are.
        let known = state.open.iter().rposition(|open| open.chain.is_some());
        let mut outer = known.and_then(|at| state.open[at].chain).unwrap_or(ChainId::EMPTY);
        for open in &mut state.open[known.map_or(0, |at| at + 1)..] {
            let Open { lock, mode, stack, .. } = *open;
            outer = order.chains.try_intern(Link { outer, lock, mode, stack })?;
            open.chain = Some(outer);
        }
        Some(outer)
    }

    /// Counts a request, if anything is held.
    #[allow(clippy::too_many_arguments)]
    fn request<'a>(
        &mut self,
        order: &'a mut Order,
        thread: ThreadId,
        lock: LockId,
        mode: Mode,
        how: How,
        reacquired: bool,
        stack: StackId,
    ) -> Option<&'a mut Request> {
        let Some(held) = self.held(order, thread) else {
            order.dropped += 1;
            return None;
        };
        if held == ChainId::EMPTY {
            return None;
        }
        let segment = order.lives.get(thread.index()).map_or(0, |life| life.marks.len() as u32);
        let key = RequestKey { thread, lock, mode, how, reacquired, stack, held };
        order.request(key, Run { first: segment, last: segment, count: 1 })
    }

    fn gates(&self, thread: ThreadId) -> Vec<(u64, Gate)> {
        let gate = |open: &Open| Gate { lock: open.lock, mode: open.mode, stack: open.stack };
        self.states[thread.index()].open.iter().map(|open| (open.serial, gate(open))).collect()
    }

    /// What is at this place or behind was given back, though nobody told; a restart puts all of it in doubt.
    fn make_room(&mut self, order: &mut Order, thread: ThreadId, at_ns: u64, position: u32, restart: bool) {
        if restart {
            self.forget_doubtful(order, thread, at_ns);
            let state = &mut self.states[thread.index()];
            std::mem::swap(&mut state.open, &mut state.doubtful);
            return;
        }
        let open = &mut self.states[thread.index()].open;
        while let Some(last) = open.pop_if(|last| last.position >= position) {
            order.log.push(released(thread, &last, at_ns));
        }
    }

    /// What was not told again after a restart was given back before it.
    fn forget_doubtful(&mut self, order: &mut Order, thread: ThreadId, at_ns: u64) {
        for open in self.states[thread.index()].doubtful.drain(..).rev() {
            order.log.push(released(thread, &open, at_ns));
        }
    }

    /// Whether it is an acquisition from before the restart: it goes on.
    fn known_again(&mut self, thread: ThreadId, position: u32, lock: LockId, at_ns: u64) -> bool {
        let state = &mut self.states[thread.index()];
        let is = |open: &Open| (open.position, open.lock, open.at_ns) == (position, lock, at_ns);
        let Some(at) = state.doubtful.iter().position(is) else { return false };
        let open = state.doubtful.remove(at);
        state.open.push(Open { chain: None, ..open });
        true
    }

    fn release(&mut self, thread: ThreadId, position: u32, lock: LockId) -> bool {
        let open = &mut self.states[thread.index()].open;
        let is = |open: &Open| open.position == position && open.lock == lock;
        let Some(at) = open.iter().rposition(is) else { return false };
        open.remove(at);
        // The lists above it hold it no longer.
        open[at..].iter_mut().for_each(|open| open.chain = None);
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
        let life = order.life(thread);
        let at = life.marks.len();
        let most = if what.is_must() { Self::MOST_MARKS } else { Self::MOST_SOFT_MARKS };
        if at >= most {
            life.must_dropped += u64::from(what.is_must());
            life.soft_dropped += u64::from(!what.is_must());
            return None;
        }
        life.marks.push(Mark { at_ns: event.at_ns, until_ns, what, stack: event.stack });
        let (lock, stack, what) = (LockId(at as u32), event.stack, LoggedWhat::Mark);
        order.log.push(Logged { at_ns: event.at_ns, until_ns, thread, lock, stack, what });
        Some(at as u32)
    }

    /// Joins what was read of different threads. Call when all rings were read once more; `all`: nothing more comes.
    pub fn settle(&mut self, order: &mut Order, all: bool) {
        self.kin.settle(order, all);
    }
}

fn released(thread: ThreadId, open: &Open, at_ns: u64) -> Logged {
    let Open { lock, stack, .. } = *open;
    Logged { at_ns, until_ns: 0, thread, lock, stack, what: LoggedWhat::Released }
}
