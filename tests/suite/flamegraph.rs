//! `lockprof flamegraph`: the sums are those of the report, to the nanosecond.

use std::path::Path;

use serde_json::Value;

use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Outcome, lockprof};

fn run_in(folder: &Path, args: &[&str]) -> Outcome {
    finish(lockprof().current_dir(folder).args(args), LIMIT)
}

/// What the picture's widths add up to; 0 where there is nothing to draw.
fn total(folder: &Path, args: &[&str]) -> u64 {
    let outcome = run_in(folder, &[&["flamegraph", "demo.lockprof", "-o", "-"], args].concat());
    assert_eq!(outcome.code(), 0, "{args:?}: {}", outcome.stderr);
    assert!(outcome.stdout.trim_end().ends_with("</svg>"));
    let Some((_, rest)) = outcome.stdout.split_once("total_samples=\"") else { return 0 };
    rest.split_once('"').expect("a number").0.parse().expect("a number")
}

fn sums(folder: &Path, args: &[&str]) -> Value {
    let outcome = run_in(folder, &[&["report", "--format", "json", "demo.lockprof"], args].concat());
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    report["contention"].clone()
}

#[test]
fn sums_are_those_of_the_report() {
    let folder = folder();
    let at = folder.path();
    assert_eq!(run_in(at, &["demo", "-q"]).code(), 0);
    let report = run_in(at, &["report", "--format", "json", "demo.lockprof"]);
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    let pid = report["processes"][0]["pid"].to_string();
    let filters: [&[&str]; 8] = [
        &[],
        &["--lock", "*JOURNAL*"],
        &["--lock", "L2"],
        &["--kind", "rwlock"],
        &["--thread", "*worker*"],
        &["--min-wait", "1s"],
        &["--pid", &pid],
        &["--pid", "1"],
    ];
    for filter in filters {
        let sums = sums(at, filter);
        let sum = |key: &str| sums[key].as_u64().expect("a number");
        for by in ["waiter", "holder", "both"] {
            let args = |metric| [&["--metric", metric, "--by", by], filter].concat();
            assert_eq!(total(at, &args("wait")), sum("wait_ns"), "wait by {by}, {filter:?}");
            assert_eq!(total(at, &args("count")), sum("contended"), "count by {by}, {filter:?}");
        }
        let args = |metric| [&["--metric", metric], filter].concat();
        assert_eq!(total(at, &args("hold")), sum("hold_ns"), "hold, {filter:?}");
        assert_eq!(total(at, &args("count")), sum("acquisitions"), "count, {filter:?}");
    }
    assert!(total(at, &[]) > 0 && total(at, &["--pid", "1"]) == 0);
    differential(at);
}

/// Against itself nothing changes; the width is that of the new recording.
fn differential(at: &Path) {
    assert_eq!(total(at, &["--diff", "demo.lockprof"]), total(at, &[]));
    let picture = run_in(at, &["flamegraph", "demo.lockprof", "--diff", "demo.lockprof", "--by", "both"]);
    let again = run_in(at, &["flamegraph", "demo.lockprof", "--diff", "demo.lockprof", "--by", "both"]);
    assert_eq!(picture.stdout, again.stdout);
    assert!(picture.stdout.contains("red grew, blue shrank") && picture.stdout.contains("; was "));
    assert!(!picture.stdout.contains("fill=\"rgb(255,"), "nothing grew");
    let doubled = run_in(at, &["merge", "-q", "demo.lockprof", "demo.lockprof", "-o", "two"]);
    assert_eq!(doubled.code(), 0, "{}", doubled.stderr);
    let scaled = run_in(at, &["flamegraph", "two", "--diff", "demo.lockprof"]);
    assert!(scaled.stdout.contains("scaled by 2.0000") && !scaled.stdout.contains("fill=\"rgb(255,"));
    let absolute = run_in(at, &["flamegraph", "two", "--diff", "demo.lockprof", "--absolute"]);
    assert!(absolute.stdout.contains("fill=\"rgb(255,") && absolute.stdout.contains("+100%"));
}

#[test]
fn what_has_no_meaning_is_refused() {
    let folder = folder();
    for (args, words) in [
        (&["--metric", "hold", "--by", "both"][..], "leave --by out"),
        (&["--metric", "hold", "--by", "waiter"], "leave --by out"),
        (&["--by", "holder", "--kind", "condvar"], "not held by anybody"),
        (&["--absolute"], "--diff"),
        (&["--diff", "none.lockprof", "none.lockprof"], "none.lockprof"),
    ] {
        let outcome = run_in(folder.path(), &[&["flamegraph"], args].concat());
        assert_eq!(outcome.code(), 2, "{args:?}");
        assert!(outcome.stderr.contains(words), "{args:?}: {}", outcome.stderr);
    }
}
