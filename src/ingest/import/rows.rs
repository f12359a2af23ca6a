//! Puts a session together from contended acquisitions.

use rustc_hash::FxHashMap;

use crate::model::{
    Kind, Lock, LockId, LockName, Mode, NameSource, Process, ProcessId, Session, SiteKey, StackId, Stacks, Thread,
    ThreadId, WaitKey,
};

/// Which lock: its name, class and kind, and its process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LockKey {
    pub name: String,
    pub class: String,
    pub kind: Kind,
    pub source: NameSource,
    pub process: ProcessId,
}

/// Whose stack is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Waiter,
    Holder,
}

/// Contended acquisitions of one lock by one stack.
pub(super) struct Waits {
    pub lock: LockId,
    pub side: Side,
    pub mode: Mode,
    pub stack: StackId,
    /// The thread whose stack it is.
    pub thread: Option<ThreadId>,
    pub count: u64,
    pub wait_ns: u64,
}

#[derive(Default)]
pub(super) struct Rows {
    pub session: Session,
    processes: FxHashMap<u32, ProcessId>,
    threads: FxHashMap<(ProcessId, Option<(u32, String)>), ThreadId>,
    locks: FxHashMap<LockKey, LockId>,
}

impl Rows {
    /// The process with this id; 0 where it is not known.
    pub fn process(&mut self, pid: u32, exe: &str) -> ProcessId {
        *self.processes.entry(pid).or_insert_with(|| {
            self.session.processes.push(Process { pid, parent_pid: 0, exe: exe.to_owned(), exit: None, threads: 0 });
            ProcessId::from(self.session.processes.len() - 1)
        })
    }

    /// A thread by its id and name, or the one that stands for all that are not known.
    pub fn thread(&mut self, process: ProcessId, known: Option<(u32, String)>) -> ThreadId {
        *self.threads.entry((process, known)).or_insert_with_key(|(_, known)| {
            let (tid, name) = known.clone().unwrap_or_else(|| (0, "not known".to_owned()));
            self.session.threads.push(Thread { process, tid, name, start_ns: 0, end_ns: None });
            self.session.processes[process.index()].threads += 1;
            ThreadId::from(self.session.threads.len() - 1)
        })
    }

    pub fn lock(&mut self, key: LockKey) -> LockId {
        *self.locks.entry(key).or_insert_with_key(|key| {
            let name = Some(LockName { text: key.name.clone(), source: key.source });
            self.session.locks.push(Lock { name, class: key.class.clone(), ..Lock::new(key.process, 0, key.kind) });
            LockId::from(self.session.locks.len() - 1)
        })
    }

    /// Counts them.
    pub fn add(&mut self, waits: &Waits) {
        let Waits { lock, side, mode, stack, thread, count, wait_ns } = *waits;
        let process = self.session.lock(lock).process;
        let nobody = self.thread(process, None);
        let (waiter, holder, who, holder_thread) = match side {
            Side::Waiter => (stack, Stacks::UNKNOWN, thread.unwrap_or(nobody), None),
            Side::Holder => (Stacks::UNKNOWN, stack, nobody, thread),
        };
        let sum = |to: &mut u64, value: u64| *to = to.saturating_add(value);
        let is_lock = self.session.lock(lock).kind.is_lock();
        let profile = &mut self.session.profile;
        let id = profile.site(SiteKey { lock, stack: waiter, mode });
        let site = &mut profile.sites[id.index()];
        for to in [&mut site.acquisitions, &mut site.contended, &mut site.folded, &mut site.wait.count] {
            sum(to, count);
        }
        // Of single waits nothing is known: no extremes, no buckets.
        sum(&mut site.wait.sum, wait_ns);
        let share = profile.by_thread.entry((who, id)).or_default();
        sum(&mut share.acquisitions, count);
        sum(&mut share.contended, count);
        sum(&mut share.wait_ns, wait_ns);
        if is_lock {
            let key = WaitKey { lock, thread: who, waiter, mode, holder, holder_thread };
            let stats = profile.waits.entry(key).or_default();
            sum(&mut stats.count, count);
            sum(&mut stats.wait_ns, wait_ns);
        }
        sum(&mut self.session.coverage.acquisitions, count);
        sum(&mut self.session.coverage.folded, count);
    }

    /// The session, with what a reader has to know of it.
    pub fn finish(mut self, notes: impl IntoIterator<Item = String>) -> Session {
        self.session.coverage.contended_only = true;
        self.session.coverage.notes.extend(notes);
        self.session
    }
}
