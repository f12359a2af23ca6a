//! What is said of findings, verdicts, hangs and waiting, in sentences.
//!
//! Everything here is made from typed facts, such as a cycle's [`Cause`](crate::analysis::order::Cause), so every form
//! of output says the same. A rule that needs no sentence of its own has them all in its row of the catalogue.

mod budget;
pub mod contention;
mod cost;
pub mod culprit;
mod cycle;
pub mod diagnosis;
pub mod hang;
pub mod look;
mod misuse;
pub(crate) mod names;
pub mod notes;
pub mod pages;
mod phrases;
#[cfg(test)]
mod tests;
pub mod verdict;

use self::names::Names;
use self::phrases::Phrases;
use crate::analysis::findings::{Evidence, Finding};
use crate::analysis::order::Leg;
use crate::model::{HangKind, Kind, Session, StackId, ThreadId};
use crate::render::frames::headline;
use crate::render::style::printable;

/// One line that says what is wrong, without the word of its rule.
pub fn title(session: &Session, finding: &Finding) -> String {
    let names = Names::of(session, finding);
    match &finding.evidence {
        Evidence::Cycle(cycle) => cycle::title(cycle, &names),
        Evidence::Budget(breach) => budget::title(breach, &names),
        Evidence::Cost(cost) => cost::title(cost, finding, &names, &Phrases::new(session)),
        Evidence::Misuse(_) | Evidence::Places => {
            let line = finding.rule.wording.as_ref().map_or(finding.rule.title, |wording| wording.line);
            with_lock(line, finding, &names)
        }
    }
}

/// Why it is a finding, in one sentence, with names as the recording has them.
pub fn raw_reason(session: &Session, finding: &Finding) -> String {
    let phrases = Phrases::new(session);
    match &finding.evidence {
        Evidence::Cycle(cycle) => cycle::reason(cycle, &phrases),
        Evidence::Misuse(misuse) => misuse::reason(misuse, finding, &phrases),
        Evidence::Cost(cost) => cost::reason(cost, finding, &phrases),
        Evidence::Budget(breach) => budget::reason(session, breach, &Names::of(session, finding)),
        Evidence::Places => {
            let names = Names::of(session, finding);
            let wording = finding.rule.wording.as_ref().map_or(&["", ""], |wording| &wording.places);
            let points = finding.subject.places().zip(wording);
            let points =
                points.map(|(stack, does)| format!("{} {}", phrases.at(stack), with_lock(does, finding, &names)));
            points.collect::<Vec<_>>().join("; ")
        }
    }
}

/// What to do, with names as the recording has them; empty where nothing can be said.
pub fn raw_advice(session: &Session, finding: &Finding) -> String {
    match &finding.evidence {
        Evidence::Cycle(cycle) => cycle::advice(cycle, &Phrases::new(session)),
        Evidence::Budget(breach) => budget::advice(breach).to_owned(),
        Evidence::Cost(cost) => cost::advice(cost).to_owned(),
        Evidence::Misuse(_) | Evidence::Places => {
            finding.rule.wording.as_ref().map_or("", |wording| wording.advice).to_owned()
        }
    }
}

/// Why it is a finding, in one sentence, for a terminal.
pub fn reason(session: &Session, finding: &Finding) -> String {
    printable(&raw_reason(session, finding))
}

/// What to do, where that can be said, for a terminal.
pub fn advice(session: &Session, finding: &Finding) -> Option<String> {
    let text = printable(&raw_advice(session, finding));
    (!text.is_empty()).then_some(text)
}

/// What one thread does, or what happens at the places of a finding that is about one lock.
pub(crate) struct Part {
    /// The thread, where the part is about one of several.
    pub thread: Option<ThreadId>,
    /// `worker-0 holds a and wants b`; empty where the points say it all.
    pub heading: String,
    /// How often.
    pub count: u64,
    /// In the order in which it happens.
    pub points: Vec<Point>,
    /// What else has to be known of it.
    pub notes: Vec<String>,
}

/// What happens at a place.
pub(crate) struct Point {
    /// The place.
    pub stack: StackId,
    /// `takes a`: without who does it.
    pub label: String,
    /// `worker-0 takes a`.
    pub sentence: String,
    /// What belongs to the label where there is room: `, held by worker-1`.
    pub more: String,
    /// What the place is, beside a finding that was reported already.
    pub here: String,
}

/// The parts of a finding, of a cycle one for each leg.
pub(crate) fn parts(session: &Session, finding: &Finding, names: &Names<'_>) -> Vec<Part> {
    let labels: Vec<(String, &str)> = match &finding.evidence {
        Evidence::Cycle(cycle) => {
            let next = |at: usize| &cycle.legs[(at + 1) % cycle.legs.len()];
            let legs = cycle.legs.iter().enumerate();
            return legs.map(|(at, leg)| part_of_leg(session, leg, next(at), cycle.hang(), names)).collect();
        }
        Evidence::Budget(breach) => budget::labels(breach, names).into(),
        Evidence::Cost(cost) => cost::labels(cost, finding, names),
        Evidence::Misuse(_) | Evidence::Places => {
            let wording = finding.rule.wording.as_ref().map_or(["", ""], |wording| wording.places);
            let [at, taken] = wording.map(|label| with_lock(label, finding, names));
            vec![(at, "here"), (taken, "it was taken here")]
        }
    };
    let points = finding.subject.places().zip(labels).map(|(stack, (label, here))| Point {
        stack,
        sentence: label.clone(),
        label,
        more: String::new(),
        here: here.to_owned(),
    });
    vec![Part {
        thread: None,
        heading: String::new(),
        count: finding.count,
        points: points.collect(),
        notes: Vec::new(),
    }]
}

fn part_of_leg(session: &Session, leg: &Leg, next: &Leg, hang: Option<HangKind>, names: &Names<'_>) -> Part {
    let mut points = names.points(leg);
    let is_join = session.lock(leg.wanted).kind == Kind::Join;
    if let (Some(last), Some(HangKind::Deadlock), false) = (points.last_mut(), hang, is_join) {
        last.more = format!(", held by {}", names.thread(next.thread));
    }
    let also_held = leg.also_held.iter().map(|held| {
        let mode = names.mode(held.lock, held.mode);
        format!("also holds {}{mode}, taken in {}", names.lock(held.lock), headline(session, held.stack))
    });
    Part { thread: Some(leg.thread), heading: names.leg(leg), count: leg.count, points, notes: also_held.collect() }
}

/// A text of the catalogue, in which `X` stands for the lock.
fn with_lock(text: &str, finding: &Finding, names: &Names<'_>) -> String {
    let lock = finding.subject.locks.first().map_or_else(|| "a lock".to_owned(), |lock| names.lock(*lock));
    text.replace('X', &lock)
}
