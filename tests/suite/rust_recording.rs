//! Unmodified Rust programs under `lockprof run` and `check`: each lock's acquisitions, by mode, against the program's own
//! counters, however it was built; stacks; what is not seen stays told.

use std::path::Path;

use serde_json::Value;

use crate::util::report::{assert_truth, list};
use crate::util::run::{LIMIT, Target, finish, lockprof};
use crate::util::rust::{VARIANTS, compilers};

/// `is_sure`: nothing of the program can be missing.
fn assert_exact(program: &Path, is_sure: bool, what: &str) {
    let recording = Target::new(program).args(["400"]).record();
    assert_eq!(recording.outcome.code(), 0, "{what}: {}", recording.outcome.stderr);
    let truths: Vec<&str> = recording.outcome.stdout.lines().filter_map(|line| line.strip_prefix("TRUTH ")).collect();
    assert_eq!(truths.len(), 10, "{what}: {}", recording.outcome.stdout);
    let notes = recording.report.notes();
    assert!(notes.iter().any(|note| note.contains("slow calls reached")), "{what}: {notes:?}");
    let lacks = |what: &str| notes.iter().any(|note| note.contains(what));
    if lacks("not told apart") || recording.report.coverage("lost") > 0 {
        return;
    }
    for truth in truths {
        assert_truth(recording.report.locks(), truth, &format!("{what}; {notes:?}"));
    }
    // Link-time optimisation may inline the wait for the condition.
    if is_sure && !lacks("were counted and not measured") && !lacks("wait for by futex") {
        recording.report.assert_accounted();
    }
    assert!(is_sure || lacks("told by the shape of their code"), "{what}: {notes:?}");
}

#[test]
fn every_acquisition_of_a_rust_program_is_recorded_however_it_was_built() {
    for rust in compilers() {
        for flags in VARIANTS {
            assert_exact(&rust.build("truth", flags), true, &format!("{} {flags:?}", rust.version));
        }
    }
}

#[test]
fn every_acquisition_of_a_stripped_rust_program_is_recorded() {
    for rust in compilers() {
        for flags in VARIANTS.iter().filter(|flags| flags[0] != "-Copt-level=0") {
            let flags: Vec<&str> = flags.iter().copied().chain(["-Cstrip=symbols"]).collect();
            assert_exact(&rust.build("truth", &flags), false, &format!("{} {flags:?}", rust.version));
        }
    }
}

/// What the gate says of a run.
fn check(program: &Path, args: &[&str]) -> Value {
    let mut command = lockprof();
    command.args(["check", "--format", "json", "--"]).arg(program).args(args);
    let outcome = finish(&mut command, LIMIT);
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{}", outcome.stderr))
}

#[test]
fn a_deadlock_of_a_rust_program_is_told_and_its_fixed_twin_is_not() {
    for rust in compilers() {
        for flags in [&["-Copt-level=0"][..], &["-Copt-level=3"], &["-Copt-level=3", "-Ctarget-feature=+crt-static"]] {
            let program = rust.build("deadlock", flags);
            let found = check(&program, &[]);
            assert_eq!(found["verdict"], "fail", "{} {flags:?}: {found}", rust.version);
            assert_eq!(found["cycles"][0]["class"], "hung", "{} {flags:?}: {found}", rust.version);
            let found = check(&program, &["fixed"]);
            assert_eq!(found["verdict"], "pass", "{} {flags:?}: {found}", rust.version);
        }
    }
}

/// Each is held alone by what its own source says.
#[test]
fn a_lock_of_libc_and_one_of_rust_have_an_order() {
    for rust in compilers() {
        for flags in [&["-Copt-level=0"][..], &["-Copt-level=3"]] {
            let program = rust.build("two_kinds", flags);
            let found = check(&program, &[]);
            assert_eq!(found["cycles"].as_array().map(Vec::len), Some(1), "{} {flags:?}: {found}", rust.version);
            let held: Vec<&str> =
                list(&found["cycles"][0]["edges"]).iter().filter_map(|edge| edge["held"].as_str()).collect();
            assert!(held.contains(&"two_kinds::OF_LIBC") && held.contains(&"two_kinds::OF_RUST"), "{held:?}");
            let found = check(&program, &["fixed"]);
            assert_eq!(found["cycles"].as_array().map(Vec::len), Some(0), "{} {flags:?}: {found}", rust.version);
        }
    }
}

/// Waits for conditions where the functions of `std` for that are there, and initialisations; downgrades are acquisitions of
/// readers.
#[test]
fn conditions_initialisations_and_downgrades_are_recorded() {
    for rust in compilers() {
        if ["1.7", "1.8", "1.90", "1.91"].iter().any(|old| rust.version.starts_with(&format!("rustc {old}"))) {
            continue;
        }
        for flags in VARIANTS {
            let recording = Target::new(rust.build("waits", flags)).args(["200"]).record();
            let what = format!("{} {flags:?}: {:?}", rust.version, recording.report.notes());
            let lines = |mark: &str| {
                let found: Vec<String> = recording
                    .outcome
                    .stdout
                    .lines()
                    .filter_map(|line| line.strip_prefix(mark))
                    .map(str::to_owned)
                    .collect();
                found
            };
            let truths = lines("TRUTH ");
            assert_eq!(truths.len(), 2, "{what}: {}", recording.outcome.stdout);
            let of_kind = |kind: &str| {
                let locks = recording.report.locks().iter().filter(|lock| lock["kind"] == kind);
                locks.filter_map(|lock| lock["acquisitions"].as_u64()).sum::<u64>()
            };
            let tells = |what: &str| recording.report.notes().iter().any(|note| note.contains(what));
            if !tells("Condvar::wait") && !tells("wait for by futex") {
                // The end of the scope is one more: its thread is parked.
                let changed = recording.report.lock("waits::CHANGED", "cond")["acquisitions"].to_string();
                assert_eq!(changed, lines("WAITS ")[0], "{what}");
            }
            assert!(tells("Once::call is not recorded") || of_kind("once") > 0, "{what}");
            // Link-time optimisation puts the only lock's address into the function that waits for it.
            // What waited there is missing then, and the recording is one in part.
            if tells("address is lost") || tells("wait for by futex") {
                assert_eq!(recording.report.0["coverage"]["complete"], false, "{what}");
            } else {
                truths.iter().for_each(|truth| assert_truth(recording.report.locks(), truth, &what));
                recording.report.assert_accounted();
            }
        }
    }
}

/// Each time that a thread was parked, and each thread at an initialisation; what is not recorded is named, and the recording
/// is one in part.
#[test]
fn parked_threads_and_those_at_initialisations_are_recorded() {
    for rust in compilers() {
        for flags in VARIANTS.iter().chain([&["-Copt-level=3", "-Cstrip=symbols"] as &[&str]].iter()) {
            let recording = Target::new(rust.build("parks", flags)).args(["40"]).record();
            let what = format!("{} {flags:?}: {:?}", rust.version, recording.report.notes());
            assert_eq!(recording.outcome.code(), 0, "{what}: {}", recording.outcome.stderr);
            let truth = |mark: &str| -> u64 {
                let line = recording.outcome.stdout.lines().find_map(|line| line.strip_prefix(mark));
                line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{what}: {mark}"))
            };
            let of_kind = |kind: &str, owner: &str| {
                let is_it = |lock: &&Value| {
                    lock["kind"] == kind && lock["name"].as_str().is_some_and(|name| name.starts_with(owner))
                };
                let locks = recording.report.locks().iter().filter(is_it);
                locks.filter_map(|lock| lock["acquisitions"].as_u64()).sum::<u64>()
            };
            let tells = |what: &str| recording.report.notes().iter().any(|note| note.contains(what));
            // Every second time is one with a time limit.
            let lacks_timed = tells("places of std::thread::park_timeout could not be patched");
            let least = truth("PARKS ") / if lacks_timed { 2 } else { 1 };
            assert!((least..=truth("PARKS ")).contains(&of_kind("cond", "")), "{what}");
            assert!(tells("initialisations by Once") || of_kind("once", "parks::") == truth("ONCES "), "{what}");
            let lacks = ["park_timeout could", "not recorded", "has no symbols"].iter().any(|what| tells(what));
            assert_eq!(recording.report.0["coverage"]["complete"], !lacks, "{what}");
        }
    }
}

#[test]
fn stacks_of_a_rust_program_are_whole() {
    for rust in compilers() {
        for flags in [&["-Copt-level=3", "-Cdebuginfo=1"][..], &["-Copt-level=0", "-Cdebuginfo=1"]] {
            let recording = Target::new(rust.build("truth", flags)).args(["100"]).record();
            let lock = recording.report.lock("truth::COUNT", "mutex");
            let stacks = list(&lock["holders"]).iter().chain(list(&lock["waiters"])).collect::<Vec<_>>();
            let function = |frame: &Value| frame["function"].as_str().unwrap_or_default().to_owned();
            let is_whole = |entry: &&Value| {
                let frames: Vec<String> = list(&entry["stack"]).iter().map(function).collect();
                frames.iter().any(|name| name == "truth::work")
                    && frames.last().is_some_and(|name| name.ends_with("thread_start"))
            };
            assert!(!stacks.is_empty() && stacks.iter().copied().all(|entry| is_whole(&entry)), "{flags:?}: {lock}");
        }
    }
}
