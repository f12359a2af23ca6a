//! Unmodified Go programs under `lockprof run` and `check`: each lock's acquisitions, by mode, against the program's own
//! counters; what could harm a program; known deadlocks and their fixed twins.

use std::path::Path;

use serde_json::Value;

use crate::util::go::{Go, toolchains};
use crate::util::report::{assert_truth, list};
use crate::util::run::{LIMIT, Outcome, Target, finish, lockprof};
use crate::util::skip;

/// Ways to build a program.
const BUILDS: [&[&str]; 4] = [&["-ldflags=-s -w"], &["-buildmode=pie"], &["-gcflags=all=-N -l"], &["-race"]];

/// The oldest and the newest toolchain: what builds slowly is tried with these.
fn outermost() -> Vec<Go> {
    let mut all = toolchains();
    if all.len() > 2 {
        all.drain(1..all.len() - 1);
    }
    all
}

fn assert_exact(program: &Path, processors: u32, what: &str) {
    let target = Target::new(program).args(["200"]).env("GOMAXPROCS", processors.to_string());
    let recording = target.record();
    assert_eq!(recording.outcome.code(), 0, "{what}: {}", recording.outcome.stderr);
    let truths: Vec<&str> = recording.outcome.stdout.lines().filter_map(|line| line.strip_prefix("TRUTH ")).collect();
    assert_eq!(truths.len(), 10, "{what}: {}", recording.outcome.stdout);
    let notes = recording.report.notes();
    assert!(notes.iter().any(|note| note.contains("slow calls reached")), "{what}: {notes:?}");
    // A busy machine may leave more than could be read: that is told, and then it need not be exact lock by lock.
    let lacks = |what: &str| notes.iter().any(|note| note.contains(what));
    if lacks("not told apart") || recording.report.coverage("lost") > 0 {
        return;
    }
    for truth in truths {
        assert_truth(recording.report.locks(), truth, &format!("{what}; {notes:?}"));
    }
    if !lacks("were counted and not measured") {
        recording.report.assert_accounted();
    }
}

#[test]
fn every_acquisition_of_a_go_program_is_recorded() {
    for go in toolchains() {
        for processors in [1, 2, 8] {
            assert_exact(&go.build("truth", BUILDS[0]), processors, &format!("{}, {processors}", go.version));
        }
    }
}

/// Goroutines and locks that live for a moment: those beyond what can be told apart are counted together, and nothing is lost,
/// not even what they say of the order of locks.
#[test]
fn goroutines_and_locks_that_live_for_a_moment() {
    for go in toolchains() {
        let target = Target::new(go.build("crowd", BUILDS[0])).args(["60000"]);
        let recording = target.record();
        let Outcome { stdout, stderr, .. } = &recording.outcome;
        let notes = recording.report.notes();
        let said = |what: &str| stdout.lines().find_map(|line| line.strip_prefix(what)?.parse::<u64>().ok());
        assert_eq!(recording.outcome.code(), 0, "{} {stderr}", go.version);
        if notes.iter().any(|note| note.contains("not told apart") || note.contains("not measured")) {
            continue;
        }
        assert!(recording.report.processes()[0]["threads"].as_u64() >= said("GOROUTINES "), "{} {notes:?}", go.version);
        for truth in stdout.lines().filter_map(|line| line.strip_prefix("TRUTH ")) {
            assert_truth(recording.report.locks(), truth, &format!("{} {notes:?}", go.version));
        }
        let of_each = recording
            .report
            .locks()
            .iter()
            .filter(|lock| lock["class"].as_str().is_some_and(|class| class.contains("(*request).mu")));
        let taken: u64 = of_each.filter_map(|lock| lock["acquisitions"].as_u64()).sum();
        assert_eq!(Some(taken), said("EACH "), "{} {notes:?}", go.version);
        assert_eq!(recording.report.0["coverage"]["order_complete"], true, "{} {notes:?}", go.version);
        recording.report.assert_accounted();
    }
}

/// Go's own block profile of the same run. Its waits end when a goroutine may run again, ours when it does, which is later on
/// a busy machine; a goroutine that parks twice for one lock is counted twice there.
#[test]
fn waits_are_those_of_go_s_own_profile() {
    for go in toolchains() {
        let recording = Target::new(go.build("profiled", BUILDS[0])).record();
        let Outcome { stdout, stderr, .. } = &recording.outcome;
        assert_eq!(recording.outcome.code(), 0, "{} {stderr}", go.version);
        recording.report.assert_accounted();
        let ours = |kind: &str| {
            let of_kind: Vec<&Value> = recording.report.locks().iter().filter(|lock| lock["kind"] == kind).collect();
            let sum =
                |number: &dyn Fn(&Value) -> Option<u64>| of_kind.iter().filter_map(|lock| number(lock)).sum::<u64>();
            (sum(&|lock| lock["contended"].as_u64()), sum(&|lock| lock["wait_ns"]["total"].as_u64()))
        };
        let theirs: Vec<(&str, u64, u64)> = stdout
            .lines()
            .filter_map(|line| {
                let mut words = line.strip_prefix("PROFILE ")?.split(' ');
                Some((words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
            })
            .collect();
        assert_eq!(theirs.len(), 4, "{} {stdout}", go.version);
        let ratio = |(kind, _, cycles): &(&str, u64, u64)| *cycles as f64 / ours(kind).1 as f64;
        let rate = theirs.iter().find(|row| row.0 == "waitgroup").map(ratio).expect("waits for wait groups");
        for row in &theirs {
            let (waits, (kind, counted, _)) = (ours(row.0).0, *row);
            assert!(counted.abs_diff(waits) <= counted / 20 + 2, "{} {kind}: {waits} of {counted} waits", go.version);
            let share = ratio(row) / rate;
            assert!((0.75..1.1).contains(&share), "{} {kind}: {share} of the time that we say", go.version);
        }
    }
}

#[test]
fn however_a_go_program_was_built() {
    for go in outermost() {
        for flags in &BUILDS[1..] {
            // The race detector is linked by a C compiler.
            assert_exact(&go.build("truth", flags), 2, &format!("{} {flags:?}", go.version));
        }
    }
}

/// What harms without care: a nil mutex is a panic that can be recovered, a loop that only locks and unlocks can be
/// preempted (else the garbage collector would wait for ever), tracebacks and CPU profiles know all addresses.
#[test]
fn what_could_harm_a_go_program_does_not() {
    for go in toolchains() {
        for flags in &BUILDS[..2] {
            let recording = Target::new(go.build("traps", flags)).env("GOMAXPROCS", "2").record();
            let Outcome { stdout, stderr, .. } = &recording.outcome;
            assert_eq!(stdout, "recovered 1000\ncollected 10\nexternal 0\n", "{} {flags:?} {stderr}", go.version);
        }
    }
}

/// Checks a kernel: the exit code, the verdict, and what was said.
fn check_kernel(program: &Path, args: &[&str]) -> (i32, Value, String) {
    let mut command = lockprof();
    command.args(["check", "--format", "json", "--"]).arg(program).args(args);
    let outcome = finish(&mut command, LIMIT);
    (outcome.code(), serde_json::from_str(&outcome.stdout).expect("JSON"), outcome.stderr)
}

fn assert_kernel(go: &Go, program: &Path, name: &str) {
    // A word of memory may look like an address, so that somebody seems to know who hangs: not each time.
    const TRIES: usize = 3;
    let is_told = |(_, verdict, said): &(i32, Value, String)| {
        let found = |key: &str, class: &str| {
            list(&verdict[key]).iter().any(|row| row["class"] == class || row["kind"] == class)
        };
        if name.ends_with("-races") {
            return found("cycles", "feasible");
        }
        let said_it = ["deadlock: ", "stuck: "].iter().any(|word| said.contains(word));
        said_it && (found("cycles", "hung") || found("findings", "self-deadlock"))
    };
    let told = (0..TRIES).map(|_| check_kernel(program, &[name])).find(|checked| checked.0 == 1 && is_told(checked));
    assert!(told.is_some(), "{} {name} is not told", go.version);
    let (code, verdict, said) = check_kernel(program, &[name, "fixed"]);
    assert!(code == 0 && !said.contains("stuck: "), "{} {name} fixed: {code} {verdict:#} {said}", go.version);
}

/// Locks, channels, wait groups, conditions: fixtures/go/kernels.
#[test]
fn deadlocks_of_go_programs_are_told_and_their_fixed_twins_are_not() {
    const AT_ONCE: usize = 4;
    for go in outermost() {
        let program = go.build("kernels", &[]);
        let names = Target::new(&program).bare().stdout;
        let names: Vec<&str> = names.lines().collect();
        assert!(names.len() > 40, "{names:?}");
        // They sleep for most of the time.
        for names in names.chunks(AT_ONCE) {
            std::thread::scope(|scope| {
                let (go, program) = (&go, &program);
                names.iter().for_each(|name| _ = scope.spawn(move || assert_kernel(go, program, name)));
            });
        }
    }
}

/// What the program does is what it does without: its output, its exit code, its own tracebacks.
#[test]
fn a_go_program_ends_as_it_would() {
    for go in outermost() {
        let program = go.build("kernels", &[]);
        for (name, code) in [("no-such-kernel", 1), ("ab-ba-races", 0)] {
            let target = Target::new(&program).args([name]);
            let (bare, recorded) = (target.bare(), target.record().outcome);
            assert_eq!((bare.code(), &bare.stdout), (code, &recorded.stdout), "{} {name}", go.version);
            assert_eq!(recorded.code(), code, "{} {name}", go.version);
        }
    }
}

/// A shell, an interpreter and `env`, which have the shim in them, start it; so does another Go program.
#[test]
fn go_programs_that_others_start_are_recorded() {
    for go in outermost() {
        let program = go.build("truth", BUILDS[0]);
        let program = program.to_str().expect("a path in UTF-8");
        let starter = go.build("starter", &[]);
        let make = skip::find("make");
        let python = skip::find("python3");
        // They start it by `posix_spawn`, which the child knows nothing of.
        let spawn = format!(
            "import os; p = os.posix_spawn({program:?}, [{program:?}, '50'], os.environ); raise SystemExit(os.waitpid(p, 0)[1])"
        );
        let of_make = make.as_deref().map(|make| (make, vec!["--eval".to_owned(), format!("all:;@{program} 50")]));
        let of_python = python.as_deref().map(|python| (python, vec!["-c".to_owned(), spawn.clone()]));
        let starters: [(&Path, Vec<String>); 6] = [
            (Path::new("/bin/sh"), vec!["-c".to_owned(), format!("{program} 50; true")]),
            (Path::new("/bin/sh"), vec!["-c".to_owned(), format!("exec {program} 50")]),
            (Path::new("/usr/bin/env"), vec!["-i".to_owned(), program.to_owned(), "50".to_owned()]),
            (Path::new("/usr/bin/env"), vec!["GOMAXPROCS=1".to_owned(), program.to_owned(), "50".to_owned()]),
            (&starter, vec!["child".to_owned(), program.to_owned(), "50".to_owned()]),
            (&starter, vec!["exec".to_owned(), program.to_owned(), "50".to_owned()]),
        ];
        for (first, args) in starters.into_iter().chain(of_make).chain(of_python) {
            let recording = Target::new(first).args(&args).record();
            let what = format!("{} {} {args:?}", go.version, first.display());
            assert_eq!(recording.outcome.code(), 0, "{what}: {}", recording.outcome.stderr);
            let truths = recording.outcome.stdout.lines().filter_map(|line| line.strip_prefix("TRUTH "));
            let mut checked = 0;
            for truth in truths {
                assert_truth(recording.report.locks(), truth, &what);
                checked += 1;
            }
            assert_eq!(checked, 10, "{what}: {}", recording.outcome.stdout);
            recording.report.assert_accounted();
        }
    }
}

/// What fails to start is told to the program as without us.
#[test]
fn a_program_that_is_not_there_is_not_there() {
    for go in outermost() {
        let target = Target::new(go.build("starter", &[])).args(["child", "/nonexistent/program"]);
        let (bare, recorded) = (target.bare(), target.record().outcome);
        assert_eq!((bare.code(), &bare.stdout), (recorded.code(), &recorded.stdout), "{recorded:?}");
    }
}

/// `lockprof check -- go test ./...`: the binaries of the tests are recorded and judged together, Go's own tools are not
/// recorded, and nothing is told to be missing.
#[test]
fn the_tests_of_a_module_are_judged() {
    for go in outermost() {
        let mut command = lockprof();
        command.args(["check", "--strict", "--format", "json", "--"]).arg(go.program());
        command.args(["test", "-count=1", "./..."]).envs(Go::environment());
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/go/bank"));
        let outcome = finish(&mut command, LIMIT * 3);
        let start = outcome.stdout.find("\n{").map_or(0, |at| at + 1);
        let verdict: Value = serde_json::from_str(&outcome.stdout[start..])
            .unwrap_or_else(|error| panic!("{error}: {} {}", outcome.stdout, outcome.stderr));
        let what = format!("{} {verdict:#} {}", go.version, outcome.stderr);
        assert_eq!(outcome.code(), 1, "{what}");
        assert!(list(&verdict["incomplete"]).is_empty(), "{what}");
        let cycles = list(&verdict["cycles"]);
        assert_eq!(cycles.len(), 1, "{what}");
        assert_eq!(cycles[0]["class"], "feasible", "{what}");
        assert!(verdict.to_string().contains("account.TestMove"), "{what}");
    }
}
