//! Puts a look together: rows of threads, locks and stacks, who has what, and which deadlocks stand.

use std::path::PathBuf;

use lockprof_wire::Kind;
use rustc_hash::FxHashMap;

use super::calls;
use super::files::{Files, Opened};
use super::go::{self, Go, Goroutine};
use super::holders::{self, Member};
use super::memory::Memory;
use super::rings::{self, Outside};
use super::thread::{RawThread, State};
use super::unwind::{Cut, Stack};
use super::wait::{RawState, RawWait};
use super::waits;
use crate::model::{
    Activity, CodeAddress, Holder, Lock, LockId, LockWait, Look, ModuleId, Process as ProcessRow, ProcessId,
    SeenThread, StackId, Stacks, Thread, ThreadId,
};

/// A look without names.
#[derive(Default)]
pub struct Unnamed {
    /// What was seen.
    pub look: Look,
    /// Where locks lie in the data of their files.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
    /// Where the files of modules are, by their paths.
    pub files: FxHashMap<String, PathBuf>,
}

/// Puts a look together.
pub struct Builder<'a> {
    files: &'a Files<'a>,
    memory: &'a Memory<'a>,
    opened: &'a [Opened],
    pub look: Look,
    /// What each thread waits for.
    pub waits: Vec<Option<RawWait>>,
    modules: FxHashMap<usize, ModuleId>,
    locks: FxHashMap<(u64, Kind), LockId>,
    data_addresses: FxHashMap<LockId, CodeAddress>,
}

impl<'a> Builder<'a> {
    pub fn new(files: &'a Files<'a>, memory: &'a Memory<'a>, opened: &'a [Opened]) -> Self {
        Self {
            files,
            memory,
            opened,
            look: Look::default(),
            waits: Vec::new(),
            modules: FxHashMap::default(),
            locks: FxHashMap::default(),
            data_addresses: FxHashMap::default(),
        }
    }

    pub fn row(&mut self, pid: u32, exe: String, command: Vec<String>) {
        self.look.session.meta.command = command;
        self.look.session.processes.push(ProcessRow { pid, parent_pid: 0, exe, exit: None, threads: 0 });
    }

    /// Adds threads with their stacks.
    pub fn add(&mut self, threads: &[RawThread], stacks: &[Option<Stack>]) {
        let by_number: FxHashMap<u32, usize> =
            threads.iter().enumerate().map(|(at, thread)| (thread.own_tid, at)).collect();
        self.look.session.processes[0].threads = threads.len() as u32;
        for (raw, stack) in threads.iter().zip(stacks) {
            let wait = stack.as_ref().and_then(|stack| waits::wait_of(raw, stack, self.files, self.memory));
            let id = self.stack(stack.as_ref());
            let row = ThreadId::from(self.look.session.threads.len());
            self.look.session.threads.push(Thread {
                process: ProcessId(0),
                tid: raw.tid,
                name: raw.name.clone(),
                start_ns: 0,
                end_ns: None,
            });
            let seen = SeenThread {
                thread: row,
                is_goroutine: false,
                activity: match raw.state {
                    State::Running => Activity::Running,
                    State::Blocked => Activity::Blocked,
                    State::Stopped => Activity::Stopped,
                },
                reason: raw.call.map(|call| calls::name(call.number)),
                moved: false,
                stack: id,
                cut: cut(stack.as_ref()),
                wait: wait.map(|wait| self.wait(&wait, id, &by_number)),
            };
            self.look.threads.push(seen);
            self.waits.push(wait);
        }
        let members: Vec<Member<'_>> = (self.waits.iter().zip(stacks))
            .map(|(wait, stack)| Member { stack: stack.as_ref(), wait: *wait, is_go: false })
            .collect();
        for (seen, holder) in self.look.threads.iter_mut().zip(holders::find(&members, self.files, self.memory)) {
            if let (Some(wait), Some(holder)) = (&mut seen.wait, holder) {
                wait.holder = holder;
            }
        }
    }

    /// Adds a Go program's goroutines; returns them.
    pub fn add_goroutines(
        &mut self,
        go: &Go<'_, '_>,
        threads: &[RawThread],
        on_threads: &[Option<Stack>],
    ) -> Vec<Goroutine> {
        let (all, is_all) = go.all(self.memory);
        if !is_all {
            self.look.notes.push(format!("there are more goroutines than the {} that are shown", go::MOST));
        }
        let first = self.look.threads.len();
        let (mut stacks, mut waits) = (Vec::new(), Vec::new());
        for one in &all {
            // What runs, or is in a system call, is where a thread is.
            let is_here = |thread: &&RawThread| {
                thread.registers.is_some_and(|registers| (one.stack.0..one.stack.1).contains(&registers.sp()))
            };
            let runs = matches!(one.status, go::RUNNING | go::SYSCALL);
            let on_thread = threads.iter().zip(on_threads).find(|(thread, _)| is_here(thread)).filter(|_| runs);
            let stack = match on_thread {
                Some((_, stack)) => stack.clone(),
                None if runs => None,
                None => one.walk(self.files, self.memory),
            };
            let is_waiting = one.status == go::WAITING;
            let wait = stack.as_ref().filter(|_| is_waiting).and_then(|stack| go.wait(one, stack, self.memory));
            let id = self.stack(stack.as_ref());
            let row = ThreadId::from(self.look.session.threads.len());
            self.look.session.threads.push(Thread {
                process: ProcessId(0),
                tid: one.number as u32,
                name: Thread::GOROUTINE.to_owned(),
                start_ns: 0,
                end_ns: None,
            });
            let reason = match one.status {
                go::WAITING => go.reason(one.reason).unwrap_or("waits"),
                go::RUNNING => "runs",
                go::SYSCALL => "system call",
                _ => "runnable",
            };
            let seen = SeenThread {
                thread: row,
                is_goroutine: true,
                activity: if is_waiting { Activity::Blocked } else { Activity::Running },
                reason: Some(reason.to_owned()),
                moved: false,
                stack: id,
                cut: if stack.is_none() {
                    Some("it runs on a thread's own stack at this moment")
                } else {
                    cut(stack.as_ref())
                },
                wait: wait.map(|wait| self.wait(&wait, id, &FxHashMap::default())),
            };
            self.look.threads.push(seen);
            stacks.push(stack);
            waits.push(wait);
        }
        let members: Vec<Member<'_>> = (waits.iter().zip(&stacks))
            .map(|(wait, stack)| Member { stack: stack.as_ref(), wait: *wait, is_go: true })
            .collect();
        let holders = holders::find(&members, self.files, self.memory);
        for (seen, holder) in self.look.threads[first..].iter_mut().zip(holders) {
            if let (Some(wait), Some(Holder::GivesBack(at))) = (&mut seen.wait, holder) {
                wait.holder = Holder::GivesBack(first + at);
            }
        }
        all
    }

    /// The wait with its lock's row.
    fn wait(&mut self, wait: &RawWait, stack: StackId, threads: &FxHashMap<u32, usize>) -> LockWait {
        let holder = match wait.state {
            RawState::Thread(tid) => match threads.get(&tid) {
                Some(at) => Holder::Thread(*at),
                // The word of a join is wiped by the kernel when the thread ends.
                None if wait.kind == Kind::Join => Holder::Free,
                None if self.files.mapping(wait.address).is_some_and(|mapping| mapping.shared) => {
                    Holder::Elsewhere(tid)
                }
                None => Holder::Ended(tid),
            },
            RawState::Readers(count) => Holder::Readers(count),
            RawState::NotRecorded => Holder::NotRecorded,
            RawState::Free => Holder::Free,
            RawState::Nobody => Holder::Nobody,
        };
        let lock = self.lock(wait.address, wait.kind, stack);
        LockWait { lock, noun: wait.noun, mode: wait.mode, timed: wait.timed, holder }
    }

    fn lock(&mut self, address: u64, kind: Kind, stack: StackId) -> LockId {
        if let Some(id) = self.locks.get(&(address, kind)) {
            return *id;
        }
        let id = LockId::from(self.look.session.locks.len());
        self.look.session.locks.push(Lock { origin_stack: stack, ..Lock::new(ProcessId(0), address, kind) });
        self.locks.insert((address, kind), id);
        if kind != Kind::Join
            && let Some(file) = self.files.at(address)
        {
            let address = file.in_file(address);
            let module = Some(self.module(address.wrapping_add(file.opened.bias)));
            if let Some(Some(module)) = module {
                self.data_addresses.insert(id, CodeAddress { module: Some(module), address });
            }
        }
        id
    }

    /// The module that an address of the process is in.
    fn module(&mut self, address: u64) -> Option<ModuleId> {
        let file = self.files.at(address)?;
        let key = std::ptr::from_ref(file) as usize;
        let stacks = &mut self.look.session.stacks;
        Some(*self.modules.entry(key).or_insert_with(|| stacks.intern_module(&file.module())))
    }

    /// A stack as the model has it: of return addresses.
    fn stack(&mut self, stack: Option<&Stack>) -> StackId {
        let mut id = Stacks::UNKNOWN;
        for frame in stack.iter().flat_map(|stack| stack.frames.iter().rev()) {
            let behind = frame.inside().wrapping_add(1);
            let module = self.module(frame.inside());
            let bias = self.files.at(frame.inside()).map_or(0, |file| file.opened.bias);
            let address = CodeAddress { module, address: behind.wrapping_sub(bias) };
            id = self.look.session.stacks.intern(id, address);
        }
        id
    }

    pub fn finish(mut self, outside: Outside) -> Unnamed {
        let session = &self.look.session;
        let kind = |thread: &SeenThread| thread.wait.as_ref().map(|wait| session.lock(wait.lock).kind);
        self.look.standstills = rings::find(&self.look.threads, kind, outside);
        let places = self.opened.iter().filter(|file| !file.place.as_os_str().is_empty());
        let files = places.map(|file| (file.path.clone(), file.place.clone())).collect();
        Unnamed { look: self.look, data_addresses: self.data_addresses, files }
    }
}

/// Why a stack is not whole.
fn cut(stack: Option<&Stack>) -> Option<&'static str> {
    let Some(stack) = stack else { return Some("it runs and could not be stopped") };
    match stack.cut? {
        Cut::Register => Some("the next frame needs a register, and the thread was left asleep in its system call"),
        Cut::Table => Some("the code has no unwind table"),
        Cut::Memory => Some("its memory is missing"),
        Cut::Deep => Some("it is deeper than 2,048 frames"),
    }
}
