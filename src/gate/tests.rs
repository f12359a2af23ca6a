//! What fails, what does not, and what is said of it.

use super::testing::{bank, clean, reclassify};
use super::*;
use crate::analysis::Glob;
use crate::analysis::findings::{Severity, catalog};
use crate::analysis::order::{Class, Note};

fn words(verdict: &Verdict<'_>) -> Vec<&'static str> {
    verdict.failing().map(Entry::word).collect()
}

fn with<R>(policy: &Policy, ended: Option<Ended>, check: impl FnOnce(&Verdict<'_>) -> R) -> R {
    let (session, findings) = bank();
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    check(&judge(&recordings, policy, ended))
}

fn gaps(verdict: &Verdict<'_>) -> Vec<Gap> {
    verdict.incomplete.iter().map(|about| about.what.clone()).collect()
}

fn suppressing(text: &str) -> Policy {
    let mut suppressions = Suppressions::default();
    suppressions.add("s", text).unwrap();
    Policy { suppressions, today: Date::from_ymd_opt(2026, 6, 30).unwrap(), ..Policy::default() }
}

#[test]
fn what_fails_by_default_is_what_the_analysis_says() {
    with(&Policy::default(), None, |verdict| {
        assert_eq!(verdict.outcome, Outcome::Fail);
        assert_eq!(words(verdict), ["feasible", "possible", "self-deadlock", "unlock-not-owner"]);
        let passing: Vec<_> = verdict.passing().map(Entry::word).collect();
        assert_eq!(passing, ["needs-writer", "guarded", "same-thread"]);
    });
}

#[test]
fn fail_on_replaces_the_default() {
    let policy =
        |words: &[&str]| Policy { fail_on: FailOn::parse(words.iter().copied()).unwrap(), ..Policy::default() };
    with(&policy(&["feasible", "guarded"]), None, |verdict| assert_eq!(words(verdict), ["feasible", "guarded"]));
    with(&policy(&["default", "guarded"]), None, |verdict| assert_eq!(words(verdict).len(), 5));
    with(&policy(&["none"]), None, |verdict| assert_eq!(verdict.outcome, Outcome::Pass));
}

#[test]
fn the_programs_end_fails_too() {
    let none = Policy { fail_on: FailOn::parse(["none"]).unwrap(), ..Policy::default() };
    for (ended, fails) in [
        (Ended::Code(0), false),
        (Ended::Code(7), true),
        (Ended::Signal(11), true),
        (Ended::Hung, true),
        (Ended::TimedOut(1_500_000_000), true),
    ] {
        with(&none, Some(ended), |verdict| {
            assert_eq!(verdict.program, fails.then_some(ended));
            assert_eq!(verdict.outcome == Outcome::Fail, fails);
        });
    }
}

#[test]
fn suppressions_by_fingerprint_locks_and_function() {
    for (text, allowed) in [
        ("[[allow]]\nfingerprint = \"5f0c2a9d41be77e3\"\nreason = \"r\"", vec!["feasible"]),
        ("[[allow]]\nlocks = [\"journal.mu\", \"acct*\"]\nreason = \"r\"", vec!["feasible"]),
        ("[[allow]]\nlocks = [\"journal.mu\"]\nreason = \"r\"", vec![]),
        ("[[allow]]\nfunction = \"Bank::pay\"\nclass = \"possible\"\nreason = \"r\"", vec!["possible"]),
        ("[[allow]]\nfunction = \"load_config\"\nkind = \"self-deadlock\"\nreason = \"r\"", vec!["self-deadlock"]),
        ("deadlock:Bank::pay", vec!["feasible", "possible", "self-deadlock"]),
        ("deadlock:src/audit.cc", vec!["possible"]),
        ("mutex:^Account::settle", vec!["unlock-not-owner"]),
        ("deadlock:/srv/server", vec!["feasible", "possible", "self-deadlock"]),
        ("deadlock:no_such_function", vec![]),
    ] {
        with(&suppressing(text), None, |verdict| {
            let suppressed: Vec<_> = verdict.suppressed().map(|(entry, _)| entry.word()).collect();
            assert_eq!(suppressed, allowed, "{text}");
            assert_eq!(words(verdict).len(), 4 - allowed.len(), "{text}");
        });
    }
}

#[test]
fn unused_and_expired_suppressions_are_told() {
    let text = "[[allow]]\nlocks = [\"nobody\"]\nreason = \"old\"\n\
                [[allow]]\nfunction = \"Bank::pay\"\nreason = \"until June\"\nexpires = 2026-06-29\n\
                [[allow]]\nfunction = \"flusher\"\nreason = \"today is its last day\"\nexpires = 2026-06-30\n";
    with(&suppressing(text), None, |verdict| {
        assert_eq!(verdict.unused, ["s:1 (old)"]);
        assert_eq!(verdict.expired, ["s:4 (until June): expired on 2026-06-29"]);
        assert!(verdict.suppressed().all(|(_, by)| by.contains("its last day")));
        assert!(verdict.suppressed().count() > 0);
    });
}

#[test]
fn a_suppression_of_what_would_pass_anyway_is_used_but_changes_nothing() {
    with(&suppressing("[[allow]]\nfingerprint = \"1122334455667788\"\nreason = \"r\""), None, |verdict| {
        assert!(verdict.unused.is_empty() && verdict.suppressed().count() == 0);
    });
}

#[test]
fn a_baseline_knows_what_it_was_made_of_and_nothing_more_serious() {
    let text = with(&Policy::default(), None, |verdict| Baseline::of(verdict.failing()).to_text());
    let baseline = Baseline::parse(&text).unwrap();
    assert_eq!(baseline.to_text(), text, "{text}");
    let policy = Policy { baseline: Some(baseline.clone()), ..Policy::default() };
    with(&policy, None, |verdict| {
        assert_eq!(verdict.outcome, Outcome::Pass);
        assert_eq!(verdict.baseline, Some(BaselineUse { known: 4, not_met: Vec::new() }));
    });
    let (session, mut findings) = bank();
    reclassify(&mut findings.list[1], Class::Feasible);
    reclassify(&mut findings.list[0], Class::Possible);
    findings.list.retain(|finding| finding.cycle().is_some());
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    let verdict = judge(&recordings, &policy, None);
    let failing: Vec<_> =
        verdict.failing().map(|entry| (entry.fingerprint().to_owned(), entry.standing.clone())).collect();
    assert_eq!(failing, [("88d1f0aa07c45b12".to_owned(), Standing::Fails(Some(&catalog::POSSIBLE)))]);
    assert_eq!(verdict.known().count(), 1);
    assert_eq!(verdict.baseline.unwrap().not_met.len(), 2);
}

#[test]
fn budgets_fail_and_tell_what_they_did_not_cover() {
    let budget = |measure, glob: &str, limit_ns| Budget { measure, locks: Glob::new(glob), limit_ns };
    let budgets = vec![
        budget(Measure::Wait, "journal*", 5_000_000),
        budget(Measure::Hold, "*", 1_000_000),
        budget(Measure::Hold, "journal*", 1_000_000),
        budget(Measure::Wait, "nobody", 1),
    ];
    let policy = Policy { budgets, ..Policy::default() };
    let (session, findings) = clean();
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    let verdict = judge(&recordings, &policy, None);
    let failing: Vec<_> = verdict.failing().map(Entry::fingerprint).collect();
    assert_eq!(failing, ["max-wait:journal*", "max-hold:*"]);
    assert_eq!(verdict.failing().nth(1).unwrap().lock_names(), ["config_lock"]);
    assert_eq!(verdict.notes[0].what, Remark::NoSuchLock(policy.budgets[3].clone()));
}

#[test]
fn incomplete_recordings_count_only_when_strict() {
    let (mut session, mut findings) = clean();
    session.coverage.lost = 3;
    session.meta.cut = true;
    findings.complete = false;
    findings.notes.push(Note::TooManyCombinations);
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    let strict = Policy { strict: true, ..Policy::default() };
    assert_eq!(judge(&recordings, &Policy::default(), None).outcome, Outcome::Pass);
    let verdict = judge(&recordings, &strict, None);
    assert_eq!(verdict.outcome, Outcome::Incomplete);
    assert_eq!(gaps(&verdict), [Gap::Lost(3), Gap::Cut, Gap::Order(Note::TooManyCombinations)]);
    assert!(verdict.notes.is_empty(), "nothing is said twice");
    assert_eq!(judge(&recordings, &strict, Some(Ended::Code(1))).outcome, Outcome::Fail);

    let (mut session, findings) = clean();
    session.coverage = crate::model::Coverage::default();
    session.coverage.notes.push("the program is static".into());
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    let verdict = judge(&recordings, &strict, None);
    assert_eq!(gaps(&verdict), [Gap::Empty("the program is static".into())]);
}

#[test]
fn locks_that_are_known_and_were_not_recorded_do_not_pass() {
    let (mut session, findings) = clean();
    session.coverage.notes.push(crate::model::Coverage::in_part("the library x has locks of its own"));
    let recordings = [Recording { name: "a", session: &session, findings: &findings }];
    let policy = Policy::default();
    let verdict = judge(&recordings, &policy, None);
    assert_eq!(verdict.outcome, Outcome::Incomplete);
    assert_eq!(gaps(&verdict), [Gap::NotSeen("the library x has locks of its own".into())]);
}

#[test]
fn several_recordings_tell_each_cycle_once_at_its_worst() {
    let ((one, mut first), (two, second)) = (bank(), bank());
    reclassify(&mut first.list[0], Class::Guarded);
    first.list[0].severity = Severity::Warning;
    first.notes.push(Note::TooManyCombinations);
    let recordings = [
        Recording { name: "a", session: &one, findings: &first },
        Recording { name: "b", session: &two, findings: &second },
    ];
    let policy = Policy::default();
    let verdict = judge(&recordings, &policy, None);
    assert_eq!(verdict.entries.len(), 7);
    assert_eq!(words(&verdict), ["feasible", "possible", "self-deadlock", "unlock-not-owner"]);
    let feasible = verdict.failing().next().unwrap();
    assert_eq!((feasible.recording.name, feasible.met_in, feasible.times), ("b", 2, 8));
    let note = About { recording: Some("a"), what: Remark::Order(Note::TooManyCombinations) };
    assert_eq!(verdict.notes, [note]);
}
