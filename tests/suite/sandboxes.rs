//! Programs that forbid themselves system calls: they run as without the recorder, and the report says what is missing.

use std::process::Command;

use crate::util::run::{LIMIT, finish, folder, is_root};
use crate::util::skip::unable;
use crate::util::{Target, fixture, lockprof};

/// What the program says it acquired.
fn told(stdout: &str) -> u64 {
    let number = stdout.strip_prefix("acquisitions ").expect("what it acquired");
    number.trim_end().parse().expect("a number")
}

/// Whether programs may install filters here; says so where they may not.
fn can_install() -> bool {
    let outcome = Target::new(fixture("sandboxed")).bare();
    if outcome.code() == 77 {
        unable("no system call filters here");
    }
    outcome.code() != 77
}

const MODES: [&[&str]; 11] = [
    &["threads"],
    &["threads", "errno"],
    &["bare"],
    &["bare", "errno"],
    &["library"],
    &["library", "errno"],
    &["strict"],
    &["fork"],
    &["fork", "errno"],
    &["worker"],
    &["worker", "errno"],
];

#[test]
fn a_filter_kills_no_recorded_program() {
    if !can_install() {
        return;
    }
    for arguments in MODES {
        let recording = Target::new(fixture("sandboxed")).args(arguments).record();
        assert_eq!(recording.outcome.code(), 0, "{arguments:?}: {}", recording.outcome.stderr);
        // The child of `fork` can make no file behind the filter: what it took is only counted, and told. The program's own
        // number is without it.
        let lost = if arguments[0] == "fork" { 1001 } else { 0 };
        assert_eq!(recording.report.coverage("lost"), lost, "{arguments:?}: {}", recording.report.0["coverage"]);
        if lost == 0 {
            recording.report.assert_counted();
        }
        // What the filter of these leaves is enough to tell all locks apart.
        let whole = ["threads", "worker"].contains(&arguments[0]);
        assert!(!whole || recording.report.0["coverage"]["complete"] == true, "{arguments:?}");
        let seen = recording.report.coverage("acquisitions");
        assert_eq!(seen, told(&recording.outcome.stdout) + lost, "{arguments:?}: {}", recording.report.overview());
        let notes = recording.report.notes();
        let noted = notes.iter().any(|note| note.contains("sandbox"));
        assert_eq!(noted, !["threads", "worker"].contains(&arguments[0]), "{arguments:?}: {notes:?}");
    }
}

/// What the filter of `threads` leaves is enough for everything, also for call stacks.
#[test]
fn what_a_filter_allows_is_recorded() {
    if !can_install() {
        return;
    }
    let recording = Target::new(fixture("sandboxed")).args(["threads"]).record();
    assert_eq!(recording.report.lock("first", "mutex")["acquisitions"], 2000);
    assert_eq!(recording.report.lock("second", "mutex")["acquisitions"], 2);
    assert_eq!(recording.report.named("many[2999]", "mutex").len(), 1);
    assert_eq!(recording.report.coverage("stacks_truncated"), 0, "{}", recording.report.overview());
}

/// Where a filter forbids to ask whether memory is there, a held lock's words cannot be read, and it counts as held.
#[test]
fn what_cannot_be_looked_at_is_still_held() {
    if !can_install() {
        return;
    }
    let recording = Target::new(fixture("sandboxed")).args(["masked"]).record();
    assert_eq!(recording.outcome.code(), 0, "{}", recording.outcome.stderr);
    recording.report.assert_accounted();
    let notes = recording.report.notes();
    assert!(!notes.iter().any(|note| note.contains("given back by calls")), "{notes:?}");
    assert_eq!(recording.report.coverage("acquisitions"), told(&recording.outcome.stdout));
}

/// What is only counted may be taken in any order.
#[test]
fn of_locks_that_are_only_counted_no_order_is_known() {
    if !can_install() {
        return;
    }
    let folder = folder();
    for (strict, code) in [(false, 0), (true, 3)] {
        let mut command = lockprof();
        command.args(["check", "--format", "json"]).args(strict.then_some("--strict"));
        command.arg("--").arg(fixture("sandboxed")).arg("strict");
        let outcome = finish(command.current_dir(folder.path()), LIMIT);
        let start = outcome.stdout.find('{').expect("JSON");
        let check: serde_json::Value = serde_json::from_str(&outcome.stdout[start..]).expect("JSON");
        assert_eq!((outcome.code(), check["verdict"].as_str()), (code, Some("incomplete")), "{check}");
        assert!(check["incomplete"].to_string().contains("not every request"), "{check}");
    }
}

/// A filter stays over an exec: the next program is not killed for what its shim does at its start.
#[test]
fn a_filter_from_before_an_exec_kills_nothing() {
    if !can_install() {
        return;
    }
    let target = Target::new(fixture("sandboxed")).args(["exec"]);
    let recording = target.record();
    assert_eq!(recording.outcome.code(), 0, "{}", recording.outcome.stderr);
    assert_eq!(recording.outcome.stdout, target.bare().stdout);
}

#[test]
fn a_sleeping_shim_is_no_harm_either() {
    if !can_install() {
        return;
    }
    let shim = finish(lockprof().args(["shim", "--path"]), LIMIT).stdout;
    for arguments in MODES.into_iter().chain([&["exec"][..]]) {
        let mut command = Target::new(fixture("sandboxed")).args(arguments).bare_command();
        let outcome = finish(command.env("LD_PRELOAD", shim.trim_end()), LIMIT);
        assert_eq!(outcome.code(), 0, "{arguments:?}: {}", outcome.stderr);
    }
}

/// A program that a filter ended: the sandbox is named.
#[test]
fn the_end_by_a_filter_is_told() {
    if !can_install() {
        return;
    }
    let folder = folder();
    let target = Target::new(fixture("sandboxed")).args(["killed"]);
    let mut command = lockprof();
    command
        .arg("run")
        .arg("-o")
        .arg(folder.path().join("t.lockprof"))
        .arg("--")
        .arg(fixture("sandboxed"))
        .arg("killed");
    let outcome = finish(command.current_dir(folder.path()), LIMIT);
    assert_eq!((target.bare().code(), outcome.code()), (159, 159));
    assert!(outcome.stderr.contains("SIGSYS: a sandbox"), "{}", outcome.stderr);
}

/// A server whose filter, made by libseccomp, kills it for every call that it does not know.
#[test]
fn a_server_in_its_sandbox() {
    let server = Target::new("chronyd").args(["-Q", "-t", "1", "-F", "1", "port 0"]);
    if !is_root() || Command::new("chronyd").arg("--version").output().is_err() {
        return unable("no chronyd, or no right to run it");
    }
    let bare = server.bare();
    let recording = server.record();
    assert_eq!(recording.outcome.code(), bare.code(), "{}", recording.outcome.stderr);
    recording.report.assert_accounted();
}
