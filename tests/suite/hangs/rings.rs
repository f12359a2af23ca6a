//! Threads that wait for each other.

use super::*;

#[test]
fn two_locks_in_both_orders() {
    let (said, hang) = deadlock(&["ring", "2"]);
    assert_philosophers(&hang, 2);
    for part in
        ["2 threads of deadlocks", "thinker-0 (", "wants forks[1], which thinker-1 holds", "take_second (deadlocks.c:"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn three_philosophers() {
    assert_philosophers(&deadlock(&["ring", "3"]).1, 3);
}

/// The kernel shows such a process as a zombie, though it goes on.
#[test]
fn main_has_left_by_pthread_exit() {
    let (said, hang) = deadlock(&["mainexit", "2"]);
    assert_philosophers(&hang, 2);
    assert_eq!(number(&hang, "running"), 0, "{said}");
    // Its first thread shows no memory and no program any more: it is looked at all the same.
    let running = run(&[], &["mainexit", "2"]).until_blocked("thinker-0", Duration::from_millis(10));
    assert_eq!(running.asked(libc::SIGTERM).end().0.code(), 143);
    let (outcome, _, folder) = run(&["--timeout", "2"], &["mainexit", "2"]).end();
    assert_eq!(outcome.code(), 143, "{}", outcome.stderr);
    let mark = format!("HANGS_FOLDER={}", folder.path().display());
    assert_eq!(living(&mark), Vec::<String>::new());
}

#[test]
fn thirty_philosophers() {
    let (said, hang) = deadlock(&["ring", "30"]);
    assert_philosophers(&hang, 30);
    assert!(
        said.contains("30 threads of deadlocks") && said.contains("wants forks[17], which thinker-17 holds"),
        "{said}"
    );
}

#[test]
fn a_mutex_taken_again_by_its_owner() {
    let (said, hang) = deadlock(&["self"]);
    assert_eq!(hang["kind"], "self-deadlock");
    assert_ring(&hang, 1);
    assert_member(&hang["cycle"][0], "account", "audit", &[("account", "transfer")]);
    assert!(said.contains("wants account, which it holds itself"), "{said}");
}

#[test]
fn a_read_lock_that_wants_to_write() {
    let (said, hang) = deadlock(&["upgrade"]);
    assert_eq!(hang["kind"], "self-deadlock");
    assert_member(&hang["cycle"][0], "table", "upgrade", &[("table", "upgrade")]);
    assert_eq!(hang["cycle"][0]["wants"]["mode"], "exclusive");
    assert_eq!(hang["cycle"][0]["held"][0]["mode"], "shared");
    assert!(said.contains("wants to write table") && said.contains("holds table for reading"), "{said}");
}

#[test]
fn a_writer_and_a_reader() {
    let (_, hang) = deadlock(&["readwrite"]);
    assert_ring(&hang, 2);
    let cycle = list(&hang["cycle"]);
    let of =
        |name: &str| cycle.iter().find(|member| member["thread"] == name).unwrap_or_else(|| panic!("{name}: {hang}"));
    assert_member(of("reader-1"), "ledger", "look_up", &[("table", "look_up")]);
    assert_member(of("writer-1"), "table", "write_back", &[("ledger", "write_back")]);
}

#[test]
fn a_parent_that_joins_with_the_childs_lock() {
    let (said, hang) = deadlock(&["join"]);
    assert_ring(&hang, 2);
    let cycle = list(&hang["cycle"]);
    assert_eq!(cycle[0]["wants"]["kind"], "join");
    assert!(has_in_order(&cycle[0], &["shut_down", "main"]), "{hang}");
    assert_member(&cycle[1], "account", "child_work", &[]);
    assert!(said.contains("waits for child-1 to end"), "{said}");
}

#[test]
fn spin_locks() {
    let (_, hang) = deadlock(&["spin"]);
    assert_ring(&hang, 2);
    let cycle = list(&hang["cycle"]);
    let left = cycle.iter().position(|member| member["thread"] == "spinner-0").expect("the left one");
    assert_member(&cycle[left], "right_spin", "spin_left", &[("left_spin", "spin_left")]);
    assert_member(&cycle[1 - left], "left_spin", "spin_right", &[("right_spin", "spin_right")]);
}

#[test]
fn locks_of_one_name_are_told_apart() {
    let (said, hang) = deadlock(&["cxxnames"]);
    assert_ring(&hang, 2);
    let address = |at: usize, part: &str| hang["cycle"][at][part]["address"].as_str().unwrap_or_default().to_owned();
    for at in [0, 1] {
        assert_eq!(hang["cycle"][at]["wants"]["name"], "shelf->lock", "{hang}");
        assert_eq!(hang["cycle"][at]["held"][0]["address"], address(1 - at, "wants"));
        assert!(said.contains(&format!("shelf->lock at {}", address(at, "wants"))), "{said}");
    }
}

#[test]
fn two_of_many_busy_threads() {
    let (_, hang) = deadlock(&["busy", "12"]);
    assert_philosophers(&hang, 2);
    assert!(number(&hang, "running") >= 1, "{hang}");
}

#[test]
fn a_crowd_that_waits_for_the_two() {
    let (said, hang) = deadlock(&["crowd", "10"]);
    assert_philosophers(&hang, 2);
    let queued = list(&hang["others"]).iter().filter(|other| has_in_order(other, &["queue_up", "queued"])).count();
    assert_eq!(queued, 10, "{hang}");
    assert!(said.contains("more threads wait for them"), "{said}");
}

#[test]
fn in_a_child() {
    let running = run(&[], &["forked"]).until_said("Ctrl-C ends it");
    // The parent does not end its child.
    crate::util::run::signal_group(&running.child, libc::SIGTERM);
    let (_, report, _) = running.end();
    let hang = &report.0["hangs"][0];
    assert_philosophers(hang, 2);
    let child = report.processes().iter().find(|process| process["pid"] == hang["pid"]).expect("the process");
    let parent = report.processes().iter().find(|process| process["pid"] == child["parent_pid"]);
    assert!(parent.is_some(), "{:?}", report.processes());
}
