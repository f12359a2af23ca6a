//! Runs a program under the recorder: what happens before the start, while it runs and when it ends.
//!
//! Deliberately not here: what the records mean (`ingest`) and what is shown (`render`).

pub mod cost;
pub mod counters;
pub mod demo;
pub mod family;
pub mod folder;
pub mod launch;
pub mod preflight;
pub mod shim;

use std::time::{Duration, Instant};

use crate::ingest::live::{Collected, Collector};
use crate::model::Exit;
use launch::{Launch, Program};

/// How to record.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Record only the program itself, not what it starts.
    pub no_follow: bool,
    /// Never try a lock before waiting for it.
    pub exact: bool,
    /// A variable that makes the CLI itself be the program: one of its built-in workloads.
    pub workload: Option<&'static str>,
}

/// A recording, not symbolised yet.
pub struct Recorded {
    /// What was collected.
    pub collected: Collected,
    /// How the command ended.
    pub exit: Exit,
    /// Its process id.
    pub pid: u32,
}

/// Processes that outlive the command for less than this are not worth a word.
const GRACE: Duration = Duration::from_millis(300);

/// Runs a program to its end (and its descendants to theirs, unless interrupted) and collects what it does.
/// `lingering` is told once how many processes go on when the command itself has ended.
///
/// # Errors
/// Where there is no place for the shared memory or the shim, or the program cannot be started.
pub fn record(program: &Program, options: &Options, lingering: impl FnOnce(usize)) -> anyhow::Result<Recorded> {
    let folder = folder::Folder::new()?;
    let shim = shim::install()?;
    let mut collector = Collector::new(folder.path());
    collector.session.coverage.notes.extend(folder.note());
    let mut child = Launch { program, folder: folder.path(), shim: &shim, options }.start()?;
    launch::yield_to_program();
    let mut lingering = Some(lingering);
    let mut exit = None;
    let mut pause = Pause::default();
    let mut told = Instant::now();
    loop {
        let tick = collector.tick();
        if exit.is_none() {
            exit = child.ended()?;
        } else {
            // A process that was forked attaches only when it takes a lock: until then its memory tells.
            let lingers = if options.no_follow { 0 } else { tick.alive.max(family::members(folder.path())) };
            if lingers == 0 || child.interrupted() {
                break;
            }
            if told.elapsed() > GRACE
                && let Some(tell) = lingering.take()
            {
                tell(lingers);
            }
        }
        if exit.is_none() {
            told = Instant::now();
        }
        child.wait_at_most(pause.after(tick.fullest), exit.is_none());
    }
    let mut collected = collector.finish();
    collected.session.counters = child.counters();
    let exit = exit.unwrap_or(Exit::Code(0));
    let pid = child.pid();
    let session = &mut collected.session;
    session.meta.exit = Some(exit);
    session.meta.command = program.words();
    session.meta.version = env!("CARGO_PKG_VERSION").to_owned();
    session.meta.started_unix_ns = child.started_unix_ns();
    session.meta.host = launch::host();
    for process in session.processes.iter_mut().filter(|process| process.pid == pid) {
        // The last image of the command's process is the one that ended so; earlier ones went over into it.
        process.exit = Some(exit);
    }
    Ok(Recorded { collected, exit, pid })
}

/// How long to wait between two looks at the rings: shorter the fuller they were.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Self::LONGEST)
    }
}

impl Pause {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(50);

    fn after(&mut self, fullest: f64) -> Duration {
        self.0 = match fullest {
            f if f > 0.5 => Self::SHORTEST,
            f if f > 0.2 => (self.0 / 2).max(Self::SHORTEST),
            f if f < 0.05 => (self.0 * 2).min(Self::LONGEST),
            _ => self.0,
        };
        self.0
    }
}
