//! `lockprof run` as a command: files, streams, exit codes, signals and wrong usage.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::util::report::{Report, number};
use crate::util::run::{LIMIT, finish, folder, signal, signal_group, start, wait};
use crate::util::server::until;
use crate::util::truth::assert_same;
use crate::util::{Outcome, Target, fixture, lockprof};

fn traces(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path());
    files.filter(|file| file.extension().is_some_and(|ending| ending == "lockprof")).collect()
}

fn run_in(folder: &Path, args: &[&str]) -> Outcome {
    finish(lockprof().current_dir(folder).args(args), LIMIT)
}

#[test]
fn the_trace_is_named_after_program_and_process() {
    let folder = folder();
    let outcome = run_in(folder.path(), &["run", "--", fixture("counts").to_str().unwrap(), "1", "10"]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let found = traces(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    let report = Report::load(&found[0]);
    let pid = number(&report.processes()[0], "pid");
    assert_eq!(found[0].file_name().unwrap().to_str().unwrap(), format!("counts.{pid}.lockprof"));
}

#[test]
fn the_name_of_the_trace_has_placeholders() {
    let folder = folder();
    let program = fixture("counts");
    let outcome =
        run_in(folder.path(), &["run", "-q", "-o", "x-%e-%p.lockprof", "--", program.to_str().unwrap(), "1", "10"]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let found = traces(folder.path());
    let pid = number(&Report::load(&found[0]).processes()[0], "pid");
    assert_eq!(found[0].file_name().unwrap().to_str().unwrap(), format!("x-counts-{pid}.lockprof"));
}

#[test]
fn the_newest_trace_is_read_and_named_on_standard_error() {
    let folder = folder();
    let program = fixture("counts");
    for (name, rounds) in [("old.lockprof", "10"), ("new.lockprof", "20")] {
        let outcome = run_in(folder.path(), &["run", "-q", "-o", name, "--", program.to_str().unwrap(), "1", rounds]);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    }
    let old = fs::File::options().write(true).open(folder.path().join("old.lockprof")).expect("the old trace");
    old.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).expect("an earlier time");
    let outcome = run_in(folder.path(), &["report", "--format", "json"]);
    assert!(outcome.stderr.contains("new.lockprof"), "{}", outcome.stderr);
    assert_eq!(number(Report::parse(&outcome.stdout).lock("hot", "mutex"), "acquisitions"), 20);
    assert!(run_in(folder.path(), &["report"]).stdout.contains("hot"));
}

#[test]
fn standard_output_is_the_programs_own_and_the_summary_goes_to_standard_error() {
    let folder = folder();
    let program = fixture("counts");
    let program = program.to_str().unwrap();
    let bare = Target::new(program).args(["2", "1000"]).bare();
    let loud = run_in(folder.path(), &["run", "--", program, "2", "1000"]);
    assert_same(&bare, &loud);
    assert!(loud.stderr.contains("hot"), "the summary names the hottest lock: {}", loud.stderr);
    let quiet = run_in(folder.path(), &["run", "-q", "--", program, "2", "1000"]);
    assert_same(&bare, &quiet);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn standard_input_reaches_the_program() {
    let folder = folder();
    let input = folder.path().join("input");
    fs::File::create(&input).and_then(|mut file| file.write_all(b"one\0two\n")).expect("an input");
    let mut command = lockprof();
    command.current_dir(folder.path()).args(["run", "-q", "--", "cat"]);
    let output =
        command.stdin(fs::File::open(&input).expect("the input")).stderr(Stdio::inherit()).output().expect("cat");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"one\0two\n".as_slice()));
}

#[test]
fn arguments_pass_through_with_and_without_dashes() {
    let folder = folder();
    let program = fixture("no_locks");
    for separator in [&[][..], &["--"][..]] {
        let mut args = vec!["run", "-q"];
        args.extend(separator);
        args.extend([program.to_str().unwrap(), "-o", "--help", "", "a b"]);
        let outcome = run_in(folder.path(), &args);
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (4, "-o\n--help\n\na b\n"), "{}", outcome.stderr);
    }
}

#[test]
fn the_report_has_the_command_and_its_end() {
    let recording = Target::new(fixture("no_locks")).args(["x", "y"]).record();
    let report = &recording.report.0;
    assert_eq!(report["schema_version"], 1);
    let command: Vec<_> =
        report["command"].as_array().expect("a command").iter().filter_map(|word| word.as_str()).collect();
    assert!(command[0].ends_with("no_locks") && command[1..] == ["x", "y"], "{command:?}");
    assert_eq!(report["exit"], serde_json::json!({"code": 2}));
    assert!(number(report, "duration_ns") > 0);
    for key in ["overhead", "counters", "findings"] {
        assert!(!report[key].is_null(), "{key} is missing");
    }
}

/// The kernel says at least what the shell says that it used itself and its child, and nothing of cycles unasked.
#[test]
fn the_cpu_time_is_that_of_the_program_and_its_children() {
    let loops = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let recording = Target::new("sh").args(["-c", &format!("{loops}; ({loops}); times")]).record();
    // Four times as `1m2.34s`.
    let seconds = recording.outcome.stdout.split_whitespace().map(|time| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').expect("minutes and seconds");
        60.0 * minutes.parse::<f64>().expect("minutes") + seconds.parse::<f64>().expect("seconds")
    });
    let seconds: f64 = seconds.sum();
    let counters = &recording.report.0["counters"];
    // The shell's figures are cut to hundredths.
    let told = number(counters, "task_clock_ns") as f64 / 1e9;
    assert!(seconds > 0.0 && told >= seconds - 0.04, "{told} s, by the shell {seconds} s");
    assert!(counters["context_switches"].is_u64() && counters["cycles"].is_null(), "{counters}");
}

#[test]
fn wrong_usage_and_unreadable_traces_are_two() {
    let folder = folder();
    let foreign = folder.path().join("foreign.lockprof");
    fs::write(&foreign, "this is not a trace, but long enough to hold a header of any kind").expect("a file");
    let cases: [&[&str]; 6] = [
        &["run"],
        &["run", "--no-such-option", "--", "true"],
        &["no-such-command"],
        &["report", "missing.lockprof"],
        &["report", "foreign.lockprof"],
        &["report", "--format", "no-such-format", "foreign.lockprof"],
    ];
    for args in cases {
        let outcome = run_in(folder.path(), args);
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (2, ""), "{args:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.is_empty() && !outcome.stderr.contains("panicked"), "{args:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_folder_without_a_trace_is_two() {
    assert_eq!(run_in(folder().path(), &["report"]).code(), 2);
}

/// SIGTERM for lockprof alone goes on to the program, which ends as it likes; the trace is whole.
#[test]
fn a_signal_for_lockprof_reaches_the_program() {
    terminated(false);
}

/// Ctrl-C goes to the whole group: lockprof lives until the program has ended.
#[test]
fn a_signal_for_the_group_ends_the_program_not_the_recorder() {
    terminated(true);
}

fn terminated(group: bool) {
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    let child =
        start(Target::new(fixture("terminated")).recorded_command(&trace).current_dir(folder.path()), folder.path());
    until("the program is ready", || {
        let text = fs::read_to_string(folder.path().join("stdout"))?;
        if text.contains("ready") { Ok(()) } else { Err(std::io::Error::other("not yet")) }
    });
    if group {
        signal_group(&child, libc::SIGINT);
    } else {
        signal(i32::try_from(child.id()).expect("a process id"), libc::SIGTERM);
    }
    let outcome = wait(child, folder.path(), LIMIT);
    assert_eq!(outcome.code(), if group { libc::SIGINT } else { libc::SIGTERM }, "{}", outcome.stderr);
    let report = Report::load(&trace);
    report.assert_accounted();
    assert_eq!(number(report.lock("served", "mutex"), "acquisitions"), 1010);
}

/// The recorder's other half dies: the program goes on unharmed to its own end.
#[test]
fn the_program_survives_lockprof() {
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    let command = Target::new(fixture("terminated"));
    let mut child = start(command.recorded_command(&trace).current_dir(folder.path()), folder.path());
    let said = |word: &str| {
        until(word, || {
            let text = fs::read_to_string(folder.path().join("stdout"))?;
            let line = text.lines().find(|line| line.contains(word) && line.ends_with('}')).map(str::to_owned);
            line.ok_or_else(|| std::io::Error::other(format!("not said, but {text}")))
        })
    };
    let ready: Value = serde_json::from_str(&said("ready")).expect("the process id");
    child.kill().expect("lockprof is killed");
    child.wait().expect("lockprof has ended");
    signal(i32::try_from(number(&ready, "ready")).expect("a process id"), libc::SIGHUP);
    let truth: Value = serde_json::from_str(&said("served")).expect("the truth");
    assert_eq!(number(&truth, "acquisitions"), 1010);
}

#[test]
fn the_trace_is_readable_without_the_program() {
    let folder = folder();
    let program = folder.path().join("gone");
    fs::copy(fixture("counts"), &program).expect("a copy");
    let trace = folder.path().join("t.lockprof");
    let outcome =
        finish(Target::new(&program).args(["1", "10"]).recorded_command(&trace).current_dir(folder.path()), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    fs::remove_file(&program).expect("the program is deleted");
    let report = Report::load(&trace);
    assert!(!crate::util::report::with_function(&report.lock("hot", "mutex")["sites"], "take").is_empty());
}

#[test]
fn a_trace_cut_short_is_read_up_to_the_cut_and_says_so() {
    let recording = Target::new(fixture("counts")).args(["2", "1000"]).record();
    let whole = fs::read(&recording.trace).expect("the trace");
    let folder = folder();
    let cut = folder.path().join("cut.lockprof");
    for length in [whole.len() - 1, whole.len() / 2, whole.len() / 4] {
        fs::write(&cut, &whole[..length]).expect("a shorter trace");
        let outcome = finish(lockprof().args(["report", "--format", "json"]).arg(&cut), LIMIT);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        if outcome.code() == 0 {
            let report = Report::parse(&outcome.stdout);
            assert!(report.0["coverage"]["complete"] == false && !report.notes().is_empty(), "cut at {length}");
        } else {
            assert_eq!(outcome.code(), 2, "{}", outcome.stderr);
        }
    }
}
