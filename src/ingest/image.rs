//! One process image: its segment, and the numbers of its locks, stacks and threads in the session.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use lockprof_wire::LockInfo;
use lockprof_wire::stack::TRUNCATED;
use lockprof_wire::thread::state;
use rustc_hash::{FxHashMap, FxHashSet};

use super::clock::{Clocks, Rate, Ticks};
use super::owner::{self, Owner};
use super::procfs;
use super::recent_records::RecentRecords;
use super::segment::{self, Segment};
use crate::model::{
    CodeAddress, Kind, Lock, LockId, LockName, Module, ModuleId, NameSource, Origin, Process, ProcessId, Session,
    StackId, Thread, ThreadId, Traits,
};

/// A process image that is being read.
pub struct Image {
    /// Its shared memory.
    pub segment: Segment,
    /// Its row in the session.
    pub process: ProcessId,
    /// Whose it is.
    pub owner: Owner,
    /// Kernel ids of its threads by those that it knows them by, where they differ.
    tids: RefCell<FxHashMap<u32, u32>>,
    /// When it began, ticks.
    pub born: u64,
    /// Its program's own code tells of its threads, too.
    pub is_patched: bool,
    /// Its clock.
    pub ticks: Ticks,
    locks: Vec<Option<LockId>>,
    stacks: Vec<Option<StackId>>,
    modules: Vec<Option<ModuleId>>,
    /// Which thread writes into each slot's ring at the point that was read.
    threads: Vec<Option<ThreadId>>,
    /// The `pthread_t` of the thread in each slot; 0 where unknown.
    pthreads: Vec<u64>,
    /// Where locks lie in their module's data, for naming them.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
    /// Innermost frames of stacks that could not be followed further.
    pub truncated: FxHashSet<StackId>,
    /// What was read last.
    pub recent: RecentRecords,
    /// Holds with no other beside them that the order of locks got, in a patched program.
    pub held_alone: u32,
}

impl Image {
    /// Maps a segment and adds its process to the session; `Ok(None)` while it is still being made. `known`: the row of a
    /// process by its number and its program, where it is there already.
    ///
    /// # Errors
    /// As [`Segment::open`].
    pub fn open(
        path: &Path,
        session: &mut Session,
        (rate, origin_ns): (&Rate, u64),
        known: &dyn Fn(u32, &str) -> Option<ProcessId>,
    ) -> io::Result<Option<Self>> {
        let Some(segment) = Segment::open(path)? else { return Ok(None) };
        let header = segment.header();
        let said = header.pid.load(Ordering::Relaxed);
        let owner = owner::find(path, said, header.pid_namespace.load(Ordering::Relaxed));
        let exe = segment::text(&header.exe);
        let exe = exe.trim_end_matches('\0');
        let known = known(owner.pid, exe);
        let process = known.unwrap_or_else(|| {
            session.processes.push(Process {
                pid: owner.pid,
                parent_pid: if owner.is_apart {
                    procfs::parent(&procfs::folder(owner.pid)).unwrap_or(0)
                } else {
                    header.parent_pid.load(Ordering::Relaxed)
                },
                exe: exe.to_owned(),
                exit: None,
                threads: 0,
            });
            ProcessId::from(session.processes.len() - 1)
        });
        let clocks = Clocks {
            are_tsc: header.ticks_are_tsc.load(Ordering::Relaxed) != 0,
            ticks: header.start_ticks.load(Ordering::Relaxed),
            monotonic_ns: header.start_mono_ns.load(Ordering::Relaxed),
            real_ns: header.start_real_ns.load(Ordering::Relaxed),
        };
        let ticks = Ticks::new(rate, clocks, origin_ns);
        Ok(Some(Self {
            segment,
            process,
            owner,
            tids: RefCell::default(),
            born: clocks.ticks,
            is_patched: known.is_some(),
            ticks,
            locks: Vec::new(),
            stacks: Vec::new(),
            modules: Vec::new(),
            threads: Vec::new(),
            pthreads: Vec::new(),
            data_addresses: FxHashMap::default(),
            truncated: FxHashSet::default(),
            recent: RecentRecords::default(),
            held_alone: 0,
        }))
    }

    /// The session's number of a lock row. Row 0, which stands for "could not be noted", gets a row too.
    pub fn lock(&mut self, session: &mut Session, number: u32) -> LockId {
        if let Some(Some(id)) = self.locks.get(number as usize) {
            return *id;
        }
        if number != 0 && self.segment.lock(number).is_none() {
            self.segment.damaged("a record names a lock that does not exist");
            return self.lock(session, 0);
        }
        let id = LockId::from(session.locks.len());
        let mut lock = Lock::new(self.process, 0, Kind::Mutex);
        if let Some(info) = self.segment.lock(number) {
            lock.address = info.address.load(Ordering::Relaxed);
            lock.kind = info.kind().unwrap_or(Kind::Mutex);
            if info.initialised.load(Ordering::Relaxed) != 0 {
                lock.origin = Origin::Initialised;
            }
            let (origin, module) = (info.origin_stack.load(Ordering::Relaxed), info.module.load(Ordering::Relaxed));
            lock.origin_stack = self.stack(session, origin);
            let bias = self.segment.module(module).map(|row| row.bias.load(Ordering::Relaxed));
            if let (Some(module), Some(bias)) = (self.module(session, module), bias) {
                let address = lock.address.wrapping_sub(bias);
                self.data_addresses.insert(id, CodeAddress { module: Some(module), address });
            }
        } else {
            lock.name = Some(LockName { text: "(not told apart)".to_owned(), source: NameSource::User });
        }
        session.locks.push(lock);
        set(&mut self.locks, number, id);
        id
    }

    /// The session's number of a stack node; 0 stays 0.
    pub fn stack(&mut self, session: &mut Session, number: u32) -> StackId {
        if let Some(Some(id)) = self.stacks.get(number as usize) {
            return *id;
        }
        /// No stack is deeper.
        const DEEPEST: usize = 1 << 16;
        // Callers have smaller numbers; anything else is not believed.
        let mut missing = Vec::new();
        let mut at = number;
        let mut id = StackId(0);
        while at != 0 {
            if let Some(Some(known)) = self.stacks.get(at as usize) {
                id = *known;
                break;
            }
            let node = self.segment.node(at).filter(|_| missing.len() < DEEPEST);
            let caller = node.map(|node| node.caller.load(Ordering::Relaxed)).filter(|caller| *caller < at);
            let Some(caller) = caller else {
                self.segment.damaged("a record names a call stack that does not exist");
                break;
            };
            missing.push(at);
            at = caller;
        }
        for number in missing.into_iter().rev() {
            let Some(node) = self.segment.node(number) else { break };
            let (module, address) = (node.module.load(Ordering::Relaxed), node.address.load(Ordering::Relaxed));
            let module_id = self.module(session, module & !TRUNCATED);
            id = session.stacks.intern(id, CodeAddress { module: module_id, address });
            if module & TRUNCATED != 0 {
                self.truncated.insert(id);
            }
            set(&mut self.stacks, number, id);
        }
        id
    }

    fn module_row(&self, number: u32) -> Option<Module> {
        let row = self.segment.module(number)?;
        let path_len = (row.path_len.load(Ordering::Relaxed) as usize).min(row.path.len());
        let id_len = (row.build_id_len.load(Ordering::Relaxed) as usize).min(row.build_id.len());
        let mut path = segment::text(&row.path[..path_len]);
        if path.starts_with("linux-vdso") {
            path = "[vdso]".to_owned();
        }
        let build_id = row.build_id[..id_len].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        Some(Module { path, build_id })
    }

    /// The programs and libraries that the process had, with its row in the session.
    pub fn loaded(&self) -> impl Iterator<Item = (ProcessId, Module)> + '_ {
        (1..).map_while(|number| Some((self.process, self.module_row(number)?)))
    }

    fn module(&mut self, session: &mut Session, number: u32) -> Option<ModuleId> {
        if let Some(Some(id)) = self.modules.get(number as usize) {
            return Some(*id);
        }
        let module = self.module_row(number)?;
        let id = session.stacks.intern_module(&module);
        set(&mut self.modules, number, id);
        Some(id)
    }

    /// The thread that writes into a slot's ring.
    pub fn thread(&mut self, session: &mut Session, slot: u32) -> ThreadId {
        if let Some(Some(id)) = self.threads.get(slot as usize) {
            return *id;
        }
        let tid = self.segment.thread(slot).map_or(0, |slot| slot.tid.load(Ordering::Relaxed));
        self.start_thread(session, slot, tid, None)
    }

    /// The thread that writes into a slot's ring, if one is known.
    pub fn thread_in(&self, slot: u32) -> Option<ThreadId> {
        self.threads.get(slot as usize).copied().flatten()
    }

    /// The same by a number that may be of no slot.
    pub fn thread_seen(&self, slot: u32) -> Option<ThreadId> {
        self.segment.thread(slot).and_then(|_| self.thread_in(slot))
    }

    /// The kernel's id of a thread, by the one that the program knows it by.
    pub fn tid(&self, said: u32) -> u32 {
        if !self.owner.is_apart {
            return said;
        }
        let mut tids = self.tids.borrow_mut();
        if !tids.contains_key(&said) {
            let tasks = fs::read_dir(procfs::folder(self.owner.pid).join("task")).into_iter().flatten().flatten();
            *tids = tasks.filter_map(|task| procfs::known_as(&task.path())).map(|(tid, own)| (own, tid)).collect();
        }
        // Of one that has ended nothing else is known.
        *tids.entry(said).or_insert(said)
    }

    /// From here on the slot belongs to another thread.
    pub fn start_thread(&mut self, session: &mut Session, slot: u32, said: u32, ticks: Option<u64>) -> ThreadId {
        let tid = self.tid(said);
        let start_ns = ticks.map_or(0, |ticks| self.ticks.moment_ns(ticks));
        let id = self.row_of_patched(session, tid).unwrap_or_else(|| {
            let name = thread_name(self.owner.pid, tid).unwrap_or_default();
            session.threads.push(Thread { process: self.process, tid, name, start_ns, end_ns: None });
            ThreadId::from(session.threads.len() - 1)
        });
        session.processes[self.process.index()].threads += 1;
        set(&mut self.threads, slot, id);
        id
    }

    /// The row of a thread that the program's own code has told of before the segment did.
    fn row_of_patched(&self, session: &Session, tid: u32) -> Option<ThreadId> {
        /// Rows that were made since.
        const REACH: usize = 4096;
        if !self.is_patched {
            return None;
        }
        let is_it = |thread: &Thread| (thread.process, thread.tid) == (self.process, tid) && thread.end_ns.is_none();
        let mut rows = session.threads.iter().enumerate().rev().take(REACH);
        let row = rows.find(|(_, thread)| is_it(thread)).map(|(at, _)| ThreadId::from(at))?;
        (!self.threads.contains(&Some(row))).then_some(row)
    }

    /// The thread in this slot is called so by those who join it.
    pub fn set_pthread(&mut self, slot: u32, pthread: u64) {
        let at = slot as usize;
        if at >= self.pthreads.len() {
            self.pthreads.resize(at + 1, 0);
        }
        self.pthreads[at] = pthread;
    }

    /// The slot of a living thread by its `pthread_t`.
    pub fn slot_of_pthread(&self, pthread: u64) -> Option<u32> {
        let is = |slot: &u32| {
            self.pthreads[*slot as usize] == pthread
                // Acquire: a slot that was taken over says so before its fields are written.
                && self.segment.thread(*slot).is_some_and(|row| row.state.load(Ordering::Acquire) == state::ACTIVE)
        };
        (0..self.pthreads.len() as u32).find(|slot| pthread != 0 && is(slot))
    }

    /// Reads the names of living threads again: programs set them after the start.
    pub fn refresh_thread_names(&self, session: &mut Session) {
        for id in self.threads.iter().flatten() {
            let thread = &mut session.threads[id.index()];
            if thread.end_ns.is_none()
                && let Some(name) = thread_name(self.owner.pid, thread.tid)
            {
                thread.name = name;
            }
        }
    }

    /// What the shim says once for each lock: names by the user, traits, most waiters.
    pub fn finish_locks(&self, session: &mut Session) {
        for (number, id) in self.locks.iter().enumerate().filter_map(|(number, id)| id.map(|id| (number, id))) {
            let Some(info) = self.segment.lock(number as u32) else { continue };
            let lock = &mut session.locks[id.index()];
            lock.traits = traits_of(info);
            lock.max_waiters = info.max_waiters.load(Ordering::Relaxed);
            lock.merged = u64::from(info.merged.load(Ordering::Relaxed).max(1));
            let len = info.name_len.load(Ordering::Acquire);
            if len > 0
                && let Some(text) = self.segment.text(u64::from(info.name.load(Ordering::Relaxed)), u64::from(len))
            {
                lock.name = Some(LockName { text, source: NameSource::User });
            }
        }
    }
}

/// What the shim says of a lock.
pub fn traits_of(info: &LockInfo) -> Traits {
    let bits = info.traits();
    Traits {
        recursive: bits.is_recursive(),
        robust: bits.is_robust(),
        writers_first: bits.lets_writers_first(),
        binary: bits.is_binary(),
        handed_over: bits.is_handed_over(),
        initial: info.initial.load(Ordering::Relaxed),
    }
}

fn set<T: Copy>(table: &mut Vec<Option<T>>, number: u32, id: T) {
    let at = number as usize;
    if at >= table.len() {
        table.resize(at + 1, None);
    }
    table[at] = Some(id);
}

pub(super) fn thread_name(pid: u32, tid: u32) -> Option<String> {
    let name = procfs::text(procfs::folder(pid).join(format!("task/{tid}/comm"))).ok()?;
    Some(name.trim_end().to_owned())
}
