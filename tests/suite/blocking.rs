//! Calls that may block, with a lock held: they do what they do without the recorder, and each is counted.

use std::collections::BTreeMap;

use crate::util::report::{list, number};
use crate::util::run::Target;
use crate::util::truth::assert_same;
use crate::util::{Report, fixture};

/// By lock and function.
type Counts = BTreeMap<(String, String), u64>;

/// What the program says that it did: lines `call LOCK FUNCTION COUNT`.
fn told(stdout: &str) -> Counts {
    let calls = stdout.lines().filter_map(|line| line.strip_prefix("call "));
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [lock, call, count] = words[..] else { panic!("{line}") };
        ((lock.to_owned(), call.to_owned()), count.parse().expect("a number"))
    };
    calls.map(row).collect()
}

fn counted(report: &Report) -> Counts {
    let mut counts = Counts::new();
    for lock in list(&report.0["locks"]) {
        for call in list(&lock["calls"]) {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            *counts.entry((text(&lock["name"]), text(&call["call"]))).or_default() += number(call, "count");
        }
    }
    counts
}

fn is_exact(target: &Target) -> Report {
    let (bare, recording) = (target.bare(), target.record());
    assert_same(&bare, &recording.outcome);
    let told = told(&bare.stdout);
    assert!(!told.is_empty(), "{}", bare.stdout);
    assert_eq!(counted(&recording.report), told);
    recording.report
}

/// Results, `errno`, interruptions, cancellation, jumps out of handlers, forks, functions with any number of arguments and
/// those of `_FORTIFY_SOURCE`.
#[test]
fn calls_do_what_they_do_and_are_counted() {
    let report = is_exact(&Target::new(fixture("blocking")));
    let files = report.lock("files", "mutex");
    let fsync = list(&files["calls"]).iter().find(|call| call["call"] == "fsync").expect("a call");
    assert!(number(fsync, "total_ns") > 0 && number(fsync, "total_ns") == number(fsync, "max_ns"), "{fsync}");
    assert_eq!(fsync["stack"][0]["function"], "use_files", "{fsync}");
}

/// What a full ring has no room for is counted all the same.
#[test]
fn calls_at_full_tilt() {
    let target = Target::new(fixture("blocking")).args(["400000"]);
    is_exact(&target);
    is_exact(&target.option("--exact"));
}

/// The program with the library in it that nobody has woken does the same.
#[test]
fn asleep() {
    let target = Target::new(fixture("blocking"));
    let shim =
        crate::util::run::finish(crate::util::lockprof().args(["shim", "--path"]), crate::util::run::LIMIT).stdout;
    assert_same(&target.bare(), &target.clone().env("LD_PRELOAD", shim.trim_end()).bare());
}

/// Who waits for its turn to wait for work is idle.
#[test]
fn turns_at_waiting_for_work() {
    let report = is_exact(&Target::new(fixture("blocking")).args(["turns"]));
    let accept = &list(&report.lock("turns", "mutex")["calls"])[0];
    assert!(number(accept, "total_ns") > 100_000_000 && number(accept, "blocked_ns") == 0, "{accept}");
    let told = list(&report.0["findings"]).iter().find(|finding| finding["kind"] == "held-across-blocking-call");
    assert_eq!(told, None);
}
