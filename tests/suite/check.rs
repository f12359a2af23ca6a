//! `lockprof check` and `lockprof graph` as commands: exit codes, files, formats, settings. What a verdict has to be for
//! which program is in `orders.rs`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Outcome, fixture, lockprof, python};

/// `lockprof check ARGS -- orders STORY` in a folder.
fn check(folder: &Path, args: &[&str], story: &str) -> Outcome {
    finish(&mut command(folder, args, story), LIMIT)
}

fn command(folder: &Path, args: &[&str], story: &str) -> Command {
    let mut command = lockprof();
    command.current_dir(folder).arg("check").args(args).arg("--").arg(fixture("orders")).arg(story);
    command
}

/// `lockprof ARGS` in a folder.
fn run(folder: &Path, args: &[&str]) -> Outcome {
    finish(lockprof().current_dir(folder).args(args), LIMIT)
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}\n--- stdout\n{}\n--- stderr\n{}", outcome.stdout, outcome.stderr))
}

#[test]
fn a_cycle_fails_and_is_told_with_its_lines() {
    let folder = folder();
    let outcome = check(folder.path(), &[], "inversion");
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    for part in
        ["error[feasible]", "can deadlock", "holds", "wants", "orders.c:", "LOCK(", "= why:", "= help:", "= id:"]
    {
        assert!(outcome.stdout.contains(part), "{part} is missing:\n{}", outcome.stdout);
    }
    assert!(outcome.stdout.trim_end().lines().last().unwrap().starts_with("lock order: FAIL: 1 cycle (feasible)"));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "no recording was asked for: {left:?}");
}

#[test]
fn what_is_in_order_passes() {
    let folder = folder();
    let outcome = check(folder.path(), &["--strict"], "gate");
    assert_eq!(outcome.code(), 0, "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("guarded") && outcome.stdout.contains("lock order: pass"), "{}", outcome.stdout);
}

#[test]
fn exit_codes_can_be_chosen() {
    let folder = folder();
    assert_eq!(check(folder.path(), &["--error-exitcode", "9"], "inversion").code(), 9);
    assert_eq!(check(folder.path(), &["--fail-on", "none"], "inversion").code(), 0);
    assert_eq!(check(folder.path(), &["--fail-on", "default,guarded"], "gate").code(), 1);
}

/// The program's own failure fails the gate and is named.
#[test]
fn a_failing_program_fails_the_gate() {
    let folder = folder();
    let program = fixture("no_locks");
    let outcome = run(folder.path(), &["check", "--format", "json", "--", program.to_str().unwrap(), "x", "y"]);
    assert_eq!((outcome.code(), &json(&outcome)["verdict"]), (1, &"fail".into()));
    assert_eq!(json(&outcome)["program"], "the program failed: exit code 2");
}

#[test]
fn nothing_seen_is_incomplete_only_when_strict() {
    let folder = folder();
    let program = fixture("no_locks");
    for (args, code, verdict) in [(&[][..], 0, "pass"), (&["--strict"][..], 3, "incomplete")] {
        let all = [&["check", "--format", "json"], args, &["--", program.to_str().unwrap()]].concat();
        let outcome = run(folder.path(), &all);
        assert_eq!((outcome.code(), json(&outcome)["verdict"].as_str()), (code, Some(verdict)), "{}", outcome.stderr);
        assert!(json(&outcome)["incomplete"][0].as_str().unwrap().starts_with("no lock operation was seen"));
    }
}

#[test]
fn every_format_is_what_its_readers_expect() {
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    let kept = check(folder.path(), &["--format", "json", "--trace", "t.lockprof", "-o", "first.json"], "inversion");
    assert_eq!((kept.code(), kept.stdout.as_str()), (1, ""), "{}", kept.stderr);
    assert!(kept.stderr.contains("lock order: FAIL"), "the answer is seen: {}", kept.stderr);
    let first: Value = serde_json::from_slice(&fs::read(folder.path().join("first.json")).unwrap()).unwrap();
    let of_trace = |format: &str| {
        let outcome = run(folder.path(), &["check", "--format", format, trace.to_str().unwrap()]);
        assert_eq!(outcome.code(), 1, "{format}: {}", outcome.stderr);
        outcome
    };
    let again = json(&of_trace("json"));
    assert_eq!(again["cycles"], first["cycles"], "the trace says the same as the run");
    let sarif = json(&of_trace("sarif"));
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "lock-order/feasible");
    assert!(of_trace("junit").stdout.contains("<failure "));
    assert!(of_trace("github").stdout.starts_with("::error file="));
    assert!(of_trace("md").stdout.starts_with("### Lock order: "));
}

#[test]
fn github_gets_a_summary_of_the_step() {
    let folder = folder();
    let summary = folder.path().join("summary.md");
    fs::write(&summary, "before\n").unwrap();
    let mut command = command(folder.path(), &["--format", "github"], "inversion");
    assert_eq!(finish(command.env("GITHUB_STEP_SUMMARY", &summary), LIMIT).code(), 1);
    let text = fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("before\n### Lock order: ") && text.contains("feasible"), "{text}");
}

#[test]
fn a_baseline_lets_pass_what_it_knows() {
    let folder = folder();
    let known = ["--baseline", "known.json"];
    let outcome = check(folder.path(), &[&known[..], &["--write-baseline"]].concat(), "inversion");
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(fs::read_to_string(folder.path().join("known.json")).unwrap().contains("\"feasible\""));
    let outcome = check(folder.path(), &known, "inversion");
    assert_eq!(outcome.code(), 0, "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Known by the baseline"), "{}", outcome.stdout);
    assert_eq!(check(folder.path(), &known, "three").code(), 1, "another cycle is new");
}

#[test]
fn suppressions_of_both_kinds() {
    let folder = folder();
    fs::write(folder.path().join("tsan.supp"), "# theirs\nrace:x\ndeadlock:^both$\ndeadlock:nobody\n").unwrap();
    let outcome = check(folder.path(), &["--suppress", "tsan.supp", "--format", "json"], "inversion");
    assert_eq!(outcome.code(), 0, "{}", outcome.stdout);
    let report = json(&outcome);
    assert_eq!(report["suppressed"][0]["by"], "tsan.supp:3 (deadlock:^both$)");
    assert_eq!(report["unused_suppressions"], serde_json::json!(["tsan.supp:4 (deadlock:nobody)"]));
    let allow = "[[allow]]\nlocks = [\"a\", \"b\"]\nreason = \"known\"\nexpires = 2001-01-01\n";
    fs::write(folder.path().join("old.toml"), allow).unwrap();
    let outcome = check(folder.path(), &["--suppress", "old.toml"], "inversion");
    assert_eq!(outcome.code(), 1);
    assert!(outcome.stdout.contains("expired on 2001-01-01"), "{}", outcome.stdout);
}

#[test]
fn budgets_fail() {
    let folder = folder();
    let outcome = check(folder.path(), &["--fail-on", "none", "--max-hold", "a=1ns"], "inversion");
    assert_eq!(outcome.code(), 1);
    assert!(outcome.stdout.contains("error[max-hold]: a was held for"), "{}", outcome.stdout);
}

#[test]
fn settings_come_from_flags_then_variables_then_the_file() {
    let folder = folder();
    let deep = folder.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::write(folder.path().join("lockprof.toml"), "[check]\nfail_on = [\"none\"]\n").unwrap();
    assert_eq!(check(&deep, &[], "inversion").code(), 0, "the file is found upwards");
    let mut variable = command(&deep, &[], "inversion");
    assert_eq!(finish(variable.env("LOCKPROF_FAIL_ON", "feasible"), LIMIT).code(), 1, "a variable comes first");
    let mut flag = command(&deep, &["--fail-on", "none"], "inversion");
    assert_eq!(finish(flag.env("LOCKPROF_FAIL_ON", "feasible"), LIMIT).code(), 0, "a flag comes before both");
}

#[test]
fn mistakes_are_two_and_told_before_the_program_runs() {
    let folder = folder();
    fs::write(folder.path().join("bad.supp"), "deadlock\n").unwrap();
    fs::write(folder.path().join("foreign.json"), "{}\n").unwrap();
    for (args, want) in [
        (&["--fail-on", "feasable"][..], "no class `feasable`"),
        (&["--baseline", "none.json"], "--write-baseline makes it"),
        (&["--baseline", "foreign.json"], "not a baseline"),
        (&["--write-baseline"], "--baseline FILE"),
        (&["--suppress", "bad.supp"], "bad.supp:1"),
        (&["--suppress", "none.supp"], "cannot read the suppressions"),
        (&["--max-wait", "x"], "such as journal.mu=5ms"),
        (&["--trace", "no/such/folder/t"], "cannot write"),
    ] {
        let outcome = check(folder.path(), args, "no_such_story");
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (2, ""), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(want), "{args:?}: {}", outcome.stderr);
    }
    fs::write(folder.path().join("lockprof.toml"), "[check]\nfailon = 1\n").unwrap();
    let outcome = check(folder.path(), &[], "inversion");
    assert!(outcome.code() == 2 && outcome.stderr.contains("known are fail_on"), "{}", outcome.stderr);
}

#[test]
fn several_traces_tell_each_cycle_once() {
    let folder = folder();
    for name in ["a.lockprof", "b.lockprof"] {
        assert_eq!(check(folder.path(), &["-q", "--trace", name], "inversion").code(), 1);
    }
    let outcome = run(folder.path(), &["check", "--format", "json", "a.lockprof", "b.lockprof"]);
    let report = json(&outcome);
    assert_eq!(report["cycles"].as_array().map(Vec::len), Some(1), "{}", outcome.stdout);
    assert_eq!((&report["cycles"][0]["traces"], outcome.code()), (&2.into(), 1));
}

#[test]
fn the_graph_in_every_format() {
    let folder = folder();
    assert_eq!(check(folder.path(), &["-q", "--trace", "t.lockprof"], "inversion").code(), 1);
    let graph = |args: &[&str]| {
        let outcome = run(folder.path(), &[&["graph", "t.lockprof"], args].concat());
        assert_eq!(outcome.code(), 0, "{args:?}: {}", outcome.stderr);
        outcome.stdout
    };
    let whole: Value = serde_json::from_str(&graph(&["--format", "json"])).unwrap();
    let names: Vec<_> = whole["nodes"].as_array().unwrap().iter().map(|node| node["name"].clone()).collect();
    assert!(names.contains(&"a".into()) && names.contains(&"b".into()), "{names:?}");
    assert!(whole["edges"].as_array().unwrap().iter().any(|edge| edge["cycle"] == "feasible"), "{whole}");
    assert!(graph(&["--format", "dot", "--cycles-only"]).contains("feasible"));
    assert!(graph(&["--format", "mermaid", "--by", "instance"]).contains("flowchart"));
    let svg = graph(&[]);
    assert!(svg.starts_with("<?xml") && svg.contains("class=\"edge loud\"") && svg.ends_with("</svg>\n"));
    graph(&["-o", "g.svg"]);
    assert_eq!(fs::read_to_string(folder.path().join("g.svg")).unwrap(), svg);
}

/// A deadlock that happens is a verdict at once: nobody waits for a time-out of the CI job.
#[test]
fn a_program_that_deadlocks_is_ended_and_told() {
    let folder = folder();
    let program = fixture("deadlocks");
    let outcome = run(folder.path(), &["check", "--format", "json", "--", program.to_str().unwrap(), "ring", "2"]);
    let report = json(&outcome);
    assert_eq!((outcome.code(), &report["program"]), (1, &"the program deadlocked and was ended".into()));
    assert_eq!((&report["cycles"][0]["class"], &report["cycles"][0]["fails"]), (&"hung".into(), &true.into()));
}

/// One mistake, one finding: the hang tells that the owner ended, so the misuse that led to it is not told again.
#[test]
fn a_lock_that_an_ended_thread_left_behind_is_told_once() {
    let folder = folder();
    let program = fixture("deadlocks");
    let outcome = run(folder.path(), &["check", "--format", "json", "--", program.to_str().unwrap(), "dead"]);
    let report = json(&outcome);
    assert_eq!((outcome.code(), &report["cycles"][0]["class"]), (1, &"hung".into()));
    assert_eq!(report["findings"], serde_json::json!([]));
}

#[test]
fn a_program_that_takes_too_long_is_ended_and_fails() {
    let folder = folder();
    let program = fixture("deadlocks");
    let command = ["check", "--format", "json", "--timeout", "500ms", "--", program.to_str().unwrap(), "lost"];
    let outcome = run(folder.path(), &command);
    assert_eq!((outcome.code(), json(&outcome)["verdict"].as_str()), (1, Some("fail")), "{}", outcome.stderr);
    assert_eq!(json(&outcome)["program"], "the program was not done after 0.5 s and was ended");
}

/// What GitHub and editors read is what the standard says: of a real run, and of the golden file, which has all that
/// can be in one.
#[test]
fn sarif_is_valid() {
    let Some(python) = python::with(&["jsonschema"]) else { return };
    let folder = folder();
    let outcome = check(folder.path(), &["--format", "sarif"], "inversion");
    let written = folder.path().join("run.sarif");
    fs::write(&written, &outcome.stdout).expect("a file");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = "
import json, sys, jsonschema
schema, *files = [json.load(open(path)) for path in sys.argv[1:]]
for file in files:
    jsonschema.validate(file, schema)
print(len(files), 'valid')";
    let files = [root.join("fixtures/sarif/sarif-schema-2.1.0.json"), root.join("tests/golden/check.sarif"), written];
    assert_eq!(python::run(&python, script, &files), "2 valid\n");
}
