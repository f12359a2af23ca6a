//! Looks at a process, or at a core of one, from outside: every thread's stack, what it waits for, and who has that.
//!
//! Nothing is put into the process. It is looked at twice, some milliseconds apart: a thread that ran in between is not said to
//! be stuck. Between the looks stacks are followed and the words of locks are read, so they belong to both.
//!
//! Deliberately not here: names (`symbols`), and what is said to a person (`render`).

mod calls;
mod core;
mod files;
mod live;
mod memory;
mod registers;
mod rings;
mod rust;
mod thread;
mod unwind;
mod wait;
mod waits;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockprof_wire::Kind;
use rustc_hash::FxHashMap;

use self::core::{Core, CoreMemory};
use crate::ingest::procfs;
use crate::model::{
    Activity, CodeAddress, Holder, Lock, LockId, LockWait, Look, ModuleId, Process as ProcessRow, ProcessId,
    SeenThread, StackId, Stacks, Thread, ThreadId,
};
use files::{Files, Opened};
use live::Process;
use memory::Memory;
use rings::Outside;
use thread::{RawThread, State};
use unwind::{Cut, Stack};
use wait::{RawState, RawWait};

/// Time between the two looks.
const APART: Duration = Duration::from_millis(20);

/// Why something cannot be looked at; the text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// There is none.
    #[error("there is no process {0}")]
    NoProcess(u32),
    /// It is a thread's number.
    #[error("{0} is a thread of process {1}: lockprof where {1}")]
    Thread(u32, u32),
    /// It has ended.
    #[error("process {0} has ended (its parent has not taken note of it yet)")]
    Over(u32),
    /// It is a thread of the kernel.
    #[error("process {0} is a part of the kernel")]
    Kernel(u32),
    /// It may not be.
    #[error("process {0} cannot be looked at: {1}")]
    Refused(u32, String),
    /// It is for another kind of processor.
    #[error("{0}: only 64-bit x86-64 programs can be looked at")]
    Foreign(String),
    /// The file cannot be opened.
    #[error("{0} cannot be opened: {1}")]
    Open(String, String),
    /// The file is no core.
    #[error("{0} is not a core file: {1}")]
    NoCore(String, String),
}

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

/// Looks at a process.
///
/// # Errors
/// Where there is none, or it may not be looked at.
pub fn process(pid: u32) -> Result<Unnamed, LookError> {
    let process = Process::open(pid)?;
    let mappings = process.mappings()?;
    let opened = process.files(&mappings);
    let files = Files::new(&opened, &mappings);
    let memory = Memory::new(&process);
    let began = Instant::now();
    let mut threads = process.threads(&memory, &mappings);
    if threads.is_empty() {
        return Err(LookError::Over(pid));
    }
    let mut stacks = Vec::new();
    let mut stopped = Vec::new();
    for (at, thread) in threads.iter_mut().enumerate() {
        let mut stack = walk(&files, &memory, thread.registers);
        if stack.as_ref().is_some_and(|stack| stack.cut == Some(Cut::Register))
            && let Some(registers) = process.complete(thread, &memory, &mappings)
        {
            thread.registers = Some(registers);
            stack = walk(&files, &memory, thread.registers);
            stopped.push(at);
        }
        stacks.push(stack);
    }
    stopped.into_iter().for_each(|at| process.settle(&mut threads[at]));
    // What locks say is read while everybody is watched.
    memory.forget();
    let mut builder = Builder::new(&files, &memory, &opened);
    builder.row(pid, process.exe(), procfs::command(pid));
    builder.add(&threads, &stacks);
    std::thread::sleep(APART.saturating_sub(began.elapsed()));
    let later: FxHashMap<u32, RawThread> = process.switches().into_iter().map(|thread| (thread.tid, thread)).collect();
    if later.is_empty() {
        return Err(LookError::Over(pid));
    }
    for (seen, before) in builder.look.threads.iter_mut().zip(&threads) {
        let sleeps = |thread: &RawThread| thread.state != State::Running && thread.switches == before.switches;
        seen.moved = before.state == State::Running || !later.get(&before.tid).is_some_and(sleeps);
    }
    // Threads that began since are not in the look: then nobody says that there are no others.
    let is_alone = later.keys().all(|tid| threads.iter().any(|thread| thread.tid == *tid)) && process.is_left_alone();
    let is_private = builder.waits.iter().all(|wait| {
        let mapping = wait.as_ref().and_then(|wait| files.mapping(wait.address));
        mapping.is_none_or(|mapping| !mapping.shared)
    });
    Ok(builder.finish(if is_alone && is_private { Outside::Nobody } else { Outside::Somebody }))
}

/// Looks at a core. `exe`: the program, where it is elsewhere now; `root`: the folder in which all other files are.
///
/// # Errors
/// Where it is none, or cannot be read.
pub fn core(path: &Path, exe: Option<&Path>, root: Option<&Path>) -> Result<Unnamed, LookError> {
    let mut core = Core::open(path)?;
    let opened = core.files(exe, root);
    let source = CoreMemory::new(&core, &opened);
    let files = Files::new(&opened, &core.mappings);
    let memory = Memory::new(&source);
    let threads = core.threads();
    let mut builder = Builder::new(&files, &memory, &opened);
    builder.row(core.pid, core.program().unwrap_or_else(|| core.name.clone()), core.command.clone());
    let stacks: Vec<_> = threads.iter().map(|thread| walk(&files, &memory, thread.registers)).collect();
    builder.add(&threads, &stacks);
    builder.look.core = Some(path.display().to_string());
    builder.look.signal = core.signal().0;
    builder.look.notes.extend(core.notes.iter().cloned());
    Ok(builder.finish(Outside::NotKnown))
}

/// The stack of a thread whose registers are known.
fn walk(files: &Files<'_>, memory: &Memory<'_>, registers: Option<registers::Registers>) -> Option<Stack> {
    registers.map(|registers| unwind::walk(files, memory, registers))
}

/// Puts a look together.
struct Builder<'a> {
    files: &'a Files<'a>,
    memory: &'a Memory<'a>,
    opened: &'a [Opened],
    look: Look,
    /// What each thread waits for.
    waits: Vec<Option<RawWait>>,
    modules: FxHashMap<usize, ModuleId>,
    locks: FxHashMap<(u64, Kind), LockId>,
    data_addresses: FxHashMap<LockId, CodeAddress>,
}

impl<'a> Builder<'a> {
    fn new(files: &'a Files<'a>, memory: &'a Memory<'a>, opened: &'a [Opened]) -> Self {
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

    fn row(&mut self, pid: u32, exe: String, command: Vec<String>) {
        self.look.session.meta.command = command;
        self.look.session.processes.push(ProcessRow { pid, parent_pid: 0, exe, exit: None, threads: 0 });
    }

    /// Adds threads with their stacks.
    fn add(&mut self, threads: &[RawThread], stacks: &[Option<Stack>]) {
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

    fn finish(mut self, outside: Outside) -> Unnamed {
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
