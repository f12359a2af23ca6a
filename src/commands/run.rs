//! `lockprof run`: records a program, writes one trace, says what stands out.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::hangs::Hangs;

use super::names;
use super::output::Console;
use super::past::keep_past;
use crate::analysis::contention::{Contention, GroupBy, Query};
use crate::analysis::findings;
use crate::cli::RunArgs;
use crate::exit_code::ExitCode;
use crate::ingest::file;
use crate::live::control::{CollectorHandle, ControlChannel};
use crate::model::{Coverage, Exit, Overhead, Session};
use crate::record::cost::Measuring;
use crate::record::folder::Folder;
use crate::record::launch::Program;
use crate::record::{self, Ended, Event, Options, Output, preflight, recover, shim};
use crate::render::style::Layout;
use crate::render::text;
use crate::render::units::duration;
use crate::symbols;

pub(super) fn run(console: &Console, args: &RunArgs) -> anyhow::Result<ExitCode> {
    if args.duration.is_some() && args.pid.is_none() {
        bail!(
            "--duration goes with --pid: a program that is started here is recorded until it ends (--timeout ends it)"
        );
    }
    let pattern = args.output.clone().unwrap_or_else(|| "%e.%p.lockprof".into());
    let program = match args.pid {
        Some(pid) => Program::of_process(pid)?,
        None => preflight::check(&args.command)?,
    };
    check_writable(&pattern)?;
    let options = Options {
        no_follow: args.no_follow,
        exact: args.exact,
        counters: args.counters,
        timeout: args.timeout,
        output: if is_stdout(&pattern) { Output::ToStderr } else { Output::Own },
        ..Options::default()
    };
    let Recorded { session, exit, pid, folder, .. } = match args.pid {
        Some(pid) => {
            keep_past(console, pid)?;
            let found = super::look::found(console, pid);
            let mut recorded =
                named(console, &options, |control, report| record::attach(pid, args.duration, control, report))?;
            recorded.session.coverage.notes.extend(found);
            recorded
        }
        None => session_of(console, &program, &options)?,
    };
    let path = expand(&pattern, &program, pid);
    let written = write_trace(&session, &path, folder);
    if let Err(error) = &written {
        console.error(&error.to_string());
    }
    if !console.quiet() {
        console.write_stderr(&summary(&session, &path, &console.stderr_layout(), console.verbose()));
        super::missing_names::say(console, &session, Some(&path));
    }
    Ok(match code_of(exit) {
        // What the program says of itself comes first, where it says that something is wrong.
        ExitCode::Program(0) if written.is_err() => ExitCode::Failure,
        code => code,
    })
}

/// Writes a recording where it belongs. Where that cannot be, it is kept for `lockprof recover`.
pub(super) fn write_trace(session: &Session, path: &Path, folder: Option<Folder>) -> anyhow::Result<()> {
    if is_stdout(path.as_os_str()) {
        return super::output::write_trace(session);
    }
    let Err(error) = file::write_to_path(session, path) else { return Ok(()) };
    match folder.map(|folder| folder.keep(session)) {
        Some(Ok(kept)) => bail!(
            "{error}; it is not lost: `lockprof recover` writes it later, from {}, which is gone after a restart",
            kept.display()
        ),
        _ => Err(error.into()),
    }
}

/// Whether this names standard output.
fn is_stdout(name: &OsStr) -> bool {
    name == "-"
}

/// What stands out in a recording that was written to `path`.
pub(super) fn summary(session: &Session, path: &Path, layout: &Layout, verbose: bool) -> String {
    let contention = Contention::of(session, &Query { by: GroupBy::Class, lone_locks: true, ..Query::default() });
    let options = text::SummaryOptions { layout: *layout, verbose };
    let findings = findings::find(session);
    let name = if is_stdout(path.as_os_str()) { "FILE".to_owned() } else { path.display().to_string() };
    text::summary(session, &contention, &findings, &name, &options)
}

/// The program's own exit code.
pub(super) fn code_of(exit: Exit) -> ExitCode {
    match exit {
        Exit::Code(code) => ExitCode::Program(code as u8),
        Exit::Signal(signal) => ExitCode::Signal(signal as u8),
    }
}

/// A program's recording with all names.
pub(super) struct Recorded {
    pub session: Session,
    /// How the command ended, and its process id.
    pub exit: Exit,
    pub pid: u32,
    /// Why it was ended; `None` where it ended by itself.
    pub ended: Option<Ended>,
    /// What the recording was made in, to be dropped when it is written.
    pub folder: Option<Folder>,
}

/// Records a program and gives everything its name. What happens meanwhile is reported on standard error.
pub(super) fn session_of(console: &Console, program: &Program, options: &Options) -> anyhow::Result<Recorded> {
    named(console, options, |control, report| {
        let mut recorded = record::record(program, options, control, report)?;
        if options.workload.is_some() {
            // This executable has locks of Rust's, but its workload takes libc's only.
            recorded.collected.loaded.clear();
        }
        Ok(recorded)
    })
}

fn named(
    console: &Console,
    options: &Options,
    record: impl FnOnce((&ControlChannel, CollectorHandle), &mut dyn FnMut(Event)) -> anyhow::Result<record::Recorded>,
) -> anyhow::Result<Recorded> {
    if !console.quiet() {
        shim::passed_over().iter().for_each(|why| console.say(why));
        for left in recover::unsaid() {
            console.say(&format!(
                "{} holds a recording whose recorder was killed: `lockprof recover` writes it",
                left.display()
            ));
        }
    }
    let mut hangs = Hangs::new(console, options.on_hang);
    let (control, handle) = ControlChannel::new();
    let recorded = record((&control, handle), &mut |event| match event {
        Event::Started(_) => {}
        Event::Watched => names::keep_naming(&control),
        Event::Lingering(processes) => console.say(&format!(
            "the command has ended, but {processes} of its processes go on and are recorded; Ctrl-C ends the recording"
        )),
        Event::TimedOut => {
            let limit = options.timeout.map_or(0, |timeout| timeout.as_nanos() as u64);
            console.say(&format!("the time of {} is over: the program is being ended", duration(limit)));
        }
        Event::Hang(hang) => hangs.report(*hang),
    });
    hangs.finish();
    Ok(finished(console, recorded?))
}

/// A recording that is over, with all names.
pub(super) fn finished(console: &Console, recorded: record::Recorded) -> Recorded {
    let record::Recorded { collected, exit, pid, ended, folder } = recorded;
    let exit = exit.unwrap_or(Exit::Code(0));
    let mut session = collected.session;
    // What a trampoline of Go costs is not measured here.
    let is_of_libc = collected.files.is_empty();
    let measuring = (session.coverage.acquisitions > 0 && is_of_libc).then(Measuring::begin);
    names::name(console, &mut session, &collected.data_addresses, &collected.files);
    session.coverage.notes.extend(symbols::own_locks::unseen(&session, &collected.loaded));
    if let Some(measuring) = measuring {
        session.overhead = overhead(&session, measuring);
    } else if session.coverage.acquisitions == 0 && is_of_libc {
        session.coverage.notes.extend(why_nothing_seen(&session, folder.is_some()));
    }
    for note in forbidden(&session, pid) {
        console.say(&note);
        session.coverage.notes.push(note);
    }
    let (checked, wrong) = collected.oracle;
    if checked + wrong > 0 {
        session.coverage.notes.push(format!("oracle: {checked} stacks checked, {wrong} wrong"));
    }
    Recorded { session, exit, pid, ended, folder }
}

/// The processes that a system call filter ended.
fn forbidden(session: &Session, pid: u32) -> Vec<String> {
    const SIGSYS: Exit = Exit::Signal(31);
    let mut pids: Vec<u32> =
        session.processes.iter().filter(|process| process.exit == Some(SIGSYS)).map(|process| process.pid).collect();
    if pids.is_empty() && session.meta.exit == Some(SIGSYS) {
        pids.push(pid);
    }
    let say = |pid: &u32| {
        format!(
            "process {pid} was ended by SIGSYS: a sandbox (system call filter) forbids a call; if the program runs \
             without lockprof, it is one that the recorder makes: let the filter allow mmap, mprotect, madvise, mincore, \
             openat, ftruncate, getpid, gettid and rt_sigprocmask (docs/recording.md says which are needed when), or \
             record the program without its sandbox"
        )
    };
    pids.iter().map(say).collect()
}

/// Why a program that ran showed no lock at all, where nothing else says so. `from_start`: it was started here.
fn why_nothing_seen(session: &Session, from_start: bool) -> Option<String> {
    if session.coverage.not_seen().next().is_some() {
        return None;
    }
    Some(if from_start && session.processes.is_empty() {
        Coverage::in_part(
            "the recorder was never loaded into the program: the loader did not preload it (what it says about that is on \
             standard error), or it found no memory or no file there that it may use (limits, a sandbox, a namespace)",
        )
    } else {
        let reason = "it called no pthread, C11 or semaphore function that takes a lock";
        let when = if from_start { "" } else { " in that time" };
        format!("{}{reason}{when}.", Coverage::NOTHING_SEEN)
    })
}

/// The cost of a pair, as measured here, and what it comes to.
fn overhead(session: &Session, measuring: Measuring) -> Overhead {
    let Some(ns_per_pair) = measuring.ns_per_pair() else { return Overhead::default() };
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let cpu_ns = session.counters.task_clock_ns.unwrap_or(session.meta.duration_ns * cores).max(1);
    let share_of_runtime = (ns_per_pair * session.coverage.acquisitions as f64 / cpu_ns as f64).min(1.0);
    Overhead { ns_per_pair, share_of_runtime }
}

/// Fails before the program is started if the recording could not be written afterwards.
pub(super) fn check_writable(pattern: &OsStr) -> anyhow::Result<()> {
    let path = Path::new(pattern);
    if is_stdout(pattern) {
        return Ok(());
    }
    if path.file_name().is_none() || path.is_dir() {
        bail!("-o {} names a folder: name a file", path.display());
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.exists() {
        // A device or a file of before: it will be replaced or written to.
        return Ok(());
    }
    tempfile::Builder::new()
        .prefix(".lockprof-")
        .tempfile_in(folder)
        .map(|_| ())
        .with_context(|| format!("cannot write to {}: name another place by -o FILE", folder.display()))
}

/// `%e`: the executable's name, `%p`: its process id, `%t`: the time in seconds, `%%`: a percent sign.
pub(super) fn expand(pattern: &OsString, program: &Program, pid: u32) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let name = program.path.file_name().unwrap_or_default().as_bytes();
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut out = Vec::new();
    let mut bytes = pattern.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'e') => out.extend_from_slice(name),
            Some(b'p') => out.extend_from_slice(pid.to_string().as_bytes()),
            Some(b't') => out.extend_from_slice(time.to_string().as_bytes()),
            Some(b'%') => out.push(b'%'),
            Some(other) => out.extend_from_slice(&[b'%', *other]),
            None => out.push(b'%'),
        }
    }
    PathBuf::from(OsString::from_vec(out))
}
