//! A program that carries the shim asleep: woken by `lockprof run -p`, and put to sleep again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::util::run::{LIMIT, Program, finish, folder, is_root, signal, start, wait};
use crate::util::{Outcome, Report, fixture, lockprof};

/// A program with the shim asleep, and the folder that it can be woken in.
struct Sleeper {
    child: Program,
    input: Option<ChildStdin>,
}

impl Sleeper {
    fn start(mode: &str) -> Self {
        Self::of(Command::new(fixture("asleep")).arg(mode))
    }

    /// Of a user who is not the recorder's; only root may record it.
    fn of_another_user(mode: &str) -> Option<Self> {
        const NOBODY: u32 = 65534;
        if !is_root() {
            eprintln!("SKIP: only root records another user's program");
            return None;
        }
        Some(Self::of(Command::new(fixture("asleep")).arg(mode).uid(NOBODY).gid(NOBODY)))
    }

    fn of(command: &mut Command) -> Self {
        let shim = finish(lockprof().args(["shim", "--path"]), LIMIT).stdout;
        let command = command.env("LD_PRELOAD", shim.trim_end()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Program(command.spawn().expect("the program"));
        let sleeper = Self { input: child.stdin.take(), child };
        let is_asleep = |page: Vec<u8>| page.first().is_some_and(|asleep| *asleep != 0);
        sleeper.until("asleep", |_| fs::read(sleeper.folder().join("control")).is_ok_and(is_asleep));
        sleeper
    }

    fn folder(&self) -> PathBuf {
        folder_of(&self.child.id().to_string())
    }

    fn is_awake(&self) -> bool {
        fs::read(self.folder().join("control")).is_ok_and(|page| page.starts_with(&[0; 4]))
    }

    fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < LIMIT, "the program never was {what}");
            sleep(Duration::from_millis(2));
        }
    }

    /// `lockprof run -p`, with the option.
    fn recorder(&self, trace: &Path, options: &[&str]) -> Command {
        let mut command = lockprof();
        command.args(["run", "-q", "-p", &self.child.id().to_string(), "-o"]).arg(trace).args(options);
        command
    }

    fn command(&mut self) {
        self.input.as_mut().expect("its input").write_all(b"\n").expect("a command");
        let mut line = String::new();
        let mut byte = BufReader::with_capacity(1, self.child.stdout.as_mut().expect("its output"));
        byte.read_line(&mut line).expect("an answer");
        assert_eq!(line, "done\n");
    }

    fn end(mut self) {
        let folder = self.folder();
        self.input = None;
        let code = self.child.wait().expect("its end");
        assert!(code.success(), "{code:?}");
        assert!(!folder.exists(), "{} is left behind", folder.display());
    }
}

/// Where a process can be woken.
fn folder_of(pid: &str) -> PathBuf {
    let namespace = fs::metadata("/proc/self/ns/pid").expect("the tests' process-id namespace").ino();
    PathBuf::from(format!("/dev/shm/lockprof-{pid}-{namespace}-asleep"))
}

/// Exactly what is done while it is awake is recorded, time and again; the locks are the same ones.
#[test]
fn what_is_done_awake_is_recorded() {
    let folder = folder();
    let mut sleeper = Sleeper::start("command");
    for round in 0..4 {
        sleeper.command();
        let trace = folder.path().join(format!("{round}.lockprof"));
        let child = start(&mut sleeper.recorder(&trace, &[]), folder.path());
        sleeper.until("awake", Sleeper::is_awake);
        for _ in 0..=round {
            sleeper.command();
        }
        signal(child.id() as i32, libc::SIGINT);
        let outcome = wait(child, folder.path(), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        assert!(!sleeper.is_awake());
        sleeper.command();
        let report = Report::load(&trace);
        report.assert_accounted();
        let of_the_locks = |name: &str| report.lock(name, "mutex")["acquisitions"].as_u64().unwrap_or(0);
        for which in 0..4 {
            assert_eq!(of_the_locks(&format!("locks[{which}]")), 8 * 1000 * (round + 1), "round {round}");
        }
    }
    sleeper.end();
}

/// A script starts what it puts in the background with the keyboard's signals ignored: `kill -INT` is meant all the same.
#[test]
fn a_background_job_of_a_script_is_ended_by_kill() {
    let folder = folder();
    let mut sleeper = Sleeper::start("command");
    for number in [libc::SIGINT, libc::SIGQUIT] {
        let trace = folder.path().join(format!("{number}.lockprof"));
        let recorder = sleeper.recorder(&trace, &[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' INT QUIT; exec \"$@\"", "sh"]).arg(recorder.get_program());
        shell.args(recorder.get_args());
        let child = start(&mut shell, folder.path());
        sleeper.until("awake", Sleeper::is_awake);
        sleeper.command();
        signal(child.id() as i32, number);
        let outcome = wait(child, folder.path(), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let report = Report::load(&trace);
        report.assert_accounted();
        assert_eq!(report.lock("locks[0]", "mutex")["acquisitions"], 8000);
    }
    sleeper.end();
}

/// Woken and put to sleep while eight threads lock at full tilt.
fn wakes(times: u32) {
    let folder = folder();
    let sleeper = Sleeper::start("tilt");
    for _ in 0..times {
        let trace = folder.path().join("t.lockprof");
        let outcome = finish(&mut sleeper.recorder(&trace, &["--duration", "0.02"]), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let report = Report::load(&trace);
        report.assert_counted();
    }
    sleeper.end();
}

/// Eight threads are the first to use locks after the first wake: what seven do while one makes the segment counts.
#[test]
fn the_first_wake_loses_nothing() {
    let folder = folder();
    for _ in 0..10 {
        let mut sleeper = Sleeper::start("first");
        let trace = folder.path().join("t.lockprof");
        let child = start(&mut sleeper.recorder(&trace, &[]), folder.path());
        sleeper.until("awake", Sleeper::is_awake);
        sleeper.input.take().expect("its input").write_all(b"\n").expect("a command");
        assert!(sleeper.child.wait().expect("its end").success());
        let outcome = wait(child, folder.path(), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let report = Report::load(&trace);
        report.assert_counted();
        // Eight joins come in addition.
        assert_eq!(report.coverage("acquisitions"), 8 * 4 * 1000 + 8, "{}", report.overview());
    }
}

#[test]
fn waking_loses_nothing() {
    wakes(40);
}

#[test]
#[ignore = "takes minutes"]
fn waking_a_thousand_times_loses_nothing() {
    wakes(1000);
}

/// A child of a fork is asleep by itself: its parent's recorder does not mean it, and it outlives its parent.
#[test]
fn forked_children_sleep_for_themselves() {
    let program = fixture("asleep");
    let sleeper = Sleeper::of(
        Command::new("sh").arg("-c").arg(format!("exec 3<&0; '{}' command <&3 & exec 3<&-; wait", program.display())),
    );
    // The shell does not lock; what it starts has a page of its own, whether it was forked or is another program.
    let children = format!("/proc/{0}/task/{0}/children", sleeper.child.id());
    let mut pid = String::new();
    sleeper.until("a parent", |_| {
        pid = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        !pid.is_empty() && folder_of(&pid).join("control").is_file()
    });
    drop(sleeper.input);
    let mut child = sleeper.child;
    child.wait().expect("its end");
    let gone = folder_of(&pid);
    let begin = Instant::now();
    while gone.exists() {
        assert!(begin.elapsed() < LIMIT, "{} is left behind", gone.display());
        sleep(Duration::from_millis(2));
    }
}

/// Who cannot be woken, and why.
#[test]
fn refusals_say_what_to_do() {
    let folder = folder();
    let refuse = |command: &mut Command, words: &str| {
        let outcome = finish(command.current_dir(folder.path()), LIMIT);
        assert_eq!(outcome.code(), 2, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    };
    refuse(lockprof().args(["run", "-p", "4194305"]), "there is no process 4194305");
    let own = std::process::id().to_string();
    refuse(lockprof().args(["run", "-p", &own, "--exact"]), "cannot be used with");
    refuse(lockprof().args(["run", "--duration", "1", "true"]), "--pid");
    let sleeper = Sleeper::start("tilt");
    let first = start(&mut sleeper.recorder(&folder.path().join("a.lockprof"), &[]), folder.path());
    sleeper.until("awake", Sleeper::is_awake);
    refuse(&mut sleeper.recorder(&folder.path().join("b.lockprof"), &[]), "by another lockprof already");
    signal(first.id() as i32, libc::SIGTERM);
    assert_eq!(wait(first, folder.path(), LIMIT).code(), 0);
    sleeper.end();
}

/// A recorder that is killed leaves the program awake; the next one goes on, and is right. What the first one had recorded is
/// kept, and said.
#[test]
fn a_killed_recorder_is_replaced() {
    replaced(Sleeper::start("command"));
}

#[test]
fn a_killed_recorder_of_another_users_program_is_replaced() {
    if let Some(sleeper) = Sleeper::of_another_user("command") {
        replaced(sleeper);
    }
}

fn replaced(mut sleeper: Sleeper) {
    let (folder, place) = (folder(), self::folder());
    let trace = folder.path().join("t.lockprof");
    killed(&mut sleeper, &trace);
    let mut command = lockprof();
    command.args(["run", "-p", &sleeper.child.id().to_string(), "-o"]).arg(&trace).env("LOCKPROF_SHM", place.path());
    let child = start(&mut command, folder.path());
    // It is awake from before; the second recorder has emptied it when it says so in the number of wakes.
    let wakes = |sleeper: &Sleeper| fs::read(sleeper.folder().join("control")).map_or(0, |page| page[16]);
    sleeper.until("woken again", |sleeper| wakes(sleeper) == 2 && sleeper.is_awake());
    sleeper.command();
    signal(child.id() as i32, libc::SIGINT);
    let outcome = wait(child, folder.path(), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`lockprof recover` writes what it had recorded"), "{}", outcome.stderr);
    let report = Report::load(&trace);
    report.assert_accounted();
    assert_eq!(report.lock("locks[0]", "mutex")["acquisitions"], 8000);
    recovered(place.path(), folder.path());
    sleeper.end();
}

/// What a killed recorder left in a program that still runs is there for `lockprof recover`, and the program sleeps again.
#[test]
fn what_a_killed_recorder_left_in_a_living_program() {
    left_behind(Sleeper::start("command"));
}

#[test]
fn what_a_killed_recorder_left_in_another_users_program() {
    if let Some(sleeper) = Sleeper::of_another_user("command") {
        left_behind(sleeper);
    }
}

fn left_behind(mut sleeper: Sleeper) {
    let folder = folder();
    killed(&mut sleeper, &folder.path().join("t.lockprof"));
    let at = sleeper.folder();
    let list = finish(lockprof().args(["recover", "--list"]).arg(&at), LIMIT);
    assert!(list.stdout.contains(&at.display().to_string()) && sleeper.is_awake(), "{list:?}");
    let outcome = recovered(&at, folder.path());
    assert!(outcome.stderr.contains(&format!("lockprof run -p {}", sleeper.child.id())), "{}", outcome.stderr);
    assert!(!sleeper.is_awake());
    let again = finish(lockprof().arg("recover").arg(&at), LIMIT);
    assert!(again.stderr.contains("nothing to recover"), "{}", again.stderr);
    sleeper.command();
    sleeper.end();
}

/// The program's user may put links into its folder, and the recorder may be root's: what they lead to stays as it is.
#[test]
fn links_in_the_folder_are_not_written_through() {
    let folder = folder();
    let mut sleeper = Sleeper::start("command");
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").expect("a file");
    for name in ["read.new", "spare.128"] {
        symlink(&precious, sleeper.folder().join(name)).expect("a link");
    }
    let trace = folder.path().join("t.lockprof");
    let child = start(&mut sleeper.recorder(&trace, &[]), folder.path());
    sleeper.until("awake", Sleeper::is_awake);
    sleeper.command();
    // Copies are made every 200 ms.
    sleeper.until("copied", |sleeper| sleeper.folder().join("read.so-far").exists());
    signal(child.id() as i32, libc::SIGINT);
    assert_eq!(wait(child, folder.path(), LIMIT).code(), 0);
    assert_eq!(fs::read_to_string(&precious).expect("a file"), "precious");
    sleeper.end();
}

/// Recorded twice, and in between its recorder was killed.
fn killed(sleeper: &mut Sleeper, trace: &Path) {
    let folder = folder();
    let killed = start(&mut sleeper.recorder(trace, &[]), folder.path());
    sleeper.until("awake", Sleeper::is_awake);
    sleeper.command();
    signal(killed.id() as i32, libc::SIGKILL);
    wait(killed, folder.path(), LIMIT);
    sleeper.command();
}

/// Both are in what is recovered, from here or there: read by the recorder or not.
fn recovered(place: &Path, into: &Path) -> Outcome {
    let trace = into.join("recovered.lockprof");
    let outcome = finish(lockprof().arg("recover").arg(place).arg("-o").arg(&trace), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let report = Report::load(&trace);
    /// Of four locks, in both parts.
    const ALL: u64 = 4 * 16_000;
    /// The barriers' part of what is lost, at most.
    const BARRIERS: u64 = 100;
    let of_mutexes = report.locks().iter().filter(|lock| lock["kind"] == "mutex");
    let seen: u64 = of_mutexes.filter_map(|lock| lock["acquisitions"].as_u64()).sum();
    let all = seen + report.coverage("lost");
    assert!(seen <= ALL && (ALL..=ALL + BARRIERS).contains(&all), "{seen} {all} {}", report.overview());
    assert_eq!(report.0["coverage"]["complete"], false);
    outcome
}
