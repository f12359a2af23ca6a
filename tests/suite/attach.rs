//! Programs that run without the recorder, and are recorded for a while all the same.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::util::run::{LIMIT, Program, finish, folder, signal, start, wait};
use crate::util::{Report, fixture, lockprof};

/// A program that runs without the recorder.
pub(super) struct Bare {
    child: Program,
    output: BufReader<ChildStdout>,
}

impl Bare {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = Program(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program"));
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn recorder(&self, trace: &Path, options: &[&str]) -> Command {
        let mut command = lockprof();
        command.args(["run", "-q", "-p", &self.pid().to_string(), "-o"]).arg(trace).args(options);
        command
    }

    /// The file by which it is woken, once it carries the recorder.
    fn page(&self) -> Option<PathBuf> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid())).ok()?;
        let line = maps.lines().find(|line| line.ends_with("-asleep/control"))?;
        Some(line[line.find('/')?..].into())
    }

    fn is_awake(&self) -> bool {
        self.page().is_some_and(|page| fs::read(page).is_ok_and(|page| page.starts_with(&[0; 4])))
    }

    fn until_awake(&self) {
        let begin = Instant::now();
        // The page says so for a moment when it is new, too: before `lockprof` can be asked.
        let is_served = || self.page().is_some_and(|page| page.with_file_name("view.sock").exists());
        while !(self.is_awake() && is_served()) {
            assert!(begin.elapsed() < LIMIT, "the program never was awake");
            sleep(Duration::from_millis(2));
        }
    }

    /// Has it recorded, and kills the recorder after this time: the program goes on.
    pub(super) fn kill_recorder(&self, options: &[&str], after: Duration) {
        let folder = folder();
        let recorder = start(&mut self.recorder(&folder.path().join("t.lockprof"), options), folder.path());
        sleep(after);
        signal(recorder.id() as i32, libc::SIGKILL);
        wait(recorder, folder.path(), LIMIT);
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        assert!(!status.contains("State:\tt"), "it was left stopped: {status}");
    }

    pub(super) fn input(&mut self) -> &mut std::process::ChildStdin {
        self.child.stdin.as_mut().expect("its input")
    }

    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("an answer");
        line
    }

    fn command(&mut self) {
        self.input().write_all(b"\n").expect("a command");
        assert_eq!(self.line(), "done\n");
    }

    /// Its input ends; what it says then.
    pub(super) fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its output");
        let code = self.child.wait().expect("its end");
        assert!(code.success(), "{code:?} {rest}");
        rest
    }

    /// The first bytes of libc's function of this name in it.
    fn code_of(&self, name: &str) -> Vec<u8> {
        let name = std::ffi::CString::new(name).expect("a name");
        // SAFETY: the name is a text with an end; the answer is an address.
        let here = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as u64;
        let address =
            here - libc_in("self").expect("the tests' libc") + libc_in(&self.pid().to_string()).expect("its libc");
        let memory = fs::File::open(format!("/proc/{}/mem", self.pid())).expect("its memory");
        let mut bytes = vec![0; 16];
        memory.read_exact_at(&mut bytes, address).expect("its code");
        bytes
    }
}

/// Where a process has libc.
fn libc_in(process: &str) -> Option<u64> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libc.so.6"))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}

/// Exactly what is done while a recorder is there is recorded, time and again; then the code is as it was.
#[test]
fn what_is_done_meanwhile_is_recorded() {
    let folder = folder();
    let mut program = Bare::start(Command::new(fixture("asleep")).arg("command"));
    program.command();
    let functions =
        ["pthread_mutex_lock", "pthread_mutex_unlock", "pthread_barrier_wait", "pthread_create", "sem_wait"];
    let before = functions.map(|name| program.code_of(name));
    for round in 0..3 {
        let trace = folder.path().join(format!("{round}.lockprof"));
        let child = start(&mut program.recorder(&trace, &[]), folder.path());
        program.until_awake();
        assert_ne!(functions.map(|name| program.code_of(name)), before);
        for _ in 0..=round {
            program.command();
        }
        signal(child.id() as i32, libc::SIGINT);
        let outcome = wait(child, folder.path(), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        assert!(!program.is_awake());
        assert_eq!(functions.map(|name| program.code_of(name)), before);
        program.command();
        let report = Report::load(&trace);
        report.assert_counted();
        for which in 0..4 {
            let lock = report.lock(&format!("locks[{which}]"), "mutex");
            assert_eq!(lock["acquisitions"], 8 * 1000 * (round + 1), "round {round}");
        }
    }
    program.end();
}

/// Eight threads lock at full tilt meanwhile, and check their own counts at the end.
fn comes_and_goes(times: u32) {
    let folder = folder();
    let program = Bare::start(Command::new(fixture("asleep")).arg("tilt"));
    for _ in 0..times {
        let trace = folder.path().join("t.lockprof");
        let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.02"]), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        Report::load(&trace).assert_counted();
    }
    program.end();
}

#[test]
fn it_comes_and_goes_at_full_tilt() {
    comes_and_goes(15);
}

#[test]
#[ignore = "takes minutes"]
fn it_comes_and_goes_two_hundred_times() {
    comes_and_goes(200);
}

/// No call that waits is interrupted by threads being stopped.
#[test]
fn no_call_is_interrupted() {
    let folder = folder();
    let program = Bare::start(Command::new(fixture("uninterrupted")).arg("5"));
    sleep(Duration::from_millis(300));
    for _ in 0..3 {
        let trace = folder.path().join("t.lockprof");
        let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.2"]), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    }
    program.end();
}

/// What stands already passes no hook any more: it is told all the same.
#[test]
fn what_stood_before_is_told() {
    let folder = folder();
    let program = Bare::start(Command::new(fixture("deadlocks")).args(["ring", "3"]));
    sleep(Duration::from_millis(300));
    let trace = folder.path().join("t.lockprof");
    let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.1"]), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let report = Report::load(&trace);
    let notes = report.notes();
    assert!(notes.iter().any(|note| note.contains("a deadlock stands") && note.contains("held by")), "{notes:?}");
}

/// A recorder may be killed at any moment, while it is brought in too.
fn killed(times: u32) {
    /// It is brought in within this time.
    const SPAN_MS: u32 = 120;
    let folder = folder();
    let mut program = Bare::start(Command::new(fixture("asleep")).arg("tilt"));
    for time in 0..times {
        if time % 4 == 3 {
            // One that does not carry the recorder yet.
            program.end();
            program = Bare::start(Command::new(fixture("asleep")).arg("tilt"));
        }
        program.kill_recorder(&[], Duration::from_millis((time * 37 % SPAN_MS).into()));
    }
    let trace = folder.path().join("t.lockprof");
    let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.1"]), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    Report::load(&trace).assert_counted();
    program.end();
}

#[test]
fn a_recorder_that_is_killed_harms_nobody() {
    killed(40);
}

#[test]
#[ignore = "takes minutes"]
fn five_hundred_recorders_that_are_killed_harm_nobody() {
    killed(500);
}

/// `lockprof top -p` does the same.
#[test]
fn top_shows_a_program_that_runs() {
    let program = Bare::start(Command::new(fixture("asleep")).arg("tilt"));
    let folder = folder();
    let pid = program.pid().to_string();
    let mut command = lockprof();
    command.args(["top", "-p", &pid, "--count", "2", "--interval", "0.3", "--format", "json"]);
    let outcome = finish(command.current_dir(folder.path()), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    // The names may come later.
    assert!(outcome.stdout.lines().count() == 2 && outcome.stdout.contains("\"mutex\""), "{}", outcome.stdout);
    program.end();
}

/// No thread ever waits in the kernel: the program opens the recorder by itself, where it takes a lock; and where it takes none,
/// or only in a signal's handler, it is left as it is.
#[test]
fn a_program_that_is_always_busy_opens_the_recorder_itself() {
    let folder = folder();
    for (how, may_be_recorded) in [("locks", true), ("none", false), ("handler", false)] {
        let mut program = Bare::start(Command::new(fixture("busy")).arg(how));
        assert_eq!(program.line(), "ready\n");
        let functions = ["pthread_mutex_lock", "pthread_mutex_trylock", "pthread_mutex_unlock", "pthread_once"];
        let before = functions.map(|name| program.code_of(name));
        for _ in 0..2 {
            let trace = folder.path().join("t.lockprof");
            let outcome = finish(&mut program.recorder(&trace, &["--duration", "0.2"]), LIMIT);
            assert_eq!(functions.map(|name| program.code_of(name)), before, "{how}");
            if may_be_recorded {
                assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
                let report = Report::load(&trace);
                report.assert_counted();
                assert!(!report.named("own[0].mutex", "mutex").is_empty(), "{}", report.overview());
            } else {
                assert_eq!(outcome.code(), 2, "{how}: {}", outcome.stderr);
                assert!(outcome.stderr.contains("try again"), "{}", outcome.stderr);
            }
        }
        signal(program.pid() as i32, libc::SIGTERM);
        assert_eq!(program.end(), "right\n", "{how}");
    }
}

/// C++'s guards are recorded as in a program that was started with the recorder.
#[test]
fn guards_of_static_variables_are_recorded() {
    let folder = folder();
    let source = folder.path().join("g.cpp");
    let text = r#"#include <stdio.h>
#include <string>
struct Slow { Slow(int n) : n(n) {} int n; };
template <int N> int once() { static Slow slow(rand() | 1); return slow.n; }
template <int N> int all() { return once<N>() + all<N - 1>(); }
template <> int all<0>() { return 0; }
int main() { std::string line; puts("ready"); fflush(stdout); getchar(); int n = all<20>(); puts("done"); fflush(stdout); getchar(); return n == 0; }
"#;
    fs::write(&source, format!("#include <stdlib.h>\n{text}")).expect("a source");
    let file = folder.path().join("g");
    let built = Command::new("c++").arg(&source).arg("-o").arg(&file).status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("SKIP: no C++ compiler");
        return;
    }
    let mut program = Bare::start(&mut Command::new(&file));
    assert_eq!(program.line(), "ready\n");
    let trace = folder.path().join("t.lockprof");
    let child = start(&mut program.recorder(&trace, &[]), folder.path());
    program.until_awake();
    program.input().write_all(b"\n").expect("a word");
    assert_eq!(program.line(), "done\n");
    signal(child.id() as i32, libc::SIGINT);
    assert_eq!(wait(child, folder.path(), LIMIT).code(), 0);
    let report = Report::load(&trace);
    report.assert_accounted();
    assert_eq!(report.named("", "once").len(), 20, "{}", report.overview());
    program.end();
}

/// Programs that cannot be attached to: why, and what to do.
#[test]
fn refusals_say_what_to_do() {
    let folder = folder();
    let refuse = |program: &Bare, words: &str| {
        let outcome =
            finish(program.recorder(&folder.path().join("t.lockprof"), &[]).current_dir(folder.path()), LIMIT);
        assert_eq!(outcome.code(), 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    };
    let traced = Bare::start(Command::new(fixture("asleep")).arg("command"));
    let tid = traced.pid() as libc::pid_t;
    // SAFETY: no memory is touched.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) }, 0);
    refuse(&traced, "is traced by process");
    let source = folder.path().join("s.c");
    fs::write(&source, "#include <unistd.h>\nint main(void) { char c; return (int)read(0, &c, 1); }\n")
        .expect("a source");
    let still = folder.path().join("still");
    let built = Command::new("cc").arg("-static").arg(&source).arg("-o").arg(&still).status();
    if built.is_ok_and(|status| status.success()) {
        refuse(&Bare::start(&mut Command::new(&still)), "is a static program");
    } else {
        eprintln!("SKIP: no static C library");
    }
}
