//! Several recordings as one: the rows of one session are added to another's, under new numbers.
//!
//! Nothing is added up here: each run keeps its processes, threads and locks. Views that look at classes of locks see
//! them together.

use super::hang::Rows;
use super::ids::{LockId, ModuleId, ProcessId, StackId, ThreadId};
use super::order::{ChainId, Link, Mark, MarkWhat, Misuse, Order, RequestKey};
use super::profile::{SiteKey, WaitEvent, WaitKey};
use super::session::Session;
use super::stacks::{CodeAddress, Stacks};

/// Where the rows of the absorbed session are now.
struct Moved {
    processes: u32,
    threads: u32,
    locks: u32,
    stacks: Vec<StackId>,
}

impl Moved {
    fn process(&self, id: ProcessId) -> ProcessId {
        ProcessId(id.0 + self.processes)
    }

    fn thread(&self, id: ThreadId) -> ThreadId {
        ThreadId(id.0 + self.threads)
    }

    fn lock(&self, id: LockId) -> LockId {
        LockId(id.0 + self.locks)
    }

    fn stack(&self, id: StackId) -> StackId {
        self.stacks.get(id.index()).copied().unwrap_or(Stacks::UNKNOWN)
    }
}

impl Rows for Moved {
    fn process(&mut self, id: ProcessId) -> ProcessId {
        Self::process(self, id)
    }

    fn thread(&mut self, id: ThreadId) -> ThreadId {
        Self::thread(self, id)
    }

    fn lock(&mut self, id: LockId) -> LockId {
        Self::lock(self, id)
    }

    fn stack(&mut self, id: StackId) -> StackId {
        Self::stack(self, id)
    }
}

impl Session {
    /// Adds another run. Its times stay relative to its own start, so they do not compare with this one's.
    pub fn absorb(&mut self, other: &Self) {
        let moved = Moved {
            processes: self.processes.len() as u32,
            threads: self.threads.len() as u32,
            locks: self.locks.len() as u32,
            stacks: self.absorb_stacks(&other.stacks),
        };
        self.later_runs.push(ProcessId(moved.processes));
        self.later_runs.extend(other.later_runs.iter().map(|id| moved.process(*id)));
        self.processes.extend(other.processes.iter().cloned());
        self.threads.extend(other.threads.iter().cloned().map(|mut thread| {
            thread.process = moved.process(thread.process);
            thread
        }));
        self.locks.extend(other.locks.iter().cloned().map(|mut lock| {
            lock.process = moved.process(lock.process);
            lock.origin_stack = moved.stack(lock.origin_stack);
            lock
        }));
        self.absorb_profile(other, &moved);
        self.absorb_coverage(other);
        self.order.absorb(&other.order, &moved);
        let mut moved = moved;
        self.hangs.extend(other.hangs.iter().map(|hang| hang.moved(&mut moved)));
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
        let mut sites = Vec::new();
        for site in &other.profile.sites {
            let SiteKey { lock, stack, mode } = site.key;
            let key = SiteKey { lock: moved.lock(lock), stack: moved.stack(stack), mode };
            let id = self.profile.site(key);
            let known = &mut self.profile.sites[id.index()];
            // Two stacks of the other session may be one here only where one of them is unknown.
            *known = super::profile::Site { key, ..site.clone() };
            sites.push(id);
        }
        for ((thread, site), share) in &other.profile.by_thread {
            if let Some(site) = sites.get(site.index()) {
                self.profile.by_thread.insert((moved.thread(*thread), *site), *share);
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
        for (key, stats) in &other.profile.waits {
            self.profile.waits.insert(key_of(*key), *stats);
        }
        let events = other.profile.wait_events.iter();
        self.profile.wait_events.extend(events.map(|event| WaitEvent { key: key_of(event.key), ..*event }));
        self.profile.wait_events_dropped += other.profile.wait_events_dropped;
    }

    fn absorb_coverage(&mut self, other: &Self) {
        let (coverage, more) = (&mut self.coverage, &other.coverage);
        coverage.acquisitions += more.acquisitions;
        coverage.recorded += more.recorded;
        coverage.folded += more.folded;
        coverage.lost += more.lost;
        coverage.stack_hits += more.stack_hits;
        coverage.stack_misses += more.stack_misses;
        coverage.stacks_truncated += more.stacks_truncated;
        for note in &more.notes {
            if !coverage.notes.contains(note) {
                coverage.notes.push(note.clone());
            }
        }
        self.meta.cut |= other.meta.cut;
    }
}

impl Order {
    fn absorb(&mut self, other: &Self, moved: &Moved) {
        let mut chains = vec![ChainId::EMPTY];
        for link in other.chains.links() {
            let outer = chains.get(link.outer.index()).copied().unwrap_or(ChainId::EMPTY);
            let link = Link { outer, lock: moved.lock(link.lock), stack: moved.stack(link.stack), mode: link.mode };
            chains.push(self.chains.intern(link));
        }
        for request in &other.requests {
            let key = RequestKey {
                thread: moved.thread(request.key.thread),
                lock: moved.lock(request.key.lock),
                stack: moved.stack(request.key.stack),
                held: chains.get(request.key.held.index()).copied().unwrap_or(ChainId::EMPTY),
                ..request.key
            };
            for run in &request.runs {
                if let Some(known) = self.request(key, *run) {
                    known.unanswered |= request.unanswered;
                }
            }
        }
        for (at, life) in other.lives.iter().enumerate() {
            let to = self.life(moved.thread(ThreadId::from(at)));
            *to = life.clone();
            to.creator = life.creator.map(|(thread, mark)| (moved.thread(thread), mark));
            for gate in &mut to.gates {
                (gate.lock, gate.stack) = (moved.lock(gate.lock), moved.stack(gate.stack));
            }
            for mark in &mut to.marks {
                *mark = Mark { what: moved.mark(mark.what), stack: moved.stack(mark.stack), ..*mark };
            }
        }
        for (misuse, (thread, count)) in &other.misuses {
            let misuse = Misuse {
                kind: misuse.kind,
                lock: moved.lock(misuse.lock),
                stack: moved.stack(misuse.stack),
                holder: moved.stack(misuse.holder),
            };
            self.misused(misuse, moved.thread(*thread), *count);
        }
        self.dropped += other.dropped;
    }
}

impl Moved {
    fn mark(&self, what: MarkWhat) -> MarkWhat {
        match what {
            MarkWhat::Created(child) => MarkWhat::Created(child.map(|child| self.thread(child))),
            MarkWhat::Joined(child) => MarkWhat::Joined(child.map(|child| self.thread(child))),
            MarkWhat::Barrier { lock, count } => MarkWhat::Barrier { lock: self.lock(lock), count },
            MarkWhat::Posted(lock) => MarkWhat::Posted(self.lock(lock)),
            MarkWhat::Taken(lock) => MarkWhat::Taken(self.lock(lock)),
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
