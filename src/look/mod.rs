//! Looks at a process, or at a core of one, from outside: every thread's stack, what it waits for, and who has that.
//!
//! Nothing is put into the process. It is looked at twice, some milliseconds apart: a thread that ran in between is not said to
//! be stuck. Between the looks stacks are followed and the words of locks are read, so they belong to both.
//!
//! Deliberately not here: names (`symbols`), and what is said to a person (`render`).

mod builder;
mod calls;
mod core;
mod files;
mod future;
mod go;
mod holders;
mod kinds;
mod live;
mod machine;
mod memory;
mod plt;
mod registers;
mod rings;
mod rust;
mod thread;
mod unwind;
mod wait;
mod waits;

use std::path::Path;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use self::core::{Core, CoreMemory};
use crate::ingest::procfs;
use builder::Builder;
use files::Files;
use go::Go;
use live::Process;
use memory::Memory;
use rings::Outside;
use thread::{RawThread, State};
use unwind::{Cut, Stack};

pub use builder::Unnamed;
pub use kinds::list;

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

impl LookError {
    /// The reason alone.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused(_, why) => why.clone(),
            other => other.to_string(),
        }
    }
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
    let program = process.exe();
    let go = files.go(&program).and_then(|file| Go::find(file, &memory));
    let goroutines = go.as_ref().map(|go| builder.add_goroutines(go, &threads, &stacks)).unwrap_or_default();
    std::thread::sleep(APART.saturating_sub(began.elapsed()));
    let later: FxHashMap<u32, RawThread> = process.switches().into_iter().map(|thread| (thread.tid, thread)).collect();
    if later.is_empty() {
        return Err(LookError::Over(pid));
    }
    for (seen, before) in builder.look.threads.iter_mut().zip(&threads) {
        let sleeps = |thread: &RawThread| thread.state != State::Running && thread.switches == before.switches;
        seen.moved = before.state == State::Running || !later.get(&before.tid).is_some_and(sleeps);
    }
    memory.forget();
    for (seen, before) in builder.look.threads[threads.len()..].iter_mut().zip(&goroutines) {
        let now = go.as_ref().and_then(|go| go.read(&memory, before.address));
        seen.moved = before.status != go::WAITING || now.as_ref() != Some(before);
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
    let go = core.program().and_then(|program| files.go(&program)).and_then(|file| Go::find(file, &memory));
    if let Some(go) = &go {
        builder.add_goroutines(go, &threads, &stacks);
    }
    builder.look.core = Some(path.display().to_string());
    builder.look.signal = core.signal().0;
    builder.look.notes.extend(core.notes.iter().cloned());
    Ok(builder.finish(Outside::NotKnown))
}

/// The stack of a thread whose registers are known.
fn walk(files: &Files<'_>, memory: &Memory<'_>, registers: Option<registers::Registers>) -> Option<Stack> {
    registers.map(|registers| unwind::walk(files, memory, registers))
}
