//! The types of the report's JSON, and how they are filled.

use serde::Serialize;

use super::findings::FindingRow;
use super::hangs::{Hang, hangs};
use super::locks::{DEFAULTS, Defaults, Form, Lock, Spread, lock};
use super::stack_table::StackTable;
use super::{ExitStatus, Frame, SCHEMA_VERSION};
use crate::analysis::contention::{Contention, GroupBy, Totals};
use crate::analysis::findings::{Finding, Findings};
use crate::analysis::groups::{GroupKey, GroupRow};
use crate::model::Session;
use crate::render::explain;
use crate::render::frames::place_label;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema_version: u32,
    command: &'a [String],
    exit: Option<ExitStatus>,
    duration_ns: u64,
    /// How long all threads lived together.
    thread_time_ns: u64,
    started_unix_ns: u64,
    host: &'a str,
    lockprof_version: &'a str,
    processes: Vec<Process<'a>>,
    coverage: Coverage<'a>,
    overhead: Overhead,
    counters: Counters,
    contention: Sums,
    blocked: Sums,
    locks: Vec<Lock<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Group>>,
    findings: Vec<FindingRow<'a>>,
    hangs: Vec<Hang<'a>>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    table: Option<Table<'a>>,
}

/// What the rows of locks refer to where each stack is written once.
#[derive(Serialize)]
struct Table<'a> {
    /// What a row leaves out, by its list.
    defaults: Defaults,
    /// By number: each stack's frames.
    stacks: &'a [Vec<usize>],
    /// By number: each frame.
    frames: Vec<Frame<'a>>,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    parent_pid: u32,
    exe: &'a str,
    threads: u32,
    exit: Option<ExitStatus>,
}

#[derive(Serialize)]
struct Coverage<'a> {
    acquisitions: u64,
    recorded: u64,
    folded: u64,
    lost: u64,
    complete: bool,
    notes: &'a [String],
    stack_hits: u64,
    stack_misses: u64,
    stacks_truncated: u64,
    /// Only contended acquisitions are known: the profile of another tool.
    contended_only: bool,
    /// Whether all that the order of locks depends on is known.
    order_complete: bool,
    /// The trace was cut short.
    cut: bool,
}

#[derive(Serialize)]
struct Overhead {
    ns_per_pair: Option<f64>,
    share_of_runtime: Option<f64>,
}

#[derive(Serialize)]
struct Counters {
    task_clock_ns: Option<u64>,
    context_switches: Option<u64>,
    cycles: Option<u64>,
}

/// Over lock kinds (`contention`) or the others (`blocked`).
#[derive(Serialize)]
struct Sums {
    locks: u64,
    acquisitions: u64,
    contended: u64,
    wait_ns: u64,
    hold_ns: u64,
}

impl From<&Totals> for Sums {
    fn from(totals: &Totals) -> Self {
        Self {
            locks: totals.rows,
            acquisitions: totals.acquisitions,
            contended: totals.contended,
            wait_ns: totals.wait_ns,
            hold_ns: totals.hold_ns,
        }
    }
}

/// A row of `--by site` or `--by thread`.
#[derive(Serialize)]
struct Group {
    by: &'static str,
    name: String,
    tid: Option<u32>,
    pid: Option<u32>,
    locks: u64,
    acquisitions: u64,
    contended: u64,
    wait_ns: Spread,
    hold_ns: u64,
    blocked_ns: u64,
}

impl<'a> Report<'a> {
    /// With a table, rows have the numbers of their stacks.
    pub(super) fn of(
        session: &'a Session,
        view: &'a Contention,
        found: &'a Findings,
        limit: Option<usize>,
        table: Option<&'a StackTable>,
    ) -> Self {
        let form = Form { session, table };
        let (meta, seen) = (&session.meta, &session.coverage);
        let limit = limit.unwrap_or(usize::MAX);
        let groups = matches!(view.query.by, GroupBy::Site | GroupBy::Thread)
            .then(|| view.groups.iter().take(limit).map(|row| group(session, row)).collect());
        Self {
            schema_version: SCHEMA_VERSION,
            command: &meta.command,
            exit: meta.exit.map(ExitStatus::from),
            duration_ns: meta.duration_ns,
            thread_time_ns: session.thread_time_ns(),
            started_unix_ns: meta.started_unix_ns,
            host: &meta.host,
            lockprof_version: &meta.version,
            processes: session.processes.iter().map(process).collect(),
            coverage: Coverage {
                acquisitions: seen.acquisitions,
                recorded: seen.recorded,
                folded: seen.folded,
                lost: seen.lost,
                complete: seen.complete() && !meta.cut,
                notes: &seen.notes,
                stack_hits: seen.stack_hits,
                stack_misses: seen.stack_misses,
                stacks_truncated: seen.stacks_truncated,
                contended_only: seen.contended_only,
                order_complete: session.order.dropped == 0 && !seen.contended_only && !meta.cut,
                cut: meta.cut,
            },
            overhead: overhead(session.overhead),
            counters: Counters {
                task_clock_ns: session.counters.task_clock_ns,
                context_switches: session.counters.context_switches,
                cycles: session.counters.cycles,
            },
            contention: Sums::from(&view.contention),
            blocked: Sums::from(&view.blocked),
            locks: view.locks.iter().take(limit).map(|row| lock(form, row)).collect(),
            groups,
            findings: findings(session, view, found),
            hangs: hangs(session, view),
            notes: view.notes.iter().map(|note| explain::notes::contention(*note)).collect(),
            table: table.map(|table| Table {
                defaults: DEFAULTS,
                stacks: table.stacks(),
                frames: table.frames(session),
            }),
        }
    }
}

/// A cost that was not measured is none.
fn overhead(cost: crate::model::Overhead) -> Overhead {
    let measured = |value: f64| (cost.ns_per_pair > 0.0).then_some(value);
    Overhead { ns_per_pair: measured(cost.ns_per_pair), share_of_runtime: measured(cost.share_of_runtime) }
}

/// Findings about locks that the view shows. A lock without a counted acquisition is shown where nothing is left out.
fn findings<'a>(session: &'a Session, view: &Contention, all: &'a Findings) -> Vec<FindingRow<'a>> {
    let is_shown = |finding: &&Finding| {
        view.query.filter.is_empty() || finding.subject.locks.iter().any(|lock| view.row_of(*lock).is_some())
    };
    let kept = all.but_cycles().filter(is_shown);
    kept.map(|finding| FindingRow::of(session, finding, view, finding.fails())).collect()
}

fn process(process: &crate::model::Process) -> Process<'_> {
    Process {
        pid: process.pid,
        parent_pid: process.parent_pid,
        exe: &process.exe,
        threads: process.threads,
        exit: process.exit.map(ExitStatus::from),
    }
}

fn group(session: &Session, row: &GroupRow) -> Group {
    let (by, name, thread) = match &row.key {
        GroupKey::Site(place) => ("site", place_label(session, place), None),
        GroupKey::Thread(id) => {
            let thread = session.thread(*id);
            ("thread", thread.name.clone(), Some(thread))
        }
    };
    Group {
        by,
        name,
        tid: thread.map(|thread| thread.tid),
        pid: thread.map(|thread| session.process(thread.process).pid),
        locks: row.locks,
        acquisitions: row.acquisitions,
        contended: row.contended,
        wait_ns: row.wait.into(),
        hold_ns: row.hold_ns,
        blocked_ns: row.blocked_ns,
    }
}
