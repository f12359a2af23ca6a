//! Children by fork, vfork, exec and spawn are in the same trace, each with its own counts.

use serde_json::Value;

use crate::util::report::number;
use crate::util::truth::told;
use crate::util::{Recording, Target, fixture, verify};

fn forks(mode: &str) -> Recording {
    verify(&Target::new(fixture("forks")).args([mode]))
}

fn ended_with(recording: &Recording, code: i64) -> usize {
    recording.report.processes().iter().filter(|process| process["exit"]["code"].as_i64() == Some(code)).count()
}

#[test]
fn a_child_that_locks_and_starts_threads() {
    let recording = forks("child");
    let processes = recording.report.processes();
    assert_eq!(processes.len(), 2, "{processes:?}");
    let child = processes.iter().find(|process| process["exit"]["code"] == 5).expect("the child, ended with 5");
    let parent = processes.iter().find(|process| process["exit"]["code"] == 0).expect("the parent, ended with 0");
    assert_eq!(child["parent_pid"], parent["pid"]);
    assert_eq!(number(child, "threads"), 2);
    assert_eq!(number(parent, "threads"), 1);
    let exe = child["exe"].as_str().unwrap_or("");
    assert!(exe.ends_with("forks"), "{exe}");
    let by_process: Vec<_> = recording
        .report
        .named("tree", "mutex")
        .iter()
        .map(|lock| (&lock["pid"], number(lock, "acquisitions")))
        .collect();
    assert!(
        by_process.contains(&(&child["pid"], 1500)) && by_process.contains(&(&parent["pid"], 2100)),
        "{by_process:?}"
    );
}

#[test]
fn atfork_handlers_that_lock() {
    let recording = forks("atfork");
    assert_eq!(ended_with(&recording, 6), 10, "{:?}", recording.report.processes());
}

#[test]
fn preforked_workers() {
    let recording = forks("prefork");
    assert_eq!(recording.report.processes().len(), 5);
}

#[test]
fn a_lock_held_by_another_thread_over_the_fork() {
    forks("held");
}

#[test]
fn fork_by_system_call() {
    let recording = forks("raw");
    assert_eq!(recording.report.processes().len(), 2);
}

#[test]
fn vfork_and_exec() {
    let recording = forks("vfork");
    assert_eq!(recording.report.processes().len(), 2, "{:?}", recording.report.processes());
    assert_eq!(ended_with(&recording, 4), 1);
}

#[test]
fn vfork_and_exec_in_a_child_that_outlives_its_parent() {
    let recording = forks("orphan");
    let processes = recording.report.processes();
    assert_eq!(processes.len(), 4, "{processes:?}");
    let mut pids: Vec<_> = processes.iter().map(|process| number(process, "pid")).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 4, "each with its own number: {processes:?}");
}

#[test]
fn posix_spawn() {
    assert_eq!(ended_with(&forks("spawn"), 4), 1);
}

#[test]
fn system() {
    assert!(ended_with(&forks("system"), 4) >= 1);
}

#[test]
fn a_chain_of_execs_in_one_process() {
    let recording = forks("chain");
    let pids: Vec<_> = recording.report.processes().iter().map(|process| &process["pid"]).collect();
    assert!(pids.windows(2).all(|pair| pair[0] == pair[1]), "{pids:?}");
}

#[test]
fn a_daemon_that_closes_all_descriptors_beside_its_parent() {
    forks("daemon-wait");
}

#[test]
fn a_daemon_that_outlives_its_parent() {
    forks("daemon");
}

#[test]
fn children_are_left_alone_on_request() {
    let recording = Target::new(fixture("forks")).args(["vfork"]).option("--no-follow").record();
    assert_eq!(recording.outcome.code(), 0);
    recording.report.assert_accounted();
    let tree = recording.report.lock("tree", "mutex");
    assert_eq!(number(tree, "acquisitions"), 100, "the parent's own");
    assert_eq!(recording.report.processes().len(), 1);
}

#[test]
fn a_mutex_shared_by_two_processes() {
    let recording = verify(&Target::new(fixture("process_shared")));
    assert_eq!(told(&recording.outcome, "area.mu", "acquisitions"), 10_000);
    let pids: Vec<&Value> = recording.report.processes().iter().map(|process| &process["pid"]).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
}

#[test]
fn threads_made_by_clone() {
    verify(&Target::new(fixture("raw_clone")));
}
