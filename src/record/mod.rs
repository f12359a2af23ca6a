//! Runs a program under the recorder: what happens before the start, while it runs and when it ends.
//!
//! Deliberately not here: what the records mean (`ingest`) and what is shown (`render`).

pub mod attach;
pub mod cargo;
mod checkpoint;
mod contents;
pub mod cost;
pub mod counters;
pub mod demo;
mod directory;
mod ending;
pub mod execs;
pub mod folder;
mod follow;
pub mod go;
pub mod inject;
pub mod inline;
pub mod launch;
mod leftover;
pub mod limits;
mod mapped;
mod own_locks;
mod page;
mod patches;
pub mod preflight;
pub mod process_tree;
pub mod recover;
pub mod rust;
pub mod sanitizer;
pub mod shim;
pub mod signals;
mod standard;
mod store;
mod unseen;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ingest::collector::{Collected, Collector, HangNow};
use crate::live::control::{CollectorHandle, ControlChannel, Stop};
use crate::live::socket;
use crate::model::{Coverage, Exit, Process, ProcessId, Session};
pub use attach::attach;
use checkpoint::Checkpoint;
use ending::Ending;
use follow::{Follower, News, Outcome};
use launch::{Launch, Program};
use limits::Limits;
use process_tree::ProcessTree;
use unseen::Unseen;

/// How to record.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Record only the program itself, not what it starts.
    pub no_follow: bool,
    /// Never try a lock before waiting for it.
    pub exact: bool,
    /// Count cycles too, by events of the kernel, which cost the program something at each context switch.
    pub counters: bool,
    /// Somebody may ask to end the program before it ends by itself.
    pub interactive: bool,
    /// A variable that makes the CLI itself be the program: one of its built-in workloads.
    pub workload: Option<&'static str>,
    /// Ends the program, with all that it started, after this time.
    pub timeout: Option<Duration>,
    /// What becomes of a program in which threads are deadlocked.
    pub on_hang: OnHang,
    /// Where the program's output goes.
    pub output: Output,
}

/// Where the program's output goes.
#[derive(Clone, Debug, Default)]
pub enum Output {
    /// Where the CLI's own goes.
    #[default]
    Own,
    /// Its standard output goes where the CLI's standard error goes.
    ToStderr,
    /// Both go into a file. Its standard input is empty: the terminal belongs to the screen.
    File(std::sync::Arc<std::fs::File>),
}

/// What becomes of a program in which threads are deadlocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHang {
    /// It is left as it is: others of its threads may still do their work, and a person may want to look at it.
    #[default]
    Leave,
    /// It is ended with all that it started.
    End,
}

/// What is worth telling while the program runs.
pub enum Event {
    /// The program runs, as this process.
    Started(u32),
    /// Somebody looks at the recording for the first time: rows should get their names.
    Watched,
    /// The command itself has ended, but so many of its processes go on. Reported once.
    Lingering(usize),
    /// Threads are deadlocked, or wait when the program is told to end. Each is told once.
    Hang(Box<HangNow>),
    /// The time is over: the program is being ended. The hangs that follow say what it was doing.
    TimedOut,
}

/// Why a recording ended a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// [`Options::timeout`] was over.
    TimedOut,
    /// Threads were deadlocked, and [`OnHang::End`] was asked for.
    Hung,
    /// Somebody wanted it, by the [`ControlChannel`].
    Asked,
}

/// A recording, not symbolised yet.
pub struct Recorded {
    /// What was collected.
    pub collected: Collected,
    /// How the command ended; `None` where it goes on.
    pub exit: Option<Exit>,
    /// Its process id.
    pub pid: u32,
    /// Why it did not end by itself; `None` where it did.
    pub ended: Option<Ended>,
    /// The folder of the recording, to be dropped when it is written; `None` where it is the program's.
    pub folder: Option<folder::Folder>,
}

/// Processes that outlive the command for less than this are not worth a word.
const GRACE: Duration = Duration::from_millis(300);
/// Between the request to end and the kill, for a program that took too long.
const GRACE_OF_TIMED_OUT: Duration = Duration::from_secs(2);
/// The same for a deadlocked one, which will hardly do better.
const GRACE_OF_HUNG: Duration = Duration::from_secs(1);
/// The same for one that somebody wants to end: servers finish their requests first.
const GRACE_OF_ASKED: Duration = Duration::from_secs(10);

/// Runs a program to its end (and its descendants to theirs, unless interrupted) and collects what it does.
/// `report` hears at once what happens meanwhile; the recording waits for it, so it should be brief. Whoever has
/// the other side of `handle` can look on.
///
/// # Errors
/// Where there is no place for the shared memory or the shim, or the program cannot be started.
pub fn record(
    program: &Program,
    options: &Options,
    (control, mut handle): (&ControlChannel, CollectorHandle),
    report: &mut dyn FnMut(Event),
) -> anyhow::Result<Recorded> {
    signals::hold(options.interactive);
    let limits = Limits::widen();
    limits::check()?;
    let folder = folder::Folder::new(&program.words())?;
    // In the worst case beside the shared memory: programs that go on when that is removed record nothing any more anyway.
    let shim = shim::install().or_else(|error| shim::install_in(folder.path()).map_err(|_| error))?;
    let mut collector = Collector::new(folder.path());
    collector.session.coverage.notes.extend(folder.note());
    let tree = ProcessTree::new(folder.path());
    let may_end = options.timeout.is_some() || options.on_hang == OnHang::End || options.interactive;
    if may_end {
        // A daemon would not be found any more otherwise.
        process_tree::adopt_orphans();
    }
    let started = Instant::now();
    let mut unseen = Unseen::new(folder.path(), &shim);
    // The demonstration is about libc's locks.
    let follower = if options.workload.is_some() { None } else { Follower::start(folder.path(), options.no_follow) };
    let recipe = go::recipe(&program.path)?;
    // Its own locks are not what anybody wants to know.
    let recipe = recipe.map(|recipe| if recipe.is_go_command() { recipe.followed_only() } else { recipe });
    let recipe = match recipe {
        Some(recipe) => Some(inline::Recipe::Go(Box::new(recipe))),
        None if options.workload.is_some() => None,
        // Others announce themselves.
        None if follower.is_some() && !rust::is_static_program(&program.path) => None,
        None => rust::recipe(&program.path),
    };
    let follow = follower.as_ref().and_then(Follower::socket).map(Path::to_owned);
    let launch = Launch { program, folder: folder.path(), shim: &shim, options, limits, recipe, follow };
    let mut child = launch.start()?;
    launch::yield_to_program();
    child.patched.take().into_iter().for_each(|patched| collector.add_program(patched));
    describe(&mut collector.session, program.words(), child.started());
    socket::serve(folder.path(), control);
    report(Event::Started(child.pid()));
    let mut exit = None;
    let mut pause = Pause::default();
    let mut reported = Reported::default();
    let mut reported_lingering = false;
    let mut checkpoint = Checkpoint::new(folder.path());
    let mut ended_at = Instant::now();
    let mut ending: Option<(Ended, Ending<'_>)> = None;
    loop {
        if signals::asked_to_end() && !reported.asked {
            reported.asked = true;
            collector.note_waits(false);
        }
        if ending.is_none() && options.timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            report(Event::TimedOut);
            collector.note_waits(true);
            ending = Some((Ended::TimedOut, Ending::begin(&tree, GRACE_OF_TIMED_OUT)));
        }
        follower.iter().flat_map(Follower::news).for_each(|news| take(news, &mut collector));
        let tick = collector.tick();
        checkpoint.read(tick.records, &collector);
        match handle.answer(&mut collector, &mut || report(Event::Watched)) {
            Some(Stop::Leave) => {
                let note = "the recording was ended, the program went on: what it did later is not in it";
                collector.session.coverage.notes.push(note.to_owned());
                break;
            }
            Some(Stop::End) if ending.is_none() => {
                collector.note_waits(true);
                ending = Some((Ended::Asked, Ending::begin(&tree, GRACE_OF_ASKED)));
            }
            _ => {}
        }
        let deadlocked = reported.hangs(&collector, report);
        if deadlocked && ending.is_none() && options.on_hang == OnHang::End {
            ending = Some((Ended::Hung, Ending::begin(&tree, GRACE_OF_HUNG)));
        }
        if may_end {
            process_tree::bury_orphans(child.pid());
        }
        if !options.no_follow {
            let is_news = child.execs.read();
            let is_seen_to = |pid| follower.as_ref().is_some_and(|follower| follower.sees_to(pid));
            unseen.look(&collector, is_news, &|pid| is_seen_to(pid) || collector.is_patched(pid));
        }
        if exit.is_none() {
            signals::stop_with(child.pid());
            if child.may_have_ended() {
                unseen.remember(child.pid());
                exit = child.ended()?;
                ended_at = Instant::now();
            }
        }
        if let Some((_, ending)) = &mut ending {
            if ending.is_over() && (exit.is_some() || ending.gave_up()) {
                break;
            }
        } else if exit.is_some() {
            // A process that was forked attaches only when it takes a lock: until then its memory tells.
            let lingers = if options.no_follow { 0 } else { tick.alive.max(process_tree::members(folder.path())) };
            if lingers == 0 || signals::interrupted() {
                break;
            }
            if ended_at.elapsed() > GRACE && !std::mem::replace(&mut reported_lingering, true) {
                report(Event::Lingering(lingers));
            }
        }
        let mut time = pause.after(tick.fullest);
        if exit.is_some() {
            // Most of what outlives the command does so for a moment, or has ended already, behind this round's look.
            time = time.min(ended_at.elapsed() / 2);
        }
        child.wait_at_most(time, exit.is_none());
    }
    // Of one that ended since.
    follower.iter().flat_map(Follower::news).for_each(|news| take(news, &mut collector));
    if reported.asked {
        // What the signal ended before anybody could look.
        collector.tick();
        collector.note_waits(false);
    }
    reported.hangs(&collector, report);
    if !options.no_follow && child.execs.seen().is_empty() {
        settle(&mut collector);
    }
    signals::recording_is_over();
    let mut collected = collector.finish();
    collected.session.counters = child.counters();
    let pid = child.pid();
    child.execs.read();
    let why = |pid, comm: &str, had| follower.as_ref().and_then(|follower| follower.why_unseen(pid, comm, had));
    let announced = follower.as_ref().map(Follower::unrecorded).unwrap_or_default();
    unseen.report(&mut collected, (pid, exit), (!options.no_follow).then(|| child.execs.seen()), &announced, &why);
    let session = &mut collected.session;
    session.meta.exit = exit;
    let images = &collected.images;
    let processes = session.processes.iter_mut().enumerate();
    let is_it = |(at, process): &(usize, &mut Process)| {
        process.pid == pid && images.get(&ProcessId::from(*at)).is_some_and(|image| image.is_certain)
    };
    for (_, process) in processes.filter(is_it) {
        // The last image of the command's process is the one that ended so; earlier ones went over into it.
        process.exit = exit.or(process.exit);
    }
    let ended = ending.map(|(why, _)| why);
    Ok(Recorded { collected, exit, pid, ended, folder: Some(folder) })
}

/// Where the program goes on without the recording: one that was started a moment ago may still come.
fn settle(collector: &mut Collector) {
    const LOADING: Duration = Duration::from_millis(200);
    let began = Instant::now();
    while collector.missing_programs() > 0 && collector.tick().alive > 0 && began.elapsed() < LOADING {
        std::thread::sleep(Pause::SHORTEST);
    }
}

/// A program was started beside the others.
fn take(news: News, collector: &mut Collector) {
    let note = match news.outcome {
        Outcome::Patched(patched) => return collector.add_program(*patched),
        Outcome::Nothing => return,
        Outcome::Refused(path, why) => {
            let (path, pid) = (path.display(), news.pid);
            Coverage::in_part(&format!("the program {path} was not recorded (process {pid}): {why}"))
        }
        Outcome::LeftAlone => {
            "cargo and what builds programs for it (compilers, linkers, build scripts) are not recorded, but the programs \
             that it runs are"
                .to_owned()
        }
    };
    let notes = &mut collector.session.coverage.notes;
    if !notes.contains(&note) {
        notes.push(note);
    }
}

/// What is known of the run from its start.
fn describe(session: &mut Session, command: Vec<String>, started: SystemTime) {
    session.meta.command = command;
    session.meta.version = env!("CARGO_PKG_VERSION").to_owned();
    session.meta.started_unix_ns = started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    session.meta.host = launch::host();
}

/// What was reported already.
#[derive(Default)]
struct Reported {
    /// Hangs of the session.
    hangs: usize,
    /// A signal asked the program to end, and who waits was noted.
    asked: bool,
}

impl Reported {
    /// Reports the new hangs; whether one of them keeps the program from ending.
    fn hangs(&mut self, collector: &Collector, report: &mut dyn FnMut(Event)) -> bool {
        let new = collector.session.hangs.get(self.hangs..).unwrap_or_default();
        self.hangs += new.len();
        new.iter().for_each(|hang| report(Event::Hang(Box::new(collector.hang_now(hang)))));
        new.iter().any(crate::model::Hang::keeps_program)
    }
}

/// How long to wait between two looks at the rings: as long as the fullest needs to fill to [`AIM`](Self::AIM).
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Self::LONGEST)
    }
}

impl Pause {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(50);
    /// The share of a ring that is filled between two looks: less costs more looks, more leaves no room for bursts.
    const AIM: f64 = 0.4;
    /// A ring that is as full as this may have run over: nobody knows by how much.
    const OVERRUN: f64 = 0.9;

    fn after(&mut self, fullest: f64) -> Duration {
        self.0 = if fullest > Self::OVERRUN {
            Self::SHORTEST
        } else {
            let change = (Self::AIM / fullest.max(f64::MIN_POSITIVE)).min(2.0);
            self.0.mul_f64(change).clamp(Self::SHORTEST, Self::LONGEST)
        };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_rings() {
        let mut pause = Pause::default();
        assert_eq!(pause.after(0.0), Pause::LONGEST);
        assert_eq!(pause.after(1.0), Pause::SHORTEST);
        // A thread that fills two percent of its ring in a millisecond is looked at every twenty.
        let mut at = Pause::SHORTEST;
        for _ in 0..10 {
            at = pause.after(at.as_secs_f64() * 1e3 * 0.02);
        }
        assert_eq!(at, Duration::from_millis(20));
        assert_eq!(pause.after(0.8), Duration::from_millis(10));
    }
}
