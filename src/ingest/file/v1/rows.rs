//! Rows that say what there is: the recording, processes, threads, code, locks, symbols.
//!
//! Postcard writes the fields in the order of their declaration: only ever add at the end. Whether
//! a reference points at something is checked by the reader, not here.

use serde::{Deserialize, Serialize};

use super::STRING_LIMIT;
use crate::ingest::file::container::Tag;
use crate::model::{
    Counters, Coverage, Exit, Kind, Lock, LockName, Meta, Mode, NameSource, Origin, Overhead, Process, ProcessId,
    Session, StackId, Thread, Traits,
};

/// The text, shortened at a character where it is too long for a row.
pub fn clip(text: &str) -> &str {
    let mut end = text.len().min(STRING_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// How a process or the command ended.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum ExitRow {
    Code(i32),
    Signal(i32),
}

impl From<Exit> for ExitRow {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(signal) => Self::Signal(signal),
        }
    }
}

impl From<ExitRow> for Exit {
    fn from(row: ExitRow) -> Self {
        match row {
            ExitRow::Code(code) => Self::Code(code),
            ExitRow::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// `META`: the recording in one row.
#[derive(Serialize, Deserialize)]
pub struct MetaRow<'a> {
    version: &'a str,
    host: &'a str,
    started_unix_ns: u64,
    duration_ns: u64,
    exit: Option<ExitRow>,
    cut: bool,
    acquisitions: u64,
    recorded: u64,
    folded: u64,
    lost: u64,
    stack_hits: u64,
    stack_misses: u64,
    stacks_truncated: u64,
    wait_events_dropped: u64,
    ns_per_pair: f64,
    share_of_runtime: f64,
    task_clock_ns: Option<u64>,
    context_switches: Option<u64>,
    cycles: Option<u64>,
    /// Rows of each table in the whole file, so that a cut file can say what is missing.
    pub tables: Vec<(Tag, u64)>,
}

impl<'a> MetaRow<'a> {
    pub fn new(session: &'a Session, tables: Vec<(Tag, u64)>) -> Self {
        let Session { meta, coverage, overhead, counters, .. } = session;
        Self {
            version: clip(&meta.version),
            host: clip(&meta.host),
            started_unix_ns: meta.started_unix_ns,
            duration_ns: meta.duration_ns,
            exit: meta.exit.map(ExitRow::from),
            cut: meta.cut,
            acquisitions: coverage.acquisitions,
            recorded: coverage.recorded,
            folded: coverage.folded,
            lost: coverage.lost,
            stack_hits: coverage.stack_hits,
            stack_misses: coverage.stack_misses,
            stacks_truncated: coverage.stacks_truncated,
            wait_events_dropped: session.profile.wait_events_dropped,
            ns_per_pair: overhead.ns_per_pair,
            share_of_runtime: overhead.share_of_runtime,
            task_clock_ns: counters.task_clock_ns,
            context_switches: counters.context_switches,
            cycles: counters.cycles,
            tables,
        }
    }

    /// A session with all that this row knows. The command and the notes have tables of their own.
    pub fn session(&self) -> Session {
        let mut session = Session {
            meta: Meta {
                command: Vec::new(),
                exit: self.exit.map(Exit::from),
                started_unix_ns: self.started_unix_ns,
                duration_ns: self.duration_ns,
                version: self.version.to_owned(),
                host: self.host.to_owned(),
                cut: self.cut,
            },
            coverage: Coverage {
                acquisitions: self.acquisitions,
                recorded: self.recorded,
                folded: self.folded,
                lost: self.lost,
                stack_hits: self.stack_hits,
                stack_misses: self.stack_misses,
                stacks_truncated: self.stacks_truncated,
                contended_only: false,
                notes: Vec::new(),
            },
            overhead: Overhead { ns_per_pair: self.ns_per_pair, share_of_runtime: self.share_of_runtime },
            counters: Counters {
                task_clock_ns: self.task_clock_ns,
                context_switches: self.context_switches,
                cycles: self.cycles,
            },
            ..Session::default()
        };
        session.profile.wait_events_dropped = self.wait_events_dropped;
        session
    }
}

/// `PROC`.
#[derive(Serialize, Deserialize)]
pub struct ProcessRow<'a> {
    pid: u32,
    parent_pid: u32,
    exe: &'a str,
    exit: Option<ExitRow>,
    threads: u32,
}

impl<'a> From<&'a Process> for ProcessRow<'a> {
    fn from(process: &'a Process) -> Self {
        let Process { pid, parent_pid, ref exe, exit, threads } = *process;
        Self { pid, parent_pid, exe: clip(exe), exit: exit.map(ExitRow::from), threads }
    }
}

impl From<ProcessRow<'_>> for Process {
    fn from(row: ProcessRow) -> Self {
        let ProcessRow { pid, parent_pid, exe, exit, threads } = row;
        Self { pid, parent_pid, exe: exe.to_owned(), exit: exit.map(Exit::from), threads }
    }
}

/// `RUNS`: a run after the first one, in a trace that holds several.
#[derive(Serialize, Deserialize)]
pub struct RunRow {
    /// Where its processes begin.
    pub first_process: u32,
}

/// `THRD`.
#[derive(Serialize, Deserialize)]
pub struct ThreadRow<'a> {
    process: u32,
    tid: u32,
    name: &'a str,
    start_ns: u64,
    end_ns: Option<u64>,
}

impl<'a> From<&'a Thread> for ThreadRow<'a> {
    fn from(thread: &'a Thread) -> Self {
        let Thread { process, tid, ref name, start_ns, end_ns } = *thread;
        Self { process: process.0, tid, name: clip(name), start_ns, end_ns }
    }
}

impl From<ThreadRow<'_>> for Thread {
    fn from(row: ThreadRow) -> Self {
        let ThreadRow { process, tid, name, start_ns, end_ns } = row;
        Self { process: ProcessId(process), tid, name: name.to_owned(), start_ns, end_ns }
    }
}

/// `MODU`.
#[derive(Serialize, Deserialize)]
pub struct ModuleRow<'a> {
    pub path: &'a str,
    pub build_id: &'a [u8],
}

/// `NODE`. The first row is node 1: node 0, the unknown stack, is not written.
#[derive(Serialize, Deserialize)]
pub struct NodeRow {
    /// This node's number less its caller's: 1 or more, so that there can be no cycle.
    pub back: u32,
    pub module: Option<u32>,
    pub address: u64,
}

/// `LOCK`.
#[derive(Serialize, Deserialize)]
pub struct LockRow<'a> {
    process: u32,
    address: u64,
    kind: u8,
    origin: u8,
    origin_stack: u32,
    name: Option<(&'a str, u8)>,
    class: &'a str,
    max_waiters: u32,
    owner_changes: u64,
    merged: u64,
}

impl<'a> From<&'a Lock> for LockRow1<'a> {
    fn from(lock: &'a Lock) -> Self {
        let Traits { recursive, robust, writers_first, binary, handed_over, initial } = lock.traits;
        let bits = [recursive, robust, writers_first, binary, handed_over];
        let traits = bits.into_iter().rev().fold(0, |bits, bit| bits << 1 | u8::from(bit));
        Self { row: lock.into(), traits, initial }
    }
}

impl LockRow1<'_> {
    /// `None` where a number has no meaning here.
    pub fn lock(self) -> Option<Lock> {
        let is = |bit: u8| self.traits >> bit & 1 != 0;
        let traits = Traits {
            recursive: is(0),
            robust: is(1),
            writers_first: is(2),
            binary: is(3),
            handed_over: is(4),
            initial: self.initial,
        };
        Some(Lock { traits, ..self.row.lock()? })
    }
}

// A value's number in the file is its place in these lists: only ever add at the end.
const KINDS: [Kind; Kind::ALL.len()] = Kind::ALL;
const ORIGINS: [Origin; 2] = [Origin::Initialised, Origin::FirstUsed];
const SOURCES: [NameSource; 5] =
    [NameSource::User, NameSource::Global, NameSource::Source, NameSource::Function, NameSource::Address];
const MODES: [Mode; 2] = [Mode::Exclusive, Mode::Shared];

pub fn number<T: PartialEq>(list: &[T], value: T) -> u8 {
    // A value that is missing from its list reads back as unknown, and the test of all values fails.
    list.iter().position(|known| *known == value).map_or(u8::MAX, |at| at as u8)
}

/// The number of a mode.
pub fn mode_number(mode: Mode) -> u8 {
    number(&MODES, mode)
}

/// The mode of a number.
pub fn mode(number: u8) -> Option<Mode> {
    MODES.get(usize::from(number)).copied()
}

/// `LOCK` in revision 1.
#[derive(Serialize, Deserialize)]
pub struct LockRow1<'a> {
    #[serde(borrow)]
    row: LockRow<'a>,
    traits: u8,
    initial: u32,
}

impl<'a> From<&'a Lock> for LockRow<'a> {
    fn from(lock: &'a Lock) -> Self {
        Self {
            process: lock.process.0,
            address: lock.address,
            kind: number(&KINDS, lock.kind),
            origin: number(&ORIGINS, lock.origin),
            origin_stack: lock.origin_stack.0,
            name: lock.name.as_ref().map(|name| (clip(&name.text), number(&SOURCES, name.source))),
            class: clip(&lock.class),
            max_waiters: lock.max_waiters,
            owner_changes: lock.owner_changes,
            merged: lock.merged,
        }
    }
}

impl LockRow<'_> {
    /// `None` where a number has no meaning here.
    pub fn lock(self) -> Option<Lock> {
        let name = match self.name {
            Some((text, source)) => {
                Some(LockName { text: text.to_owned(), source: *SOURCES.get(usize::from(source))? })
            }
            None => None,
        };
        let kind = *KINDS.get(usize::from(self.kind))?;
        Some(Lock {
            origin: *ORIGINS.get(usize::from(self.origin))?,
            origin_stack: StackId(self.origin_stack),
            name,
            class: self.class.to_owned(),
            max_waiters: self.max_waiters,
            owner_changes: self.owner_changes,
            merged: self.merged,
            ..Lock::new(ProcessId(self.process), self.address, kind)
        })
    }
}

/// One frame of a `FRAM` row; the row is a list of them, innermost first. The strings are rows of `STRS`.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct FrameRow {
    pub function: Option<u32>,
    pub file: Option<u32>,
    pub line: u32,
    pub column: u32,
    pub inlined: bool,
}

/// `SYMB`: which frames a stack node stands for.
#[derive(Serialize, Deserialize)]
pub struct SymbolRow {
    /// The node's number less that of the row before (0 before the first row).
    pub node_step: u32,
    pub frames: u32,
}

/// `END `.
#[derive(Serialize, Deserialize)]
pub struct EndRow {
    /// Chunks before this one.
    pub chunks: u32,
}
