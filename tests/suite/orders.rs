//! The gate on programs with a known truth: `fixtures/targets/orders.c` and `orders_cxx.cpp` say what each of their
//! little programs is, and `lockprof check` has to say the same, with no false alarm and no miss.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::util::build::targets;
use crate::util::run::{LIMIT, finish, folder};
use crate::util::{fixture, lockprof};

/// What a program says of itself.
struct Truth {
    name: String,
    verdict: String,
    classes: Vec<String>,
}

fn truths(program: &Path) -> Vec<Truth> {
    let output = Command::new(program).output().expect("the fixture lists its programs");
    let text = String::from_utf8(output.stdout).expect("text");
    let truths: Vec<Truth> = (text.lines())
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, verdict) = (words.next()?.to_owned(), words.next()?.to_owned());
            Some(Truth { name, verdict, classes: words.next()?.split('|').map(str::to_owned).collect() })
        })
        .collect();
    assert!(truths.len() > 10, "{text}");
    truths
}

/// The most serious class of what was found, `none` where there is nothing: cycles come the most serious first.
fn worst(check: &Value) -> String {
    let first =
        |key: &str, word: &str| check[key].as_array().and_then(|all| Some(all.first()?[word].as_str()?.to_owned()));
    first("findings", "kind").or_else(|| first("cycles", "class")).unwrap_or_else(|| "none".to_owned())
}

/// Checks the programs whose number leaves `rest` when divided by `parts`; all that is wrong is told at once.
fn hold_against_truth(fixture_name: &str, rest: usize, parts: usize) {
    let program = fixture(fixture_name);
    let mut wrong = Vec::new();
    for truth in truths(&program).into_iter().skip(rest).step_by(parts) {
        let folder = folder();
        let mut command = lockprof();
        command.args(["check", "--format", "json", "--"]).arg(&program).arg(&truth.name).current_dir(folder.path());
        let outcome = finish(&mut command, LIMIT);
        let check: Value = serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}\n{}", truth.name, outcome.stdout, outcome.stderr));
        let (code, class) = (outcome.code(), worst(&check));
        let right = check["verdict"] == truth.verdict.as_str()
            && code == i32::from(truth.verdict == "fail")
            && truth.classes.contains(&class);
        if !right {
            wrong.push(format!(
                "{}: {} ({class}, exit code {code}), in truth {} ({})",
                truth.name,
                check["verdict"],
                truth.verdict,
                truth.classes.join(" or ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn c_programs_of_one_half() {
    hold_against_truth("orders", 0, 2);
}

#[test]
fn c_programs_of_the_other_half() {
    hold_against_truth("orders", 1, 2);
}

#[test]
fn cxx_programs() {
    hold_against_truth("orders_cxx", 0, 1);
}

/// One report for each distinct cycle, however often and in however many threads it was met.
#[test]
fn repetitions_are_one_cycle() {
    let program = fixture("orders");
    for (name, sides) in [("repeated", 2), ("repeated_in_threads", 2), ("bank", 2), ("philosophers_30", 30)] {
        let folder = folder();
        let mut command = lockprof();
        command.args(["check", "--format", "json", "--"]).arg(&program).arg(name).current_dir(folder.path());
        let outcome = finish(&mut command, LIMIT);
        let check: Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stdout);
        let cycles = check["cycles"].as_array().expect("cycles").iter();
        let failing: Vec<&Value> = cycles.filter(|cycle| cycle["fails"] == true).collect();
        assert_eq!(failing.len(), 1, "{name}: {}", outcome.stdout);
        assert_eq!(failing[0]["edges"].as_array().map(Vec::len), Some(sides), "{name}: {}", outcome.stdout);
    }
}

/// One mistake is told once.
#[test]
fn a_lock_destroyed_by_its_owner_is_one_finding() {
    let program = fixture("orders");
    for name in ["destroyed_in_thread", "wait_unlocked", "checked_again"] {
        let folder = folder();
        let mut command = lockprof();
        command.args(["check", "--format", "json", "--"]).arg(&program).arg(name).current_dir(folder.path());
        let outcome = finish(&mut command, LIMIT);
        let check: Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stdout);
        assert_eq!(check["findings"].as_array().map(Vec::len), Some(1), "{name}: {}", outcome.stdout);
    }
}

const FINGERPRINTED: [&str; 5] = ["inversion", "three", "gate", "bank", "held_at_thread_exit"];

/// `lockprof check --format json ARGS`, its fingerprints.
fn fingerprints(folder: &Path, args: &[&OsStr]) -> Vec<Value> {
    let mut command = lockprof();
    command.args(["check", "--format", "json"]).args(args).current_dir(folder);
    let outcome = finish(&mut command, LIMIT);
    let check: Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stdout);
    let of = |key: &str| {
        check[key].as_array().into_iter().flatten().map(|one| one["fingerprint"].clone()).collect::<Vec<_>>()
    };
    [of("cycles"), of("findings")].concat()
}

/// The same program twice, under ASLR: the same fingerprints.
#[test]
fn fingerprints_are_the_same_in_every_run() {
    let program = fixture("orders");
    for name in FINGERPRINTED {
        let of_a_run = || fingerprints(folder().path(), &["--".as_ref(), program.as_ref(), name.as_ref()]);
        let first = of_a_run();
        assert!(!first.is_empty() && first.iter().all(Value::is_string), "{name}: {first:?}");
        assert_eq!(first, of_a_run(), "{name}");
    }
}

/// Built again with a function more, which moves all lines and addresses; and judged where neither the program nor its
/// source is at hand: the same fingerprints.
#[test]
fn fingerprints_outlive_a_rebuild_and_the_binary() {
    let folder = folder();
    let (source, program) = (folder.path().join("orders.c"), folder.path().join("orders"));
    let text = fs::read_to_string(targets().join("orders.c")).expect("the fixture's source");
    let build = |text: &str| {
        fs::write(&source, text).expect("a source file");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-g", "-pthread", "-I"]).arg(targets()).arg("-o").args([&program, &source]);
        assert!(compiler.status().expect("cc").success());
    };
    let record = |name: &str, suffix: &str| {
        let trace = folder.path().join(format!("{name}{suffix}.lockprof"));
        let mut command = lockprof();
        command.args(["run", "-q", "-o"]).arg(&trace).arg("--").arg(&program).arg(name).current_dir(folder.path());
        finish(&mut command, LIMIT);
        trace
    };
    build(&text);
    let before = FINGERPRINTED.map(|name| record(name, ""));
    let more = "int unrelated(int with) {\n    for (int at = 0; at < 100; at++)\n        with += with * at;\n    return with;\n}\n";
    build(&format!("{more}{text}\nint unrelated_too(int with) {{\n    return unrelated(with) + 1;\n}}\n"));
    let after = FINGERPRINTED.map(|name| record(name, "-rebuilt"));
    let of = |trace: &PathBuf| fingerprints(folder.path(), &[trace.as_ref()]);
    let at_hand = before.each_ref().map(of);
    fs::remove_file(&program).expect("the program");
    fs::remove_file(&source).expect("its source");
    for (at, name) in FINGERPRINTED.iter().enumerate() {
        assert!(!at_hand[at].is_empty(), "{name}");
        assert_eq!(at_hand[at], of(&after[at]), "{name}, built again");
        assert_eq!(at_hand[at], of(&before[at]), "{name}, without the program");
    }
}

/// Locks of a process and of what it forked are different ones, and so are those of two runs: only a class that stands
/// for one lock in each of two recordings is the same in both.
#[test]
fn runs_are_judged_together() {
    let (program, folder) = (fixture("orders"), folder());
    let record = |name: &str, half: &str| {
        let mut command = lockprof();
        command.args(["run", "-q", "-o", name, "--"]).arg(&program).arg(half).current_dir(folder.path());
        assert_eq!(finish(&mut command, LIMIT).code(), 0);
    };
    record("one.lockprof", "same_order");
    record("other.lockprof", "other_order");
    let check = |traces: &[&str]| {
        let mut command = lockprof();
        command.args(["check", "--format", "json"]).args(traces).current_dir(folder.path());
        let outcome = finish(&mut command, LIMIT);
        let check: Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stdout);
        (check["verdict"].as_str().unwrap_or_default().to_owned(), worst(&check))
    };
    assert_eq!(check(&["one.lockprof"]), ("pass".to_owned(), "none".to_owned()));
    assert_eq!(check(&["other.lockprof"]), ("pass".to_owned(), "none".to_owned()));
    assert_eq!(check(&["one.lockprof", "other.lockprof"]), ("fail".to_owned(), "possible".to_owned()));
    assert_eq!(check(&["one.lockprof", "one.lockprof"]), ("pass".to_owned(), "none".to_owned()));
}
