//! Runs programs, bare or under `lockprof run`, bounded in time, each in a folder of its own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::ops::{Deref, DerefMut};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Report;

/// No fixture runs for more than a second bare; the machine may be loaded.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The program under test.
pub fn lockprof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockprof"));
    // The settings of whoever runs the tests are not part of them.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOCKPROF_") {
            command.env_remove(name);
        }
    }
    command
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The exit code as a shell gives it: 128 + signal where a signal ended the program.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }
}

/// A program with its arguments, to be run bare or recorded.
#[derive(Clone)]
pub struct Target {
    command: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    options: Vec<OsString>,
    limit: Duration,
    has_rights: bool,
}

/// What a recorded run left.
pub struct Recording {
    pub outcome: Outcome,
    pub report: Report,
    pub trace: PathBuf,
    _folder: TempDir,
}

impl Target {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            command: vec![program.as_ref().into()],
            env: Vec::new(),
            options: vec!["-q".into()],
            limit: LIMIT,
            has_rights: true,
        }
    }

    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable, for lockprof and the program alike.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().into()));
        self
    }

    /// Adds an option of `lockprof run`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.into());
        self
    }

    /// Without what root may do and others may not.
    pub fn unprivileged(mut self) -> Self {
        self.has_rights = false;
        self
    }

    /// The program's own command line.
    pub fn bare_command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).envs(self.env.iter().cloned());
        command
    }

    /// The same under the recorder.
    pub fn recorded_command(&self, trace: &Path) -> Command {
        let mut command = lockprof();
        command.arg("run").args(&self.options).arg("-o").arg(trace).arg("--").args(&self.command);
        command.envs(self.env.iter().cloned());
        if !self.has_rights {
            // SAFETY: the closure makes system calls only; what the kernel does not know it refuses.
            unsafe {
                command.pre_exec(|| {
                    for right in 0..64 {
                        libc::prctl(libc::PR_CAPBSET_DROP, right, 0, 0, 0);
                    }
                    Ok(())
                })
            };
        }
        command
    }

    pub fn bare(&self) -> Outcome {
        let folder = folder();
        finish(self.bare_command().current_dir(folder.path()), self.limit)
    }

    pub fn record(&self) -> Recording {
        let folder = folder();
        let trace = folder.path().join("t.lockprof");
        let outcome = finish(self.recorded_command(&trace).current_dir(folder.path()), self.limit);
        assert!(trace.exists(), "no trace was written, {:?}\n{}", outcome.status, outcome.stderr);
        let report = Report::load(&trace);
        Recording { outcome, report, trace, _folder: folder }
    }
}

/// A folder that is gone at the end of the test; readable by others, since servers change their user.
pub fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new().prefix("lp").tempdir().expect("a folder for a test");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its permissions");
    folder
}

/// Whether the tests run as root: then servers are told to stay root.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments, touches no memory of this process and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Starts it in a process group of its own with its output going to files in `folder`.
pub fn start(command: &mut Command, folder: &Path) -> Child {
    let file = |name| File::create(folder.join(name)).expect("a file for the output");
    command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).process_group(0);
    // Shells start what runs in the background with the signals of the keyboard ignored: not what a test is about.
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            libc::signal(libc::SIGQUIT, libc::SIG_DFL);
            Ok(())
        });
    }
    command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Waits for a child of [`start`]; past the limit its whole group is killed and the test fails with what it said.
pub fn wait(mut child: Child, folder: &Path, limit: Duration) -> Outcome {
    let read = |name| String::from_utf8_lossy(&fs::read(folder.join(name)).unwrap_or_default()).into_owned();
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child's status") {
            break status;
        }
        if Instant::now() > deadline {
            signal_group(&child, libc::SIGKILL);
            let _ = child.wait();
            panic!("not ended within {limit:?}\n--- stdout\n{}\n--- stderr\n{}", read("stdout"), read("stderr"));
        }
        sleep(Duration::from_millis(2));
    };
    Outcome { status, stdout: read("stdout"), stderr: read("stderr") }
}

/// Runs a command to its end.
pub fn finish(command: &mut Command, limit: Duration) -> Outcome {
    let output = folder();
    let child = start(command, output.path());
    wait(child, output.path(), limit)
}

/// Sends a signal to one process.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: kill takes two integers and touches no memory of this process.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "no process {pid} for signal {signal}");
}

/// Sends a signal to the group that `child` leads.
pub fn signal_group(child: &Child, number: i32) {
    signal(-(i32::try_from(child.id()).expect("a process id")), number);
}

/// A program that a failed test does not leave running.
pub struct Program(pub Child);

impl Deref for Program {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already is not touched.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
