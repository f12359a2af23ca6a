//! Deadlocks that happen are told while they stand, with who waits for what and who has it; what only takes long is not.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::util::report::{has_in_order, list, number};
use crate::util::run::{LIMIT, folder, signal, start, wait};
use crate::util::{Outcome, Report, fixture, lockprof};

/// A program under `lockprof run`.
struct Running {
    child: Child,
    folder: TempDir,
}

/// Starts a mode of the fixture.
fn run(options: &[&str], mode: &[&str]) -> Running {
    run_as(&fixture("deadlocks"), options, mode)
}

/// The same, of a copy of it.
fn run_as(program: &Path, options: &[&str], mode: &[&str]) -> Running {
    let folder = folder();
    let mut command = lockprof();
    command.arg("run").args(options).arg("-o").arg(folder.path().join("t.lockprof")).arg("--");
    command.arg(program).args(mode).env("HANGS_FOLDER", folder.path()).env("COLUMNS", "80");
    Running { child: start(&mut command, folder.path()), folder }
}

impl Running {
    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Waits until it says this while the program hangs.
    fn until_said(mut self, text: &str) -> Self {
        let deadline = Instant::now() + LIMIT;
        while !self.said().contains(text) {
            let ended = self.child.try_wait().expect("the child's status");
            assert!(ended.is_none() && Instant::now() < deadline, "never said {text:?}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        self
    }

    /// Asks the program to end.
    fn asked(self, number: i32) -> Self {
        signal(self.pid(), number);
        self
    }

    fn end(self) -> (Outcome, Report, TempDir) {
        let outcome = wait(self.child, self.folder.path(), LIMIT);
        let report = Report::load(&self.folder.path().join("t.lockprof"));
        (outcome, report, self.folder)
    }
}

/// The only hang of a program that deadlocks: told at once, the program left alone until it is asked to end; it is in the
/// trace as well.
fn deadlock(mode: &[&str]) -> (String, Value) {
    let running = run(&[], mode).until_said("Ctrl-C ends it");
    // All of the report is there, and the program is still there too.
    let said = running.said();
    let (outcome, report, _) = running.asked(libc::SIGTERM).end();
    assert_eq!(outcome.code(), 143, "{}", outcome.stderr);
    assert_eq!(said.matches("Ctrl-C ends it").count(), 1, "told once: {said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "wider than 80: {said}");
    let hangs = list(&report.0["hangs"]);
    assert_eq!(hangs.len(), 1, "{hangs:?}");
    (said, hangs[0].clone())
}

/// A thread of the ring waits in `at` for `lock`, and holds what `held` says, taken there.
#[track_caller]
fn assert_member(member: &Value, lock: &str, at: &str, held: &[(&str, &str)]) {
    assert_eq!(member["wants"]["name"], lock, "{member}");
    assert!(has_in_order(member, &[at]), "not in {at}: {member}");
    let holds = list(&member["held"]);
    assert_eq!(holds.len(), held.len(), "{member}");
    for (hold, (lock, at)) in holds.iter().zip(held) {
        assert_eq!(hold["name"], *lock, "{member}");
        assert!(has_in_order(hold, &[at]), "not taken in {at}: {hold}");
    }
}

/// The next thread of the ring is the one that each waits for.
#[track_caller]
fn assert_ring(hang: &Value, length: usize) {
    let cycle = list(&hang["cycle"]);
    assert_eq!(cycle.len(), length, "{hang}");
    for (at, member) in cycle.iter().enumerate() {
        assert_eq!(member["holders"][0], cycle[(at + 1) % length]["tid"], "{member}");
    }
}

/// Named forks in a ring: each has its own and wants the next.
fn assert_philosophers(hang: &Value, count: usize) {
    assert_eq!(hang["kind"], "deadlock");
    assert_ring(hang, count);
    for member in list(&hang["cycle"]) {
        let seat: usize =
            member["thread"].as_str().and_then(|name| name.strip_prefix("thinker-")?.parse().ok()).unwrap();
        let [own, next] = [seat, (seat + 1) % count].map(|seat| format!("forks[{seat}]"));
        assert_member(member, &next, "take_second", &[(&own, "eat")]);
    }
}

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

#[test]
fn what_only_takes_long_is_no_deadlock() {
    for mode in ["slow", "timed", "given", "jumped"] {
        let (outcome, report, _) = run(&[], &[mode]).end();
        assert_eq!(outcome.code(), 0, "{mode}: {}", outcome.stderr);
        assert_eq!(report.0["hangs"], json!([]), "{mode}");
        assert!(!outcome.stderr.contains("deadlock:"), "{mode}: {}", outcome.stderr);
    }
}

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

#[test]
fn who_waits_shows_on_an_interrupt() {
    // A handler might wake it, so it is not certain.
    let running = run(&[], &["pausing"]);
    // Long enough to be told from threads that are about to go on.
    std::thread::sleep(Duration::from_secs(6));
    let (outcome, report, _) = running.asked(libc::SIGINT).end();
    assert_eq!(outcome.code(), 130, "{}", outcome.stderr);
    let hangs = list(&report.0["hangs"]);
    assert_eq!(hangs.len(), 1, "{hangs:?}");
    assert_eq!((hangs[0]["kind"].as_str(), number(&hangs[0], "running")), (Some("waits"), 0));
    assert!(outcome.stderr.contains("waited when it was told to end"), "{}", outcome.stderr);
}

#[test]
fn quiet_is_quiet() {
    let (outcome, report, _) = run(&["-q", "--timeout", "8"], &["ring"]).end();
    assert_eq!(outcome.stderr, "");
    assert_philosophers(&report.0["hangs"][0], 2);
}

/// Processes with this in their environment.
fn living(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("the processes").flatten();
    // Of a process whose first thread is over, another one tells.
    let has = |path: &std::path::Path| {
        let threads = fs::read_dir(path.join("task")).into_iter().flatten().flatten();
        threads.map(|thread| thread.path().join("environ")).any(|environ| {
            fs::read(environ).is_ok_and(|bytes| bytes.windows(mark.len()).any(|part| part == mark.as_bytes()))
        })
    };
    processes.map(|entry| entry.path()).filter(|path| has(path)).map(|path| path.display().to_string()).collect()
}

#[test]
fn nothing_is_left_running_when_the_time_is_over() {
    let (outcome, _, folder) = run(&["--timeout", "2"], &["family"]).end();
    assert_eq!(outcome.code(), 143, "{}", outcome.stderr);
    let mark = format!("HANGS_FOLDER={}", folder.path().display());
    assert_eq!(living(&mark), Vec::<String>::new());
}

#[test]
fn the_report_tells_it_again() {
    let running = run(&[], &["readwrite"]).until_said("Ctrl-C ends it");
    let (outcome, _, folder) = running.asked(libc::SIGTERM).end();
    let summary = outcome.stderr.rsplit_once("lockprof: ").expect("the summary").1;
    assert!(summary.contains("deadlock: ") && summary.contains("No wait for a lock has ended."), "{summary}");
    let output = lockprof().arg("report").arg(folder.path().join("t.lockprof")).output().expect("lockprof report");
    let text = String::from_utf8_lossy(&output.stdout);
    for part in
        ["deadlock: 2 threads of deadlocks", "wants to write table", "holds table for reading", "look_up (deadlocks.c"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("Ctrl-C"), "{text}");
}

/// The kernel cuts a program's name at 15 bytes, inside a character as well: what it says of the process is understood all
/// the same.
#[test]
fn a_program_whose_name_is_cut_inside_a_character() {
    let folder = folder();
    let program = folder.path().join("deadlock-aaaaaäa");
    fs::copy(fixture("deadlocks"), &program).expect("a copy");
    let (outcome, report, _) =
        run_as(&program, &[], &["ring", "2"]).until_said("Ctrl-C ends it").asked(libc::SIGTERM).end();
    assert_eq!(outcome.code(), 143, "{}", outcome.stderr);
    assert_eq!(list(&report.0["hangs"]).len(), 1);
}
