//! sysbench and stress-ng: known numbers of operations on locks, as fast as they go.

use super::{assert_seen, assert_seen_but_for_futexes, both};
use crate::util::truth::of_kind;
use crate::util::{Report, Target};

#[test]
fn sysbench_mutex() {
    let program = crate::need!("sysbench");
    let options = ["mutex", "--threads=4", "--mutex-num=8", "--mutex-locks=5000", "--mutex-loops=10", "run"];
    let (_, recording) = both(&Target::new(program).args(options));
    assert_eq!(recording.outcome.code(), 0);
    // Each of the four threads takes one of the mutexes five thousand times.
    assert!(of_kind(&recording.report, "mutex", "acquisitions") >= 20_000, "{}", recording.report.overview());
    assert_seen(&recording.report, 20_000);
}

#[test]
fn sysbench_threads() {
    let program = crate::need!("sysbench");
    let options =
        ["threads", "--threads=8", "--thread-yields=20", "--thread-locks=4", "--events=500", "--time=30", "run"];
    let (_, recording) = both(&Target::new(program).args(options));
    assert_eq!(recording.outcome.code(), 0);
    // Every event takes a lock for each yield.
    assert_seen(&recording.report, 500 * 20);
}

fn stress(options: &[&str], assert: impl FnOnce(&Report)) {
    let program = crate::need!("stress-ng");
    let target = Target::new(program).args(["--timeout", "20", "--temp-path", "/tmp", "--quiet"]).args(options);
    let (bare, recording) = both(&target);
    assert_eq!(bare.code(), 0, "{}", bare.stderr);
    assert(&recording.report);
}

#[test]
fn stress_ng_threads() {
    stress(&["--pthread", "1", "--pthread-ops", "300", "--pthread-max", "64"], |report| {
        assert_seen_but_for_futexes(report, 300)
    });
}

#[test]
fn stress_ng_mutexes() {
    // So many that the first thread is not done with them before its creator looks: it would then say that it has no threads.
    stress(&["--mutex", "1", "--mutex-ops", "50000"], |report| assert_seen_but_for_futexes(report, 50_000));
}

#[test]
fn stress_ng_semaphores() {
    // This one goes on until its time is over, whatever the number of operations.
    stress(&["--sem", "1", "--sem-ops", "500", "--timeout", "5"], |report| assert_seen_but_for_futexes(report, 500));
}

#[test]
fn stress_ng_futexes_past_the_library() {
    stress(&["--futex", "1", "--futex-ops", "5000"], |report| assert_seen(report, 0));
}
