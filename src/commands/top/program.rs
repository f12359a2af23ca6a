//! The program that is watched: recorded in a thread of its own, its output in a log file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, anyhow};

use super::super::output::Console;
use super::super::{names, run};
use super::{Source, View};
use crate::cli::TopArgs;
use crate::exit_code::ExitCode;
use crate::live::control::ControlChannel;
use crate::live::viewer::Viewer;
use crate::model::Exit;
use crate::record::launch::Program;
use crate::record::{self, Ended, Event, Options, Output, preflight, signals};
use crate::render::style::Layout;

/// A program that runs.
pub(super) struct Watched {
    control: ControlChannel,
    /// Where its recording goes.
    trace: PathBuf,
    /// Where its output goes, if that is ours to say.
    pub log: Option<PathBuf>,
    recording: JoinHandle<anyhow::Result<record::Recorded>>,
}

impl Watched {
    /// Where recordings go, if nobody said otherwise.
    pub const OUTPUT: &str = "%e.%p.lockprof";

    /// Starts it; returns when it runs.
    pub fn start(args: &TopArgs) -> anyhow::Result<Self> {
        let program = preflight::check(&args.command)?;
        let output = args.output.clone().unwrap_or_else(|| Self::OUTPUT.into());
        run::check_writable(&output)?;
        let log = Log::create(args.log.clone().unwrap_or_else(|| "%e.%p.log".into()))?;
        let options = Options {
            no_follow: args.no_follow,
            exact: args.exact,
            interactive: true,
            output: Output::File(Arc::new(log.file)),
            ..Options::default()
        };
        signals::hold(true);
        let (control, handle) = ControlChannel::new();
        let (started, pid) = channel();
        let recording = {
            let (program, control) = (program.clone(), control.clone());
            let work = move || {
                record::record(&program, &options, (&control, handle), &mut |event| match event {
                    Event::Started(pid) => started.send(pid).unwrap_or_default(),
                    Event::Watched => names::keep_naming(&control),
                    // The screen shows them.
                    Event::Lingering(_) | Event::Hang(_) | Event::TimedOut => {}
                })
            };
            Builder::new().name("recording".to_owned()).spawn(work).context("cannot start a thread")?
        };
        let Some(pid) = pid_of(&pid) else {
            let _ = fs::remove_file(&log.temporary);
            let failed = joined(recording)?;
            return Err(failed.err().unwrap_or_else(|| anyhow!("the program did not start")));
        };
        let trace = run::expand(&output, &program, pid);
        let named = run::expand(&log.pattern, &program, pid);
        let log = if fs::rename(&log.temporary, &named).is_ok() { named } else { log.temporary };
        Ok(Self { control, trace, log: Some(log), recording })
    }

    /// Wakes a program that carries the recorder asleep; returns when it is awake.
    pub fn wake(pid: u32, args: &TopArgs) -> anyhow::Result<Self> {
        let program = Program::of_process(pid)?;
        let output = args.output.clone().unwrap_or_else(|| Self::OUTPUT.into());
        run::check_writable(&output)?;
        let trace = run::expand(&output, &program, pid);
        signals::stop_on_any();
        let (control, handle) = ControlChannel::new();
        let (started, awake) = channel();
        let recording = {
            let control = control.clone();
            let work = move || {
                record::attach(pid, None, (&control, handle), &mut |event| match event {
                    Event::Started(pid) => started.send(pid).unwrap_or_default(),
                    Event::Watched => names::keep_naming(&control),
                    // The screen shows them.
                    Event::Lingering(_) | Event::Hang(_) | Event::TimedOut => {}
                })
            };
            Builder::new().name("recording".to_owned()).spawn(work).context("cannot start a thread")?
        };
        if pid_of(&awake).is_none() {
            let failed = joined(recording)?;
            return Err(failed.err().unwrap_or_else(|| anyhow!("process {pid} did not wake")));
        }
        Ok(Self { control, trace, log: None, recording })
    }

    /// The channel to its collector.
    pub fn control(&self) -> &ControlChannel {
        &self.control
    }

    /// A view of it.
    pub fn source(&self) -> Source {
        Source { view: View::Own(Viewer::new(self.control.clone())), trace: self.trace.clone() }
    }

    /// Waits for the end of the recording and writes it.
    pub fn finish(self, console: &Console) -> anyhow::Result<Finished> {
        let recorded = joined(self.recording)??;
        let goes_on = recorded.exit.is_none() && recorded.ended.is_none();
        let mut recorded = run::finished(console, recorded);
        run::write_trace(&recorded.session, &self.trace, recorded.folder.take())?;
        Ok(Finished { recorded, goes_on, trace: self.trace, log: self.log })
    }
}

/// A recording that is over and written.
pub(super) struct Finished {
    recorded: run::Recorded,
    /// The program was left alone.
    goes_on: bool,
    trace: PathBuf,
    log: Option<PathBuf>,
}

impl Finished {
    /// How the program ended, in a few words.
    pub fn how(&self) -> String {
        match self.recorded.exit {
            _ if self.goes_on => "recorded no more".into(),
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
        }
    }

    /// What stands out.
    pub fn summary(&self, layout: &Layout, verbose: bool) -> String {
        run::summary(&self.recorded.session, &self.trace, layout, verbose)
    }

    /// Says on standard error what stands out and what became of the program; the exit code.
    pub fn report(&self, console: &Console) -> ExitCode {
        if !console.quiet() {
            console.write_stderr(&self.summary(&console.stderr_layout(), console.verbose()));
        }
        if let Some(log) = &self.log {
            console.say(&format!("what the program printed is in {}", log.display()));
        }
        if self.goes_on {
            console.say(&format!("the program (pid {}) goes on, recorded no more", self.recorded.pid));
        }
        let asked = self.goes_on || self.recorded.ended == Some(Ended::Asked);
        if asked { ExitCode::Success } else { run::code_of(self.recorded.exit) }
    }
}

fn pid_of(started: &Receiver<u32>) -> Option<u32> {
    started.recv().ok()
}

fn joined<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow!("the recording ended unexpectedly"))
}

/// A log file that gets its name when the program's process id is known.
struct Log {
    file: File,
    temporary: PathBuf,
    pattern: OsString,
}

impl Log {
    fn create(pattern: OsString) -> anyhow::Result<Self> {
        run::check_writable(&pattern)?;
        let folder = Path::new(&pattern).parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let context = || format!("cannot write to {}: name another place by --log FILE", folder.display());
        let made = tempfile::Builder::new().prefix(".lockprof-").suffix(".log").tempfile_in(folder);
        let (file, temporary) = made.with_context(context)?.keep().with_context(context)?;
        Ok(Self { file, temporary, pattern })
    }
}
