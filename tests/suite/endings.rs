//! However a process or thread ends, what it did before is in the trace.

use serde_json::json;

use crate::util::truth::assert_true;
use crate::util::{Recording, Target, fixture, verify};

/// The fixture ends so, with its threads standing still: everything is exact.
fn still(how: &str) -> Recording {
    verify(&Target::new(fixture("endings")).args([how]))
}

/// The same while its threads lock as fast as they can: nothing is lost, and the counts reach the truth at least.
fn busy(how: &str, code: i32) {
    let recording = Target::new(fixture("endings")).args([how, "busy"]).record();
    assert_eq!(recording.outcome.code(), code, "{}", recording.outcome.stderr);
    assert_true(&recording.outcome, &recording.report);
}

#[test]
fn return_from_main() {
    assert_eq!(still("return").report.0["exit"], json!({"code": 10}));
    busy("return", 10);
}

#[test]
fn exit() {
    still("exit");
    busy("exit", 11);
}

#[test]
fn exit_without_handlers() {
    assert_eq!(still("_exit").report.0["exit"], json!({"code": 12}));
    busy("_exit", 12);
}

#[test]
fn quick_exit() {
    still("quick_exit");
    busy("quick_exit", 14);
}

#[test]
fn exit_by_another_thread() {
    still("thread-exit");
    busy("thread-exit", 13);
}

#[test]
fn abort() {
    let recording = still("abort");
    assert_eq!(recording.outcome.status.code(), Some(134), "run itself ends with 128 + SIGABRT");
    assert_eq!(recording.report.0["exit"], json!({"signal": 6}));
    busy("abort", 134);
}

#[test]
fn kill() {
    let recording = still("kill");
    assert_eq!(recording.outcome.status.code(), Some(137), "run itself ends with 128 + SIGKILL");
    assert_eq!(recording.report.0["exit"], json!({"signal": 9}));
    busy("kill", 137);
}

#[test]
fn segmentation_fault() {
    assert_eq!(still("segv").report.0["exit"], json!({"signal": 11}));
    busy("segv", 139);
}

#[test]
fn threads_that_exit_or_are_cancelled_and_their_destructors() {
    verify(&Target::new(fixture("thread_end")));
}
