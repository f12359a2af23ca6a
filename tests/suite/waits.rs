//! How long threads waited and held, by the program's own clock, and who is to blame.

use crate::util::report::{has_in_order, list, number, sum, with_function};
use crate::util::truth::told;
use crate::util::{Target, fixture, verify};

/// A tenth is allowed to either side of what the program measured.
fn assert_between(what: &str, seen: u64, low: u64, high: u64) {
    assert!(seen >= low / 10 * 9 && seen <= high / 10 * 11, "{what}: {seen}, in truth {low} to {high}");
}

#[test]
fn ten_waits_of_forty_milliseconds() {
    let recording = verify(&Target::new(fixture("waits")));
    let door = recording.report.lock("door", "mutex");
    let tell = |key| told(&recording.outcome, "door", key);
    let (low, high) = (tell("wait_ns_min"), tell("wait_ns_max"));
    assert!(low >= 400_000_000, "the fixture slept too little");
    assert_between("wait", number(&door["wait_ns"], "total"), low, high);
    assert!(number(&door["wait_ns"], "p50") >= 36_000_000, "{}", door["wait_ns"]);

    let waiters = with_function(&door["waiters"], "waiter_work");
    assert_eq!(waiters.len(), list(&door["waiters"]).len(), "only waiter_work waits: {}", door["waiters"]);
    assert_eq!(sum(&door["waiters"], "count"), 10);
    assert_between("wait by waiter", sum(&door["waiters"], "wait_ns"), low, high);
    assert!(waiters.iter().all(|entry| has_in_order(entry, &["waiter_work", "waiter"])), "{waiters:?}");
}

#[test]
fn the_wait_is_blamed_on_the_holder() {
    let recording = verify(&Target::new(fixture("waits")));
    let door = recording.report.lock("door", "mutex");
    let tell = |key| told(&recording.outcome, "door", key);
    let blamed =
        |name| with_function(&door["holders"], name).iter().map(|entry| number(entry, "blocked_ns")).sum::<u64>();
    assert_between("blamed on the holder", blamed("holder_work"), tell("wait_ns_min"), tell("wait_ns_max"));
    assert_eq!(blamed("waiter_work"), 0, "{}", door["holders"]);
    let holders = with_function(&door["holders"], "holder_work");
    assert!(holders.iter().all(|entry| has_in_order(entry, &["holder_work", "main"])), "{holders:?}");
    assert_eq!(holders.iter().map(|entry| number(entry, "count")).sum::<u64>(), 10);
    let held = holders.iter().map(|entry| number(entry, "hold_ns")).sum();
    assert_between("held", held, tell("holder_hold_ns_min"), tell("holder_hold_ns_max"));
}

/// A wait that is left by cancellation or by an exception is over.
#[test]
fn waits_that_were_left_are_over() {
    let recording = Target::new(fixture("left_waits")).record();
    assert_eq!(recording.outcome.code(), 0, "{}", recording.outcome.stderr);
    let most = |name: &str, kind: &str| number(recording.report.lock(name, kind), "max_waiters");
    assert_eq!(most("semaphore", "semaphore"), 1);
    assert_eq!(most("condition", "condvar"), 1);
    for kind in ["once", "join"] {
        for lock in recording.report.locks().iter().filter(|lock| lock["kind"] == kind) {
            assert!(number(lock, "max_waiters") <= 1, "{kind}: {lock}");
        }
    }
    recording.report.assert_accounted();
}

#[test]
fn owners_change_with_each_turn() {
    let recording = verify(&Target::new(fixture("waits")).args(["10", "1"]));
    let changes = number(recording.report.lock("door", "mutex"), "owner_changes");
    assert!((19..=20).contains(&changes), "{changes} changes of owner in 20 acquisitions by turns");
}

#[test]
fn ten_holds_of_twenty_milliseconds() {
    let recording = verify(&Target::new(fixture("holds")));
    let vault = recording.report.lock("vault", "mutex");
    let tell = |key| told(&recording.outcome, "vault", key);
    let total = number(&vault["hold_ns"], "total");
    assert_between("hold", total, tell("hold_ns_min"), tell("hold_ns_max"));
    assert_between("mean hold", number(&vault["hold_ns"], "mean"), total / 10, total / 10);
    assert!(number(&vault["hold_ns"], "p50") >= 18_000_000, "{}", vault["hold_ns"]);
    assert_eq!(number(&vault["wait_ns"], "total"), 0, "nobody waited");
}

#[test]
fn idle_waiting_is_no_contention() {
    let recording = verify(&Target::new(fixture("idle_wait")));
    let gong = recording.report.lock("gong", "condvar");
    let tell = |key| told(&recording.outcome, "gong", key);
    assert_between("idle", number(&gong["wait_ns"], "total"), tell("wait_ns_min"), tell("wait_ns_max"));
    // The mutex was not held while its owner slept in the wait.
    let bell = recording.report.lock("bell", "mutex");
    assert!(number(&bell["hold_ns"], "total") < tell("wait_ns_min") / 2, "held while idle: {}", bell["hold_ns"]);
}

#[test]
fn a_crowd_of_waiters_is_counted() {
    for mode in ["mutex", "timed", "read", "write", "semaphore"] {
        let recording = verify(&Target::new(fixture("crowd")).args([mode]));
        let crowded = recording
            .report
            .locks()
            .iter()
            .find(|lock| lock["name"].as_str().is_some_and(|name| name.starts_with("crowded")));
        let waiters = with_function(&crowded.expect("the crowded lock")["waiters"], "enter_crowd");
        assert_eq!(waiters.iter().map(|entry| number(entry, "count")).sum::<u64>(), 5, "{mode}");
    }
}

#[test]
fn time_blocked_in_barrier_join_and_once() {
    verify(&Target::new(fixture("blocked")));
}
