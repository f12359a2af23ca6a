//! Programs that bring locks of their own: a recording without those is not called complete, and the gate does not pass.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::util::build::{Build, targets};
use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Report, lockprof};

#[test]
fn a_rust_program_with_threads_does_not_pass() {
    let rustc = crate::need!("rustc");
    let folder = folder();
    let program = folder.path().join("own");
    // With symbols its locks are recorded.
    for strip in ["none", "symbols"] {
        let is_seen = strip == "none";
        let mut build = Command::new(&rustc);
        build.arg("-o").arg(&program).arg(format!("-Cstrip={strip}")).arg(targets().join("own_locks.rs"));
        let outcome = finish(&mut build, LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let check = |options: &[&str], rest: &[&str]| {
            let mut command = lockprof();
            command.arg("check").args(options).args(["--format", "json", "--trace", "t.lockprof", "--"]);
            finish(command.arg(&program).args(rest).current_dir(folder.path()), LIMIT)
        };
        let outcome = check(&[], &[]);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let verdict = Report::parse(&outcome.stdout).0;
        assert_eq!(verdict["verdict"], if is_seen { "pass" } else { "incomplete" }, "{verdict}");
        if is_seen {
            let report = Report::load(&folder.path().join("t.lockprof"));
            assert_eq!(report.0["coverage"]["complete"], true, "{:?}", report.notes());
            assert!(report.locks().iter().any(|lock| lock["acquisitions"] == 201), "{:?}", report.locks());
            continue;
        }
        assert!(verdict["incomplete"].to_string().contains("locks of Rust"), "{verdict}");
        assert_eq!(check(&["--strict"], &[]).code(), 3);
        let report = Report::load(&folder.path().join("t.lockprof"));
        assert_eq!(report.0["coverage"]["complete"], false);
        assert!(report.notes().iter().any(|note| note.contains("/own, which has no symbols")), "{:?}", report.notes());
        // One thread waits for nobody.
        let outcome = check(&[], &["alone"]);
        assert_eq!(Report::parse(&outcome.stdout).0["verdict"], "pass", "{}", outcome.stdout);
    }
}

/// What `check` finds, which does not fail.
fn checked(program: &Path) -> Value {
    let folder = folder();
    let mut command = lockprof();
    command.args(["check", "--format", "json", "--"]).arg(program).current_dir(folder.path());
    let outcome = finish(&mut command, LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    Report::parse(&outcome.stdout).0
}

#[test]
fn openmp_is_told_where_its_locks_are_used() {
    crate::need!("libgomp.so.1");
    for (flags, verdict) in [(&["-fopenmp"][..], "pass"), (&["-fopenmp", "-DCRITICAL"], "incomplete")] {
        let program = Build::new("own_critical.c", "own_critical").flags(flags).build();
        let check = checked(&program);
        assert_eq!(check["verdict"], verdict, "{check}");
        assert_eq!(check["incomplete"].to_string().contains("OpenMP's locks"), verdict == "incomplete", "{check}");
    }
}

#[test]
fn futexes_used_directly_are_told() {
    for flags in [&["-O0"][..], &["-O2", "-s"], &["-O2", "-fno-plt"], &["-O2", "-DINSTRUCTION"]] {
        let program = Build::new("own_futex.c", "own_futex").flags(flags).build();
        let check = checked(&program);
        assert_eq!(check["verdict"], "incomplete", "{flags:?}: {check}");
        assert!(check["incomplete"].to_string().contains("futexes used directly"), "{check}");
    }
}
