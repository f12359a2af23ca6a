//! Starts the program as a shell would, with the shim in its environment, and waits for it.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use lockprof_wire::{ENV_FORBIDS, ENV_OPTIONS, ENV_SESSION, FORBIDS_NOTHING, option};

use super::counters::Running;
use super::execs::Execs;
use super::inline::{self, InlineError, Recipe, Tracee};
use super::limits::Limits;
use super::{Options, Output, process_tree, sanitizer, signals, standard};
use crate::ingest::go::Patched;
use crate::ingest::tasks;
use crate::model::{Counters, Exit};

/// What to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its name as the user wrote it, and its arguments.
    pub command: Vec<OsString>,
}

impl Program {
    /// The program of a running process.
    ///
    /// # Errors
    /// Where there is no such process, or it is another user's.
    pub fn of_process(pid: u32) -> anyhow::Result<Self> {
        let path = std::fs::read_link(tasks::folder(pid).join("exe")).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!("there is no process {pid}"),
            _ => anyhow!("process {pid} cannot be looked at ({error}): it is another user's"),
        })?;
        Ok(Self { command: vec![path.clone().into_os_string()], path })
    }

    /// The command for people.
    pub fn words(&self) -> Vec<String> {
        self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }
}

/// A program about to be started.
pub struct Launch<'a> {
    /// What to run.
    pub program: &'a Program,
    /// The session's folder, for the shared memory.
    pub folder: &'a Path,
    /// The library to preload.
    pub shim: &'a Path,
    /// How to record.
    pub options: &'a Options,
    /// What it is allowed.
    pub limits: Limits,
    /// How it is patched, if it is a program of Go or Rust.
    pub recipe: Option<Recipe>,
    /// Where it announces that it starts other programs.
    pub follow: Option<PathBuf>,
}

/// A started program.
pub struct Started {
    child: Child,
    process: Option<OwnedFd>,
    may_have_ended: Cell<bool>,
    read_counters: Sender<()>,
    counters: Receiver<Counters>,
    started: SystemTime,
    /// What its processes became.
    pub execs: Execs,
    /// What it writes, if it was patched.
    pub patched: Option<Patched>,
}

impl Launch<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// Where the kernel refuses to.
    pub fn start(self) -> anyhow::Result<Started> {
        let mut command = Command::new(&self.program.path);
        command.arg0(&self.program.command[0]).args(&self.program.command[1..]);
        command.env("LD_PRELOAD", preload(self.shim)).env(ENV_SESSION, self.folder);
        if let Some(options) = sanitizer::options(&self.program.path) {
            command.env(sanitizer::VARIABLE, options);
        }
        if let Some(workload) = self.options.workload {
            command.env(workload, "1");
        }
        let given: &[i32] = match &self.options.output {
            Output::Own => &[],
            Output::ToStderr => {
                let own = std::io::stderr().as_fd().try_clone_to_owned().context("cannot use standard error twice")?;
                command.stdout(own);
                &[libc::STDOUT_FILENO]
            }
            Output::File(file) => {
                let twice = || file.try_clone().context("cannot use the log file twice");
                command.stdin(Stdio::null()).stdout(twice()?).stderr(twice()?);
                &[libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO]
            }
        };
        let mut options = Vec::new();
        if self.options.no_follow {
            options.push(option::NO_FOLLOW);
        }
        if self.options.exact {
            options.push(option::EXACT);
        }
        if options.is_empty() {
            command.env_remove(ENV_OPTIONS);
        } else {
            command.env(ENV_OPTIONS, String::from_utf8_lossy(&options).as_ref());
        }
        command.env(ENV_FORBIDS, FORBIDS_NOTHING);
        self.limits.give_to(&mut command);
        let inherited = signals::inherited();
        let restore = move || {
            inherited.restore();
            standard::close_again(given);
            Ok(())
        };
        // SAFETY: the closure makes system calls only.
        unsafe { command.pre_exec(restore) };
        let path = std::fs::canonicalize(&self.program.path).unwrap_or_else(|_| self.program.path.clone());
        let path = path.display().to_string();
        let (recipe, follow) = (self.recipe, self.follow);
        let has_to_stop = recipe.as_ref().is_some_and(Recipe::is_needed);
        if let Some(recipe) = &recipe {
            let is_needed = recipe.is_needed();
            let allow = move || inline::allow().or_else(|error| if is_needed { Err(error) } else { Ok(()) });
            // SAFETY: the closure makes one system call.
            unsafe { command.pre_exec(allow) };
        }
        let (read_counters, asked) = channel();
        let (answer, counters) = channel();
        let (started_in_thread, started) = channel();
        let with_events = self.options.counters;
        let mut execs = Execs::watch();
        // Events are inherited from the thread that starts the program, so that thread does nothing else.
        std::thread::Builder::new()
            .name("launch".to_owned())
            .spawn(move || {
                let mut running = Running::start(with_events);
                let child = command.spawn().map_err(anyhow::Error::from);
                let child = child.and_then(|child| patch(child, recipe.as_ref(), &path, follow.as_deref()));
                if started_in_thread.send(child).is_ok() && asked.recv().is_ok() {
                    let _ = answer.send(running.read());
                }
            })
            .context("cannot start a thread: the limit of processes (ulimit -u, or the container's) is reached")?;
        let child = started.recv().map_err(|_| anyhow!("the launching thread ended early"))?;
        let name = self.program.path.display();
        let (child, patched) = child.map_err(|error| match inline::may_stop_children() {
            Err(why) if has_to_stop => {
                let why = inline::stop_refused(&why);
                error.context(format!("{name} cannot be recorded: {why}: {}", inline::LET_STOP))
            }
            _ => error.context(format!("cannot start {name}")),
        })?;
        execs.follow(child.id());
        signals::hand_on_to(child.id());
        // SAFETY: `pidfd_open` takes a process id and flags.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        // SAFETY: the kernel gave us this descriptor.
        let process = (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) });
        let may_have_ended = Cell::new(true);
        Ok(Started {
            child,
            process,
            may_have_ended,
            read_counters,
            counters,
            started: SystemTime::now(),
            execs,
            patched,
        })
    }
}

/// Patches the program, which stops at its exec for that. One that cannot be patched is ended where nothing of it would be
/// seen.
fn patch(
    mut child: Child,
    recipe: Option<&Recipe>,
    path: &str,
    follow: Option<&Path>,
) -> anyhow::Result<(Child, Option<Patched>)> {
    let Some(recipe) = recipe else { return Ok((child, None)) };
    if !recipe.is_needed() && !inline::is_traced(child.id()) {
        return Ok((child, None));
    }
    let tracee = Tracee::at_exec(child.id() as i32).map_err(InlineError::from);
    let patched = tracee.and_then(|tracee| {
        let patched = recipe.apply(&tracee, path, follow);
        tracee.detach()?;
        patched
    });
    match patched {
        Ok(patched) => Ok((child, Some(patched))),
        // What its own locks are about is told as for any program that brings some.
        Err(_) if !recipe.is_needed() => Ok((child, None)),
        Err(error) => {
            child.kill().and_then(|()| child.wait())?;
            Err(error.into())
        }
    }
}

/// What the user preloads already, then the shim: a library of the user's that stands before the same
/// functions then sees every call of the program, and the shim sees what it hands on.
pub fn preload(shim: &Path) -> OsString {
    let mut list = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    if !list.is_empty() {
        list.push(OsStr::new(":"));
    }
    list.push(shim);
    list
}

impl Started {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it may have ended: its name can be read until [`ended`](Self::ended) was asked.
    pub fn may_have_ended(&self) -> bool {
        self.process.is_none() || self.may_have_ended.get()
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> io::Result<Option<Exit>> {
        if !process_tree::has_exited(self.child.id()) {
            return Ok(None);
        }
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        signals::child_ended();
        Ok(Some(match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(0)),
        }))
    }

    /// Sleeps, but not beyond the program's end.
    pub fn wait_at_most(&self, time: Duration, running: bool) {
        let process = self.process.as_ref().filter(|_| running);
        let Some(process) = process else { return std::thread::sleep(time) };
        let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one `pollfd` is passed.
        let ready = unsafe { libc::poll(&raw mut poll, 1, time.as_millis() as i32) };
        self.may_have_ended.set(ready != 0);
    }

    /// The kernel's counters so far.
    pub fn counters(&self) -> Counters {
        let asked = self.read_counters.send(()).is_ok();
        if asked { self.counters.recv().unwrap_or_default() } else { Counters::default() }
    }

    /// When it was started.
    pub fn started(&self) -> SystemTime {
        self.started
    }
}

/// Lets the calling thread, the collector, wait for a free processor instead of interrupting the program each
/// time that it wakes up. Call after the start: the program would inherit it.
pub fn yield_to_program() {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are valid; the worst answer is that nothing changes.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const normal) };
}

/// The machine, for people.
pub fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Linux {} {}, {cores} cores", read("/proc/sys/kernel/osrelease"), std::env::consts::ARCH)
}
