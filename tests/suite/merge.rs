//! `lockprof merge`: the same bytes in any order, and every view works on the result.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::util::report::{Report, number};
use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Outcome, fixture, lockprof};

fn run_in(folder: &Path, args: &[&str]) -> Outcome {
    finish(lockprof().current_dir(folder).args(args), LIMIT)
}

fn merge(folder: &Path, traces: &[&str], to: &str) -> Vec<u8> {
    let outcome = run_in(folder, &[&["merge"], traces, &["-o", to]].concat());
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    fs::read(folder.join(to)).expect("the merged trace")
}

/// Two recordings of one program, each with one half of an order that is a cycle only together.
fn halves(folder: &Path) {
    for (name, half) in [("a", "same_order"), ("b", "other_order")] {
        let program = fixture("orders");
        let outcome = run_in(folder, &["run", "-q", "-o", name, "--", program.to_str().expect("a path"), half]);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    }
}

#[test]
fn the_order_of_merging_does_not_show() {
    let folder = folder();
    let at = folder.path();
    halves(at);
    let all = merge(at, &["a", "b", "a"], "all");
    merge(at, &["b", "a"], "ba");
    assert_eq!(merge(at, &["a", "ba"], "one"), all);
    merge(at, &["a", "a"], "aa");
    assert_eq!(merge(at, &["b", "aa"], "other"), all);
    assert_eq!(merge(at, &["all"], "same"), all);
}

#[test]
fn every_view_works_on_a_merged_trace() {
    let folder = folder();
    let at = folder.path();
    halves(at);
    merge(at, &["a", "b"], "ab");
    let [a, b, ab] = ["a", "b", "ab"].map(|name| Report::load(&at.join(name)));
    for key in ["acquisitions", "recorded", "folded", "lost"] {
        assert_eq!(ab.coverage(key), a.coverage(key) + b.coverage(key), "{key}");
    }
    assert_eq!(ab.processes().len(), a.processes().len() + b.processes().len());
    assert_eq!(number(&ab.0, "duration_ns"), number(&a.0, "duration_ns") + number(&b.0, "duration_ns"));
    assert!(ab.notes().iter().any(|note| note.contains("also holds runs of: ")), "{:?}", ab.notes());

    let check = run_in(at, &["check", "--format", "json", "ab"]);
    let verdict: Value = serde_json::from_str(&check.stdout).expect(&check.stdout);
    assert_eq!((check.code(), verdict["verdict"].as_str()), (1, Some("fail")), "{}", check.stdout);
    for args in [
        &["report", "ab"][..],
        &["report", "--format", "md", "ab"],
        &["flamegraph", "--metric", "count", "ab", "-o", "x.svg"],
        &["graph", "ab", "-o", "g.svg"],
        &["diff", "a", "ab"],
    ] {
        let outcome = run_in(at, args);
        assert_eq!(outcome.code(), 0, "{args:?}: {}", outcome.stderr);
    }
    assert!(run_in(at, &["report", "ab"]).stdout.contains("2 runs, "));
}

#[test]
fn what_cannot_be_merged_is_named() {
    let folder = folder();
    fs::write(folder.path().join("none"), "no trace").expect("a file");
    for (args, words) in [
        (&["merge", "none", "-o", "x"][..], "none"),
        (&["merge", "missing", "-o", "x"], "missing"),
        (&["merge", "none"], "--output"),
        (&["merge", "-o", "x"], "TRACE"),
    ] {
        let outcome = run_in(folder.path(), args);
        assert_eq!(outcome.code(), 2, "{args:?}");
        assert!(outcome.stderr.contains(words), "{args:?}: {}", outcome.stderr);
    }
    assert!(!folder.path().join("x").exists());
}
