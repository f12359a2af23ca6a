//! Events become requests, timelines and log.
//!
//! Each thread's events come in its own order; threads come in any order among each other (the collector reads
//! one ring after the other), so what joins two threads is resolved later, by [`Fold::flush`].

use super::thread_lineage::{Heir, Join, Span, ThreadLineage};
use super::{
    ChainId, Event, GuardLock, How, Link, Logged, LoggedWhat, Order, Request, RequestKey, Run, SECOND_LIST, SyncPoint,
    SyncWhat, What,
};
use crate::model::ids::{LockId, ProcessId, StackId, ThreadId};
use crate::model::profile::Mode;

/// A lock that a thread holds.
#[derive(Clone, Copy, Debug)]
struct Open {
    position: u32,
    at_ns: u64,
    lock: LockId,
    mode: Mode,
    stack: StackId,
    /// The list of held locks with it on top, once something was asked for under it.
    chain: Option<ChainId>,
}

impl Open {
    fn guard(&self) -> GuardLock {
        GuardLock { lock: self.lock, mode: self.mode, stack: self.stack }
    }
}

/// What is remembered of a thread between its events.
#[derive(Debug, Default)]
struct State {
    process: ProcessId,
    key: u64,
    open: Vec<Open>,
    /// What was held before a restart and was not published again yet.
    before_restart: Vec<Open>,
    /// Something may have been given back without a word, so `open` may say too much.
    is_unreliable: bool,
    joins: Vec<Joining>,
}

/// A join that was over.
#[derive(Clone, Copy, Debug)]
struct Joining {
    sync_point: u32,
    lock: LockId,
    how: How,
    stack: StackId,
    at_ns: u64,
    /// It was over while `open` was not to be relied on: what is held says so later.
    is_unreliable: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Fold {
    states: Vec<State>,
    lineage: ThreadLineage,
}

impl Fold {
    /// Hand-overs of one thread that are kept as sync points.
    pub const MOST_SOFT_SYNC_POINTS: usize = 4096;
    /// Sync points of one thread that are kept.
    pub const MOST_SYNC_POINTS: usize = 1 << 16;
    /// Locks that a thread holds at one time; requests under more are counted as dropped.
    pub const MOST_HELD: usize = 1 << 16;

    /// A thread is one of this process: where its beginning was not seen, nothing else says so.
    pub fn belongs(&mut self, thread: ThreadId, process: ProcessId) {
        self.meet(thread);
        self.states[thread.index()].process = process;
    }

    /// The thread that was created with this token has ended, and will not be heard of.
    pub fn never_started(&mut self, process: ProcessId, token: u32) {
        self.lineage.never_started(process, token);
    }

    fn meet(&mut self, thread: ThreadId) {
        if thread.index() >= self.states.len() {
            self.states.resize_with(thread.index() + 1, State::default);
        }
    }

    /// Applies one event of a thread.
    pub fn apply(&mut self, order: &mut Order, thread: ThreadId, event: Event) {
        self.meet(thread);
        let Event { at_ns, stack, what } = event;
        match what {
            What::Acquired { .. } | What::Reached { .. } | What::Section { .. } => {}
            _ => self.forget_before_restart(order, thread, at_ns),
        }
        let log = |order: &mut Order, until_ns, lock, what| {
            order.log.push(Logged { at_ns, until_ns, thread, lock, stack, what });
        };
        match what {
            What::Section { lock, mode, until_ns } => {
                log(order, until_ns, lock, LoggedWhat::Section(mode));
                self.spanned(order, thread, GuardLock { lock, mode, stack }, at_ns, until_ns);
            }
            What::Acquired { lock, mode, how, reacquired, position, restart } => {
                self.make_room(order, thread, at_ns, position, restart);
                if self.known_again(thread, position, lock, at_ns) {
                    return;
                }
                self.forget_before_restart(order, thread, at_ns);
                if how != How::Try {
                    self.request(order, thread, lock, mode, how, reacquired, stack);
                }
                let open = Open { position, at_ns, lock, mode, stack, chain: None };
                let state = &mut self.states[thread.index()];
                if state.open.len() >= Self::MOST_HELD {
                    order.dropped += 1;
                    return;
                }
                state.open.push(open);
                let blocks = how == How::Block;
                log(order, 0, lock, if blocks { LoggedWhat::Acquired(mode) } else { LoggedWhat::Tried(mode, how) });
                // While it was held alone, nothing was published.
                self.joined_under(order, thread, open.guard(), at_ns, false);
            }
            What::Reached { position, restart } => self.make_room(order, thread, at_ns, position, restart),
            What::Released { position, lock } => {
                if let Some(open) = self.release(thread, position, lock) {
                    log(order, 0, lock, LoggedWhat::Released);
                    self.ended(order, thread, open, at_ns);
                }
            }
            What::Kept { position, lock, mode } => {
                self.lineage.kept(lock, thread, at_ns);
                match self.release(thread, position, lock) {
                    Some(open) => self.ended(order, thread, open, u64::MAX),
                    None => {
                        log(order, 0, lock, LoggedWhat::Acquired(mode));
                        self.spanned(order, thread, GuardLock { lock, mode, stack }, at_ns, u64::MAX);
                    }
                }
            }
            What::OwnerDied { lock } => {
                if let Some(sync_point) = self.sync_point(order, thread, event, at_ns, SyncWhat::Outlived(None)) {
                    self.lineage.outlived(Heir { thread, sync_point, lock, at_ns });
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
                *state = State { process, key, ..State::default() };
                order.timeline(thread).key = key;
                self.lineage.named(process, key, thread, at_ns);
                self.lineage.started(order, process, thread, token);
            }
            What::Created { token } => {
                if let Some(sync_point) = self.sync_point(order, thread, event, at_ns, SyncWhat::Created(None)) {
                    let process = self.states[thread.index()].process;
                    self.lineage.created(order, process, token, (thread, sync_point));
                }
            }
            What::Joined { lock, key, until_ns } => {
                self.joined(order, thread, event, (lock, How::Block), key, until_ns)
            }
            What::JoinedBy { how, lock, key, until_ns } => {
                self.joined(order, thread, event, (lock, how), key, until_ns);
            }
            What::Barrier { lock, count, until_ns } => {
                self.sync_point(order, thread, event, until_ns, SyncWhat::Barrier { lock, count });
            }
            What::Posted { lock } => {
                self.sync_point(order, thread, event, at_ns, SyncWhat::Posted(lock));
            }
            What::Taken { lock, until_ns } => {
                self.sync_point(order, thread, event, until_ns, SyncWhat::Taken(lock));
            }
            What::Ended => {
                self.make_room(order, thread, at_ns, 0, false);
                let state = &self.states[thread.index()];
                self.lineage.ended(state.process, state.key, thread, at_ns);
            }
        }
    }

    /// Whether the thread holds a lock that is known of.
    pub fn holds(&self, thread: ThreadId) -> bool {
        self.states.get(thread.index()).is_some_and(|state| !state.open.is_empty())
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
        let segment = order.timelines.get(thread.index()).map_or(0, |timeline| timeline.sync_points.len() as u32);
        let key = RequestKey { thread, lock, mode, how, reacquired, stack, held };
        order.request(key, Run { first: segment, last: segment, count: 1 })
    }

    /// What it joined a thread with: what it holds, or what later turns out to have been held then.
    fn joined(
        &mut self,
        order: &mut Order,
        thread: ThreadId,
        event: Event,
        (lock, how): (LockId, How),
        key: u64,
        until_ns: u64,
    ) {
        let Event { at_ns, stack, .. } = event;
        let State { process, is_unreliable, .. } = self.states[thread.index()];
        if how != How::Try && !is_unreliable {
            self.request(order, thread, lock, Mode::Exclusive, how, false, stack);
        }
        if let Some(sync_point) = self.sync_point(order, thread, event, until_ns, SyncWhat::Joined(None)) {
            if how != How::Try {
                self.states[thread.index()].joins.push(Joining { sync_point, lock, how, stack, at_ns, is_unreliable });
            }
            self.lineage.joined(Join { process, thread, sync_point, key, at_ns, until_ns });
        }
    }

    /// A lock was held since then, and that is known only now: threads were joined under it. `published`: it was published
    /// before, so only the joins during which that was not to be relied on are new.
    fn joined_under(&mut self, order: &mut Order, thread: ThreadId, guard: GuardLock, since_ns: u64, published: bool) {
        let state = &self.states[thread.index()];
        let since = state.joins.iter().rev().take_while(|join| join.at_ns >= since_ns);
        let under: Vec<_> = since.filter(|join| !published || join.is_unreliable).copied().collect();
        for Joining { sync_point, lock, how, stack, .. } in under {
            let GuardLock { lock: held, mode, stack: taken } = guard;
            let Some(held) = order.chains.try_intern(Link { outer: ChainId::EMPTY, lock: held, mode, stack: taken })
            else {
                order.dropped += 1;
                continue;
            };
            let key = RequestKey { thread, lock, mode: Mode::Exclusive, how, reacquired: false, stack, held };
            order.request(key, Run { first: sync_point, last: sync_point, count: 1 });
        }
    }

    /// A lock was held alone, with sync points in between: it may be what guards a thread, and threads were joined under it.
    pub fn spanned(&mut self, order: &mut Order, thread: ThreadId, guard: GuardLock, at_ns: u64, until_ns: u64) {
        self.meet(thread);
        self.joined_under(order, thread, guard, at_ns, false);
        self.guards(order, thread, guard, at_ns, until_ns);
    }

    /// A hold that was published at its beginning is over.
    fn ended(&mut self, order: &mut Order, thread: ThreadId, open: Open, until_ns: u64) {
        self.joined_under(order, thread, open.guard(), open.at_ns, true);
        self.guards(order, thread, open.guard(), open.at_ns, until_ns);
    }

    fn guards(&mut self, order: &mut Order, thread: ThreadId, guard: GuardLock, at_ns: u64, until_ns: u64) {
        if self.states[thread.index()].joins.last().is_some_and(|join| join.at_ns >= at_ns) {
            order.timeline(thread);
            self.lineage.spanned(Span { thread, guard, at_ns, until_ns });
        }
    }

    /// Records of the thread may have been folded: what was published as held may have been given back since.
    pub fn mark_unreliable(&mut self, thread: ThreadId) {
        if let Some(state) = self.states.get_mut(thread.index()) {
            state.is_unreliable = !state.open.is_empty();
        }
    }

    /// What is at this place or behind was given back, without a record; after a restart none of it can be relied on.
    fn make_room(&mut self, order: &mut Order, thread: ThreadId, at_ns: u64, position: u32, restart: bool) {
        self.states[thread.index()].is_unreliable = false;
        if restart {
            self.forget_before_restart(order, thread, at_ns);
            let state = &mut self.states[thread.index()];
            let is_of_list = |open: &mut Open| (open.position ^ position) & SECOND_LIST == 0;
            state.before_restart = state.open.extract_if(.., is_of_list).collect();
            state.open.iter_mut().for_each(|open| open.chain = None);
            return;
        }
        let open = &mut self.states[thread.index()].open;
        let is_of_list = |open: &Open| (open.position ^ position) & SECOND_LIST == 0;
        while let Some(at) = open.iter().rposition(is_of_list).filter(|at| open[*at].position >= position) {
            let last = open.remove(at);
            open[at..].iter_mut().for_each(|open| open.chain = None);
            order.log.push(released(thread, &last, at_ns));
        }
    }

    /// What was not published again after a restart was given back before it.
    fn forget_before_restart(&mut self, order: &mut Order, thread: ThreadId, at_ns: u64) {
        for open in self.states[thread.index()].before_restart.drain(..).rev() {
            order.log.push(released(thread, &open, at_ns));
        }
    }

    /// Whether it is an acquisition from before the restart: it goes on.
    fn known_again(&mut self, thread: ThreadId, position: u32, lock: LockId, at_ns: u64) -> bool {
        let state = &mut self.states[thread.index()];
        let is = |open: &Open| (open.position, open.lock, open.at_ns) == (position, lock, at_ns);
        let Some(at) = state.before_restart.iter().position(is) else { return false };
        let open = state.before_restart.remove(at);
        state.open.push(Open { chain: None, ..open });
        true
    }

    fn release(&mut self, thread: ThreadId, position: u32, lock: LockId) -> Option<Open> {
        let open = &mut self.states[thread.index()].open;
        let is = |open: &Open| open.position == position && open.lock == lock;
        let at = open.iter().rposition(is)?;
        let released = open.remove(at);
        // The lists above it hold it no longer.
        open[at..].iter_mut().for_each(|open| open.chain = None);
        Some(released)
    }

    fn sync_point(
        &mut self,
        order: &mut Order,
        thread: ThreadId,
        event: Event,
        until_ns: u64,
        what: SyncWhat,
    ) -> Option<u32> {
        let timeline = order.timeline(thread);
        let at = timeline.sync_points.len();
        let most = if what.is_hard() { Self::MOST_SYNC_POINTS } else { Self::MOST_SOFT_SYNC_POINTS };
        if at >= most {
            timeline.hard_dropped += u64::from(what.is_hard());
            timeline.soft_dropped += u64::from(!what.is_hard());
            return None;
        }
        timeline.sync_points.push(SyncPoint { at_ns: event.at_ns, until_ns, what, stack: event.stack });
        let (lock, stack, what) = (LockId(at as u32), event.stack, LoggedWhat::SyncPoint);
        order.log.push(Logged { at_ns: event.at_ns, until_ns, thread, lock, stack, what });
        Some(at as u32)
    }

    /// Joins what was read of different threads. Call when all rings were read once more; `all`: nothing more comes.
    pub fn flush(&mut self, order: &mut Order, all: bool) {
        if all {
            for (state, thread) in std::mem::take(&mut self.states).into_iter().zip(0..) {
                for open in state.open {
                    let (guard, at_ns) = (open.guard(), open.at_ns);
                    self.lineage.spanned(Span { thread: ThreadId(thread), guard, at_ns, until_ns: u64::MAX });
                }
            }
        }
        self.lineage.flush(order, all);
    }
}

fn released(thread: ThreadId, open: &Open, at_ns: u64) -> Logged {
    let Open { lock, stack, .. } = *open;
    Logged { at_ns, until_ns: 0, thread, lock, stack, what: LoggedWhat::Released }
}
