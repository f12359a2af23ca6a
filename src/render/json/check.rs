//! `check --format json`.
//!
//! Every entry once, in an order that depends on classes, locks and fingerprints only: how hot a cycle was differs
//! from run to run.

use serde::Serialize;

use super::findings::FindingRow;
use super::{CallStack, SCHEMA_VERSION, layout};
use crate::analysis::contention::{Contention, Query};
use crate::analysis::findings::{Breach, Evidence};
use crate::analysis::lock_name;
use crate::analysis::order::{Action, Cycle, Leg, Step};
use crate::gate::{Entry, Standing, Verdict};
use crate::model::{Mode, Session};
use crate::render::explain::{self, verdict as said};

#[derive(Serialize)]
struct Check<'a> {
    schema_version: u32,
    verdict: &'static str,
    /// Why it fails beside cycles and findings: the program's own end.
    program: Option<String>,
    incomplete: Vec<String>,
    traces: Vec<Trace<'a>>,
    cycles: Vec<CycleRow<'a>>,
    findings: Vec<FindingEntry<'a>>,
    budgets: Vec<BudgetRow<'a>>,
    suppressed: Vec<SuppressedRow<'a>>,
    unused_suppressions: &'a [String],
    expired_suppressions: &'a [String],
    baseline: Option<BaselineRow<'a>>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Trace<'a> {
    name: &'a str,
    command: &'a [String],
    acquisitions: u64,
}

#[derive(Serialize)]
struct CycleRow<'a> {
    fingerprint: &'a str,
    class: &'static str,
    /// Whether it fails this gate.
    fails: bool,
    /// `fails`, `passes`, `suppressed` or `baseline`.
    standing: &'static str,
    reason: String,
    advice: String,
    locks: Vec<String>,
    edges: Vec<Edge<'a>>,
    witness: Vec<StepRow<'a>>,
    /// Cycles of single locks that this one stands for.
    instances: u64,
    /// Traces in which it was met.
    traces: usize,
    /// Locks of a component that is reported as one cycle.
    component: Option<u64>,
}

#[derive(Serialize)]
struct Edge<'a> {
    thread: &'a str,
    tid: u32,
    pid: u32,
    held: String,
    held_mode: &'static str,
    wanted: String,
    wanted_mode: &'static str,
    also_held: Vec<String>,
    count: u64,
    timed: bool,
    reacquired: bool,
    held_stack: CallStack<'a>,
    wanted_stack: CallStack<'a>,
}

#[derive(Serialize)]
struct StepRow<'a> {
    thread: &'a str,
    tid: u32,
    action: &'static str,
    lock: Option<String>,
    mode: Option<&'static str>,
    /// The thread that is created or joined.
    other: Option<&'a str>,
    stack: CallStack<'a>,
}

#[derive(Serialize)]
struct FindingEntry<'a> {
    #[serde(flatten)]
    row: FindingRow<'a>,
    standing: &'static str,
    traces: usize,
}

#[derive(Serialize)]
struct BudgetRow<'a> {
    kind: &'static str,
    pattern: &'a str,
    limit_ns: u64,
    lock: String,
    measured_ns: u64,
    fails: bool,
    thread: Option<&'a str>,
    stack: CallStack<'a>,
    holder: Option<CallStack<'a>>,
}

#[derive(Serialize)]
struct SuppressedRow<'a> {
    fingerprint: &'a str,
    by: &'a str,
}

#[derive(Serialize)]
struct BaselineRow<'a> {
    known: usize,
    not_met: &'a [String],
}

/// The verdict, ending in a line break.
pub fn check(verdict: &Verdict<'_>) -> String {
    let mut entries: Vec<&Entry<'_>> = verdict.entries.iter().collect();
    entries.sort_by_cached_key(|entry| {
        let class = entry.finding.cycle().map(|cycle| cycle.class);
        (class, entry.word(), entry.lock_names(), entry.fingerprint().to_owned())
    });
    let (mut cycles, mut findings, mut budgets) = (Vec::new(), Vec::new(), Vec::new());
    for entry in &entries {
        let session = entry.recording.session;
        match &entry.finding.evidence {
            Evidence::Cycle(cycle) => cycles.push(cycle_row(entry, cycle)),
            Evidence::Budget(breach) => budgets.push(budget_row(session, breach, entry.fails())),
            Evidence::Misuse(_) | Evidence::Cost(_) | Evidence::Places => {
                let view = Contention::of(session, &Query::default());
                let row = FindingRow::of(session, &entry.finding, &view, entry.fails());
                findings.push(FindingEntry { row, standing: standing(entry), traces: entry.met_in });
            }
        }
    }
    layout::to_string(&Check {
        schema_version: SCHEMA_VERSION,
        verdict: verdict.outcome.name(),
        program: said::program(verdict),
        incomplete: said::incomplete(verdict),
        traces: (verdict.runs())
            .map(|recording| Trace {
                name: recording.name,
                command: &recording.session.meta.command,
                acquisitions: recording.session.coverage.acquisitions,
            })
            .collect(),
        cycles,
        findings,
        budgets,
        suppressed: (entries.iter())
            .filter_map(|entry| match &entry.standing {
                Standing::Suppressed(by) => Some(SuppressedRow { fingerprint: entry.fingerprint(), by }),
                _ => None,
            })
            .collect(),
        unused_suppressions: &verdict.unused,
        expired_suppressions: &verdict.expired,
        baseline: (verdict.baseline.as_ref())
            .map(|baseline| BaselineRow { known: baseline.known, not_met: &baseline.not_met }),
        notes: said::notes(verdict),
    })
}

fn standing(entry: &Entry<'_>) -> &'static str {
    match entry.standing {
        Standing::Fails(_) => "fails",
        Standing::Passes => "passes",
        Standing::Known => "baseline",
        Standing::Suppressed(_) => "suppressed",
    }
}

fn cycle_row<'a>(entry: &'a Entry<'a>, cycle: &'a Cycle) -> CycleRow<'a> {
    let session = entry.recording.session;
    CycleRow {
        fingerprint: &cycle.fingerprint,
        class: cycle.class.name(),
        fails: entry.fails(),
        standing: standing(entry),
        reason: explain::raw_reason(session, &entry.finding),
        advice: explain::raw_advice(session, &entry.finding),
        locks: entry.lock_names(),
        edges: cycle.legs.iter().map(|leg| edge(session, leg)).collect(),
        witness: cycle.witness.iter().map(|step| step_row(session, step)).collect(),
        instances: entry.times,
        traces: entry.met_in,
        component: cycle.component,
    }
}

fn edge<'a>(session: &'a Session, leg: &Leg) -> Edge<'a> {
    let thread = session.thread(leg.thread);
    Edge {
        thread: &thread.name,
        tid: thread.tid,
        pid: session.process(thread.process).pid,
        held: lock_name(session, leg.held.lock),
        held_mode: mode(leg.held.mode),
        wanted: lock_name(session, leg.wanted),
        wanted_mode: mode(leg.wanted_mode),
        also_held: leg.also_held.iter().map(|held| lock_name(session, held.lock)).collect(),
        count: leg.count,
        timed: leg.timed,
        reacquired: leg.reacquired,
        held_stack: CallStack::of(session, leg.held.stack),
        wanted_stack: CallStack::of(session, leg.wanted_stack),
    }
}

fn step_row<'a>(session: &'a Session, step: &Step) -> StepRow<'a> {
    let thread = session.thread(step.thread);
    let (action, of) = match step.action {
        Action::Acquire(of) => ("acquire", Some(of)),
        Action::Release => ("release", None),
        Action::Block(of) => ("block", Some(of)),
        Action::Create => ("create", None),
        Action::Join => ("join", None),
        Action::Barrier => ("barrier", None),
        Action::Post => ("post", None),
        Action::Take => ("take", None),
    };
    StepRow {
        thread: &thread.name,
        tid: thread.tid,
        action,
        lock: step.lock.map(|lock| lock_name(session, lock)),
        mode: of.map(mode),
        other: step.other.map(|other| session.thread(other).name.as_str()),
        stack: CallStack::of(session, step.stack),
    }
}

fn budget_row<'a>(session: &'a Session, breach: &'a Breach, fails: bool) -> BudgetRow<'a> {
    BudgetRow {
        kind: breach.budget.measure.name(),
        pattern: breach.budget.locks.as_str(),
        limit_ns: breach.budget.limit_ns,
        lock: lock_name(session, breach.lock),
        measured_ns: breach.measured_ns,
        fails,
        thread: breach.thread.map(|thread| session.thread(thread).name.as_str()),
        stack: CallStack::of(session, breach.stack),
        holder: breach.holder.map(|holder| CallStack::of(session, holder)),
    }
}

/// The word of the contract.
pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    }
}
