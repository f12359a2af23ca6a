//! Programs that cannot be traced are refused before they start, with exit code 2 and a reason; one without locks simply runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::util::run::{LIMIT, finish, folder, is_root};
use crate::util::{Build, Outcome, Target, fixture, lockprof};

fn run(program: &Path) -> Outcome {
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    finish(lockprof().args(["run", "-o"]).arg(&trace).arg("--").arg(program).arg("started"), LIMIT)
}

/// Not started at all, and the reason on standard error has one of these words in it.
fn assert_refused(program: &Path, words: &[&str]) {
    let outcome = run(program);
    assert_eq!(outcome.code(), 2, "{outcome:?}");
    assert!(!outcome.stdout.contains("started"), "it was started: {outcome:?}");
    let said = outcome.stderr.to_lowercase();
    assert!(words.iter().any(|word| said.contains(word)), "the reason should be one of {words:?}: {}", outcome.stderr);
}

#[test]
fn a_static_program() {
    assert_refused(&Build::new("no_locks.c", "no_locks").flags(&["-static"]).build(), &["static"]);
    assert_refused(&Build::new("no_locks.c", "no_locks").flags(&["-static-pie"]).build(), &["static"]);
}

#[test]
fn a_musl_program() {
    let musl = crate::need!("musl-gcc");
    assert_refused(&Build::new("no_locks.c", "no_locks").compiler(musl).build(), &["musl"]);
}

/// A child inherits the shim, which must stay out of its way there.
#[test]
fn a_musl_child_of_a_recorded_program_works() {
    let musl = crate::need!("musl-gcc");
    let program = Build::new("counts.c", "counts").compiler(musl).build();
    let target =
        Target::new("/bin/sh").args(["-c", "\"$0\" 2 1000; echo \"ended with $?\"", program.to_str().unwrap()]);
    let (bare, recorded) = (target.bare(), target.record());
    assert!(bare.stdout.contains("ended with 0"), "{bare:?}");
    assert_eq!(recorded.outcome.stdout, bare.stdout, "{}", recorded.outcome.stderr);
}

#[test]
fn a_setuid_program() {
    let folder = folder();
    let program = folder.path().join("setuid");
    fs::copy(fixture("no_locks"), &program).expect("a copy");
    if !is_root() {
        // Only root can make a program that runs as somebody else; this one is everywhere.
        return assert_refused(&crate::need!("su"), &["setuid", "set-user-id", "secure"]);
    }
    chown(&program, Some(65534), Some(65534)).expect("another owner");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("the setuid bit");
    assert_refused(&program, &["setuid", "set-user-id", "secure"]);
}

#[test]
fn a_program_for_another_architecture() {
    let folder = folder();
    let program = folder.path().join("foreign");
    let mut bytes = fs::read(fixture("no_locks")).expect("the fixture");
    bytes[18..20].copy_from_slice(&243u16.to_le_bytes()); // e_machine: RISC-V
    fs::write(&program, bytes).expect("the foreign program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    assert_refused(&program, &["architecture", "riscv", "risc-v", "machine"]);
}

#[test]
fn what_is_no_program() {
    let folder = folder();
    let missing = folder.path().join("missing");
    assert_refused(&missing, &["missing", "no such file", "not found"]);
    fs::write(&missing, "only text").expect("a text");
    assert_refused(&missing, &["missing", "permission", "executable"]);
    assert_refused(folder.path(), &["directory", "folder", "permission"]);
}

#[test]
fn a_script_runs_by_its_interpreter() {
    let folder = folder();
    let script = folder.path().join("script");
    fs::write(&script, format!("#!/bin/sh\nexec '{}' \"$@\"\n", fixture("counts").display())).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
    crate::util::verify(&Target::new(script).args(["2", "1000"]));
}

#[test]
fn a_program_that_never_locks_runs_and_the_report_says_that_nothing_was_seen() {
    let target = Target::new(fixture("no_locks")).args(["one", "two words"]);
    let (bare, recording) = (target.bare(), target.record());
    assert_eq!((recording.outcome.code(), &recording.outcome.stdout), (bare.code(), &bare.stdout));
    assert_eq!(recording.report.coverage("acquisitions"), 0);
    assert_eq!(recording.report.coverage("lost"), 0);
    assert!(
        !recording.report.notes().is_empty(),
        "a note says why nothing was seen: {}",
        recording.report.0["coverage"]
    );
}

/// What is preloaded is not kept where others could put something else, and that is said.
#[test]
fn a_cache_that_is_not_safe_is_named() {
    let folder = crate::util::run::folder();
    let cache = folder.path().join("cache");
    let run = |options: &[&str]| {
        let mut command = lockprof();
        command.args(["run"]).args(options).args(["-o", "t.lockprof", "true"]).env("XDG_CACHE_HOME", &cache);
        finish(command.current_dir(folder.path()), LIMIT)
    };
    let outcome = run(&[]);
    let wanted = format!("XDG_CACHE_HOME is passed over for the preloaded library: {} is not safe", cache.display());
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches(&wanted).count(), 1, "{}", outcome.stderr);
    assert!(!cache.exists() && run(&["-q"]).stderr.is_empty());
}
