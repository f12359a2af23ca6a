//! Several recordings as one: the rows of one session are added to another's, under new numbers.
//!
//! Nothing is added up here: each run keeps its processes, threads and locks. Views that look at classes of locks see
//! them together.

use std::cell::Cell;

use super::hang::Rows;
use super::ids::{LockId, ModuleId, ProcessId, SiteId, StackId, ThreadId};
use super::order::{ChainId, Link, Misuse, Order, Request, RequestKey, SyncPoint, SyncWhat, ThreadTimeline};
use super::profile::{CallKey, Site, SiteKey, ThreadShare, WaitEvent, WaitKey};
use super::session::Session;
use super::stacks::{CodeAddress, Stacks};

/// The number of a row that is not taken over.
const LEFT: u32 = u32::MAX;

/// Where the rows of the absorbed session are now.
pub(super) struct Moved {
    processes: Vec<u32>,
    threads: Vec<u32>,
    locks: Vec<u32>,
    stacks: Vec<StackId>,
    /// Stacks of the absorbed session that some row refers to.
    used: Vec<Cell<bool>>,
    /// Some row refers to one that is not taken over.
    torn: Cell<bool>,
}

/// New numbers from `next` on for the rows that are taken over.
fn numbers(rows: impl Iterator<Item = bool>, next: usize) -> Vec<u32> {
    let mut next = next as u32;
    let number = |taken: bool| {
        let number = if taken { next } else { LEFT };
        next += u32::from(taken);
        number
    };
    rows.map(number).collect()
}

impl Moved {
    /// All rows of `from`, or those of one of its runs, behind those of `to`. `stacks`: the new numbers of the stacks.
    pub(super) fn new(to: &Session, from: &Session, run: Option<usize>, stacks: Vec<StackId>) -> Self {
        let taken = |process: ProcessId| run.is_none_or(|run| from.run_of(process) == run);
        Self {
            processes: numbers((0..from.processes.len()).map(|at| taken(ProcessId::from(at))), to.processes.len()),
            threads: numbers(from.threads.iter().map(|thread| taken(thread.process)), to.threads.len()),
            locks: numbers(from.locks.iter().map(|lock| taken(lock.process)), to.locks.len()),
            used: vec![Cell::new(false); stacks.len()],
            stacks,
            torn: Cell::new(false),
        }
    }

    /// Whether every row that was taken over refers to such rows only.
    pub(super) fn is_whole(&self) -> bool {
        !self.torn.get()
    }

    /// Stacks of the absorbed session that were referred to.
    pub(super) fn used(&self) -> Vec<bool> {
        self.used.iter().map(Cell::get).collect()
    }

    fn place(&self, numbers: &[u32], row: u32) -> u32 {
        let number = numbers.get(row as usize).copied().filter(|number| *number != LEFT);
        number.unwrap_or_else(|| {
            self.torn.set(true);
            0
        })
    }

    fn has_process(&self, id: ProcessId) -> bool {
        self.processes.get(id.index()).is_some_and(|number| *number != LEFT)
    }

    fn has_thread(&self, id: ThreadId) -> bool {
        self.threads.get(id.index()).is_some_and(|number| *number != LEFT)
    }

    fn has_lock(&self, id: LockId) -> bool {
        self.locks.get(id.index()).is_some_and(|number| *number != LEFT)
    }

    fn process(&self, id: ProcessId) -> ProcessId {
        ProcessId(self.place(&self.processes, id.0))
    }

    fn thread(&self, id: ThreadId) -> ThreadId {
        ThreadId(self.place(&self.threads, id.0))
    }

    fn lock(&self, id: LockId) -> LockId {
        LockId(self.place(&self.locks, id.0))
    }

    fn stack(&self, id: StackId) -> StackId {
        if let Some(used) = self.used.get(id.index()) {
            used.set(true);
        }
        self.stacks.get(id.index()).copied().unwrap_or(Stacks::UNKNOWN)
    }
}

impl Rows for &Moved {
    fn process(&mut self, id: ProcessId) -> ProcessId {
        Moved::process(self, id)
    }

    fn thread(&mut self, id: ThreadId) -> ThreadId {
        Moved::thread(self, id)
    }

    fn lock(&mut self, id: LockId) -> LockId {
        Moved::lock(self, id)
    }

    fn stack(&mut self, id: StackId) -> StackId {
        Moved::stack(self, id)
    }
}

impl Session {
    /// Adds another recording. Times of a run stay relative to its own start, so they do not compare with another's.
    pub fn absorb(&mut self, other: &Self) {
        let stacks = self.absorb_stacks(&other.stacks);
        self.stacks.wrappers.extend(other.stacks.wrappers.iter().cloned());
        let moved = Moved::new(self, other, None, stacks);
        self.later_runs.push(ProcessId::from(self.processes.len()));
        self.later_runs.extend(other.later_runs.iter().map(|id| moved.process(*id)));
        self.absorb_rows(other, &moved);
        self.coverage.add(&other.coverage);
        self.meta.cut |= other.meta.cut;
        self.profile.wait_events_dropped =
            self.profile.wait_events_dropped.saturating_add(other.profile.wait_events_dropped);
        self.order.dropped = self.order.dropped.saturating_add(other.order.dropped);
    }

    /// Adds the rows that `moved` has a place for; no totals.
    pub(super) fn absorb_rows(&mut self, other: &Self, moved: &Moved) {
        let processes = other.processes.iter().zip(0..).filter(|(_, at)| moved.has_process(ProcessId(*at)));
        self.processes.extend(processes.map(|(process, _)| process.clone()));
        let threads = other.threads.iter().filter(|thread| moved.has_process(thread.process));
        self.threads.extend(threads.cloned().map(|mut thread| {
            thread.process = moved.process(thread.process);
            thread
        }));
        let locks = other.locks.iter().filter(|lock| moved.has_process(lock.process));
        self.locks.extend(locks.cloned().map(|mut lock| {
            lock.process = moved.process(lock.process);
            lock.origin_stack = moved.stack(lock.origin_stack);
            lock
        }));
        self.absorb_profile(other, moved);
        self.order.absorb(&other.order, moved);
        let hangs = other.hangs.iter().filter(|hang| moved.has_process(hang.process));
        self.hangs.extend(hangs.map(|hang| hang.moved(&mut { moved })));
    }

    fn absorb_stacks(&mut self, other: &Stacks) -> Vec<StackId> {
        let modules: Vec<ModuleId> = other.modules.iter().map(|module| self.stacks.intern_module(module)).collect();
        let mut moved = vec![Stacks::UNKNOWN];
        for at in 1..other.len() {
            let node = other.node(StackId::from(at));
            // Callers come before those that they call.
            let caller = moved.get(node.caller.index()).copied().unwrap_or(Stacks::UNKNOWN);
            let module = node.address.module.and_then(|id| modules.get(id.index()).copied());
            let id = self.stacks.intern(caller, CodeAddress { module, address: node.address.address });
            let known = self.stacks.node_mut(id);
            if known.frames.is_empty() {
                known.frames.clone_from(&node.frames);
            }
            moved.push(id);
        }
        moved
    }

    fn absorb_profile(&mut self, other: &Self, moved: &Moved) {
        // Two stacks of the other session may be one here: where it has a module twice.
        let mut sites: Vec<Option<SiteId>> = Vec::with_capacity(other.profile.sites.len());
        for site in &other.profile.sites {
            let SiteKey { lock, stack, mode } = site.key;
            sites.push(moved.has_lock(lock).then(|| {
                let key = SiteKey { lock: moved.lock(lock), stack: moved.stack(stack), mode };
                let id = self.profile.site(key);
                self.profile.sites[id.index()].add(site);
                id
            }));
        }
        for ((thread, site), share) in &other.profile.by_thread {
            if let (true, Some(Some(site))) = (moved.has_thread(*thread), sites.get(site.index())) {
                self.profile.by_thread.entry((moved.thread(*thread), *site)).or_default().add(share);
            } else if moved.has_thread(*thread) {
                moved.torn.set(true);
            }
        }
        let key_of = |key: WaitKey| WaitKey {
            lock: moved.lock(key.lock),
            thread: moved.thread(key.thread),
            waiter: moved.stack(key.waiter),
            mode: key.mode,
            holder: moved.stack(key.holder),
            holder_thread: key.holder_thread.map(|thread| moved.thread(thread)),
        };
        for (key, stats) in other.profile.waits.iter().filter(|(key, _)| moved.has_lock(key.lock)) {
            self.profile.waits.entry(key_of(*key)).or_default().add(stats);
        }
        let events = other.profile.wait_events.iter().filter(|event| moved.has_lock(event.key.lock));
        self.profile.wait_events.extend(events.map(|event| WaitEvent { key: key_of(event.key), ..*event }));
        let mut calls: Vec<_> = other.profile.calls.iter().filter(|(key, _)| moved.has_lock(key.lock)).collect();
        // Names get their numbers in an order that does not depend on the table's.
        calls.sort_unstable_by_key(|(key, _)| **key);
        for (key, stats) in calls {
            let call = self.profile.call(other.profile.call_name(key.call));
            let (lock, stack, taken) = (moved.lock(key.lock), moved.stack(key.stack), moved.stack(key.taken));
            self.profile.calls.entry(CallKey { lock, call, stack, taken }).or_default().add(stats);
        }
    }
}

impl Site {
    /// Counts another site's acquisitions as this one's.
    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.acquisitions, other.acquisitions),
            (&mut self.contended, other.contended),
            (&mut self.folded, other.folded),
            (&mut self.reacquired, other.reacquired),
            (&mut self.reentries, other.reentries),
            (&mut self.try_failures, other.try_failures),
            (&mut self.timeouts, other.timeouts),
            (&mut self.failures, other.failures),
            (&mut self.wasted_wait_ns, other.wasted_wait_ns),
            (&mut self.still_held, other.still_held),
        ] {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in [(&mut self.wait, &other.wait), (&mut self.hold, &other.hold)] {
            // What a broken trace has without a count is kept as it is.
            if *sum == Default::default() { sum.clone_from(more) } else { sum.merge(more) }
        }
    }
}

impl ThreadShare {
    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.acquisitions, other.acquisitions),
            (&mut self.contended, other.contended),
            (&mut self.wait_ns, other.wait_ns),
            (&mut self.hold_ns, other.hold_ns),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

impl super::profile::WaitStats {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.wait_ns = self.wait_ns.saturating_add(other.wait_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

impl Order {
    fn absorb(&mut self, other: &Self, moved: &Moved) {
        let mut chains = vec![Some(ChainId::EMPTY)];
        let outer = |chains: &[Option<ChainId>], id: ChainId| {
            let known = chains.get(id.index()).copied().flatten();
            known.unwrap_or_else(|| {
                moved.torn.set(true);
                ChainId::EMPTY
            })
        };
        for link in other.chains.links() {
            chains.push(moved.has_lock(link.lock).then(|| {
                let (lock, stack) = (moved.lock(link.lock), moved.stack(link.stack));
                self.chains.intern(Link { outer: outer(&chains, link.outer), lock, stack, mode: link.mode })
            }));
        }
        for request in other.requests.iter().filter(|request| moved.has_thread(request.key.thread)) {
            let key = RequestKey {
                thread: moved.thread(request.key.thread),
                lock: moved.lock(request.key.lock),
                stack: moved.stack(request.key.stack),
                held: outer(&chains, request.key.held),
                ..request.key
            };
            if self.insert(Request { key, ..request.clone() }) {
                continue;
            }
            for run in &request.runs {
                if let Some(known) = self.request(key, *run) {
                    known.unanswered |= request.unanswered;
                }
            }
        }
        for (at, timeline) in other.timelines.iter().enumerate() {
            let thread = ThreadId::from(at);
            if *timeline == ThreadTimeline::default() || !moved.has_thread(thread) {
                continue;
            }
            let to = self.timeline(moved.thread(thread));
            *to = timeline.clone();
            to.creator = timeline.creator.map(|(thread, sync_point)| (moved.thread(thread), sync_point));
            for guard in &mut to.guards {
                (guard.lock, guard.stack) = (moved.lock(guard.lock), moved.stack(guard.stack));
            }
            for sync_point in &mut to.sync_points {
                *sync_point = SyncPoint {
                    what: moved.sync_point(sync_point.what),
                    stack: moved.stack(sync_point.stack),
                    ..*sync_point
                };
            }
        }
        for (misuse, (thread, count)) in other.misuses.iter().filter(|(misuse, _)| moved.has_lock(misuse.lock)) {
            let misuse = Misuse {
                kind: misuse.kind,
                lock: moved.lock(misuse.lock),
                stack: moved.stack(misuse.stack),
                holder: moved.stack(misuse.holder),
            };
            let thread = moved.thread(*thread);
            let known = self.misuses.entry(misuse).or_insert((thread, 0));
            // The map tells them in no order.
            *known = (known.0.min(thread), known.1.saturating_add(*count));
        }
    }
}

impl Moved {
    fn sync_point(&self, what: SyncWhat) -> SyncWhat {
        match what {
            SyncWhat::Created(child) => SyncWhat::Created(child.map(|child| self.thread(child))),
            SyncWhat::Joined(child) => SyncWhat::Joined(child.map(|child| self.thread(child))),
            SyncWhat::Barrier { lock, count } => SyncWhat::Barrier { lock: self.lock(lock), count },
            SyncWhat::Posted(lock) => SyncWhat::Posted(self.lock(lock)),
            SyncWhat::Taken(lock) => SyncWhat::Taken(self.lock(lock)),
            SyncWhat::Outlived(owner) => SyncWhat::Outlived(owner.map(|owner| self.thread(owner))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::arbitrary_session;
    use super::*;

    proptest! {
        /// Into nothing, everything is kept.
        #[test]
        fn into_nothing(other in arbitrary_session()) {
            let mut sum = Session::default();
            sum.absorb(&other);
            prop_assert_eq!(&sum.processes, &other.processes);
            prop_assert_eq!(&sum.threads, &other.threads);
            prop_assert_eq!(sum.locks.len(), other.locks.len());
            prop_assert_eq!(sum.profile.sites.len(), other.profile.sites.len());
            prop_assert_eq!(sum.profile.waits.len(), other.profile.waits.len());
            prop_assert_eq!(sum.profile.by_thread.len(), other.profile.by_thread.len());
        }

        /// Counts are those of both, and what refers to a row refers to the same row's content.
        #[test]
        fn of_two(mut sum in arbitrary_session(), other in arbitrary_session()) {
            let before = sum.clone();
            sum.absorb(&other);
            prop_assert_eq!(&sum.later_runs, &[ProcessId::from(before.processes.len())]);
            let count = |session: &Session| session.profile.sites.iter().map(|site| u128::from(site.acquisitions)).sum::<u128>();
            prop_assert_eq!(count(&sum), count(&before) + count(&other));
            for (at, lock) in other.locks.iter().enumerate() {
                let moved = &sum.locks[before.locks.len() + at];
                prop_assert_eq!(&moved.class, &lock.class);
                prop_assert_eq!(&sum.process(moved.process).exe, &other.process(lock.process).exe);
                let path = |session: &Session, stack| session.stacks.walk(stack).map(|node| node.address.address).collect::<Vec<_>>();
                prop_assert_eq!(path(&sum, moved.origin_stack), path(&other, lock.origin_stack));
            }
        }
    }
}
