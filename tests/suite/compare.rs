//! `lockprof diff`: text, JSON and the gate.

use std::path::Path;

use serde_json::Value;

use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Outcome, fixture, lockprof};

fn run_in(folder: &Path, args: &[&str]) -> Outcome {
    finish(lockprof().current_dir(folder).args(args), LIMIT)
}

/// `once`: the program with few rounds; `more`: with ten times as many, merged twice.
fn recordings(folder: &Path) {
    for (name, rounds) in [("once", "100"), ("ten", "1000")] {
        let program = fixture("counts");
        let outcome = run_in(folder, &["run", "-q", "-o", name, "--", program.to_str().expect("a path"), "2", rounds]);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    }
    assert_eq!(run_in(folder, &["merge", "-q", "ten", "ten", "-o", "more"]).code(), 0);
}

fn json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let outcome = run_in(folder, &[&["diff", "--format", "json", "--absolute"], args].concat());
    (
        outcome.code(),
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.stderr)),
    )
}

#[test]
fn a_recording_is_no_worse_than_itself() {
    let folder = folder();
    recordings(folder.path());
    let (code, same) = json(folder.path(), &["ten", "ten", "--fail-if-worse", "0%"]);
    assert_eq!((code, &same["gate"]["fails"]), (0, &false.into()));
    assert_eq!(same["total"]["old"], same["total"]["new"]);
    for lock in same["locks"].as_array().expect("locks") {
        assert_eq!((&lock["status"], &lock["old"]), (&"same".into(), &lock["new"]), "{lock}");
    }
}

#[test]
fn locks_of_two_runs_are_those_of_one_class() {
    let folder = folder();
    recordings(folder.path());
    let (code, twice) = json(folder.path(), &["ten", "more"]);
    assert_eq!((code, &twice["new"]["runs"]), (0, &2.into()));
    for lock in twice["locks"].as_array().expect("locks") {
        let count = |side: &str, key: &str| lock[side][key].as_u64().expect("a number");
        for key in ["acquisitions", "locks", "wait_ns", "hold_ns"] {
            assert_eq!(count("new", key), 2 * count("old", key), "{key} of {lock}");
        }
    }
    let (_, grown) = json(folder.path(), &["once", "ten", "--metric", "count"]);
    let hot = &grown["locks"][0];
    assert_eq!((&hot["status"], &grown["metric"]), (&"worse".into(), &"count".into()), "{hot}");
}

#[test]
fn the_gate_has_its_codes() {
    let folder = folder();
    recordings(folder.path());
    let judge = |args: &[&str]| run_in(folder.path(), &[&["diff"], args].concat());
    // How long threads wait is no fact of the program: without a floor, counts are judged whatever it is.
    let gate = ["--metric", "count", "--absolute", "--min-wait", "0", "--fail-if-worse", "10%"];
    let outcome = judge(&[&gate[..], &["ten", "more"]].concat());
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("fails: worse by more than 10%"), "{}", outcome.stderr);
    assert_eq!(judge(&[&gate[..], &["ten", "more", "--error-exitcode", "9"]].concat()).code(), 9);
    assert_eq!(judge(&[&gate[..], &["ten", "more", "--fail-if-worse", "150%"]].concat()).code(), 2, "given twice");
    let back = judge(&[&gate[..], &["more", "ten"]].concat());
    assert_eq!(back.code(), 0);
    assert!(back.stderr.contains("passes"), "{}", back.stderr);
    for wrong in [&["ten"][..], &["ten", "gone"], &["ten", "ten", "--fail-if-worse", "ten"]] {
        assert_eq!(judge(wrong).code(), 2, "{wrong:?}");
    }
}

#[test]
fn text_fits_eighty_columns() {
    let folder = folder();
    recordings(folder.path());
    let outcome = run_in(folder.path(), &["diff", "once", "more", "--metric", "count"]);
    assert!(outcome.stdout.contains("OLD once") && outcome.stdout.contains("\nWorse\n"), "{}", outcome.stdout);
    assert!(outcome.stdout.lines().all(|line| line.chars().count() <= 80), "{}", outcome.stdout);
}
