//! Programs of Go and Rust that run, and whose own locks are recorded for a while.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::attach::Bare;
use crate::util::go::toolchains;
use crate::util::report::number;
use crate::util::run::{LIMIT, finish, folder, signal, start, wait};
use crate::util::rust::compilers;
use crate::util::{Report, lockprof};

/// The program's own code, as it is in memory.
fn code_of(pid: u32) -> Vec<u8> {
    let file = fs::read_link(format!("/proc/{pid}/exe")).expect("its file").display().to_string();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut code = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" r-xp ") && line.ends_with(&file)) {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        // The last page has the code that mapped the memory, behind the program's own.
        let mut bytes = vec![0; (to - from - 4096) as usize];
        memory.read_exact_at(&mut bytes, from).expect("its code");
        code.extend(bytes);
    }
    code
}

/// Waits until the program's code is another than this.
fn until_patched(pid: u32, before: &[u8], recorder: &mut Child) {
    let begin = Instant::now();
    while code_of(pid) == before {
        assert!(begin.elapsed() < LIMIT && recorder.try_wait().expect("it").is_none(), "the program was not patched");
        sleep(Duration::from_millis(20));
    }
}

fn command(program: &mut Bare) {
    program.input().write_all(b"\n").expect("a command");
    assert_eq!(program.line(), "done true\n");
}

/// What is done meanwhile is recorded exactly, round for round, and then the code is as it was. `locks`: names of the four mutexes
/// and of the lock for readers, where there are symbols.
fn is_recorded(file: &Path, locks: Option<[&str; 5]>) {
    let folder = folder();
    let mut program = Bare::start(Command::new(file).arg("command"));
    command(&mut program);
    let before = code_of(program.pid());
    for round in 0..2 {
        let trace = folder.path().join(format!("{round}.lockprof"));
        let mut child = start(&mut program.recorder(&trace, &[]), folder.path());
        until_patched(program.pid(), &before, &mut child);
        (0..=round).for_each(|_| command(&mut program));
        signal(child.id() as i32, libc::SIGINT);
        let outcome = wait(child, folder.path(), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        assert!(code_of(program.pid()) == before, "the code is another than before");
        command(&mut program);
        let report = Report::load(&trace);
        let wanted = 8000 * (round + 1);
        // The main thread looks at the first of them, and at the table, once a round.
        let looks = round + 1;
        let is_right = |count: u64| count == wanted || count == wanted + looks;
        match locks {
            Some(locks) => {
                report.assert_counted();
                for (at, name) in locks.iter().enumerate() {
                    let lock = report.lock(name, if at == 4 { "rwlock" } else { "mutex" });
                    assert!(is_right(number(lock, "acquisitions")), "{name}, round {round}:\n{}", report.overview());
                }
            }
            None => {
                let most = report.locks().iter().filter(|lock| is_right(number(lock, "acquisitions"))).count();
                assert_eq!(most, 5, "round {round}:\n{}", report.overview());
            }
        }
        let notes = report.notes();
        assert!(notes.iter().any(|note| note.contains("were stopped for")), "{notes:?}");
        assert!(!notes.iter().any(|note| note.contains("no acquisition that was seen")), "{notes:?}");
    }
    program.end();
}

const OF_GO: [&str; 5] = ["main.locks[0]", "main.locks[1]", "main.locks[2]", "main.locks[3]", "main.table"];
const OF_RUST: [&str; 5] =
    ["attached::LOCKS", "attached::LOCKS+0x10", "attached::LOCKS+0x20", "attached::LOCKS+0x30", "attached::TABLE"];

#[test]
fn go_programs_are_attached_to() {
    for go in toolchains() {
        is_recorded(&go.build("attached", &[]), Some(OF_GO));
        is_recorded(&go.build("attached", &["-buildmode=pie", "-ldflags=-s -w"]), None);
    }
}

#[test]
fn rust_programs_are_attached_to() {
    let Some(rust) = compilers().into_iter().next() else { return };
    let ways: [&[&str]; 3] = [
        &["-Copt-level=3"],
        &["-Copt-level=0"],
        &["-Copt-level=3", "-Ctarget-feature=+crt-static", "-Crelocation-model=static"],
    ];
    ways.iter().for_each(|flags| is_recorded(&rust.build("attached", flags), Some(OF_RUST)));
}

/// A program that locks all the time and checks itself at its end; and one that exits with an error if anything is wrong.
fn at_full_tilt(file: &Path) -> Bare {
    let mut program = Bare::start(Command::new(file).arg("tilt"));
    assert_eq!(program.line(), "ready\n");
    program
}

fn is_right_at_its_end(program: Bare) {
    let said = program.end();
    assert!(said.contains("right true"), "{said}");
}

fn comes_and_goes(file: &Path, times: u32) {
    let folder = folder();
    let program = at_full_tilt(file);
    let before = code_of(program.pid());
    for _ in 0..times {
        let trace = folder.path().join("t.lockprof");
        let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.02"]), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        assert!(code_of(program.pid()) == before, "the code is another than before");
    }
    is_right_at_its_end(program);
}

/// Recorders are killed at many moments of attaching and leaving; the next one undoes what is left.
fn killed(file: &Path, times: u32) {
    /// It is brought in and taken out within this time.
    const SPAN_MS: u32 = 400;
    let folder = folder();
    let mut program = at_full_tilt(file);
    for time in 0..times {
        if time % 8 == 7 {
            // One that has nothing of it yet.
            is_right_at_its_end(program);
            program = at_full_tilt(file);
        }
        program.kill_recorder(&["--duration", "0.02"], Duration::from_millis((time * 37 % SPAN_MS).into()));
    }
    let trace = folder.path().join("t.lockprof");
    let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.1"]), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    is_right_at_its_end(program);
}

fn programs() -> Vec<PathBuf> {
    let go = toolchains().into_iter().map(|go| go.build("attached", &[]));
    let flags = ["-Copt-level=3", "-Ctarget-feature=+crt-static"];
    let rust = compilers()
        .into_iter()
        .take(1)
        .flat_map(|rust| [rust.build("attached", &["-Copt-level=3"]), rust.build("attached", &flags)]);
    go.chain(rust).collect()
}

#[test]
fn own_locks_come_and_go_at_full_tilt() {
    programs().iter().for_each(|file| comes_and_goes(file, 4));
}

#[test]
#[ignore = "takes minutes"]
fn own_locks_come_and_go_two_hundred_times() {
    programs().iter().for_each(|file| comes_and_goes(file, 200));
}

#[test]
fn recorders_of_own_locks_that_are_killed_harm_nobody() {
    programs().iter().for_each(|file| killed(file, 12));
}

#[test]
#[ignore = "takes minutes"]
fn five_hundred_recorders_of_own_locks_that_are_killed_harm_nobody() {
    programs().iter().for_each(|file| killed(file, 500));
}

/// No thread ever waits in the kernel.
#[test]
fn a_static_program_that_is_always_busy_is_attached_to() {
    let Some(rust) = compilers().into_iter().next() else { return };
    let file = rust.build("attached", &["-Copt-level=3", "-Ctarget-feature=+crt-static"]);
    let folder = folder();
    let mut program = Bare::start(Command::new(file).arg("busy"));
    assert_eq!(program.line(), "ready\n");
    let trace = folder.path().join("t.lockprof");
    let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.1"]), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(number(&Report::load(&trace).0["coverage"], "acquisitions") > 0);
    signal(program.pid() as i32, libc::SIGTERM);
    is_right_at_its_end(program);
}

/// Two at a time: the second one is told.
#[test]
fn only_one_records_a_static_program() {
    let Some(go) = toolchains().pop() else { return };
    let folder = folder();
    let program = at_full_tilt(&go.build("attached", &[]));
    let before = code_of(program.pid());
    let mut first = start(&mut program.recorder(&folder.path().join("1.lockprof"), &[]), folder.path());
    until_patched(program.pid(), &before, &mut first);
    let outcome = finish(&mut program.recorder(&folder.path().join("2.lockprof"), &[]), LIMIT);
    assert_eq!(outcome.code(), 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("is being recorded by another lockprof already"), "{}", outcome.stderr);
    signal(first.id() as i32, libc::SIGINT);
    assert_eq!(wait(first, folder.path(), LIMIT).code(), 0);
    is_right_at_its_end(program);
}

/// `lockprof top -p` does the same.
#[test]
fn top_shows_a_go_program_that_runs() {
    let Some(go) = toolchains().pop() else { return };
    let program = at_full_tilt(&go.build("attached", &[]));
    let folder = folder();
    let pid = program.pid().to_string();
    let mut command = lockprof();
    command.args(["top", "-p", &pid, "--count", "2", "--interval", "0.3", "--format", "json"]);
    let outcome = finish(command.current_dir(folder.path()), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(outcome.stdout.lines().count() == 2 && outcome.stdout.contains("\"mutex\""), "{}", outcome.stdout);
    is_right_at_its_end(program);
}
