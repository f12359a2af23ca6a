//! Locks whose owner has ended, and processes in which nobody is left to wake anybody.

use super::*;

/// A lock whose owner has ended: told with where it was taken, and who waits for it.
#[test]
fn a_lock_that_an_ended_thread_left_behind() {
    for (mode, waiter) in [("dead", "deadlocks"), ("deadjoin", "heir-1")] {
        let (said, hang) = deadlock(&[mode]);
        assert_eq!((hang["kind"].as_str(), hang["cycle"].as_array().map(Vec::len)), (Some("abandoned-lock"), Some(0)));
        let first = &list(&hang["others"])[0];
        assert_eq!(first["thread"], waiter, "{hang}");
        assert_member(first, "account", "inherit", &[]);
        for part in ["has ended and holds account still", "leave_behind (deadlocks.c:"] {
            assert!(said.contains(part), "{mode}, {part}: {said}");
        }
    }
}

/// All threads of the process wait, and nobody is left to wake one.
fn stuck(mode: &str, parts: &[&str]) -> Value {
    let (said, hang) = deadlock(&[mode]);
    assert_eq!((hang["kind"].as_str(), hang["cycle"].as_array().map(Vec::len)), (Some("nobody-left"), Some(0)));
    assert_eq!(number(&hang, "running"), 0, "{hang}");
    for part in ["nobody is left to wake"].iter().chain(parts) {
        assert!(said.contains(part), "{mode}, {part}: {said}");
    }
    hang
}

#[test]
fn a_barrier_one_thread_short() {
    stuck("barrier", &["guest-0", "door (barrier)", "door waits for 3 threads, of which 2 came"]);
}

#[test]
fn semaphores_that_nobody_posts() {
    stuck("sems", &["turn-0", "(semaphore)", "nobody posts"]);
}

/// A wake-up that was lost: no lock is in the way, but nobody goes on.
#[test]
fn a_lost_wake_up() {
    let hang = stuck("lost", &["work (condition)", "held by", "late (deadlocks.c:", "is not remembered"]);
    let of = |name: &str| list(&hang["others"]).iter().find(|waiting| waiting["thread"] == name).expect("the thread");
    assert_member(of("worker-1"), "work", "worker", &[("ledger", "worker")]);
    assert_member(of("late-2"), "ledger", "late", &[]);
    assert_eq!(of("late-2")["holders"], json!([of("worker-1")["tid"]]));
}

/// Who is in the child is not the thread that has the lock.
#[test]
fn a_lock_that_was_held_at_a_fork() {
    let running = run(&[], &["forkdead"]).until_said("Ctrl-C ends it");
    let said = running.said();
    crate::util::run::signal_group(&running.child, libc::SIGTERM);
    let (_, report, _) = running.end();
    let hang = &report.0["hangs"][0];
    assert_eq!(hang["kind"], "nobody-left", "{said}");
    assert_member(&hang["others"][0], "account", "inherit", &[]);
}

#[test]
fn who_may_still_be_woken_is_not_stuck() {
    for mode in ["alarmed", "shared", "napping", "sigwaiting", "timer"] {
        let (outcome, report, _) = run(&[], &[mode]).end();
        assert_eq!(outcome.code(), 0, "{mode}: {}", outcome.stderr);
        assert_eq!(report.0["hangs"], json!([]), "{mode}");
    }
}

/// A thread sleeps where nobody sees it: who knows what it does later?
#[test]
fn a_lost_wake_up_beside_others_shows_when_the_time_is_over() {
    let (outcome, report, _) = run(&["--timeout", "8"], &["halflost"]).end();
    assert_eq!(outcome.code(), 143, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the time of 8.00 s is over"), "{}", outcome.stderr);
    let hangs = list(&report.0["hangs"]);
    assert_eq!(hangs.len(), 1, "{hangs:?}");
    let hang = &hangs[0];
    assert_eq!((hang["kind"].as_str(), hang["cycle"].as_array().map(Vec::len)), (Some("waits"), Some(0)));
    assert_eq!(number(hang, "running"), 1, "{hang}");
    for part in ["waited when it was told to end", "work (condition)", "held by", "late (deadlocks.c:"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("deadlock:"), "{}", outcome.stderr);
}
