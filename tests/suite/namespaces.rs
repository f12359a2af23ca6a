//! Programs that make namespaces: containers and sandboxes. A process is one and the same from inside and from outside, and
//! the report has the number that it has on the side of `lockprof`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::util::report::number;
use crate::util::run::{LIMIT, finish};
use crate::util::skip::unable;
use crate::util::{Recording, Target, fixture};

/// Whether `unshare` may make these namespaces here.
fn can(options: &[&str]) -> bool {
    let alone = finish(Command::new("unshare").args(options).arg("true"), LIMIT);
    if alone.code() != 0 {
        unable(&format!("no namespaces by unshare {}: {}", options.join(" "), alone.stderr.trim()));
    }
    alone.code() == 0
}

fn in_shell(line: &str) -> Recording {
    let recording = Target::new("/bin/sh").args(["-c", line]).record();
    recording.report.assert_accounted();
    let coverage = &recording.report.0["coverage"];
    assert_eq!(coverage["complete"], true, "{coverage}");
    recording
}

/// Acquisitions of the lock that the fixture takes so often, by process.
fn taken(recording: &Recording, often: u64) -> Vec<&Value> {
    let locks = recording.report.locks().iter();
    locks.filter(|lock| number(lock, "acquisitions") == often).map(|lock| &lock["pid"]).collect()
}

#[test]
fn two_programs_that_are_both_number_one() {
    crate::need!("unshare");
    if !can(&["-pf"]) {
        return;
    }
    for more in ["", "--mount-proc"] {
        let program = fixture("named_by_number");
        let program = program.display();
        let recording = in_shell(&format!(
            "unshare -pf {more} '{program}' 20000 & unshare -pf {more} '{program}' 20000 & wait; exit 3"
        ));
        assert_eq!(recording.outcome.code(), 3);
        let pids: BTreeSet<String> = taken(&recording, 20_000).iter().map(|pid| pid.to_string()).collect();
        assert_eq!(pids.len(), 2, "each has a lock of its own: {pids:?}");
        assert!(!pids.contains("1"), "numbers of this side: {pids:?}");
        let is_it = |process: &&Value| process["exe"].as_str().is_some_and(|exe| exe.ends_with("named_by_number"));
        let codes: Vec<_> =
            recording.report.processes().iter().filter(is_it).map(|process| &process["exit"]["code"]).collect();
        assert_eq!(codes, [7, 7], "{:?}", recording.report.processes());
    }
}

/// A lock that is taken, and a fork in the namespace: the child is another one, though its numbers are small as well.
#[test]
fn children_in_namespaces_in_namespaces() {
    crate::need!("unshare");
    if !can(&["-pf"]) {
        return;
    }
    let program = fixture("named_by_number");
    let recording = in_shell(&format!("unshare -pf unshare -pf '{}' 5000 2; true", program.display()));
    assert_eq!(taken(&recording, 5_000).len(), 3, "{}", recording.report.overview());
}

/// `lockprof` itself in a namespace, with the `/proc` of the one outside.
#[test]
fn lockprof_in_a_namespace() {
    crate::need!("unshare");
    if !can(&["-pf"]) {
        return;
    }
    for more in [&[][..], &["--mount-proc"]] {
        let folder = crate::util::run::folder();
        let trace = folder.path().join("t.lockprof");
        let target = Target::new(fixture("named_by_number")).args(["5000", "2"]);
        let recorded = target.recorded_command(&trace);
        let mut command = Command::new("unshare");
        command.arg("-pf").args(more).arg(recorded.get_program()).args(recorded.get_args());
        // A place of its own: other recordings go on beside it.
        command.env("LOCKPROF_SHM", folder.path());
        let outcome = finish(&mut command, LIMIT);
        assert_eq!(outcome.code(), 7, "{}", outcome.stderr);
        let report = crate::util::Report::load(&trace);
        report.assert_accounted();
        let coverage = &report.0["coverage"];
        assert_eq!(coverage["complete"], true, "{coverage}");
        assert_eq!(report.processes().len(), 3, "{coverage}");
    }
}

#[test]
fn a_clock_of_its_own() {
    crate::need!("unshare");
    if !can(&["-T", "-f", "--monotonic", "1000000"]) {
        return;
    }
    let program = fixture("named_by_number");
    let recording = in_shell(&format!("unshare -T -f --monotonic 1000000 '{}' 5000; true", program.display()));
    assert_eq!(taken(&recording, 5_000).len(), 1);
    let trace = lockprof::ingest::file::read(&recording.trace).expect("the trace");
    let last = trace.threads.iter().map(|thread| thread.start_ns).max().unwrap_or(0);
    assert!(
        last <= trace.meta.duration_ns,
        "a thread began {last} ns after the start of a recording of {} ns",
        trace.meta.duration_ns
    );
}
