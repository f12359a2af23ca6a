//! What the gate says, in sentences and in the facts of its last line.

use std::collections::BTreeMap;

use crate::analysis::findings::{Area, Findings, Rule};
use crate::analysis::order::Note;
use crate::gate::{About, Ended, Entry, Gap, Policy, Recording, Remark, Standing, Verdict, judge};
use crate::model::{Coverage, Session};
use crate::render::units::plural;

/// How the program's own end fails the gate.
pub fn program(verdict: &Verdict<'_>) -> Option<String> {
    Some(match verdict.program? {
        Ended::Code(code) => format!("the program failed: exit code {code}"),
        Ended::Signal(signal) => format!("the program failed: signal {signal} ended it"),
        Ended::Hung => "the program deadlocked and was ended".to_owned(),
        Ended::TimedOut(ns) => {
            let seconds = ns as f64 / 1e9;
            format!("the program was not done after {seconds} s and was ended")
        }
    })
}

/// Why the recordings are not complete.
pub fn incomplete(verdict: &Verdict<'_>) -> Vec<String> {
    verdict.incomplete.iter().map(|about| of_recording(about, gap(&about.what))).collect()
}

/// What else a reader has to know.
pub fn notes(verdict: &Verdict<'_>) -> Vec<String> {
    verdict.notes.iter().map(|about| of_recording(about, remark(&about.what))).collect()
}

fn of_recording<T>(about: &About<'_, T>, text: String) -> String {
    about.recording.map_or(text.clone(), |name| format!("{name}: {text}"))
}

fn gap(gap: &Gap) -> String {
    match gap {
        Gap::Lost(count) => format!("{count} acquisitions were lost"),
        Gap::NotSeen(what) => what.clone(),
        Gap::Cut => "the trace was cut short".to_owned(),
        Gap::Empty(reasons) if reasons.is_empty() => "no lock operation was seen".to_owned(),
        Gap::Empty(reasons) => format!("no lock operation was seen ({reasons})"),
        Gap::Order(known) => note(*known),
        Gap::Unexamined => "not everything that happened was looked at".to_owned(),
    }
}

fn remark(remark: &Remark) -> String {
    match remark {
        Remark::NoSuchLock(budget) => format!(
            "--{} {}: no lock of that name was seen; `lockprof report` lists the names",
            budget.measure.name(),
            budget.locks.as_str()
        ),
        Remark::Order(known) => note(*known),
    }
}

/// What was cut or not looked at when cycles were searched for.
pub fn note(note: Note) -> String {
    match note {
        Note::RequestsDropped => {
            "not every request for a lock could be noted: cycles that need the others are missing".to_owned()
        }
        Note::ContendedOnly => "the profile of another tool does not know in which order locks were taken".to_owned(),
        Note::TooManyCombinations => {
            "there are too many ways to combine the requests: not all of them were looked at".to_owned()
        }
        Note::TooManyLinks => {
            "there are too many creations, joins and hand-overs: some orders were not found, so some \
                               verdicts are more serious than they need be"
                .to_owned()
        }
    }
}

/// How many of what fail, or do not.
pub fn tally<'e, 'a: 'e>(entries: impl Iterator<Item = &'e Entry<'a>>) -> String {
    // In the order of the catalogue.
    let mut rules: BTreeMap<usize, (&Rule, u64)> = BTreeMap::new();
    for rule in entries.map(Entry::rule) {
        rules.entry(rule.position()).or_insert((rule, 0)).1 += 1;
    }
    let mut parts = Vec::new();
    for area in Area::ALL {
        let of: Vec<_> = rules.values().filter(|(rule, _)| rule.area == area).collect();
        let number: u64 = of.iter().map(|(_, number)| number).sum();
        if number == 0 {
            continue;
        }
        let (one, many) = area.nouns();
        let counted = plural(number, one, many);
        if !area.is_graded() {
            parts.push(counted);
            continue;
        }
        let named = |(rule, times): &&(&Rule, u64)| match number {
            1 => rule.id.to_owned(),
            _ => format!("{times} {}", rule.id),
        };
        parts.push(format!("{counted} ({})", of.iter().map(named).collect::<Vec<_>>().join(", ")));
    }
    parts.join(", ")
}

/// The facts of the last line, without the answer itself.
pub fn facts(verdict: &Verdict<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    let failing = tally(verdict.failing());
    if !failing.is_empty() {
        let new = if verdict.baseline.is_some() { "new: " } else { "" };
        facts.push(format!("{new}{failing}"));
    }
    if verdict.program.is_some() {
        facts.push("the program itself failed".into());
    }
    let mut others = Vec::new();
    for (number, what) in [
        (verdict.passing().count(), "not of a failing class"),
        (verdict.known().count(), "in the baseline"),
        (verdict.suppressed().count(), "suppressed"),
    ] {
        if number > 0 {
            others.push(format!("{number} {what}"));
        }
    }
    if !others.is_empty() {
        facts.push(others.join(", "));
    }
    if facts.is_empty() {
        facts.push("no cycle, no misuse".into());
    }
    let sum = |of: fn(&Coverage) -> u64| -> u64 {
        verdict.runs().map(|recording| of(&recording.session.coverage)).fold(0, u64::saturating_add)
    };
    let taken = plural(sum(|coverage| coverage.acquisitions), "acquisition", "acquisitions");
    let number = verdict.runs().count() as u64;
    let of = if number > 1 { format!(" in {}", plural(number, "recording", "recordings")) } else { String::new() };
    let complete = if verdict.incomplete.is_empty() { "" } else { ", incomplete" };
    facts.push(format!("{taken}{of}{complete}"));
    facts
}

/// One line for other commands' summaries: the worst of what would fail by default.
pub fn line(session: &Session, findings: &Findings) -> String {
    let recordings = [Recording { name: "", session, findings }];
    let policy = Policy::default();
    let verdict = judge(&recordings, &policy, None);
    let Some(worst) = verdict.failing().next() else {
        let others = verdict.passing().filter(|entry| entry.finding.cycle().is_some()).count() as u64;
        return match others {
            0 => "lock order: no cycle".into(),
            _ => format!("lock order: {}, none that fails the gate", plural(others, "cycle", "cycles")),
        };
    };
    debug_assert!(matches!(worst.standing, Standing::Fails(None)));
    format!("lock order: {}: {}", tally(verdict.failing()), super::title(session, &worst.finding))
}
