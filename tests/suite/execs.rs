//! Programs that lived for a moment and were not recorded are told to ordinary users too, who may not read the kernel's list;
//! and nothing is told of those that were.

use std::fs;

use crate::util::{Recording, Target, fixture};

const FUNCTIONS: [&str; 14] = [
    "execve",
    "execv",
    "execvp",
    "execvpe",
    "fexecve",
    "execl",
    "execle",
    "execlp",
    "vfork",
    "spawn",
    "spawnp",
    "old-spawn",
    "system",
    "popen",
];

fn starts(arguments: &[&str]) -> Recording {
    let recording = Target::new(fixture("starts")).args(arguments).unprivileged().record();
    assert_eq!(recording.outcome.code(), 0, "{arguments:?}: {}", recording.outcome.stderr);
    recording
}

fn in_shell(line: &str) -> Recording {
    Target::new("/bin/sh").args(["-c", line]).unprivileged().record()
}

/// How many programs the notes tell: those that `lockprof` met in `/proc` by name, the others by number.
fn told(recording: &Recording) -> usize {
    let number = |note: &&str| -> Option<usize> {
        let note = note.strip_prefix("recorded in part: ")?;
        if let Some((count, _)) = note.split_once(" started and not recorded") {
            return count.split(' ').next()?.parse().ok();
        }
        let (_, which) = note.split_once(" was not recorded (")?;
        if which.starts_with("process ") { Some(1) } else { which.split(' ').next()?.parse().ok() }
    };
    let notes = recording.report.notes();
    notes.iter().filter_map(number).sum()
}

#[track_caller]
fn assert_missing(recording: &Recording, programs: usize) {
    let coverage = &recording.report.0["coverage"];
    assert_eq!((coverage["complete"].as_bool(), told(recording)), (Some(false), programs), "{coverage}");
    let mut check = crate::util::lockprof();
    let check =
        crate::util::run::finish(check.args(["check", "--strict"]).arg(&recording.trace), crate::util::run::LIMIT);
    assert_eq!(check.code(), 3, "{}", check.stdout);
}

#[track_caller]
fn assert_complete(recording: &Recording) {
    let coverage = &recording.report.0["coverage"];
    assert_eq!(coverage["complete"], true, "{coverage}");
}

#[test]
fn programs_of_a_moment_by_each_function() {
    for how in FUNCTIONS {
        assert_missing(&starts(&[how, "3", "cleared"]), 3);
        assert_complete(&starts(&[how, "3", "kept"]));
    }
}

#[test]
fn programs_of_a_moment_by_shells() {
    assert_missing(&in_shell("env -i /bin/true; true"), 1);
    assert_missing(&in_shell("for i in 1 2 3; do LD_PRELOAD= /bin/true; done; true"), 3);
    assert_missing(&in_shell("sh -c \"sh -c 'env -i /bin/true; true'; true\"; true"), 1);
    // Their parent has ended by then; its memory is read before the first of them is started, or between the first and the
    // second.
    let spin = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    assert_missing(&in_shell("(sleep 0.3; env -i /bin/true; true) & true"), 1);
    assert_missing(&in_shell(&format!("({spin}; env true; env -i /bin/true; env -i /bin/true; true) & true")), 2);
    assert_complete(&in_shell(&format!("({spin}; env true; env /bin/true; true) & true")));
    assert_complete(&in_shell("(sleep 0.3; env /bin/true; true) & true"));
}

#[test]
fn programs_that_are_recorded() {
    assert_complete(&starts(&["spawn", "1000", "kept"]));
    assert_complete(&starts(&["missing", "3"]));
    assert_complete(&in_shell(
        "i=0; while [ $i -lt 100 ]; do /bin/true; no-such-program; i=$((i+1)); done; exec sh -c 'exec env true'",
    ));
    assert_complete(&Target::new(fixture("forks")).args(["chain"]).unprivileged().record());
}

#[test]
fn programs_that_build_tools_start() {
    let make = crate::need!("make");
    let folder = crate::util::run::folder();
    let rules = (0..20).map(|i| format!("t{i}:\n\t@true; true\n\t@true\n"));
    let all: Vec<String> = (0..20).map(|i| format!("t{i}")).collect();
    let text = format!("all: {}\n{}", all.join(" "), rules.collect::<String>());
    fs::write(folder.path().join("Makefile"), text).expect("a makefile");
    assert_complete(&Target::new(make).args(["-j4", "-C"]).args([folder.path()]).unprivileged().record());
}

#[test]
fn programs_that_python_starts() {
    let python = crate::need!("python3");
    let lines = "import subprocess, os\n\
                 for shell in (False, True):\n    for i in range(20):\n        subprocess.run('true', shell=shell, check=True)\n\
                 try: subprocess.run('no-such-program')\n\
                 except FileNotFoundError: pass\n\
                 os.system('true'); os.popen('true').close(); os.spawnlp(os.P_WAIT, 'true', 'true')\n";
    assert_complete(&Target::new(python).args(["-c", lines]).unprivileged().record());
}
