//! What is said of findings, beside what the golden files of the gate's formats hold.

use super::verdict::{incomplete, line, notes, program};
use crate::analysis::Glob;
use crate::analysis::findings::{Evidence, Finding, Wording, catalog};
use crate::analysis::order::{Cause, Link, Note};
use crate::gate::testing::{bank, clean};
use crate::gate::{Budget, Ended, Measure, Policy, Recording, judge};

#[test]
fn one_line_for_other_commands() {
    let (session, mut findings) = bank();
    assert_eq!(
        line(&session, &findings),
        "lock order: 2 cycles (1 feasible, 1 possible), 2 misuses: acct->lock ↔ journal.mu can deadlock"
    );
    findings.list.retain(|finding| finding.cycle().is_some());
    findings.list.drain(..2);
    assert_eq!(line(&session, &findings), "lock order: 3 cycles, none that fails the gate");
    findings.list.clear();
    assert_eq!(line(&session, &findings), "lock order: no cycle");
}

#[test]
fn the_programs_end() {
    let (session, findings) = clean();
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    for (ended, want) in [
        (Ended::Code(0), None),
        (Ended::Code(7), Some("the program failed: exit code 7")),
        (Ended::Signal(11), Some("the program failed: signal 11 ended it")),
        (Ended::Hung, Some("the program deadlocked and was ended")),
        (Ended::TimedOut(1_500_000_000), Some("the program was not done after 1.5 s and was ended")),
    ] {
        assert_eq!(program(&judge(&recordings, &Policy::default(), Some(ended))).as_deref(), want);
    }
}

#[test]
fn what_was_not_seen() {
    let (mut session, mut findings) = clean();
    session.coverage.lost = 3;
    session.meta.cut = true;
    findings.complete = false;
    let budgets = vec![Budget { measure: Measure::Wait, locks: Glob::new("nobody"), limit_ns: 1 }];
    let policy = Policy { budgets, ..Policy::default() };
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    let verdict = judge(&recordings, &policy, None);
    assert_eq!(
        incomplete(&verdict),
        ["3 acquisitions were lost", "the trace was cut short", "not everything that happened was looked at"]
    );
    assert_eq!(
        notes(&verdict),
        ["--max-wait nobody: no lock of that name was seen; `lockprof report` lists the names"]
    );
    let (mut empty, whole) = clean();
    empty.coverage = crate::model::Coverage::default();
    empty.coverage.notes.push("the program is static".into());
    findings.notes.push(Note::RequestsDropped);
    let recordings = [
        Recording { name: "a", session: &session, findings: &findings },
        Recording { name: "b", session: &empty, findings: &whole },
    ];
    assert_eq!(
        incomplete(&judge(&recordings, &Policy::default(), None)),
        [
            "a: 3 acquisitions were lost",
            "a: the trace was cut short",
            "a: not every request for a lock could be noted: cycles that need the others are missing",
            "b: no lock operation was seen (the program is static)",
        ]
    );
}

/// Every cause has its sentence, with the places that belong to it.
#[test]
fn causes() {
    let (session, findings) = bank();
    let cycle = findings.cycles().next().expect("a cycle");
    let (leg, thread) = (&cycle.legs[0], cycle.legs[0].thread);
    let (lock, at, other) = (leg.held.lock, leg.held.stack, cycle.legs[1].held.stack);
    let guard = |stack| crate::analysis::order::LegGuard { lock, mode: leg.held.mode, stack, owner: thread };
    let before = |link| Cause::Before { link: Some(link), guard: None };
    for (cause, want) in [
        (Cause::Schedule, "values passed under `journal.mu` and `acct->lock`"),
        (Cause::HandOver(lock, at), "`acct->lock` in Bank::pay (bank.cc:7) was taken after another thread"),
        (Cause::Signal(lock, at), "`acct->lock` in Bank::pay (bank.cc:7) came after a signal"),
        (Cause::Readers(lock, Some((thread, at))), "(one writes it in Bank::pay (bank.cc:7))"),
        (Cause::Guard(guard(at), guard(at)), "both sides hold `acct->lock`, taken in Bank::pay (bank.cc:7)"),
        (Cause::Guard(guard(at), guard(other)), "taken in Bank::pay (bank.cc:7), and in Journal::flush (journal.cc:4)"),
        (before(Link::Created(at)), "a thread is created in Bank::pay (bank.cc:7) only after the other side"),
        (before(Link::Joined(at)), "a thread is joined in Bank::pay (bank.cc:7) before the other side"),
        (before(Link::Outlived(at)), "the answer in Bank::pay (bank.cc:7) says"),
        (before(Link::Met(Some(lock), at)), "the barrier `acct->lock` in Bank::pay (bank.cc:7)"),
        (
            before(Link::Posted { lock: None, posted: at, taken: other }),
            "it is posted in Bank::pay (bank.cc:7) and waited for in Journal::flush (journal.cc:4)",
        ),
        (Cause::Before { link: None, guard: Some(lock) }, "the threads' lives; they hold `acct->lock` as well"),
        (Cause::CrossRun, "different runs of the program"),
        (Cause::CrossRunUnder(lock), "different runs of the program, under `acct->lock` each time"),
    ] {
        let cycle = crate::analysis::order::Cycle { cause, ..cycle.clone() };
        let text = super::raw_reason(&session, &Finding::from(cycle));
        assert!(text.contains(want), "{text}");
    }
}

/// A rule that needs no words of its own: those of its row do.
#[test]
fn a_rule_with_nothing_but_a_row() {
    let (session, findings) = bank();
    let known = findings.but_cycles().next().expect("a misuse");
    let finding = Finding { evidence: Evidence::Places, rule: &catalog::DESTROYED_WHILE_HELD, ..known.clone() };
    let Some(Wording { advice, .. }) = &finding.rule.wording else { panic!("it has words") };
    assert_eq!(super::title(&session, &finding), "config_lock is destroyed while it is held");
    assert_eq!(
        super::reason(&session, &finding),
        "load_config (config.cc:9) destroys config_lock; Bank::pay (bank.cc:7) config_lock was taken and is held"
    );
    assert_eq!(super::advice(&session, &finding).as_deref(), Some(*advice));
}
