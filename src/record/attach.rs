//! Records a program that carries the shim asleep: wakes it, and puts it to sleep again.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use lockprof_wire::control::{FILE, MAGIC};
use lockprof_wire::{Control, VERSION};
use memmap2::{MmapOptions, MmapRaw};

use super::checkpoint::Checkpoint;
use super::contents::COPY;
use super::directory::{Directory, try_lock, user};
use super::limits::Limits;
use super::{Event, Pause, Recorded, Reported, describe, folder, launch, leftover, process_tree, signals};
use crate::ingest::collector::Collector;
use crate::ingest::procfs;
use crate::ingest::tasks;
use crate::live::control::{CollectorHandle, ControlChannel};
use crate::live::messages::SOCKET;
use crate::live::socket;

/// The page that wakes a process, and the right to use it.
struct Page {
    map: MmapRaw,
    /// The process says where it is: from here on only the descriptor counts.
    folder: Directory,
    path: PathBuf,
    /// Its lock is ours while it is open.
    _file: File,
}

/// A process that has just begun makes its page in less time than this.
const BEING_MADE: Duration = Duration::from_millis(200);

impl Page {
    /// Finds the page of a process.
    fn of(pid: u32) -> anyhow::Result<Self> {
        let maps = folder::maps(pid)?;
        let path = folder::files_in(&maps).find(|path| path.file_name().is_some_and(|name| name == FILE));
        let Some(path) = path else {
            if folder::files_in(&maps).next().is_some() {
                bail!("process {pid} is being recorded from its start: `lockprof top -p {pid}` shows it");
            }
            bail!(
                "process {pid} does not carry the recorder: start it by `lockprof run`, or with \
                 LD_PRELOAD=$(lockprof shim --path), and it can be looked at at any time"
            );
        };
        let told = || format!("process {pid} cannot be woken: {} is not to be opened", path.display());
        let place = path.parent().unwrap_or(Path::new("/"));
        let folder = Directory::open(place).with_context(told)?;
        let file = folder.file(FILE).with_context(told)?;
        let began = Instant::now();
        while file.metadata()?.len() == 0 && began.elapsed() < BEING_MADE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let meta = file.metadata()?;
        let owner = folder.metadata()?.uid();
        // Only root has power over what is not its own: there the file must be the very one that the process has.
        let is_its = user() != 0 || maps_file(&maps, &meta);
        if !folder.is_private_of(owner) || meta.uid() != owner || !is_its {
            bail!(
                "process {pid} cannot be woken: {} is not the private folder that the recorder in it made",
                place.display()
            );
        }
        if !try_lock(&file) {
            bail!("process {pid} is being recorded by another lockprof already: `lockprof top -p {pid}` shows it");
        }
        if meta.len() != size_of::<Control>() as u64 {
            bail!("process {pid} carries a recorder of another version: use the lockprof that it came from");
        }
        let map = MmapOptions::new().len(size_of::<Control>()).map_raw(&file)?;
        let page = Self { map, folder, path: place.to_path_buf(), _file: file };
        let control = page.control();
        while control.magic.load(Ordering::Relaxed) == 0 && began.elapsed() < BEING_MADE {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Acquire: pairs with the shim's Release store, behind which the rest is there.
        if control.magic.load(Ordering::Acquire) != MAGIC || control.version.load(Ordering::Relaxed) != VERSION {
            bail!("process {pid} carries a recorder of another version: use the lockprof that it came from");
        }
        Ok(page)
    }

    fn control(&self) -> &Control {
        // SAFETY: the mapping is a page and aligned; the type consists of atomics, for which any bytes are valid.
        unsafe { &*self.map.as_ptr().cast() }
    }

    fn put_to_sleep(&self) {
        self.control().asleep.store(1, Ordering::SeqCst);
    }

    fn wake(&self) {
        self.control().wakes.fetch_add(1, Ordering::Relaxed);
        self.control().asleep.store(0, Ordering::SeqCst);
    }
}

impl Drop for Page {
    /// However the recording ends, the program is not left with a recorder that nobody reads.
    fn drop(&mut self) {
        self.put_to_sleep();
    }
}

/// Whether a process carries the shim asleep, and nobody records it.
pub fn can_wake(pid: u32) -> bool {
    Page::of(pid).is_ok()
}

/// Records a process, with its children by fork, until it ends, the time is over or a signal asks to stop.
///
/// # Errors
/// Where there is no such process, it is another user's, it carries no shim, or another lockprof records it.
pub fn attach(
    pid: u32,
    duration: Option<Duration>,
    (control, mut handle): (&ControlChannel, CollectorHandle),
    tell: &mut dyn FnMut(Event),
) -> anyhow::Result<Recorded> {
    let page = Page::of(pid)?;
    // A recorder that was killed has left it awake.
    page.put_to_sleep();
    settle([pid]);
    hand_over(&page.folder, pid);
    // Before the first thread, which would take signals: the collector has one.
    signals::stop_on_any();
    let mut collector = Collector::from_now_on(&page.folder.path());
    launch::yield_to_program();
    Limits::widen();
    let started_at = Instant::now();
    describe(&mut collector.session, command(pid), SystemTime::now());
    let note = "the program was recorded for a while only: what came before and after is not in it";
    collector.session.coverage.notes.push(note.to_owned());
    // Of a recorder that is no more: the page's lock is ours.
    page.folder.remove(SOCKET);
    socket::serve(&page.folder.path(), control);
    page.wake();
    tell(Event::Started(pid));
    let (mut pause, mut reported) = (Pause::default(), Reported::default());
    let mut checkpoint = Checkpoint::new(&page.folder.path());
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
        stopped = handle.answer(&mut collector, &mut || tell(Event::Watched)).is_some();
        reported.hangs(&collector, tell);
        let left = duration.map_or(Duration::MAX, |duration| duration.saturating_sub(started_at.elapsed()));
        std::thread::sleep(pause.after(tick.fullest).min(left));
    }
    page.put_to_sleep();
    settle(collector.pids().chain([pid]));
    let collected = collector.finish();
    page.folder.remove(SOCKET);
    page.folder.remove(COPY);
    if !process_tree::is_alive(pid) {
        leftover::remove(&page.folder, &page.path);
    }
    Ok(Recorded { collected, exit: None, pid, ended: None, folder: None })
}

/// Whether a process has mapped this very file (`/proc/PID/maps`: device and file number before the path).
fn maps_file(maps: &str, file: &fs::Metadata) -> bool {
    let (major, minor) = (libc::major(file.dev()), libc::minor(file.dev()));
    let (device, number) = (format!("{major:02x}:{minor:02x}"), file.ino().to_string());
    maps.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(3);
        words.next() == Some(&device) && words.next() == Some(&number)
    })
}

/// A server may have changed its user since it made the folder, where it has to make its segment. Only root can help, and
/// only with a folder of its own.
fn hand_over(folder: &Directory, pid: u32) {
    let status = procfs::text(procfs::folder(pid).join("status")).unwrap_or_default();
    // Real, effective, saved and file system's.
    let id = |line: &str| -> Option<u32> {
        status.lines().find_map(|at| at.strip_prefix(line))?.split_whitespace().nth(3)?.parse().ok()
    };
    if let (Some(owner), Some(group)) = (id("Uid:"), id("Gid:"))
        && folder.is_private_of(user())
    {
        // Refused to everybody else, who needs it for nothing.
        let _ = folder.give_to(owner, group);
    }
}

fn command(pid: u32) -> Vec<String> {
    let bytes = fs::read(procfs::folder(pid).join("cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
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
