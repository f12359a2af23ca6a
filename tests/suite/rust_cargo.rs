//! Rust programs that other programs start, and `cargo test`: only the programs under test are recorded and judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::util::build::scratch;
use crate::util::report::{assert_truth, list};
use crate::util::run::{LIMIT, Outcome, Target, finish, lockprof};
use crate::util::rust::compilers;
use crate::util::skip;

/// A shell, `make` and another Rust program start it.
#[test]
fn rust_programs_that_others_start_are_recorded() {
    for rust in compilers() {
        let build = |flags: &[&str]| rust.build("truth", flags).to_str().expect("a path in UTF-8").to_owned();
        let dynamic = build(&["-Copt-level=3"]);
        let fixed = build(&["-Copt-level=3", "-Ctarget-feature=+crt-static"]);
        let starter = rust.build("starter", &["-Copt-level=3"]);
        for program in [dynamic, fixed] {
            let mut starters: Vec<(PathBuf, Vec<String>)> = vec![
                ("/bin/sh".into(), vec!["-c".to_owned(), format!("{program} 50; true")]),
                ("/bin/sh".into(), vec!["-c".to_owned(), format!("exec {program} 50")]),
                ("/usr/bin/env".into(), vec![program.clone(), "50".to_owned()]),
                (starter.clone(), vec![program.clone(), "50".to_owned()]),
            ];
            starters.extend(skip::find("make").map(|make| {
                let text = format!("x:=$(shell {program} 50 >&2)\nall:;@{program} 50");
                (make, vec!["--eval".to_owned(), text])
            }));
            for (first, args) in starters {
                let recording = Target::new(&first).args(&args).record();
                let what = format!("{} {} {args:?}", rust.version, first.display());
                assert_eq!(recording.outcome.code(), 0, "{what}: {}", recording.outcome.stderr);
                let truths = recording.outcome.stdout.lines().filter_map(|line| line.strip_prefix("TRUTH "));
                let checked = truths.map(|truth| assert_truth(recording.report.locks(), truth, &what)).count();
                assert_eq!(checked, 10, "{what}: {}", recording.outcome.stdout);
                recording.report.assert_accounted();
            }
        }
    }
}

/// A crate of `fixtures/rust`, copied to where it may be built; `None` without cargo.
fn package(name: &str) -> Option<PathBuf> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rust").join(name);
    let to = scratch().join("packages").join(name);
    skip::find("cargo").or_else(|| {
        skip::skip("no cargo");
        None
    })?;
    fs::create_dir_all(to.parent()?).ok()?;
    let copied = Command::new("cp").arg("-rT").args([&from, &to]).status();
    assert!(copied.is_ok_and(|copied| copied.success()), "{} is not copied", from.display());
    Some(to)
}

fn check(folder: &Path, args: &[&str]) -> (Outcome, Value) {
    let mut command = lockprof();
    command.args(["check", "--strict", "--format", "json", "--", "cargo"]).args(args).current_dir(folder);
    command.env_remove("CARGO_TARGET_DIR").env("CARGO_NET_OFFLINE", "true");
    let outcome = finish(&mut command, LIMIT * 3);
    let start = outcome.stdout.find("\n{").map_or(0, |at| at + 1);
    let verdict = serde_json::from_str(&outcome.stdout[start..])
        .unwrap_or_else(|error| panic!("{error}: {} {}", outcome.stdout, outcome.stderr));
    (outcome, verdict)
}

/// The binaries of the tests, the examples in the documentation among them, are judged together; what builds them is not
/// recorded, and nothing is told to be missing.
#[test]
fn the_tests_of_a_crate_are_judged() {
    let Some(folder) = package("bank") else { return };
    let (outcome, verdict) = check(&folder, &["test"]);
    let what = format!("{verdict:#} {}", outcome.stderr);
    assert_eq!(outcome.code(), 1, "{what}");
    assert!(list(&verdict["incomplete"]).is_empty(), "{what}");
    let cycles = list(&verdict["cycles"]);
    let classes: Vec<&str> = cycles.iter().filter_map(|cycle| cycle["class"].as_str()).collect();
    assert_eq!(classes.iter().filter(|class| **class == "feasible").count(), 1, "{what}");
    assert!(classes.iter().all(|class| ["feasible", "ordered"].contains(class)), "{what}");
    assert!(verdict.to_string().contains("tests::both_ways"), "{what}");
    // With the deadlock.
    let (outcome, verdict) = check(&folder, &["test", "--test", "deadlocks", "--", "--ignored"]);
    let what = format!("{verdict:#} {}", outcome.stderr);
    assert_eq!(outcome.code(), 1, "{what}");
    assert_eq!(list(&verdict["cycles"])[0]["class"], "hung", "{what}");
    // And without any.
    let (outcome, verdict) = check(&folder, &["run", "--quiet"]);
    assert_eq!((outcome.code(), &verdict["verdict"]), (0, &Value::from("pass")), "{verdict:#} {}", outcome.stderr);
}
