//! Records a program that runs already: wakes the shim in it, which is brought in first where it is not there, and puts it to
//! sleep again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;

use super::checkpoint::Checkpoint;
use super::contents::COPY;
use super::directory::Directory;
use super::inject::{self, Detours};
use super::inline::Recipe;
use super::limits::Limits;
use super::own_locks;
use super::page::Page;
use super::patches::Patches;
use super::{Event, Pause, Recorded, Reported, describe, folder, launch, leftover, process_tree, signals};
use crate::ingest::collector::{Collected, Collector};
use crate::ingest::mappings;
use crate::ingest::procfs;
use crate::ingest::tasks;
use crate::live::control::{CollectorHandle, ControlChannel};
use crate::live::messages::SOCKET;
use crate::live::socket;
use crate::model::{Coverage, Module, Process, ProcessId};
use crate::safe_file::user;
use crate::sites::image::Image;

/// Whether nobody records a process, so that it can be [attached](attach) to.
pub fn is_free(pid: u32) -> bool {
    Page::find(pid).is_ok()
}

/// What a process has of the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Nothing that is to be seen.
    Nothing,
    /// The recorder, asleep.
    Asleep,
    /// It is being recorded, in this folder.
    Recorded(PathBuf),
}

/// Looks at what a process has mapped.
pub fn carried(pid: u32) -> Carried {
    match (Page::find(pid), folder::of_recorded(pid)) {
        (Ok(Some(_)), _) => Carried::Asleep,
        (_, Ok(folder)) => Carried::Recorded(folder),
        _ => Carried::Nothing,
    }
}

/// How a process would be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It carries the recorder asleep, which is woken.
    Woken,
    /// The recorder is brought in.
    BroughtIn,
}

/// Looks whether a process can be [attached](attach) to, and how. Nothing is changed in it.
///
/// # Errors
/// What is in the way: the same as [`attach`] says.
pub fn check(pid: u32) -> anyhow::Result<Way> {
    if Page::find(pid)?.is_some() {
        return Ok(Way::Woken);
    }
    if !inject::has_libc(pid) && own_locks::recipe(pid)?.is_some() {
        return own_locks::check(pid).map(|()| Way::BroughtIn);
    }
    inject::check(pid).map(|()| Way::BroughtIn)
}

/// What a recording of a process lacks from the start, in whole sentences: that it came late, and what it cannot see.
pub fn lacks(pid: u32, way: Way) -> Vec<String> {
    // Where there is one thread, nobody waits.
    let own = own_locks::recipe(pid).ok().flatten().filter(|_| tasks::living(pid).count() > 1);
    let own = own.iter().flat_map(Recipe::left_out).map(|what| Coverage::in_part(what));
    let late = if way == Way::BroughtIn { inject::expected(pid) } else { Vec::new() };
    late.into_iter().chain(own).chain(left_out(&[pid])).collect()
}

/// Whether locks of Go's or Rust's own in a program that runs would be recorded.
pub fn records_own(pid: u32) -> bool {
    own_locks::recipe(pid).is_ok_and(|recipe| recipe.is_some())
}

/// Records a process, with its children by fork, until it ends, the time is over or a signal asks to stop.
///
/// # Errors
/// Where there is no such process, it is another user's, it carries no shim, or another lockprof records it.
pub fn attach(
    pid: u32,
    duration: Option<Duration>,
    (control, mut handle): (&ControlChannel, CollectorHandle),
    report: &mut dyn FnMut(Event),
) -> anyhow::Result<Recorded> {
    let found = Found::of(pid);
    let page = Page::find(pid)?;
    let recipe = own_locks::recipe(pid)?;
    let page = match page {
        Some(page) => Some(page),
        None if !inject::has_libc(pid) && recipe.is_some() => None,
        None => {
            inject::open(pid)?;
            let page = Page::find(pid)?;
            Some(page.with_context(|| format!("process {pid}: the recorder found no place for its memory"))?)
        }
    };
    let mut place = match page {
        Some(page) => Place::Page(page),
        None => Place::Folder(folder::Folder::new(&procfs::command(pid))?),
    };
    let mut detours = None;
    if let Place::Page(page) = &place {
        // A recorder that was killed has left it awake.
        page.put_to_sleep();
        settle([pid]);
        detours = Detours::of(pid)?;
        hand_over(&page.folder, pid);
    }
    // Before the first thread, which would take signals: the collector has one.
    signals::stop_on_any();
    let path = place.path();
    let mut collector = match &place {
        Place::Page(_) => Collector::from_now_on(&path),
        Place::Folder(folder) => {
            let mut collector = Collector::new(&path);
            collector.session.coverage.notes.extend(folder.note());
            collector
        }
    };
    launch::yield_to_program();
    Limits::widen();
    describe(&mut collector.session, procfs::command(pid), SystemTime::now());
    let note = "the program was recorded for a while only: what came before and after is not in it";
    collector.session.coverage.notes.push(note.to_owned());
    let mut stops = Stops::default();
    let mut own = bring(recipe.as_ref(), pid, &mut collector, &mut stops)?;
    if let Some(detours) = &mut detours {
        collector.session.coverage.notes.extend(inject::notes(pid, detours));
        if let Err(error) = detours.put() {
            if let Some(own) = &mut own {
                own.leave()?;
            }
            return Err(error);
        }
    } else if let Place::Folder(_) = &place {
        collector.session.coverage.notes.push(inject::late_note());
    } else if inject::was_opened_late(pid) {
        let what = "nothing leads from libc's functions to the recorder, which an earlier lockprof opened in the program and \
                    could not finish: start it anew";
        collector.session.coverage.notes.push(Coverage::in_part(what));
    }
    place.clear_socket();
    socket::serve(&path, control);
    if let Place::Page(page) = &place {
        page.wake();
    }
    let started_at = Instant::now();
    report(Event::Started(pid));
    let (mut pause, mut reported) = (Pause::default(), Reported::default());
    let mut checkpoint = Checkpoint::new(&path);
    let (mut ended, mut stopped) = (false, false);
    while !ended
        && !stopped
        && !signals::asked_to_end()
        && duration.is_none_or(|duration| started_at.elapsed() < duration)
    {
        // Asked before the rings are read: what was written before the end is then there.
        ended = !process_tree::is_alive(pid) && collector.pids().all(|pid| !process_tree::is_alive(pid));
        let tick = collector.tick();
        checkpoint.read(tick.records, &collector);
        // Somebody else's program is never ended.
        stopped = handle.answer(&mut collector, &mut || report(Event::Watched)).is_some();
        reported.hangs(&collector, report);
        let left = duration.map_or(Duration::MAX, |duration| duration.saturating_sub(started_at.elapsed()));
        std::thread::sleep(pause.after(tick.fullest).min(left));
    }
    if let Place::Page(page) = &place {
        page.put_to_sleep();
    }
    if let Some(own) = own.as_mut().filter(|_| process_tree::is_alive(pid)) {
        match own.leave() {
            Ok(stopped) => stops.at_end = Some(stopped),
            Err(error) => collector.session.coverage.notes.push(format!("{error:#}")),
        }
    }
    settle(collector.pids().chain([pid]));
    // Children have what their parents had.
    let others: BTreeSet<u32> = collector.pids().filter(|other| *other != pid).collect();
    let pids: Vec<u32> = std::iter::once(pid).chain(others).collect();
    collector.session.coverage.notes.extend(left_out(&pids));
    for pid in pids {
        if process_tree::is_alive(pid)
            && let Err(error) = leave(pid, own.is_some())
        {
            let what =
                format!("{error:#}; its calls still pass the sleeping recorder, which costs some nanoseconds each");
            collector.session.coverage.notes.push(what);
        }
    }
    collector.session.coverage.notes.extend(stops.note());
    let mut collected = collector.finish();
    if let Some(own) = &own {
        own.release();
    }
    found.add_to(&mut collected);
    let folder = place.end(pid);
    Ok(Recorded { collected, exit: None, pid, ended: None, folder })
}

/// Puts a process's code back, and a child's, which has what its parent had. `own`: locks of its own were recorded.
fn leave(pid: u32, own: bool) -> anyhow::Result<()> {
    if own && let Some(mut own) = Patches::of(pid)?.filter(|own| !own.is_left()) {
        own.leave()?;
    }
    Detours::of(pid)?.map_or(Ok(()), |mut detours| detours.remove())
}

/// Where the recording's shared memory is.
enum Place {
    /// In the folder that the library in the program made.
    Page(Page),
    /// In one of ours: there is no library.
    Folder(folder::Folder),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Self::Page(page) => page.folder.path(),
            Self::Folder(folder) => folder.path().to_owned(),
        }
    }

    /// Takes away what a recorder that is no more has left.
    fn clear_socket(&mut self) {
        if let Self::Page(page) = self {
            // The page's lock is ours.
            page.folder.remove(SOCKET);
        }
    }

    /// The recording is over. The folder that is to be kept until it is written.
    fn end(self, pid: u32) -> Option<folder::Folder> {
        match self {
            Self::Page(page) => {
                page.folder.remove(SOCKET);
                page.folder.remove(COPY);
                if !process_tree::is_alive(pid) {
                    leftover::remove(&page.folder, &page.path);
                }
                None
            }
            Self::Folder(folder) => Some(folder),
        }
    }
}

/// Leads a program to the recorder of locks of its own. One that has others too is recorded without, and that is told.
fn bring(
    recipe: Option<&Recipe>,
    pid: u32,
    collector: &mut Collector,
    stops: &mut Stops,
) -> anyhow::Result<Option<Patches>> {
    let Some(recipe) = recipe else { return Ok(None) };
    let brought = own_locks::bring(pid, recipe).and_then(|(mut own, patched)| {
        // Before the first event.
        collector.add_program(patched);
        stops.at_begin = Some(own.put()?);
        Ok(own)
    });
    match brought {
        Ok(own) => {
            collector.session.coverage.notes.extend(own.goroutines().map(|count| {
                    format!(
                        "{count} goroutines had been started before the recording began: where, and what they held, is not known"
                    )
                }));
            Ok(Some(own))
        }
        Err(error) if recipe.is_needed() => Err(error),
        Err(error) => {
            let what = format!("the locks of Rust's own are not recorded: {error:#}");
            collector.session.coverage.notes.push(Coverage::in_part(&what));
            Ok(None)
        }
    }
}

/// How long threads were stopped.
#[derive(Default)]
struct Stops {
    at_begin: Option<Duration>,
    at_end: Option<Duration>,
}

impl Stops {
    fn note(&self) -> Option<String> {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let begin = ms(self.at_begin?);
        Some(match self.at_end {
            Some(end) => {
                let end = ms(end);
                format!("all threads of the program were stopped for {begin} at the beginning and {end} at the end")
            }
            None => format!("all threads of the program were stopped for {begin} at the beginning"),
        })
    }
}

/// A program as it was found: one that uses no lock meanwhile leaves nothing else.
struct Found {
    process: Process,
    /// The files of its code.
    files: Vec<String>,
}

impl Found {
    fn of(pid: u32) -> Self {
        let folder = procfs::folder(pid);
        let exe = fs::read_link(tasks::folder(pid).join("exe")).unwrap_or_default();
        let mappings = mappings::of(&folder).unwrap_or_default();
        let code = mappings.into_iter().filter(|mapping| mapping.executable && mapping.path.starts_with('/'));
        let mut files: Vec<String> = code.map(|mapping| mapping.path).collect();
        files.sort_unstable();
        files.dedup();
        let process = Process {
            pid,
            parent_pid: procfs::parent(&folder).unwrap_or(0),
            exe: exe.to_string_lossy().into_owned(),
            exit: None,
            threads: tasks::living(pid).count() as u32,
        };
        Self { process, files }
    }

    /// Adds it where nothing of it was recorded: it may have locks that the recorder does not see.
    fn add_to(self, collected: &mut Collected) {
        if collected.session.processes.iter().any(|process| process.pid == self.process.pid) {
            return;
        }
        let process = ProcessId::from(collected.session.processes.len());
        collected.session.processes.push(self.process);
        collected.loaded.extend(self.files.into_iter().filter_map(|path| {
            let build_id = Image::parse(&fs::read(&path).ok()?).ok()?.build_id().unwrap_or_default().to_vec();
            Some((process, Module { path, build_id }, false))
        }));
    }
}

/// What of the programs that these have started is not recorded. The first of them is the one that was attached to.
fn left_out(recorded: &[u32]) -> Option<String> {
    let (left_out, pid) = (descendants(recorded), recorded.first()?);
    (left_out > 0).then(|| {
        Coverage::in_part(&format!(
            "not recorded is what process {pid} and its children have started ({left_out} living processes): each can be \
             attached to by its own number"
        ))
    })
}

/// How many living processes these have started, directly or not, that are not among them.
fn descendants(recorded: &[u32]) -> usize {
    let parents: Vec<(u32, u32)> =
        procfs::entries().filter_map(|pid| Some((pid, procfs::parent(&procfs::folder(pid))?))).collect();
    let mut family = recorded.to_vec();
    loop {
        let is_new = |(pid, parent): &&(u32, u32)| family.contains(parent) && !family.contains(pid);
        let new: Vec<u32> = parents.iter().filter(is_new).map(|(pid, _)| *pid).collect();
        if new.is_empty() {
            return family.len() - recorded.len();
        }
        family.extend(new);
    }
}

/// A server may have changed its user since it made the folder, where it has to make its segment. Only root can help, and
/// only with a folder of its own.
fn hand_over(folder: &Directory, pid: u32) {
    let status = procfs::text(procfs::folder(pid).join("status")).unwrap_or_default();
    // Real, effective, saved and file system's.
    let id = |name: &str| -> Option<u32> { procfs::field(&status, name)?.split_whitespace().nth(3)?.parse().ok() };
    if let (Some(owner), Some(group)) = (id("Uid:"), id("Gid:"))
        && folder.is_private_of(user())
    {
        // Refused to everybody else, who needs it for nothing.
        let _ = folder.give_to(owner, group);
    }
}

/// Waits until no thread is inside a hook that it entered while the processes were awake: until each has waited for
/// something or used its processor for longer than any hook takes.
fn settle(pids: impl IntoIterator<Item = u32>) {
    const LIMIT: Duration = Duration::from_secs(1);
    const LONGER_THAN_A_HOOK_NS: u64 = 200_000;
    let used = |task: &Path| -> Option<u64> {
        // The first number of `schedstat` is the time on a processor, ns.
        let text = procfs::text(task.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    let tasks = |pid: u32| fs::read_dir(procfs::folder(pid).join("task")).into_iter().flatten().flatten();
    let mut running: Vec<(PathBuf, u64)> = (pids.into_iter())
        .flat_map(tasks)
        .filter_map(|task| used(&task.path()).map(|used| (task.path(), used)))
        .collect();
    let begin = Instant::now();
    loop {
        running.retain(|(task, before)| {
            let stat = procfs::text(task.join("stat")).unwrap_or_default();
            tasks::state(&stat) == Some("R") && used(task).is_some_and(|now| now - before < LONGER_THAN_A_HOOK_NS)
        });
        if running.is_empty() || begin.elapsed() > LIMIT {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
