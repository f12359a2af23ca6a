//! The types of the report's JSON, and how they are filled.

use serde::Serialize;

use super::findings::FindingRow;
use super::hangs::{Hang, hangs};
use super::{CallStack, ExitStatus, SCHEMA_VERSION};
use crate::analysis::contention::{Contention, Durations, GroupBy, LockReport, Totals};
use crate::analysis::findings::{Finding, Findings};
use crate::analysis::groups::{GroupKey, GroupRow};
use crate::model::{Mode, NameSource, Origin, Session, Stacks};
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

#[derive(Serialize)]
struct Spread {
    total: u64,
    mean: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl From<Durations> for Spread {
    fn from(d: Durations) -> Self {
        Self { total: d.total, mean: d.mean, p50: d.p50, p90: d.p90, p99: d.p99, max: d.max }
    }
}

#[derive(Serialize)]
struct Lock<'a> {
    id: &'a str,
    name: &'a str,
    name_source: Option<&'static str>,
    class: &'a str,
    kind: &'static str,
    pid: u32,
    address: String,
    /// Locks that this entry stands for: more than 1 with `--by class`.
    locks: u64,
    acquisitions: u64,
    read_acquisitions: u64,
    write_acquisitions: u64,
    contended: u64,
    folded: u64,
    reentries: u64,
    try_failures: u64,
    timeouts: u64,
    failures: u64,
    still_held: u64,
    owner_changes: u64,
    max_waiters: u32,
    wait_ns: Spread,
    hold_ns: Spread,
    /// Time waited in requests that ended without the lock; not part of `wait_ns`.
    timed_out_wait_ns: u64,
    waiters: Vec<Waiter<'a>>,
    holders: Vec<Holder<'a>>,
    /// Waits whose holder was not seen: what `holders` lacks of `contended`.
    unattributed: Unattributed,
    sites: Vec<Site<'a>>,
    /// Calls that may block, made with the lock held.
    calls: Vec<HeldCalls<'a>>,
    origin: Origins<'a>,
}

#[derive(Serialize)]
struct Waiter<'a> {
    count: u64,
    wait_ns: u64,
    stack: CallStack<'a>,
}

#[derive(Serialize)]
struct Holder<'a> {
    count: u64,
    blocked_ns: u64,
    hold_ns: u64,
    longest_blocked_ns: u64,
    acquisitions: u64,
    stack: CallStack<'a>,
}

#[derive(Serialize)]
struct Unattributed {
    count: u64,
    wait_ns: u64,
}

#[derive(Serialize)]
struct Site<'a> {
    count: u64,
    contended: u64,
    mode: &'static str,
    wait_ns: u64,
    hold_ns: u64,
    stack: CallStack<'a>,
}

#[derive(Serialize)]
struct HeldCalls<'a> {
    call: &'a str,
    count: u64,
    total_ns: u64,
    max_ns: u64,
    /// Of `count`, those without an event of their own: no wait is charged to them.
    folded: u64,
    /// Waits for the lock that fell into such calls, and that part of them.
    waits: u64,
    blocked_ns: u64,
    stack: CallStack<'a>,
}

/// Where the lock was first seen.
#[derive(Serialize)]
struct Origins<'a> {
    how: &'static str,
    stack: CallStack<'a>,
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
    pub(super) fn of(session: &'a Session, view: &'a Contention, found: &'a Findings, limit: Option<usize>) -> Self {
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
            locks: view.locks.iter().take(limit).map(|row| lock(session, row)).collect(),
            groups,
            findings: findings(session, view, found),
            hangs: hangs(session, view),
            notes: view.notes.iter().map(|note| explain::notes::contention(*note)).collect(),
        }
    }
}

/// Findings about locks that the view shows. A lock without a counted acquisition is shown where nothing is left out.
/// A cost that was not measured is none.
fn overhead(cost: crate::model::Overhead) -> Overhead {
    let measured = |value: f64| (cost.ns_per_pair > 0.0).then_some(value);
    Overhead { ns_per_pair: measured(cost.ns_per_pair), share_of_runtime: measured(cost.share_of_runtime) }
}

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

fn lock<'a>(session: &'a Session, row: &'a LockReport) -> Lock<'a> {
    let first = row.members.first().map(|id| session.lock(*id));
    Lock {
        id: &row.id,
        name: &row.name,
        name_source: first.and_then(|lock| lock.name.as_ref()).map(|name| match name.source {
            NameSource::User => "user",
            NameSource::Global => "global",
            NameSource::Source => "source",
            NameSource::Function => "function",
            NameSource::Address => "address",
        }),
        class: &row.class,
        kind: row.kind.name(),
        pid: session.process(row.process).pid,
        address: format!("{:#x}", first.map_or(0, |lock| lock.address)),
        locks: row.stands_for,
        acquisitions: row.acquisitions,
        read_acquisitions: row.read_acquisitions,
        write_acquisitions: row.write_acquisitions,
        contended: row.contended,
        folded: row.folded,
        reentries: row.reentries,
        try_failures: row.try_failures,
        timeouts: row.timeouts,
        failures: row.failures,
        still_held: row.still_held,
        owner_changes: row.owner_changes,
        max_waiters: row.max_waiters,
        wait_ns: row.wait.into(),
        hold_ns: row.hold.into(),
        timed_out_wait_ns: row.wasted_wait_ns,
        waiters: (row.waiters.iter())
            .map(|w| Waiter { count: w.count, wait_ns: w.wait_ns, stack: CallStack::of(session, w.stack) })
            .collect(),
        holders: (row.holders.iter())
            .map(|h| Holder {
                count: h.count,
                blocked_ns: h.blocked_ns,
                hold_ns: h.hold_ns,
                longest_blocked_ns: h.longest_ns,
                acquisitions: h.acquisitions,
                stack: CallStack::of(session, h.stack),
            })
            .collect(),
        unattributed: Unattributed { count: row.unattributed.count, wait_ns: row.unattributed.wait_ns },
        sites: (row.sites.iter())
            .map(|site| Site {
                count: site.count,
                contended: site.contended,
                mode: match site.mode {
                    Mode::Exclusive => "exclusive",
                    Mode::Shared => "shared",
                },
                wait_ns: site.wait_ns,
                hold_ns: site.hold_ns,
                stack: CallStack::of(session, site.stack),
            })
            .collect(),
        calls: (row.calls.iter())
            .map(|held| HeldCalls {
                call: session.profile.call_name(held.call),
                count: held.stats.count,
                total_ns: held.stats.took_ns,
                max_ns: held.stats.max_ns,
                folded: held.stats.folded,
                waits: held.stats.waits,
                blocked_ns: held.stats.blocked_ns,
                stack: CallStack::of(session, held.stack),
            })
            .collect(),
        origin: Origins {
            how: match first.map(|lock| lock.origin) {
                Some(Origin::Initialised) => "initialised",
                _ => "first-used",
            },
            stack: CallStack::of(session, first.map_or(Stacks::UNKNOWN, |lock| lock.origin_stack)),
        },
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
