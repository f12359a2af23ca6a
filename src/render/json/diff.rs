//! A comparison for programs.

use serde::Serialize;

use super::{CallStack, SCHEMA_VERSION, layout};
use crate::analysis::diff::{Diff, Figures, LockChange, Measure, StackChange};
use crate::render::explain::notes::comparison;
use crate::render::text::{Labelled, shown};

/// What `--fail-if-worse` found.
#[derive(Clone, Debug)]
pub struct Judgement<'a> {
    /// The greatest growth that passes, 0 to 1 and more.
    pub limit: f64,
    /// Locks that grew more.
    pub worse: Vec<&'a LockChange>,
    /// All locks together did.
    pub all: bool,
}

impl Judgement<'_> {
    /// Whether the gate fails.
    pub fn fails(&self) -> bool {
        self.all || !self.worse.is_empty()
    }
}

#[derive(Serialize)]
struct Comparison<'a> {
    schema_version: u32,
    old: Side<'a>,
    new: Side<'a>,
    scale: f64,
    absolute: bool,
    metric: &'static str,
    total: Total,
    locks: Vec<Lock<'a>>,
    gate: Option<Gate<'a>>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Side<'a> {
    trace: &'a str,
    command: &'a [String],
    duration_ns: u64,
    runs: usize,
    acquisitions: u64,
    complete: bool,
}

impl<'a> Side<'a> {
    fn of(named: Labelled<'a>) -> Self {
        let session = named.session;
        Self {
            trace: named.name,
            command: &session.meta.command,
            duration_ns: session.meta.duration_ns,
            runs: session.runs(),
            acquisitions: session.coverage.acquisitions,
            complete: session.coverage.complete() && !session.meta.cut,
        }
    }
}

#[derive(Serialize)]
struct Total {
    old: Numbers,
    new: Numbers,
    change: Change,
}

#[derive(Serialize)]
struct Numbers {
    locks: u64,
    acquisitions: u64,
    contended: u64,
    wait_ns: u64,
    hold_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_p99_ns: Option<u64>,
    wait_max_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_p99_ns: Option<u64>,
}

impl Numbers {
    fn of(figures: &Figures, percentiles: bool) -> Self {
        let Figures { locks, acquisitions, contended, wait_ns, hold_ns, wait_max_ns, .. } = *figures;
        Self {
            locks,
            acquisitions,
            contended,
            wait_ns,
            hold_ns,
            wait_p99_ns: percentiles.then_some(figures.wait_p99_ns),
            wait_max_ns,
            hold_p99_ns: percentiles.then_some(figures.hold_p99_ns),
        }
    }
}

#[derive(Serialize)]
struct Change {
    acquisitions: i64,
    contended: i64,
    wait_ns: i64,
    hold_ns: i64,
}

impl Change {
    fn of(old: &Figures, new: &Figures) -> Self {
        let by = |of: fn(&Figures) -> u64| difference(of(old), of(new));
        Self {
            acquisitions: by(|figures| figures.acquisitions),
            contended: by(|figures| figures.contended),
            wait_ns: by(|figures| figures.wait_ns),
            hold_ns: by(|figures| figures.hold_ns),
        }
    }
}

fn difference(old: u64, new: u64) -> i64 {
    let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    if new >= old { clamp(new - old) } else { -clamp(old - new) }
}

#[derive(Serialize)]
struct Lock<'a> {
    name: &'a str,
    class: &'a str,
    kind: &'static str,
    status: &'static str,
    old: Option<Numbers>,
    new: Option<Numbers>,
    change: Change,
    /// Growth of the compared figure, 0.1: by a tenth; null from nothing.
    change_share: Option<f64>,
    waiters: Vec<Stack<'a>>,
    holders: Vec<Stack<'a>>,
}

#[derive(Serialize)]
struct Stack<'a> {
    old_count: u64,
    new_count: u64,
    old_ns: u64,
    new_ns: u64,
    stack: CallStack<'a>,
}

#[derive(Serialize)]
struct Gate<'a> {
    fails: bool,
    limit: f64,
    floor_ns: u64,
    total_fails: bool,
    worse: Vec<&'a str>,
}

/// The comparison, ending in a line break. `limit` cuts the list of locks.
pub fn diff(
    old: Labelled<'_>,
    new: Labelled<'_>,
    diff: &Diff,
    judgement: Option<&Judgement<'_>>,
    limit: Option<usize>,
) -> String {
    let measure = diff.question.measure;
    layout::to_string(&Comparison {
        schema_version: SCHEMA_VERSION,
        old: Side::of(old),
        new: Side::of(new),
        scale: diff.scale,
        absolute: diff.question.absolute,
        metric: match measure {
            Measure::Wait => "wait",
            Measure::Hold => "hold",
            Measure::Count => "count",
            Measure::P99 => "p99",
        },
        total: Total {
            old: Numbers::of(&diff.old, false),
            new: Numbers::of(&diff.new, false),
            change: Change::of(&diff.old, &diff.new),
        },
        locks: diff.locks.iter().take(limit.unwrap_or(usize::MAX)).map(|lock| row(old, new, lock, measure)).collect(),
        gate: judgement.map(|judgement| Gate {
            fails: judgement.fails(),
            limit: judgement.limit,
            floor_ns: diff.question.floor_ns,
            total_fails: judgement.all,
            worse: judgement.worse.iter().map(|lock| lock.name.as_str()).collect(),
        }),
        notes: diff.notes.iter().map(comparison).collect(),
    })
}

fn stack<'a>(old: Labelled<'a>, new: Labelled<'a>, change: &StackChange) -> Stack<'a> {
    let StackChange { old_count, new_count, old_ns, new_ns, .. } = *change;
    let (session, id) = shown(old.session, new.session, change);
    Stack { old_count, new_count, old_ns, new_ns, stack: CallStack::of(session, id) }
}

fn row<'a>(before: Labelled<'a>, after: Labelled<'a>, lock: &'a LockChange, measure: Measure) -> Lock<'a> {
    let stacks = |changes: &[StackChange]| changes.iter().map(|change| stack(before, after, change)).collect();
    let (waiters, holders) = (stacks(&lock.waiters), stacks(&lock.holders));
    let (before, after) = lock.values(measure);
    let (old, new) = (lock.old.unwrap_or_default(), lock.new.unwrap_or_default());
    Lock {
        name: &lock.name,
        class: &lock.class,
        kind: lock.kind.name(),
        status: match (&lock.old, &lock.new) {
            (None, _) => "new",
            (_, None) => "gone",
            _ if after > before => "worse",
            _ if after < before => "better",
            _ => "same",
        },
        old: lock.old.as_ref().map(|figures| Numbers::of(figures, true)),
        new: lock.new.as_ref().map(|figures| Numbers::of(figures, true)),
        change: Change::of(&old, &new),
        change_share: (before > 0).then(|| (after as f64 - before as f64) / before as f64),
        waiters,
        holders,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::diff::Question;
    use crate::analysis::testing::{empty, server};

    #[test]
    fn has_every_key_that_is_documented() {
        let (old, new) = (empty(), server());
        let result = Diff::of(&old, &new, &Question::default());
        let worse = result.worse(0.1);
        let judgement = Judgement { limit: 0.1, all: result.all_worse(0.1), worse };
        let [old, new] = [("a", &old), ("b", &new)].map(|(name, session)| Labelled { name, session });
        let text = diff(old, new, &result, Some(&judgement), None);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let docs = include_str!("../../../docs/cli.md");
        let section = docs.split("## JSON of `diff --format json`").nth(1).unwrap().split("\n## ").next().unwrap();
        for value in [
            &json,
            &json["old"],
            &json["total"],
            &json["locks"][0],
            &json["gate"],
            &json["locks"][0]["new"],
            &json["locks"][0]["change"],
            &json["locks"][0]["waiters"][0],
        ] {
            for key in value.as_object().unwrap().keys() {
                let told = [format!("`{key}`"), format!("`{key}[]`")].iter().any(|word| section.contains(word));
                assert!(told, "{key} is not documented");
            }
        }
        assert_eq!((&json["locks"][0]["status"], &json["gate"]["fails"]), (&"new".into(), &true.into()));
    }
}
