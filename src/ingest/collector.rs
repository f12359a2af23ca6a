//! The collector: finds the session's segments, drains their rings, and closes them when their process ends.

mod aggregates;
mod end;
mod go;
mod hangs;
mod now;
mod rings;
mod spares;
mod woken;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxHashMap;

use super::accumulator::Accumulator;
use super::clock::{self, Rate, monotonic_ns};
use super::exit;
use super::go::{Language, Program};
use super::image::Image;
use super::reducer::Reducer;
use super::segment;
use super::watch::Watcher;
use crate::model::{CodeAddress, Coverage, Hang, LockId, Module, ProcessId, Session};
use rings::Rings;
use spares::Spares;

pub use hangs::HangNow;
pub use now::{Names, Unnamed};

/// Collects a session while it runs.
pub struct Collector {
    folder: PathBuf,
    spares: Spares,
    rate: Rate,
    origin_ns: u64,
    /// What was seen so far.
    pub session: Session,
    accumulator: Accumulator,
    sources: BTreeMap<PathBuf, Source>,
    /// Go programs that were patched.
    programs: Vec<Program>,
    /// Segments that could not be opened yet, and why.
    refused: BTreeMap<PathBuf, String>,
    /// When something was made or removed in the folder last, if all of that was seen.
    folder_seen: Option<SystemTime>,
    /// What is known of each process image beside its row in the session.
    images: FxHashMap<ProcessId, ImageNotes>,
    acquisitions: u64,
    refreshed: Instant,
    data_addresses: FxHashMap<LockId, CodeAddress>,
    /// Processes that ended, until the kernel says how.
    ended: Vec<(ProcessId, OwnedFd)>,
    /// Who waited in processes that ended without a word of their own.
    died_waiting: Vec<Hang>,
    /// Checks of remembered stacks by an oracle build of the shim: agreed, differed.
    pub oracle: (u64, u64),
    /// The segments of living processes are not removed at the end.
    keeps_files: bool,
    /// Those of processes that ended are not, either.
    keeps_all: bool,
    loaded: Vec<(ProcessId, Module)>,
    /// Those whose own locks were recorded.
    patched: Vec<(ProcessId, String, Language)>,
    /// Their files.
    files: FxHashMap<String, Arc<File>>,
    /// Programs that processes which were closed started.
    started: i64,
}

/// A finished collection.
#[derive(Clone)]
pub struct Collected {
    /// What was seen; not symbolised yet.
    pub session: Session,
    /// Where locks lie in their module's data.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
    /// Checks of remembered stacks by an oracle build of the shim: agreed, differed.
    pub oracle: (u64, u64),
    /// What is known of each process image beside its row in the session.
    pub images: FxHashMap<ProcessId, ImageNotes>,
    /// Programs and libraries whose own locks were not recorded, and which process had them; whether those of Rust were.
    pub loaded: Vec<(ProcessId, Module, bool)>,
    /// Files of modules that may be no longer at their paths, by path.
    pub files: FxHashMap<String, Arc<File>>,
    /// Programs that were started by functions of libc and of which no image came, the command's own among them.
    pub missing_programs: u64,
}

/// What is known of a process image beside its row in the session.
#[derive(Clone, Debug, Default)]
pub struct ImageNotes {
    /// Its number is one of this side's. Else it is the one by which the process knew itself: here another's or nobody's.
    pub is_certain: bool,
    /// When it began: later images of a process have greater ones.
    pub born: u64,
    /// What the kernel called its first thread then.
    pub comm: String,
    /// It began by a fork and goes on with its parent's program.
    pub is_forked: bool,
    /// It told its exit code. One that was killed or went over into another program has not.
    pub has_told_exit: bool,
}

/// Times of two processors may differ by so much, and the time stamp counter's from the clock's.
const SKEW_NS: u64 = 100_000;

struct Source {
    image: Image,
    rings: Rings,
    watcher: Watcher,
    /// Threads that the kernel knows; 0 until it was asked.
    tasks: u32,
}

/// How busy the rings were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tick {
    /// Records read.
    pub records: u64,
    /// How much of the room was needed since the last look, where that was least: records of a ring as a share of what
    /// it or the next larger one holds, or the share of spare files that were taken.
    pub fullest: f64,
    /// Processes that are still there.
    pub alive: usize,
}

impl Collector {
    /// Collects what shims write into `folder`.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            spares: Spares::new(folder),
            rate: Rate::start(),
            origin_ns: monotonic_ns(),
            session: Session::default(),
            accumulator: Accumulator::default(),
            sources: BTreeMap::new(),
            programs: Vec::new(),
            refused: BTreeMap::new(),
            folder_seen: None,
            images: FxHashMap::default(),
            acquisitions: 0,
            refreshed: Instant::now(),
            data_addresses: FxHashMap::default(),
            ended: Vec::new(),
            died_waiting: Vec::new(),
            oracle: (0, 0),
            keeps_files: false,
            keeps_all: false,
            loaded: Vec::new(),
            patched: Vec::new(),
            files: FxHashMap::default(),
            started: 0,
        }
    }

    /// Programs that were started and of which nothing came so far, the command's own among them.
    pub fn missing_programs(&self) -> u64 {
        let living: i64 = self.sources.values().map(|source| source.image.started(false)).sum();
        missing_programs(self.started + living, &self.images)
    }

    /// One round over everything: looks for new processes, drains all rings, closes ended processes.
    pub fn tick(&mut self) -> Tick {
        let mut tick = Tick::default();
        let (began, began_ns) = (clock::tsc(), monotonic_ns().saturating_sub(self.origin_ns));
        if self.has_folder_changed() {
            // While they are being taken there is no time to lose: one that comes too late is not recorded.
            tick.fullest = self.spares.refill();
            self.discover();
        }
        let mut ended = Vec::new();
        // An older segment of one process id is from before an exec.
        let newest = if self.sources.len() > 1 { newest_by_pid(&self.sources) } else { BTreeMap::new() };
        for (path, source) in &mut self.sources {
            // Looked at before the rings: what was written before the end is then there.
            let over = source.image.owner.liveness.is_over()
                || source.image.owner.is_certain
                    && newest.get(&source.image.owner.pid).is_some_and(|newest| newest != path);
            let reducer = &mut Reducer {
                image: &mut source.image,
                session: &mut self.session,
                accumulator: &mut self.accumulator,
            };
            source.rings.drain(reducer, &mut tick);
            if over {
                ended.push(path.clone());
            }
        }
        for path in ended {
            if let Some(source) = self.sources.remove(&path) {
                self.close(source, true);
            }
        }
        self.drain_programs(&mut tick, began);
        self.accumulator.settle(&mut self.session, began_ns.saturating_sub(SKEW_NS));
        self.accumulator.flush(&mut self.session, false);
        self.watch();
        const REFRESH: Duration = Duration::from_millis(500);
        if self.refreshed.elapsed() > REFRESH {
            self.refreshed = Instant::now();
            self.ask_for_exits();
            for source in self.sources.values_mut() {
                if !source.is_left_alone() && !source.image.owner.liveness.is_over() {
                    source.count_tasks();
                }
                source.image.refresh_thread_names(&mut self.session);
            }
        }
        tick.alive = self.sources.len() + self.programs.len();
        tick
    }

    /// Whether there may be files in the folder that were not seen yet.
    fn has_folder_changed(&mut self) -> bool {
        /// The kernel's times of files are as coarse as its ticks: what comes within one more is seen the next time.
        const TICK: Duration = Duration::from_millis(20);
        let changed = fs::metadata(&self.folder).and_then(|folder| folder.modified()).ok();
        if changed.is_some() && changed == self.folder_seen && self.refused.is_empty() {
            return false;
        }
        let is_old = |changed: &SystemTime| changed.elapsed().is_ok_and(|age| age > TICK);
        self.folder_seen = changed.filter(is_old);
        true
    }

    fn discover(&mut self) {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                // A program that was there before takes its folder with it.
                if !self.keeps_files || error.kind() != ErrorKind::NotFound {
                    self.refused.insert(self.folder.clone(), error.to_string());
                }
                return;
            }
        };
        self.refused.remove(&self.folder);
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "seg") || self.sources.contains_key(&path) {
                continue;
            }
            let programs = &self.programs;
            let known = |pid, exe: &str| {
                let is_it = |program: &&Program| program.pid == pid && program.module.path == exe;
                programs.iter().find(is_it).map(|program| program.process)
            };
            match Image::open(&path, &mut self.session, (&self.rate, self.origin_ns), &known) {
                Ok(Some(mut image)) => {
                    let program = self.programs.iter().find(|program| program.process == image.process);
                    if let Some(program) = program.filter(|_| image.is_patched && image.ticks.are_tsc()) {
                        image.ticks = program.ticks();
                    }
                    self.refused.remove(&path);
                    let notes = ImageNotes {
                        is_certain: image.owner.is_certain,
                        born: image.born,
                        comm: segment::text(&image.segment.header().comm).trim_end_matches('\0').to_owned(),
                        is_forked: image.segment.header().forked.load(Ordering::Relaxed) != 0,
                        has_told_exit: false,
                    };
                    self.images.insert(image.process, notes);
                    let source = Source { image, rings: Rings::default(), watcher: Watcher::default(), tasks: 0 };
                    self.sources.insert(path, source);
                }
                Ok(None) => drop(self.refused.insert(path, "it was not finished, or cut short".to_owned())),
                Err(error) if is_for_ever(&error) => {
                    self.note(Coverage::in_part(&format!("a process could not be recorded: {error}")));
                    // A file that nobody can read is not looked at again.
                    let _ = fs::remove_file(&path);
                }
                // What lacks now, descriptors or memory, may be there later.
                Err(error) => drop(self.refused.insert(path, error.to_string())),
            }
        }
    }

    /// Asks the kernel how processes ended; those that it knows are done.
    fn ask_for_exits(&mut self) {
        /// More descriptors are not kept.
        const MOST: usize = 256;
        let processes = &mut self.session.processes;
        self.ended.retain(|(id, process)| match exit::of(process) {
            Some(exit) => {
                processes[id.index()].exit = Some(exit);
                false
            }
            None => true,
        });
        let beyond = self.ended.len().saturating_sub(MOST);
        self.ended.drain(..beyond);
    }

    fn note(&mut self, text: String) {
        let notes = &mut self.session.coverage.notes;
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    fn data_addresses_of(&mut self, image: &Image) {
        self.data_addresses.extend(image.data_addresses.iter().map(|(id, address)| (*id, *address)));
    }
}

/// The command's own program is started by nobody who counts; each but those of forks was started.
fn missing_programs(started: i64, images: &FxHashMap<ProcessId, ImageNotes>) -> u64 {
    let came = images.values().filter(|image| !image.is_forked).count() as i64;
    (started + 1 - came).max(0) as u64
}

/// What many threads count, each believed by itself, may be too much together.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

impl Source {
    /// Whether nothing of it is to be recorded.
    fn is_left_alone(&self) -> bool {
        self.image.segment.header().left_alone.load(Ordering::Relaxed) != 0
    }

    /// Acquisitions that were counted so far: without a thread, and by threads.
    fn counted(&self) -> (u64, u64) {
        let image = &self.image;
        let unrecorded = image.plausible_count(image.segment.header().unrecorded.load(Ordering::Relaxed));
        let slots = (0..image.segment.thread_count()).filter_map(|number| image.segment.thread(number));
        (unrecorded, sum(slots.map(|slot| image.plausible_count(slot.acquisitions.load(Ordering::Relaxed)))))
    }
}

/// Whether a file that could not be opened never will be.
fn is_for_ever(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::PermissionDenied | ErrorKind::NotFound)
}

/// The newest segment of each process: an older one is from before an exec.
fn newest_by_pid(sources: &BTreeMap<PathBuf, Source>) -> BTreeMap<u32, PathBuf> {
    let mut newest: BTreeMap<u32, (u64, PathBuf)> = BTreeMap::new();
    for (path, source) in sources.iter().filter(|(_, source)| source.image.owner.is_certain) {
        let born = source.image.born;
        let entry = newest.entry(source.image.owner.pid).or_insert_with(|| (born, path.clone()));
        if born > entry.0 {
            *entry = (born, path.clone());
        }
    }
    newest.into_iter().map(|(pid, (_, path))| (pid, path)).collect()
}
