//! The marks against a second unwinder: over random programs, at every acquisition, no remembered stack is wrong.

use std::path::Path;

use serde_json::Value;

use crate::need;
use crate::util::oracle::{Verdict, blinded, under_oracle};
use crate::util::report::list;
use crate::util::{Recording, Report, Target, fixture, random};

const ROUNDS: u32 = 60;
/// So many checks at least each random program is worth.
const MANY: u64 = 5000;

/// As bare, and none wrong.
fn agrees(what: &str, target: &Target, at_least: u64) -> Recording {
    let bare = target.bare();
    let recording = under_oracle(target).record();
    assert_eq!(recording.outcome.code(), bare.code(), "{what}: {}", recording.outcome.stderr);
    assert_eq!(recording.outcome.stdout, bare.stdout, "{what}");
    recording.report.assert_accounted();
    Verdict::of(&recording.report).assert_right(what, at_least);
    recording
}

fn frames(report: &Report) -> impl Iterator<Item = &Value> {
    report.locks().iter().flat_map(|lock| list(&lock["sites"])).flat_map(|site| list(&site["stack"]))
}

/// Each function is said to be in the object that has it: also where two libraries have had the same addresses.
fn assert_in_place(report: &Report) {
    for (prefix, object) in
        [("own_", "host"), ("near_", "libnear.so"), ("far0_", "libfar0.so"), ("far1_", "libfar1.so")]
    {
        let of_prefix = |frame: &&Value| frame["function"].as_str().is_some_and(|name| name.starts_with(prefix));
        let mut seen = 0;
        for frame in frames(report).filter(of_prefix) {
            let module = frame["module"].as_str().unwrap_or("");
            assert!(module.ends_with(object), "{frame}");
            seen += 1;
        }
        assert!(seen > 0, "no stack goes through {object}");
    }
}

fn random_program(seed: u64, compiler: &str, flags: &[&str]) {
    let program = random::program(seed, Path::new(compiler), flags);
    let recording = agrees(&format!("seed {seed}, {compiler} {}", flags.join(" ")), &program.target(ROUNDS), MANY);
    eprint!("{}", recording.outcome.stderr);
    let said = &recording.outcome.stderr;
    assert!(said.contains("5 of 5 at the same place"), "{said}");
    assert_in_place(&recording.report);
}

#[test]
fn random_programs_unoptimised() {
    random_program(1, "c++", &["-O0"]);
}

#[test]
fn random_programs_optimised() {
    random_program(2, "c++", &["-O2"]);
}

#[test]
fn random_programs_optimised_more() {
    random_program(3, "c++", &["-O3"]);
}

#[test]
fn random_programs_with_frame_pointers() {
    random_program(4, "c++", &["-O2", "-fno-omit-frame-pointer"]);
}

#[test]
fn random_programs_of_another_compiler() {
    need!("clang++");
    random_program(5, "clang++", &["-O2"]);
}

/// `cargo test -- --ignored many_random_programs`: what a change to the unwinder is worth trying on.
#[test]
#[ignore = "takes minutes"]
fn many_random_programs() {
    let flags: [&[&str]; 6] =
        [&["-O0"], &["-O1"], &["-O2"], &["-O3"], &["-Os", "-fno-plt"], &["-O2", "-fno-omit-frame-pointer"]];
    for seed in 100..112 {
        random_program(seed, "c++", flags[(seed % 6) as usize]);
    }
}

#[test]
fn the_hand_made_cases() {
    for (name, arguments, at_least) in [
        ("stale_chain", &[][..], 3000),
        ("coroutines", &[], 5000),
        ("guarded", &[], 300),
        ("exceptions", &[], 5000),
        ("signals", &["raise", "3000"], 2000),
        ("deep", &["3", "200"], 200),
        ("small_stacks", &[], 10),
        ("longjmp", &[], 100),
    ] {
        let recording = under_oracle(&Target::new(fixture(name)).args(arguments)).record();
        assert_eq!(recording.outcome.code(), 0, "{name}: {}", recording.outcome.stderr);
        Verdict::of(&recording.report).assert_right(name, at_least);
    }
}

#[test]
fn marks_without_most_words_are_caught() {
    let target = random::program(2, Path::new("c++"), &["-O2"]).target(ROUNDS);
    let (recording, verdict) = blinded(&target, "words");
    assert_eq!(recording.outcome.code(), target.bare().code());
    assert!(verdict.wrong > 100, "{verdict:?}");
}

#[test]
fn marks_without_saved_registers_are_caught() {
    let (recording, verdict) = blinded(&Target::new(fixture("stale_chain")), "registers");
    assert_eq!(recording.outcome.code(), 0);
    assert!(verdict.wrong > 0, "{verdict:?}");
}

#[test]
fn the_second_unwinder_is_asked() {
    let (recording, verdict) = blinded(&Target::new(fixture("deep")), "frame");
    assert_eq!(recording.outcome.code(), 0);
    assert!(verdict.checked == 0 && verdict.wrong > 100, "{verdict:?}");
}
