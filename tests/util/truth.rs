//! The truth that a fixture prints, and the report held against it. `fixtures/targets/truth.h` has the format.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::report::{Report, number, sum, with_function};
use super::run::{Outcome, Recording, Target};

/// By name and kind of lock; a lock's lines from several processes are added up.
type Truths = BTreeMap<(String, String), Map<String, Value>>;

/// The program does the same with the recorder as without, and the report says what the program says.
pub fn verify(target: &Target) -> Recording {
    let (bare, recording) = both(target);
    assert_same(&bare, &recording.outcome);
    assert_true(&recording.outcome, &recording.report);
    recording
}

/// The same for a program whose own counts differ from run to run: it ends in the same way, and the report says what it
/// said in that run.
pub fn verify_varying(target: &Target) -> Recording {
    let (_, recording) = both(target);
    assert_true(&recording.outcome, &recording.report);
    recording
}

fn both(target: &Target) -> (Outcome, Recording) {
    let bare = target.bare();
    assert_ne!(bare.code(), 99, "the fixture is wrong about itself, bare: {}", bare.stderr);
    let recording = target.record();
    assert_eq!(
        recording.outcome.code(),
        bare.code(),
        "another exit code; standard error:\n{}",
        recording.outcome.stderr
    );
    assert_eq!(recording.outcome.stderr, bare.stderr, "another standard error");
    (bare, recording)
}

/// The report is complete and agrees with what the program said.
pub fn assert_true(outcome: &Outcome, report: &Report) {
    report.assert_accounted();
    let truths = truths(&outcome.stdout);
    assert!(!truths.is_empty(), "the program told no truth: {outcome:?}");
    let wrong: Vec<String> = truths.iter().flat_map(|(lock, truth)| differences(report, lock, truth)).collect();
    assert!(wrong.is_empty(), "not what the program did:\n{}\n{}", wrong.join("\n"), report.overview());
}

/// The same exit code and the same standard output, but for measured times.
pub fn assert_same(bare: &Outcome, recorded: &Outcome) {
    assert_eq!(recorded.code(), bare.code(), "another exit code; standard error:\n{}", recorded.stderr);
    assert_eq!(timeless(&recorded.stdout), timeless(&bare.stdout), "another standard output");
}

/// The lines without times, sorted, since processes may speak in any order.
fn timeless(text: &str) -> Vec<String> {
    let strip = |line: &str| match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(mut object) => {
            object.retain(|key, _| !key.contains("_ns"));
            Value::Object(object).to_string()
        }
        Err(_) => line.to_owned(),
    };
    let mut lines: Vec<String> = text.lines().map(strip).collect();
    lines.sort();
    lines
}

pub fn truths(stdout: &str) -> Truths {
    let mut truths = Truths::new();
    for line in stdout.lines() {
        let Ok(Value::Object(mut object)) = serde_json::from_str(line) else { continue };
        let (Some(Value::String(lock)), Some(Value::String(kind))) = (object.remove("lock"), object.remove("kind"))
        else {
            continue;
        };
        add(truths.entry((lock, kind)).or_default(), object);
    }
    truths
}

fn add(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => add(old, new),
            (Some(old), Value::Number(new)) => {
                *old = (old.as_u64().unwrap_or(0) + new.as_u64().unwrap_or(0)).into();
            }
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

fn differences(report: &Report, (name, kind): &(String, String), truth: &Map<String, Value>) -> Vec<String> {
    let locks = report.named(name, kind);
    let mut wrong = Vec::new();
    // What was never acquired, tried or waited for in vain need not be listed.
    let idle = truth.values().all(|value| value.as_u64() == Some(0));
    if locks.is_empty() && !idle {
        wrong.push(format!("{kind} {name} is missing"));
        return wrong;
    }
    let total = |key: &str| locks.iter().map(|lock| number(lock, key)).sum::<u64>();
    let time = |key: &str, part: &str| locks.iter().map(|lock| number(&lock[key], part)).sum::<u64>();
    for (key, value) in truth {
        if key == "sites" {
            for (function, count) in value.as_object().into_iter().flatten() {
                let seen: u64 = locks
                    .iter()
                    .flat_map(|lock| with_function(&lock["sites"], function))
                    .map(|site| number(site, "count"))
                    .sum();
                if Some(seen) != count.as_u64() {
                    wrong.push(format!("{kind} {name}: {seen} acquisitions through {function}, in truth {count}"));
                }
            }
            continue;
        }
        // A tenth is allowed on durations: the histogram and the clocks have their grain.
        let Some(value) = value.as_u64() else { continue };
        let (seen, holds) = match key.as_str() {
            "wait_ns_min" | "hold_ns_min" => (time(&key[..7], "total"), time(&key[..7], "total") >= value / 10 * 9),
            "wait_ns_max" | "hold_ns_max" => {
                (time(&key[..7], "total"), time(&key[..7], "total") <= value / 10 * 11 + 10_000)
            }
            "longest_wait_ns_min" => (time("wait_ns", "max"), time("wait_ns", "max") >= value / 10 * 9),
            "longest_hold_ns_min" => (time("hold_ns", "max"), time("hold_ns", "max") >= value / 10 * 9),
            key if key.contains("_ns") => continue,
            key => match (key.strip_suffix("_min"), key.strip_suffix("_max")) {
                (Some(key), _) => (total(key), total(key) >= value),
                (_, Some(key)) => (total(key), total(key) <= value),
                _ => (total(key), total(key) == value),
            },
        };
        if !holds {
            wrong.push(format!("{kind} {name}: {key} is {seen}, in truth {value}"));
        }
    }
    wrong
}

/// One number of the truth about a lock.
pub fn told(outcome: &Outcome, lock: &str, key: &str) -> u64 {
    let truths = truths(&outcome.stdout);
    let truth = truths.iter().find(|((name, _), _)| name == lock).map(|(_, truth)| truth);
    truth.and_then(|truth| truth[key].as_u64()).unwrap_or_else(|| panic!("the program did not tell {key} of {lock}"))
}

/// The sum over the locks of one kind.
pub fn of_kind(report: &Report, kind: &str, key: &str) -> u64 {
    let locks: Vec<Value> = report.named("", kind).into_iter().cloned().collect();
    sum(&Value::Array(locks), key)
}
