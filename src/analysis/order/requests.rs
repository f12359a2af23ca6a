//! What wants what: the recorded requests in terms of the graph's nodes, joins included.
//!
//! A node is a lock, or the end of a thread that was joined with locks held: whoever joins wants the end, and the
//! thread holds its end as long as it lives, over everything that it takes itself.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::order::{ChainId, How, LoggedWhat, Request, Run, SyncWhat};
use crate::model::{Kind, Lock, LockId, Mode, Session, StackId, ThreadId};

/// Whether a thread holds it from taking it until it gives it back.
pub(in crate::analysis) fn holds(lock: &Lock) -> bool {
    lock.is_owned()
}

/// A thread wants a node while it holds others.
#[derive(Clone, Copy, Debug)]
pub(in crate::analysis) struct RequestView<'a> {
    pub thread: ThreadId,
    pub node: u32,
    /// The lock, for a join the one of kind `Join`.
    pub lock: LockId,
    pub mode: Mode,
    pub how: How,
    pub reacquired: bool,
    pub unanswered: bool,
    pub stack: StackId,
    pub held: ChainId,
    /// Its thread's end counts as held, as someone joins it with locks held.
    pub child: bool,
    pub runs: &'a [Run],
}

/// A request that comes from a join.
#[derive(Debug)]
struct Extra {
    /// Without its runs.
    request: RequestView<'static>,
    runs: Vec<Run>,
}

/// A recorded request for a lock, without its runs.
fn view(request: &Request, child: bool) -> RequestView<'static> {
    let key = &request.key;
    RequestView {
        thread: key.thread,
        node: key.lock.0,
        lock: key.lock,
        mode: key.mode,
        how: key.how,
        reacquired: key.reacquired,
        unanswered: request.unanswered,
        stack: key.stack,
        held: key.held,
        child,
        runs: &[],
    }
}

/// All requests: those that were recorded, and those that come from joins.
#[derive(Debug)]
pub(in crate::analysis) struct Requests<'a> {
    session: &'a Session,
    extras: Vec<Extra>,
    /// The lock of kind `Join` by which a thread's end was wanted first.
    ends: FxHashMap<ThreadId, LockId>,
}

impl<'a> Requests<'a> {
    pub fn new(session: &'a Session) -> Self {
        let mut requests = Self { session, extras: Vec::new(), ends: FxHashMap::default() };
        let joins = session.order.requests.iter().filter(|request| requests.is(request.key.lock, Kind::Join));
        let joins: Vec<&Request> = joins.collect();
        if !joins.is_empty() {
            let mut needed = Vec::new();
            for request in joins {
                requests.join(request, false, &mut needed);
            }
            requests.children(needed);
        }
        requests
    }

    /// Their number.
    pub fn len(&self) -> u32 {
        (self.session.order.requests.len() + self.extras.len()) as u32
    }

    /// Nodes of the graph.
    pub fn nodes(&self) -> usize {
        self.session.locks.len() + self.session.threads.len()
    }

    /// The node of a thread's end.
    pub fn end_of(&self, thread: ThreadId) -> u32 {
        (self.session.locks.len() + thread.index()) as u32
    }

    /// The thread whose end a node is.
    pub fn thread_of(&self, node: u32) -> Option<ThreadId> {
        (node as usize).checked_sub(self.session.locks.len()).map(ThreadId::from)
    }

    /// The lock that stands for a node.
    pub fn lock_of(&self, node: u32) -> Option<LockId> {
        match self.thread_of(node) {
            Some(thread) => self.ends.get(&thread).copied(),
            None => Some(LockId(node)),
        }
    }

    /// A request by its number; `None` where the request makes no edge.
    pub fn get(&self, number: u32) -> Option<RequestView<'_>> {
        let requests = &self.session.order.requests;
        let Some(request) = requests.get(number as usize) else {
            let extra = self.extras.get(number as usize - requests.len())?;
            return Some(RequestView { runs: &extra.runs, ..extra.request });
        };
        let key = &request.key;
        let lock = self.session.locks.get(key.lock.index()).filter(|lock| holds(lock))?;
        let is_edge = key.how != How::Try && lock.process == self.session.threads.get(key.thread.index())?.process;
        is_edge.then(|| RequestView { runs: &request.runs, ..view(request, false) })
    }

    fn is(&self, lock: LockId, kind: Kind) -> bool {
        self.session.locks.get(lock.index()).is_some_and(|lock| lock.kind == kind)
    }

    fn sync_points(&self, thread: ThreadId) -> &'a [crate::model::order::SyncPoint] {
        self.session.order.timelines.get(thread.index()).map_or(&[], |timeline| &timeline.sync_points)
    }

    /// A join with locks held, once for each thread that it joined.
    fn join(&mut self, request: &Request, child: bool, needed: &mut Vec<ThreadId>) {
        let key = request.key;
        let sync_points = self.sync_points(key.thread);
        let mut found: Vec<(ThreadId, Vec<Run>)> = Vec::new();
        for run in &request.runs {
            for seg in run.first..=run.last.min(sync_points.len() as u32) {
                let sync_point = sync_points
                    .get(seg as usize)
                    .filter(|sync_point| sync_point.stack == key.stack || run.first == run.last);
                if let Some(SyncWhat::Joined(Some(joined))) = sync_point.map(|sync_point| sync_point.what) {
                    let run = Run { first: seg, last: seg, count: 1 };
                    match found.iter_mut().find(|(known, _)| *known == joined) {
                        Some((_, runs)) => runs.push(run),
                        None => found.push((joined, vec![run])),
                    }
                }
            }
        }
        if request.unanswered
            && let Some(joined) = self.never_joined(key.thread, key.lock)
        {
            found.push((joined, request.runs.last().copied().into_iter().collect()));
        }
        for (joined, runs) in found {
            if joined.index() >= self.session.threads.len() {
                continue;
            }
            self.ends.entry(joined).or_insert(key.lock);
            needed.push(joined);
            let request = RequestView {
                thread: key.thread,
                node: self.end_of(joined),
                lock: key.lock,
                mode: Mode::Exclusive,
                how: key.how,
                reacquired: false,
                unanswered: request.unanswered,
                stack: key.stack,
                held: key.held,
                child,
                runs: &[],
            };
            self.extras.push(Extra { request, runs });
        }
    }

    /// Whom a join that never ended waits for: the last thread of this name, or the only one that nobody joined.
    fn never_joined(&self, joiner: ThreadId, lock: LockId) -> Option<ThreadId> {
        let timelines = &self.session.order.timelines;
        let joined: FxHashSet<ThreadId> = timelines
            .iter()
            .flat_map(|timeline| &timeline.sync_points)
            .filter_map(|sync_point| if let SyncWhat::Joined(child) = sync_point.what { child } else { None })
            .collect();
        let process = |thread: ThreadId| self.session.threads.get(thread.index()).map(|row| row.process);
        let key = self.session.locks.get(lock.index()).map_or(0, |lock| lock.address);
        let left =
            |thread: &ThreadId| *thread != joiner && !joined.contains(thread) && process(*thread) == process(joiner);
        let threads = || (0..timelines.len()).map(ThreadId::from).filter(left);
        let named = threads().filter(|thread| key != 0 && timelines[thread.index()].key == key);
        named.max_by_key(|thread| self.session.threads.get(thread.index()).map(|row| row.start_ns)).or_else(|| {
            let mut children = threads()
                .filter(|thread| timelines[thread.index()].key == 0 && timelines[thread.index()].creator.is_some());
            children.next().filter(|_| children.next().is_none())
        })
    }

    /// What the joined threads want while they hold their ends, and those that they joined in turn.
    fn children(&mut self, mut open: Vec<ThreadId>) {
        let mut needed: FxHashSet<ThreadId> = FxHashSet::default();
        while let Some(thread) = open.pop() {
            if needed.insert(thread) {
                let joined = self.sync_points(thread).iter().filter_map(|sync_point| match sync_point.what {
                    SyncWhat::Joined(child) => child,
                    _ => None,
                });
                open.extend(joined.filter(|child| child.index() < self.session.threads.len()));
            }
        }
        let session = self.session;
        let mut nested: FxHashSet<Taken> = FxHashSet::default();
        // Joins made with locks held.
        let mut locked: FxHashSet<(ThreadId, u32)> = FxHashSet::default();
        for request in session.order.requests.iter().filter(|request| needed.contains(&request.key.thread)) {
            let key = request.key;
            nested.insert((key.thread, key.lock, key.stack, key.mode, How::Block));
            if self.is(key.lock, Kind::Join) {
                locked.extend(request.runs.iter().flat_map(|run| run.first..=run.last).map(|seg| (key.thread, seg)));
                self.join(request, true, &mut Vec::new());
            } else if session.locks.get(key.lock.index()).is_some_and(holds) && key.how != How::Try {
                self.extras.push(Extra { request: view(request, true), runs: request.runs.clone() });
            }
        }
        let mut threads: Vec<ThreadId> = needed.iter().copied().collect();
        threads.sort_unstable();
        for thread in &threads {
            for (number, sync_point) in self.sync_points(*thread).iter().enumerate() {
                let SyncWhat::Joined(Some(joined)) = sync_point.what else { continue };
                if joined.index() < session.threads.len()
                    && !locked.contains(&(*thread, number as u32))
                    && let Some(lock) = self.ends.get(&joined).copied().or_else(|| self.ends.values().copied().min())
                {
                    self.ends.entry(joined).or_insert(lock);
                    let seg = number as u32;
                    let runs = vec![Run { first: seg, last: seg, count: 1 }];
                    let node = self.end_of(joined);
                    self.alone(*thread, node, lock, (Mode::Exclusive, How::Block), sync_point.stack, runs);
                }
            }
        }
        // The log tells when, but what came before the first nested acquisition may not be in it.
        let mut taken = if session.order.log.dropped == 0 { self.by_log(&needed) } else { Vec::new() };
        let logged: FxHashSet<Taken> = taken
            .iter()
            .map(|((thread, lock, stack, mode, _), _)| (*thread, *lock, *stack, *mode, How::Block))
            .collect();
        let others = self.by_profile(&needed).into_iter();
        taken.extend(others.filter(|(taken, _)| !logged.contains(taken) && !nested.contains(taken)));
        for ((thread, lock, stack, mode, how), runs) in taken {
            if session.locks.get(lock.index()).is_some_and(holds) {
                self.alone(thread, lock.0, lock, (mode, how), stack, runs);
            }
        }
    }

    /// A want of a joined thread that holds nothing but its end.
    fn alone(
        &mut self,
        thread: ThreadId,
        node: u32,
        lock: LockId,
        (mode, how): (Mode, How),
        stack: StackId,
        runs: Vec<Run>,
    ) {
        let held = ChainId::EMPTY;
        let (reacquired, unanswered, child) = (false, false, true);
        let request =
            RequestView { thread, node, lock, mode, how, reacquired, unanswered, stack, held, child, runs: &[] };
        self.extras.push(Extra { request, runs });
    }

    /// What threads took with nothing else held, and in which segments.
    fn by_log(&self, needed: &FxHashSet<ThreadId>) -> Vec<(Taken, Vec<Run>)> {
        let mut open: FxHashMap<ThreadId, Vec<LockId>> = FxHashMap::default();
        let mut taken: FxHashMap<Taken, Vec<Run>> = FxHashMap::default();
        for event in self.session.order.log.events().filter(|event| needed.contains(&event.thread)) {
            let open = open.entry(event.thread).or_default();
            let alone = open.is_empty();
            let (mode, how) = match event.what {
                LoggedWhat::Section(mode) => (mode, How::Block),
                LoggedWhat::Acquired(mode) => {
                    open.push(event.lock);
                    (mode, How::Block)
                }
                LoggedWhat::Tried(mode, how) => {
                    open.push(event.lock);
                    (mode, how)
                }
                LoggedWhat::Released => {
                    if let Some(at) = open.iter().rposition(|lock| *lock == event.lock) {
                        open.remove(at);
                    }
                    continue;
                }
                LoggedWhat::SyncPoint => continue,
            };
            if !alone || how == How::Try {
                continue;
            }
            let seg =
                self.sync_points(event.thread).partition_point(|sync_point| sync_point.at_ns <= event.at_ns) as u32;
            let runs = taken.entry((event.thread, event.lock, event.stack, mode, how)).or_default();
            match runs.last_mut() {
                Some(last) if last.last == seg => last.count += 1,
                _ => runs.push(Run { first: seg, last: seg, count: 1 }),
            }
        }
        let mut taken: Vec<_> = taken.into_iter().collect();
        taken.sort_unstable_by_key(|(key, _)| *key);
        taken.iter_mut().for_each(|(_, runs)| runs.sort_unstable_by_key(|run| run.first));
        taken
    }

    /// The same without the log: in some segment.
    fn by_profile(&self, needed: &FxHashSet<ThreadId>) -> Vec<(Taken, Vec<Run>)> {
        let profile = &self.session.profile;
        let mut taken = Vec::new();
        for ((thread, site), share) in profile.by_thread.iter().filter(|((thread, _), _)| needed.contains(thread)) {
            let Some(key) = profile.sites.get(site.index()).map(|site| site.key) else { continue };
            if share.acquisitions > 0 {
                let run = Run { first: 0, last: self.sync_points(*thread).len() as u32, count: share.acquisitions };
                taken.push(((*thread, key.lock, key.stack, key.mode, How::Block), vec![run]));
            }
        }
        taken.sort_unstable_by_key(|(key, _)| *key);
        taken
    }
}

type Taken = (ThreadId, LockId, StackId, Mode, How);
