//! `lockprof where`: deadlocks that stand are found from outside, in processes and in cores; busy programs have none, and no
//! program notices that it was looked at.
//!
//! Longer than most files: the same questions are asked of programs in four languages and of their cores.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::util::report::list;
use crate::util::run::{LIMIT, Program, finish, folder, start, wait};
use crate::util::{Build, Outcome, fixture, go, lockprof, rust, skip};

/// A program that runs by itself, until it is dropped.
struct Running {
    child: Program,
    folder: TempDir,
}

impl Running {
    fn start(program: &Path, mode: &[&str]) -> Self {
        let folder = folder();
        let child = Program(start(Command::new(program).args(mode).current_dir(folder.path()), folder.path()));
        Self { child, folder }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Looks until a condition holds: the program needs a moment to come to where it stays.
    fn look_until(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (outcome, seen) = look(&[&self.pid()]);
            if holds(&seen) {
                let expected = i32::from(seen["verdict"] == "deadlock");
                assert_eq!(outcome.code(), expected, "{}", outcome.stderr);
                return seen;
            }
            assert!(Instant::now() < deadline, "{seen:#}");
            sleep(Duration::from_millis(50));
        }
    }

    fn deadlock(&self) -> Value {
        self.look_until(|seen| seen["verdict"] == "deadlock")
    }
}

fn look(arguments: &[&str]) -> (Outcome, Value) {
    let outcome = finish(lockprof().arg("where").args(arguments).args(["--format", "json"]), LIMIT);
    let seen = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.stderr));
    (outcome, seen)
}

/// The only cycle: its kind and how many threads are in it.
fn cycle(seen: &Value) -> (&str, usize) {
    let cycles = list(&seen["cycles"]);
    assert_eq!(cycles.len(), 1, "{seen:#}");
    (cycles[0]["kind"].as_str().expect("a kind"), list(&cycles[0]["threads"]).len())
}

fn has_function(thread: &Value, name: &str) -> bool {
    list(&thread["stack"])
        .iter()
        .any(|frame| frame["function"].as_str().is_some_and(|function| function.contains(name)))
}

/// The threads that are in a function.
fn within<'a>(seen: &'a Value, name: &str) -> Vec<&'a Value> {
    list(&seen["threads"]).iter().filter(|thread| has_function(thread, name)).collect()
}

#[test]
fn rings_of_c_are_found() {
    let program = Running::start(&fixture("deadlocks"), &["ring", "3"]);
    let seen = program.deadlock();
    assert_eq!(cycle(&seen), ("deadlock", 3));
    assert_eq!(seen["cycles"][0]["behind"], 1, "main joins one of them");
    for thread in within(&seen, "eat") {
        let wait = &thread["waits_for"];
        assert!(wait["kind"] == "mutex" && wait["name"].as_str().expect("a name").starts_with("forks["), "{wait}");
        assert!(wait["holder"]["known"] == "thread" && wait["timed"] == false && thread["moved"] == false);
        let frame = &list(&thread["stack"]).iter().find(|frame| frame["function"] == "take_second").expect("a frame");
        assert!(frame["file"].as_str().is_some_and(|file| file.ends_with("deadlocks.c")) && frame["line"].is_u64());
        assert!(has_function(thread, "start_thread") || thread["cut"].is_null(), "{thread:#}");
    }
    let outcome = finish(lockprof().args(["where", &program.pid()]), LIMIT);
    let first = outcome.stdout.lines().next().expect("a line");
    assert!(first.starts_with("deadlock: ") && first.contains("waits for mutex forks["), "{}", outcome.stdout);
    assert!(outcome.stdout.lines().all(|line| line.chars().count() <= 80), "{}", outcome.stdout);
}

#[test]
fn other_standstills_of_c_are_found() {
    let program = fixture("deadlocks");
    for (mode, kind) in [
        ("self", "self-deadlock"),
        ("dead", "abandoned-lock"),
        ("join", "deadlock"),
        ("mainexit", "deadlock"),
        ("lost", "nobody-left"),
        ("barrier", "nobody-left"),
        ("sems", "nobody-left"),
    ] {
        let program = Running::start(&program, &[mode]);
        let seen = program.deadlock();
        assert_eq!(cycle(&seen).0, kind, "{mode}");
    }
}

#[test]
fn what_passes_is_no_deadlock() {
    let program = fixture("deadlocks");
    for mode in ["slow", "timed", "napping", "alarmed", "sigwaiting", "timer", "shared"] {
        let program = Running::start(&program, &[mode]);
        let is_asleep = |thread: &Value| thread["state"] == "blocked" && !thread["reason"].is_null();
        let seen = program.look_until(|seen| list(&seen["threads"]).iter().all(is_asleep));
        assert_eq!(seen["verdict"], "none", "{mode}: {seen:#}");
        // It may have ended by now.
        let outcome = finish(lockprof().args(["where", &program.pid()]), LIMIT);
        assert!(outcome.code() != 1, "{mode}: {}", outcome.stdout);
    }
}

#[test]
fn a_busy_program_has_no_deadlock() {
    let program = Running::start(&fixture("standing"), &["busy"]);
    for _ in 0..20 {
        let (outcome, seen) = look(&[&program.pid()]);
        assert!(outcome.code() == 0 && list(&seen["cycles"]).is_empty(), "{seen:#}");
    }
    program.look_until(|seen| within(seen, "work").len() == 4);
}

#[test]
fn locks_of_cxx_are_told() {
    let standing = fixture("standing");
    let program = Running::start(&standing, &["ring"]);
    let seen = program.deadlock();
    assert_eq!(cycle(&seen), ("deadlock", 2));
    let names: Vec<&str> = within(&seen, "take_both").iter().filter_map(|t| t["waits_for"]["name"].as_str()).collect();
    assert!(names.contains(&"left") && names.contains(&"right"), "{names:?}");
    let program = Running::start(&standing, &["guard"]);
    let both = |seen: &Value| {
        let is_guard = |thread: &&Value| thread["waits_for"]["type"] == "C++ static";
        list(&seen["threads"]).iter().filter(is_guard).count() == 2
    };
    let seen = program.look_until(both);
    assert_eq!(cycle(&seen).0, "nobody-left", "{seen:#}");
    let program = Running::start(&standing, &["timed"]);
    let both = |seen: &Value| {
        let is_timed = |thread: &&Value| thread["waits_for"]["timed"] == true && thread["waits_for"]["kind"] == "mutex";
        list(&seen["threads"]).iter().filter(is_timed).count() == 2
    };
    assert_eq!(program.look_until(both)["verdict"], "none");
}

#[test]
fn stripped_and_static_programs() {
    let builds = [
        Build::new("deadlocks.c", "deadlocks").flags(&["-s"]),
        Build::new("deadlocks.c", "deadlocks").flags(&["-O0"]),
        Build::new("deadlocks.c", "deadlocks").flags(&["-static"]),
    ];
    for build in builds {
        let program = Running::start(&build.build(), &["ring", "2"]);
        let seen = program.deadlock();
        assert_eq!(cycle(&seen), ("deadlock", 2));
        let cut: Vec<_> = list(&seen["threads"]).iter().filter(|thread| !thread["cut"].is_null()).collect();
        assert!(cut.is_empty(), "{cut:#?}");
    }
}

#[test]
fn nobody_is_interrupted() {
    let program = Running::start(&fixture("uninterrupted"), &["4"]);
    let mut looks = 0;
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        let (outcome, seen) = look(&[&program.pid()]);
        assert!(outcome.code() == 0 && list(&seen["threads"]).len() > 10, "{seen:#}");
        looks += 1;
    }
    assert!(looks > 2);
    let Running { child, folder } = &program;
    let pid = child.id() as i32;
    // SAFETY: the child is waited for once, here; its status is read.
    let status = unsafe {
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, 0);
        status
    };
    let said = std::fs::read_to_string(folder.path().join("stdout")).unwrap_or_default();
    assert_eq!(status, 0, "{said}");
}

/// A core of a running program: by the kernel, where it writes them to files.
fn core_of(program: &Running) -> Option<std::path::PathBuf> {
    if let Some(gcore) = skip::find("gcore") {
        let outcome =
            finish(Command::new(gcore).args(["-o", "core", &program.pid()]).current_dir(program.folder.path()), LIMIT);
        let core = program.folder.path().join(format!("core.{}", program.pid()));
        if core.exists() {
            return Some(core);
        }
        skip::unable(&format!("gcore: {}", outcome.stderr.lines().last().unwrap_or_default()));
        return None;
    }
    skip::skip("gcore");
    None
}

#[test]
fn a_core_tells_the_same() {
    for (name, mode, kind) in
        [("deadlocks", "ring", "deadlock"), ("standing", "ring", "deadlock"), ("deadlocks", "self", "self-deadlock")]
    {
        let program = Running::start(&fixture(name), &[mode]);
        let living = program.deadlock();
        let Some(core) = core_of(&program) else { return };
        let core = core.to_str().expect("a path");
        let (outcome, seen) = look(&[core]);
        assert_eq!((outcome.code(), cycle(&seen).0), (1, kind), "{seen:#}");
        assert_eq!(list(&seen["threads"]).len(), list(&living["threads"]).len());
        assert_eq!(list(&seen["notes"]), &[] as &[Value]);
        let functions = |seen: &Value| -> Vec<Vec<Value>> {
            let of = |thread: &Value| list(&thread["stack"]).iter().map(|frame| frame["function"].clone()).collect();
            list(&seen["threads"]).iter().map(of).collect()
        };
        assert_eq!(functions(&seen), functions(&living));
        // A core that was cut anywhere is refused, or says so.
        let whole = std::fs::read(core).expect("the core");
        for part in [0, 1, 20, 63, 64, 1000, 4096, whole.len() / 7, whole.len() / 2, whole.len() - 5000] {
            let cut = program.folder.path().join("cut");
            std::fs::write(&cut, &whole[..part]).expect("a part");
            let outcome = finish(lockprof().arg("where").arg(&cut), LIMIT);
            let says = outcome.stdout.contains("cut short") || outcome.code() == 2 && !outcome.stderr.is_empty();
            assert!(says && !outcome.stderr.contains("panicked"), "{part}: {}{}", outcome.stdout, outcome.stderr);
        }
        // Other programs than the core's are left out, and said.
        let other = fixture("waits");
        let other = other.to_str().expect("a path");
        let (_, seen) = look(&[core, "--exe", other]);
        assert!(seen["notes"][0].as_str().is_some_and(|note| note.contains("another build")), "{seen:#}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let program = fixture("deadlocks");
    for (target, why) in [
        ("999999999", "there is no process"),
        ("/no/such/core", "cannot be opened"),
        (text.to_str().expect("a path"), "is not a core file"),
        (program.to_str().expect("a path"), "it is a program or a library"),
        ("/dev/null", "is not a core file"),
    ] {
        let outcome = finish(lockprof().args(["where", target]), LIMIT);
        assert!(outcome.code() == 2 && outcome.stderr.contains(why), "{target}: {}", outcome.stderr);
    }
    let folder = folder();
    let child = start(Command::new("true").current_dir(folder.path()), folder.path());
    let pid = child.id().to_string();
    sleep(Duration::from_millis(100));
    let outcome = finish(lockprof().args(["where", &pid]), LIMIT);
    assert!(outcome.code() == 2 && outcome.stderr.contains("has ended"), "{}", outcome.stderr);
    wait(child, folder.path(), LIMIT);
}

#[test]
fn rust_standstills_are_found_by_what_code_gives_back() {
    for compiler in rust::compilers() {
        for flags in [&["-Copt-level=3"][..], &["-Copt-level=s"], &["-Copt-level=3", "-Clto=fat", "-Cpanic=abort"]] {
            let program = compiler.build("standing", flags);
            for (mode, kind) in
                [("heap", "deadlock"), ("static", "deadlock"), ("upgrade", "self-deadlock"), ("self", "self-deadlock")]
            {
                let program = Running::start(&program, &[mode]);
                let seen = program.deadlock();
                assert_eq!(cycle(&seen).0, kind, "{mode} {flags:?}");
                let stuck = list(&seen["threads"]).iter().find(|thread| !thread["waits_for"].is_null());
                let wait = &stuck.expect("a wait")["waits_for"];
                assert!(wait["type"].as_str().is_some_and(|of| of.starts_with("std::sync::")), "{wait}");
                assert_eq!(wait["holder"]["known"], "gives-back");
            }
            for mode in ["slow", "busy"] {
                let program = Running::start(&program, &[mode]);
                let has_wait = |thread: &Value| thread["waits_for"]["kind"] == "mutex";
                program.look_until(|seen| list(&seen["threads"]).iter().any(has_wait));
                for _ in 0..5 {
                    assert_eq!(look(&[&program.pid()]).1["verdict"], "none", "{mode} {flags:?}");
                }
            }
        }
    }
}

#[test]
fn a_core_of_a_rust_program_tells_its_deadlock() {
    for compiler in rust::compilers() {
        let program = Running::start(&compiler.build("standing", &["-Copt-level=3"]), &["heap"]);
        program.deadlock();
        let Some(core) = core_of(&program) else { return };
        let (outcome, seen) = look(&[core.to_str().expect("a path")]);
        assert_eq!((outcome.code(), cycle(&seen)), (1, ("deadlock", 2)), "{seen:#}");
    }
}

#[test]
fn goroutines_and_their_standstills() {
    for toolchain in go::toolchains() {
        for flags in [&[][..], &["-ldflags=-s -w"], &["-buildmode=pie"]] {
            let program = toolchain.build("standing", flags);
            for (mode, kind, count) in
                [("heap", "deadlock", 2), ("static", "deadlock", 2), ("upgrade", "self-deadlock", 1)]
            {
                let program = Running::start(&program, &[mode]);
                let seen = program.deadlock();
                assert_eq!(cycle(&seen), (kind, count), "{mode} {flags:?}");
                let goroutines = list(&seen["goroutines"]);
                let main = goroutines.iter().find(|goroutine| goroutine["id"] == 1).expect("the first one");
                assert!(has_function(main, "main.main"), "{main:#}");
                let stuck = goroutines.iter().find(|goroutine| !goroutine["waits_for"].is_null()).expect("a wait");
                let frames = list(&stuck["stack"]);
                let named = frames.iter().any(|frame| frame["file"].as_str().is_some_and(|f| f.ends_with("main.go")));
                assert!(named && stuck["cut"].is_null() && stuck["waits_for"]["holder"]["known"] == "gives-back");
            }
            for mode in ["slow", "busy", "crowd"] {
                let program = Running::start(&program, &[mode]);
                let is_there = |seen: &Value| list(&seen["goroutines"]).len() > 5;
                program.look_until(is_there);
                for _ in 0..5 {
                    assert_eq!(look(&[&program.pid()]).1["verdict"], "none", "{mode} {flags:?}");
                }
            }
        }
    }
}

#[test]
fn a_core_of_a_go_program_tells_its_deadlock() {
    for toolchain in go::toolchains() {
        let program = Running::start(&toolchain.build("standing", &[]), &["heap"]);
        program.deadlock();
        let Some(core) = core_of(&program) else { return };
        let (outcome, seen) = look(&[core.to_str().expect("a path")]);
        assert_eq!((outcome.code(), cycle(&seen)), (1, ("deadlock", 2)), "{seen:#}");
    }
}

#[test]
fn processes_are_listed_with_what_can_be_done() {
    let bare = Running::start(&fixture("deadlocks"), &["slow"]);
    let recorded = folder();
    let program = fixture("deadlocks");
    let mut command = lockprof();
    command.args(["run", "-q", "--"]).arg(&program).arg("slow").current_dir(recorded.path());
    let recorder = start(&mut command, recorded.path());
    let deadline = Instant::now() + LIMIT;
    let state = |processes: &Value, pid: u64| {
        let found = list(&processes["processes"]).iter().find(|process| process["pid"] == pid).cloned();
        found.unwrap_or_default()
    };
    loop {
        let outcome = finish(lockprof().args(["list", "--format", "json"]), LIMIT);
        let seen: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        let own = state(&seen, bare.child.id().into());
        assert!(own.is_null() || own["state"] == "where" && own["language"] == "c", "{own}");
        let is_ours = |process: &&Value| process["recorder"] == recorder.id();
        if list(&seen["processes"]).iter().any(|process| is_ours(&process) && process["state"] == "recorded") {
            assert_eq!(outcome.code(), 0);
            break;
        }
        assert!(Instant::now() < deadline, "{seen:#}");
        sleep(Duration::from_millis(20));
    }
    let outcome = finish(lockprof().args(["list"]), LIMIT);
    assert!(outcome.stdout.lines().all(|line| line.chars().count() <= 80), "{}", outcome.stdout);
    wait(recorder, recorded.path(), LIMIT);
}

#[test]
fn unoptimised_stacks_are_whole_without_a_stop() {
    let program = Build::new("unoptimised.c", "unoptimised").flags(&["-O0"]).build();
    let program = Running::start(&program, &[]);
    let seen = program.look_until(|seen| within(seen, "wait_here").len() == 2);
    for thread in list(&seen["threads"]) {
        let deep = ["wait_here", "third", "second", "first"].iter().all(|name| has_function(thread, name));
        let begins = has_function(thread, "main") || has_function(thread, "thread");
        assert!(deep && begins && thread["reason"] == "epoll_wait" && thread["moved"] == false, "{thread:#}");
    }
}
