//! Deadlocks that happen are told while they stand, with who waits for what and who has it; what only takes long is not.

mod nobody_left;
mod rings;

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::util::report::{has_in_order, list, number};
use crate::util::run::{LIMIT, finish, folder, signal, start, wait};
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
            let told = self.said();
            assert!(ended.is_none() && Instant::now() < deadline, "never said {text:?}, ended {ended:?}:\n{told}");
            std::thread::sleep(Duration::from_millis(5));
        }
        self
    }

    /// Waits until the recorder sees that a thread has waited for a lock so long: then it can be told from those that are
    /// about to go on.
    fn until_blocked(self, thread: &str, time: Duration) -> Self {
        let deadline = Instant::now() + LIMIT;
        // A thread of its own started the program.
        let threads = format!("/proc/{}/task", self.pid());
        let child = || {
            let mut threads = fs::read_dir(&threads).ok()?.flatten();
            threads.find_map(|thread| {
                let pids = fs::read_to_string(thread.path().join("children")).ok()?;
                pids.split_whitespace().next().map(str::to_owned)
            })
        };
        let waited = || {
            let pid = child()?;
            let look = finish(lockprof().args(["top", "--format", "json", "--count", "1", "-p", &pid]), LIMIT);
            let seen: Value = serde_json::from_str(look.stdout.lines().last()?).ok()?;
            let row = list(&seen["threads"]).iter().find(|row| row["name"] == thread)?.clone();
            row["blocked_ns"].as_u64()
        };
        while waited().is_none_or(|waited| u128::from(waited) < time.as_nanos()) {
            assert!(Instant::now() < deadline, "{thread} never waits:\n{}", self.said());
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
    // Where a line ends depends on how many digits the process id has.
    (said.split_whitespace().collect::<Vec<_>>().join(" "), hangs[0].clone())
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
fn what_only_takes_long_is_no_deadlock() {
    for mode in ["slow", "timed", "given", "jumped"] {
        let (outcome, report, _) = run(&[], &[mode]).end();
        assert_eq!(outcome.code(), 0, "{mode}: {}", outcome.stderr);
        assert_eq!(report.0["hangs"], json!([]), "{mode}");
        assert!(!outcome.stderr.contains("deadlock:"), "{mode}: {}", outcome.stderr);
    }
}

#[test]
fn who_waits_shows_on_an_interrupt() {
    // A handler might wake it, so it is not certain.
    let running = run(&[], &["pausing"]).until_blocked("late-2", Duration::from_secs(1));
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
