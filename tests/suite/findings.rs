//! What costs time is found, with the right lock, place and figure; and what only comes close is not.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::util::run::{LIMIT, Target, finish, folder};
use crate::util::{fixture, go, lockprof, rust};

/// What has to be said of a story of `fixtures/targets/findings.c`: kind, lock, the function that is to blame, and the one that
/// suffers ("" where there is none).
const STORIES: [(&str, &str, &str, &str, &str); 22] = [
    ("long-hold", "long-hold", "journal", "flush_journal", "append"),
    ("long-hold-seldom", "long-hold", "journal", "put", "put"),
    ("held-across-blocking-call", "held-across-blocking-call", "table", "store", "store"),
    ("held-across-sleep", "held-across-blocking-call", "journal", "nap", "commit"),
    ("held-across-read", "held-across-blocking-call", "journal", "read_answer", "commit"),
    ("held-across-recv", "held-across-blocking-call", "journal", "receive", "commit"),
    ("held-across-poll", "held-across-blocking-call", "journal", "poll_nothing", "commit"),
    ("held-across-child", "held-across-blocking-call", "journal", "run_child", "commit"),
    ("held-across-queue", "held-across-blocking-call", "journal", "nap", "commit"),
    ("held-across-slot", "held-across-blocking-call", "slot", "nap", "use_slot"),
    ("hot-global-lock", "hot-global-lock", "everything", "", ""),
    ("tiny-critical-section", "tiny-critical-section", "everything", "count_one", "count_one"),
    ("convoy", "convoy", "turn", "take_turn", "take_turn"),
    ("starvation", "starvation", "index_lock", "change", "find"),
    ("writer-starvation", "writer-starvation", "config", "read_config", "write_config"),
    ("pending-writer", "pending-writer", "index_lock", "scan", "find"),
    ("rwlock-not-worth-it", "rwlock-not-worth-it", "config", "", ""),
    ("saturating-lock", "saturating-lock", "everything", "rebuild", "ask"),
    ("slow-once", "slow-once", "once", "slow_once", ""),
    ("thundering-herd", "thundering-herd", "not_empty", "herd", "serve"),
    ("shared-cache-line", "shared-cache-line", "beside.one", "cache_line", "cache_line"),
    ("never-shared", "never-shared", "everything", "unshared", ""),
];

/// A machine that does other things at the same time may hide what a story shows: it is tried so often.
const TRIES: usize = 10;

/// The findings of a story of `fixtures/targets/findings.c`, or of its twin.
fn findings(story: &str, good: bool) -> Vec<Value> {
    findings_of(&fixture("findings"), story, good)
}

fn findings_of(program: &Path, story: &str, good: bool) -> Vec<Value> {
    let target = Target::new(program).args([story]).args(good.then_some("good"));
    let recording = target.record();
    assert_eq!(recording.outcome.code(), 0, "{story}: {}", recording.outcome.stderr);
    recording.report.0["findings"].as_array().expect("findings").clone()
}

fn of_kind<'a>(findings: &'a [Value], kind: &str) -> Option<&'a Value> {
    findings.iter().find(|finding| finding["kind"] == kind)
}

fn has(stack: &Value, function: &str) -> bool {
    let frames = stack.as_array().into_iter().flatten();
    frames.filter_map(|frame| frame["function"].as_str()).any(|name| name == function)
}

fn is_told(story: &str) {
    let (_, kind, lock, at, there) = STORIES.into_iter().find(|known| known.0 == story).expect("a story");
    let mut found = findings(story, false);
    for _ in 1..TRIES {
        if of_kind(&found, kind).is_none() {
            found = findings(story, false);
        }
    }
    let finding = of_kind(&found, kind).unwrap_or_else(|| panic!("{story}: no {kind} among {found:#?}"));
    // The two of one cache line may be told in either order.
    let name = finding["name"].as_str().unwrap_or_default();
    assert!(name == lock || kind == "shared-cache-line" && name.starts_with("beside."), "{finding:#}");
    assert_eq!((&finding["fails"], finding["severity"] == "error"), (&false.into(), false), "{finding:#}");
    assert!(finding["total_ns"].as_u64() >= Some(10_000_000), "{finding:#}");
    for (number, function) in [at, there].into_iter().enumerate().filter(|(_, function)| !function.is_empty()) {
        assert!(has(&finding["stacks"][number], function), "{function} is not at place {number} of {finding:#}");
    }
    let twin = findings(story, true);
    assert_eq!(of_kind(&twin, kind), None, "{story}: the twin has not the fault");
}

macro_rules! stories {
    ($($test:ident: $story:literal,)*) => { $(#[test] fn $test() { is_told($story); })* };
}

stories! {
    long_hold: "long-hold",
    long_hold_seldom: "long-hold-seldom",
    hot_global_lock: "hot-global-lock",
    tiny_critical_section: "tiny-critical-section",
    convoy: "convoy",
    starvation: "starvation",
    writer_starvation: "writer-starvation",
    pending_writer: "pending-writer",
    rwlock_not_worth_it: "rwlock-not-worth-it",
    saturating_lock: "saturating-lock",
    slow_once: "slow-once",
    thundering_herd: "thundering-herd",
    shared_cache_line: "shared-cache-line",
    never_shared: "never-shared",
    held_across_a_wait: "held-across-blocking-call",
    held_across_sleep: "held-across-sleep",
    held_across_read: "held-across-read",
    held_across_recv: "held-across-recv",
    held_across_poll: "held-across-poll",
    held_across_a_child: "held-across-child",
    held_across_by_all: "held-across-queue",
    held_across_a_semaphore: "held-across-slot",
}

/// What has to be said of a story in another language: its name, kind, lock, place, and what the lock is held across.
type Told<'a> = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>);

fn are_told(program: &Path, stories: &[Told<'_>]) {
    for (story, kind, lock, at, call) in stories.iter().copied() {
        let is_it = |finding: &Value| {
            finding["kind"] == kind
                && finding["name"] == lock
                && has(&finding["stacks"][0], at)
                && call.is_none_or(|call| finding["call"] == call)
        };
        let is_told = (0..TRIES).any(|_| findings_of(program, story, false).iter().any(is_it));
        assert!(is_told, "{story}: no {kind} of {lock} in {at}");
        assert_eq!(of_kind(&findings_of(program, story, true), kind), None, "{story}: the twin has not the fault");
    }
}

#[test]
fn go_programs() {
    const STORIES: [Told<'_>; 5] = [
        ("long-hold", "long-hold", "main.journal", "main.flushJournal", None),
        ("held-across-blocking-call", "held-across-blocking-call", "main.table", "main.store", Some("mutex main.disk")),
        ("channel", "held-across-blocking-call", "main.table", "main.receive", Some("channel")),
        ("pending-writer", "pending-writer", "main.index", "main.scan", None),
        ("slow-once", "slow-once", "main.once", "sync.(*Once).doSlow", None),
    ];
    if let Some(go) = go::toolchains().last() {
        are_told(&go.build("findings", &[]), &STORIES);
    }
}

#[test]
fn rust_programs() {
    const STORIES: [Told<'_>; 3] = [
        ("long-hold", "long-hold", "findings::JOURNAL", "findings::flush_journal", None),
        (
            "held-across-blocking-call",
            "held-across-blocking-call",
            "findings::TABLE",
            "findings::store",
            Some("mutex findings::DISK"),
        ),
        ("pending-writer", "pending-writer", "findings::INDEX", "findings::scan", None),
    ];
    if let Some(rust) = rust::compilers().last() {
        are_told(&rust.build("findings", &["-Copt-level=2"]), &STORIES);
    }
}

/// Few long holds among many short ones are counted, and not hidden in a mean.
#[test]
fn few_long_holds_are_counted() {
    let found = findings("long-hold-seldom", false);
    let finding = of_kind(&found, "long-hold").expect("a long hold");
    assert_eq!(finding["count"], 40, "{finding:#}");
    let message = finding["message"].as_str().unwrap_or_default();
    assert!(message.contains("40 of its 2,000 holds"), "{message}");
}

/// What is waited for under the lock is named, with how often and how long.
#[test]
fn what_a_lock_is_held_across() {
    let found = findings("held-across-blocking-call", false);
    let finding = of_kind(&found, "held-across-blocking-call").expect("a lock that is held across a wait");
    assert_eq!(finding["call"], "mutex disk", "{finding:#}");
    let (count, took) = (finding["count"].as_u64().unwrap_or(0), finding["total_ns"].as_u64().unwrap_or(0));
    assert!(count >= 10 && took >= count * 1_000_000 && finding["blocked_ns"].as_u64() > Some(took / 2), "{finding:#}");
}

/// The call under the lock is named, each one is counted, and what others waited because of it is no more than they waited.
#[test]
fn which_call_a_lock_is_held_across() {
    for (story, call, count) in [
        ("held-across-sleep", "usleep", 40),
        ("held-across-read", "read", 40),
        ("held-across-recv", "recv", 40),
        ("held-across-poll", "poll", 40),
        ("held-across-child", "waitpid", 40),
        ("held-across-queue", "usleep", 80),
        ("held-across-slot", "usleep", 80),
    ] {
        let told = (0..TRIES).find_map(|_| of_kind(&findings(story, false), "held-across-blocking-call").cloned());
        let finding = told.unwrap_or_else(|| panic!("{story}: nothing is told"));
        assert_eq!((&finding["call"], &finding["count"]), (&call.into(), &count.into()), "{finding:#}");
        let (took, blocked) = (finding["total_ns"].as_u64().unwrap_or(0), finding["blocked_ns"].as_u64().unwrap_or(0));
        // Three threads can wait at one time.
        assert!(took >= count * 4_000_000 && blocked <= 3 * took, "{finding:#}");
        assert!(blocked >= took / 4, "the others want the lock all the time: {finding:#}");
    }
}

/// The same of locks that are no library's: which call each is held across, how often, and where.
struct Calls<'a> {
    /// Findings: lock, call, function, and how long each takes at least, ns.
    told: &'a [(&'a str, &'a str, &'a str, u64)],
    /// All calls under a lock; each is made forty times.
    under: &'a [(&'a str, &'a [&'a str])],
}

impl Calls<'_> {
    const TIMES: u64 = 40;

    /// Of a program that has the fault, or with `good` has not.
    fn are_told_of(&self, program: &Path) {
        let record = |good: bool| Target::new(program).args(good.then_some("good")).record().report.0;
        let bad = record(false);
        for (lock, call, at, least_ns) in self.told.iter().copied() {
            let is_it = |finding: &&Value| finding["name"] == lock && finding["call"] == call;
            let find = |report: &Value| report["findings"].as_array()?.iter().find(is_it).cloned();
            let finding = find(&bad).or_else(|| (1..TRIES).find_map(|_| find(&record(false))));
            let finding = finding.unwrap_or_else(|| panic!("{lock} across {call} is not told"));
            let what = (&finding["kind"], &finding["count"]);
            assert_eq!(what, (&"held-across-blocking-call".into(), &Self::TIMES.into()), "{finding:#}");
            assert!(has(&finding["stacks"][0], at), "{finding:#}");
            let (took, blocked) = (finding["total_ns"].as_u64(), finding["blocked_ns"].as_u64());
            // Two threads can wait at one time.
            let may_wait = blocked <= took.map(|took| 2 * took);
            assert!(took >= Some(Self::TIMES * least_ns) && may_wait, "{finding:#}");
        }
        let good = record(true);
        assert_eq!(of_kind(good["findings"].as_array().expect("findings"), "held-across-blocking-call"), None);
        for (lock, calls) in self.under {
            let expected: Vec<_> = calls.iter().map(|call| ((*call).to_owned(), Self::TIMES)).collect();
            assert_eq!(calls_under(&bad, lock), expected, "{lock} of {}", program.display());
            assert_eq!(calls_under(&good, lock), [], "{lock} of {}", program.display());
        }
    }
}

fn calls_under(report: &Value, lock: &str) -> Vec<(String, u64)> {
    let locks = report["locks"].as_array().expect("locks");
    let lock = locks.iter().find(|row| row["name"] == lock).expect("its row");
    let calls = lock["calls"].as_array().into_iter().flatten();
    let mut calls: Vec<(String, u64)> = calls
        .map(|call| (call["call"].as_str().unwrap_or_default().to_owned(), call["count"].as_u64().unwrap_or(0)))
        .collect();
    calls.sort_unstable();
    calls
}

/// In the mode that it is held in, in an optimised build and in one that calls its atomics.
#[test]
fn which_call_a_lock_of_rust_is_held_across() {
    let calls = Calls {
        told: &[
            ("calls::LOG", "clock_nanosleep", "calls::flush", 4_000_000),
            ("calls::CACHE", "recv", "calls::ask", 2_000_000),
        ],
        under: &[
            ("calls::LOG", &["clock_nanosleep", "fdatasync", "write"]),
            ("calls::CACHE", &["recv", "send"]),
            ("calls::SESSION", &["recv", "send"]),
        ],
    };
    let compilers = rust::compilers();
    let Some(rust) = compilers.last() else { return };
    for level in ["-Copt-level=0", "-Copt-level=2"] {
        calls.are_told_of(&rust.build("calls", &[level]));
    }
}

/// By the functions that the program called, whatever the runtime did then; also where locks are calls.
#[test]
fn which_call_a_lock_of_go_is_held_across() {
    let calls = Calls {
        told: &[
            ("main.journal", "time.Sleep", "main.write", 4_000_000),
            ("main.cache", "net.(*conn).Read", "main.exchange", 2_000_000),
        ],
        under: &[
            ("main.journal", &["os.(*File).Sync", "os.(*File).Write", "time.Sleep"]),
            ("main.cache", &["net.(*conn).Read", "net.(*conn).Write"]),
            ("main.session", &["net.(*conn).Read", "net.(*conn).Write"]),
        ],
    };
    for go in go::toolchains() {
        calls.are_told_of(&go.build("calls", &[]));
    }
    if let Some(go) = go::toolchains().last() {
        calls.are_told_of(&go.build("calls", &["-gcflags=all=-N -l"]));
    }
}

/// Costs are told and do not fail, unless they are asked for; then they can be allowed.
#[test]
fn the_gate() {
    let folder = folder();
    let check = |args: &[&str]| {
        let mut command = lockprof();
        command.current_dir(folder.path()).arg("check").args(args).arg("--").arg(fixture("findings")).arg("long-hold");
        finish(&mut command, LIMIT)
    };
    let plain = check(&[]);
    assert_eq!(plain.code(), 0, "{}", plain.stdout);
    assert!(plain.stdout.contains("long-hold") && plain.stdout.contains("lock order: pass"), "{}", plain.stdout);
    let asked = check(&["--fail-on", "default,finding:long-hold", "--format", "json"]);
    assert_eq!(asked.code(), 1, "{}", asked.stdout);
    let verdict: Value = serde_json::from_str(&asked.stdout).expect("a verdict");
    let finding = of_kind(verdict["findings"].as_array().expect("findings"), "long-hold").expect("it").clone();
    assert_eq!(finding["fails"], true);
    let allowed = format!("[[allow]]\nfingerprint = {}\nreason = \"a test\"\n", finding["fingerprint"]);
    std::fs::write(folder.path().join("allow.toml"), allowed).expect("a file");
    let allowed = check(&["--fail-on", "finding:long-hold", "--suppress", "allow.toml"]);
    assert_eq!(allowed.code(), 0, "the same in the next run: {}", allowed.stdout);
}

/// The lock, who waits and who holds it are in the first five lines.
#[test]
fn the_culprit_comes_first() {
    let folder = folder();
    let mut command = lockprof();
    command.current_dir(folder.path()).args(["run", "-o", "t.lockprof"]).arg(fixture("findings")).arg("long-hold");
    let run = finish(&mut command, LIMIT);
    let report = finish(lockprof().current_dir(folder.path()).args(["report", "t.lockprof"]), LIMIT);
    for text in [run.stderr, report.stdout] {
        // What other recorders left behind is told before the program ends.
        let first: Vec<&str> = text.lines().filter(|line| !line.contains("lockprof recover")).take(5).collect();
        for part in ["journal (mutex): waited for", "who waits: append (", "who holds: flush_journal ("] {
            assert!(first.iter().any(|line| line.contains(part)), "{part} is not in {first:#?}");
        }
    }
}

/// Whatever costs time has a story with its twin; what else can be said stands in the catalogue too.
#[test]
fn each_rule_has_its_story_and_its_page() {
    let list = finish(lockprof().arg("explain"), LIMIT).stdout;
    let (_, costs) = list.split_once("What costs time").expect("their heading");
    let (costs, _) = costs.split_once("Limits").expect("what comes next");
    let costs: BTreeSet<&str> = costs.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(costs, STORIES.iter().map(|story| story.1).collect());
    let stories = finish(&mut Target::new(fixture("findings")).bare_command(), LIMIT).stdout;
    assert_eq!(stories.lines().collect::<Vec<_>>().len(), STORIES.len(), "{stories}");
    for kind in costs {
        let page = finish(lockprof().args(["explain", kind]), LIMIT);
        assert_eq!(page.code(), 0);
        assert!(page.stdout.contains("Bad") && page.stdout.contains("Good"), "{}", page.stdout);
    }
    let unknown = finish(lockprof().args(["explain", "long-held"]), LIMIT);
    assert_eq!(unknown.code(), 2);
    assert!(unknown.stderr.contains("`lockprof explain` lists them"), "{}", unknown.stderr);
}
