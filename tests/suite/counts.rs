//! Every acquisition is counted, once, on the right lock and call path, whatever the load.

use crate::util::report::{has_in_order, list, number};
use crate::util::{Target, fixture, verify};

#[test]
fn each_lock_and_call_path_has_its_exact_count() {
    let recording = verify(&Target::new(fixture("counts")));
    let hot = recording.report.lock("hot", "mutex");
    for path in [["take", "a", "worker"], ["take", "b", "worker"]] {
        let on_path: Vec<_> = list(&hot["sites"]).iter().filter(|site| has_in_order(site, &path)).collect();
        let total: u64 = on_path.iter().map(|site| number(site, "count")).sum();
        assert_eq!(total, if path[1] == "a" { 30_000 } else { 10_000 }, "through {path:?}");
    }
}

#[test]
fn frames_have_names_files_lines_and_modules() {
    let recording = verify(&Target::new(fixture("counts")).args(["1", "100"]));
    let cold = recording.report.lock("cold", "mutex");
    let site = &list(&cold["sites"])[0];
    let frame = list(&site["stack"]).iter().find(|frame| frame["function"] == "take_cold").expect("take_cold");
    let file = frame["file"].as_str().unwrap_or("");
    assert!(file.ends_with("counts.c"), "the file of {frame}");
    assert_eq!(frame["module"], "counts");
    let source = std::fs::read_to_string(crate::util::build::targets().join("counts.c")).expect("the source");
    let expected =
        source.lines().position(|line| line.contains("pthread_mutex_lock(&cold)")).expect("the call") as u64 + 1;
    assert_eq!(frame["line"].as_u64(), Some(expected), "the line of the call, not of what follows it: {frame}");
}

#[test]
fn one_thread_is_never_contended() {
    let recording = verify(&Target::new(fixture("counts")).args(["1", "20000"]));
    let hot = recording.report.lock("hot", "mutex");
    assert_eq!((number(hot, "contended"), number(hot, "max_waiters"), number(hot, "owner_changes")), (0, 0, 0));
    assert!(list(&hot["waiters"]).is_empty(), "{}", hot["waiters"]);
}

#[test]
fn more_threads_than_cores_at_full_tilt() {
    verify(&Target::new(fixture("counts")).args(["32", "30000"]));
}

#[test]
fn millions_of_acquisitions_lose_none() {
    verify(&Target::new(fixture("counts")).args(["4", "1000000"]));
}

/// Without trying first: nobody barges past those who wait.
#[test]
fn exactly_in_the_programs_own_order() {
    verify(&Target::new(fixture("counts")).option("--exact"));
    verify(&Target::new(fixture("rwlock")).option("--exact"));
    verify(&Target::new(fixture("mutex_kinds")).option("--exact"));
}

#[test]
fn ten_thousand_short_lived_threads() {
    let recording = verify(&Target::new(fixture("short_threads")));
    let process = &recording.report.processes()[0];
    assert!(number(process, "threads") >= 10_000, "{process}");
}

#[test]
fn detached_threads() {
    verify(&Target::new(fixture("short_threads")).args(["3000", "detached"]));
}
