//! `where --format json`: everything that a look found.

use serde::Serialize;

use super::{CallStack, SCHEMA_VERSION, layout};
use crate::model::{self, Activity, Holder, LockWait, Mode, SeenThread};
use crate::render::explain::look::LookWords;
use crate::render::style::Layout;

#[derive(Serialize)]
struct Whole<'a> {
    schema_version: u32,
    pid: u32,
    exe: &'a str,
    command: &'a [String],
    /// The core file, and the signal that made it (0: none).
    core: Option<&'a str>,
    signal: i32,
    /// `deadlock` or `none`.
    verdict: &'static str,
    cycles: Vec<Cycle>,
    threads: Vec<Thread<'a>>,
    goroutines: Vec<Thread<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Cycle {
    kind: &'static str,
    message: String,
    /// Ids of threads, or numbers of goroutines: in a ring each waits for the next.
    threads: Vec<u32>,
    /// How many others wait for them.
    behind: usize,
}

#[derive(Serialize)]
struct Thread<'a> {
    id: u32,
    name: &'a str,
    /// `running`, `blocked` or `stopped`.
    state: &'static str,
    /// The system call that it is in, or why a goroutine waits.
    reason: Option<&'a str>,
    /// Whether it ran between the two looks.
    moved: bool,
    waits_for: Option<Wait<'a>>,
    stack: CallStack<'a>,
    /// Why that is not the whole stack.
    cut: Option<&'a str>,
}

#[derive(Serialize)]
struct Wait<'a> {
    kind: &'static str,
    /// The library's own word for it.
    r#type: Option<&'a str>,
    name: Option<&'a str>,
    address: String,
    mode: &'static str,
    timed: bool,
    holder: HolderNow,
}

#[derive(Serialize)]
struct HolderNow {
    /// `thread`, `gives-back`, `ended`, `other-process`, `readers`, `not-recorded`, `free` or `none`.
    known: &'static str,
    /// The thread that has it.
    thread: Option<u32>,
    readers: Option<u32>,
}

/// The look, ending in a line break.
pub fn look(look: &model::Look) -> String {
    let words = LookWords::new(look, Layout::default());
    let process = &look.session.processes[0];
    let id = |at: usize| look.threads.get(at).map_or(0, |seen| look.session.thread(seen.thread).tid);
    let thread = |seen| thread(look, seen, &id);
    let of = |goroutines: bool| look.threads.iter().filter(move |seen| seen.is_goroutine == goroutines);
    layout::to_string(&Whole {
        schema_version: SCHEMA_VERSION,
        pid: process.pid,
        exe: &process.exe,
        command: &look.session.meta.command,
        core: look.core.as_deref(),
        signal: look.signal,
        verdict: if look.has_deadlock() { "deadlock" } else { "none" },
        cycles: (look.standstills.iter())
            .map(|standstill| Cycle {
                kind: standstill.kind.name(),
                message: words.standstill(standstill),
                threads: standstill.threads.iter().map(|at| id(*at)).collect(),
                behind: standstill.behind,
            })
            .collect(),
        threads: of(false).map(thread).collect(),
        goroutines: of(true).map(thread).collect(),
        notes: &look.notes,
    })
}

fn thread<'a>(look: &'a model::Look, seen: &'a SeenThread, id: &impl Fn(usize) -> u32) -> Thread<'a> {
    let row = look.session.thread(seen.thread);
    Thread {
        id: row.tid,
        name: &row.name,
        state: match seen.activity {
            Activity::Running => "running",
            Activity::Blocked => "blocked",
            Activity::Stopped => "stopped",
        },
        reason: seen.reason.as_deref(),
        moved: seen.moved,
        waits_for: seen.wait.as_ref().map(|wait| wait_of(look, wait, id)),
        stack: CallStack::of(&look.session, seen.stack),
        cut: seen.cut,
    }
}

fn wait_of<'a>(look: &'a model::Look, wait: &'a LockWait, id: &impl Fn(usize) -> u32) -> Wait<'a> {
    let lock = look.session.lock(wait.lock);
    let (known, thread, readers) = match wait.holder {
        Holder::Thread(at) => ("thread", Some(id(at)), None),
        Holder::GivesBack(at) => ("gives-back", Some(id(at)), None),
        Holder::Ended(tid) => ("ended", Some(tid), None),
        Holder::Elsewhere(tid) => ("other-process", Some(tid), None),
        Holder::Readers(count) => ("readers", None, Some(count)),
        Holder::NotRecorded => ("not-recorded", None, None),
        Holder::Free => ("free", None, None),
        Holder::Nobody => ("none", None, None),
    };
    Wait {
        kind: lock.kind.name(),
        r#type: Some(wait.noun).filter(|noun| !noun.is_empty()),
        name: lock.name.as_ref().map(|name| name.text.as_str()),
        address: format!("{:#x}", lock.address),
        mode: match wait.mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        },
        timed: wait.timed,
        holder: HolderNow { known, thread, readers },
    }
}
