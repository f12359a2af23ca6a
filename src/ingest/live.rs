//! The collector: finds the session's segments, drains their rings, and closes them when their process ends.

mod folds;
mod hangs;
mod now;
mod spares;
mod woken;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lockprof_wire::ring::RESERVE;
use lockprof_wire::thread::state;
use lockprof_wire::{Flags, Op, Record};
use rustc_hash::FxHashMap;

use super::clock::{Rate, monotonic_ns};
use super::drain::{Drain, Tally};
use super::exit;
use super::image::Image;
use super::order::{self, Looks};
use super::watch::Watcher;
use crate::model::{CodeAddress, Hang, LockId, Mode, ProcessId, Session, SiteKey};
use folds::Folded;
use spares::Spares;

pub use hangs::HangNow;
pub use now::{Named, Unnamed};

/// Collects a session while it runs.
pub struct Collector {
    folder: PathBuf,
    spares: Spares,
    rate: Rate,
    origin_ns: u64,
    /// What was seen so far.
    pub session: Session,
    tally: Tally,
    sources: BTreeMap<PathBuf, Source>,
    folded: u64,
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
}

/// A finished collection.
pub struct Collected {
    /// What was seen; not symbolised yet.
    pub session: Session,
    /// Where locks lie in their module's data.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
    /// Checks of remembered stacks by an oracle build of the shim: agreed, differed.
    pub oracle: (u64, u64),
}

struct Source {
    image: Image,
    drains: Vec<Option<Drain>>,
    process: Option<OwnedFd>,
    watcher: Watcher,
    /// Threads that the kernel knows; 0 until it was asked.
    tasks: u32,
}

/// How busy the rings were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tick {
    /// Records read.
    pub records: u64,
    /// The fullest ring, as a share of its capacity, or the share of spare files that were taken.
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
            tally: Tally::default(),
            sources: BTreeMap::new(),
            folded: 0,
            acquisitions: 0,
            refreshed: Instant::now(),
            data_addresses: FxHashMap::default(),
            ended: Vec::new(),
            died_waiting: Vec::new(),
            oracle: (0, 0),
            keeps_files: false,
        }
    }

    /// One round over everything: looks for new processes, drains all rings, closes ended processes.
    pub fn tick(&mut self) -> Tick {
        // While they are being taken there is no time to lose: one that comes too late is not recorded.
        let mut tick = Tick { fullest: self.spares.refill(), ..Tick::default() };
        self.discover();
        let mut ended = Vec::new();
        // An older segment of one process id is from before an exec.
        let newest = if self.sources.len() > 1 { newest_by_pid(&self.sources) } else { BTreeMap::new() };
        for (path, source) in &mut self.sources {
            // Looked at before the rings: what was written before the end is then there.
            let over = source.process.as_ref().is_none_or(has_ended)
                || newest.get(&source.image.pid).is_some_and(|newest| newest != path);
            source.drain(&mut self.session, &mut self.tally, &mut self.folded, &mut tick);
            if over {
                ended.push(path.clone());
            }
        }
        for path in ended {
            if let Some(source) = self.sources.remove(&path) {
                self.close(source);
            }
        }
        self.tally.settle(&mut self.session, false);
        self.watch();
        const REFRESH: Duration = Duration::from_millis(500);
        if self.refreshed.elapsed() > REFRESH {
            self.refreshed = Instant::now();
            self.ask_for_exits();
            for source in self.sources.values_mut() {
                if !source.process.as_ref().is_none_or(has_ended) {
                    source.count_tasks();
                }
                source.image.refresh_thread_names(&mut self.session);
            }
        }
        tick.alive = self.sources.len();
        tick
    }

    fn discover(&mut self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "seg") || self.sources.contains_key(&path) {
                continue;
            }
            match Image::open(&path, &mut self.session, &self.rate, self.origin_ns) {
                Ok(Some(image)) => {
                    let process = open_process(image.pid);
                    self.sources.insert(
                        path,
                        Source { image, drains: Vec::new(), process, watcher: Watcher::default(), tasks: 0 },
                    );
                }
                Ok(None) => {}
                Err(error) => {
                    self.note(format!("a process could not be recorded: {error}"));
                    // A file that nobody can read is not looked at again.
                    let _ = fs::remove_file(&path);
                }
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

    /// Reads what is left of a process that will write no more.
    fn close(&mut self, mut source: Source) {
        let said = source.image.segment.header().exit.load(Ordering::Relaxed);
        let has_ended_by_now = source.process.as_ref().is_none_or(has_ended);
        self.session.processes[source.image.process.index()].exit = exit::said(said);
        // The kernel tells only when the parent has fetched the code.
        self.ended.extend(source.process.take().map(|process| (source.image.process, process)));
        source.image.refresh_thread_names(&mut self.session);
        // What came between the last look at the rings and the end.
        source.drain(&mut self.session, &mut self.tally, &mut self.folded, &mut Tick::default());
        if said == 0 && (has_ended_by_now || !self.keeps_files) {
            self.died_waiting.extend(source.waits(&mut self.session));
        }
        source.still_held(&mut self.session, &mut self.tally);
        source.read_folds(&mut self.session, &mut self.tally, &mut self.folded, true);
        source.image.finish_order(&mut self.session);
        source.image.finish_locks(&mut self.session);
        for note in source.image.notes() {
            self.note(note);
        }
        let header = source.image.segment.header();
        let unrecorded = header.unrecorded.load(Ordering::Relaxed);
        self.count_unrecorded(&mut source, unrecorded);
        let header = source.image.segment.header();
        self.oracle.0 += header.oracle_checked.load(Ordering::Relaxed);
        self.oracle.1 += header.oracle_wrong.load(Ordering::Relaxed);
        let (mut acquisitions, mut misses) = (unrecorded, 0);
        for number in 0..source.image.segment.thread_count() {
            if let Some(slot) = source.image.segment.thread(number) {
                acquisitions += slot.acquisitions.load(Ordering::Relaxed);
                misses += slot.stack_misses.load(Ordering::Relaxed);
            }
        }
        self.acquisitions += acquisitions;
        self.session.coverage.stack_misses += misses;
        let cut: u64 = (self.session.profile.sites.iter())
            .filter(|site| self.session.lock(site.key.lock).process == source.image.process)
            .filter(|site| {
                site.key.stack.0 == 0
                    || source.image.truncated.iter().any(|cut| {
                        *cut == site.key.stack
                            || self.session.stacks.walk(site.key.stack).any(|node| node.caller == *cut)
                    })
            })
            .map(|site| site.acquisitions)
            .sum();
        self.session.coverage.stacks_truncated += cut;
        self.data_addresses_of(&source.image);
        if !self.keeps_files || has_ended_by_now {
            let _ = fs::remove_file(&source.image.segment.path);
        }
    }

    /// Acquisitions that signal handlers made inside the recorder: counted, with nothing else known.
    fn count_unrecorded(&mut self, source: &mut Source, count: u64) {
        if count == 0 {
            return;
        }
        let lock = source.image.lock(&mut self.session, 0);
        let key = SiteKey { lock, stack: super::drain::NO_STACK, mode: Mode::Exclusive };
        let site = self.session.profile.site(key);
        let site = &mut self.session.profile.sites[site.index()];
        site.acquisitions += count;
        site.folded += count;
        self.folded += count;
    }

    fn data_addresses_of(&mut self, image: &Image) {
        self.data_addresses.extend(image.data_addresses.iter().map(|(id, address)| (*id, *address)));
    }

    /// Ends the collection: everything that is there is read, living processes included.
    pub fn finish(mut self) -> Collected {
        self.tick();
        for (_, source) in std::mem::take(&mut self.sources) {
            self.close(source);
        }
        if self.keeps_files {
            self.spares.remove();
        }
        self.ask_for_exits();
        self.tally.finish(&mut self.session);
        let coverage = &mut self.session.coverage;
        coverage.recorded = self.tally.recorded;
        coverage.folded = self.folded;
        coverage.acquisitions = self.acquisitions.max(coverage.recorded + coverage.folded);
        coverage.lost = coverage.acquisitions - coverage.recorded - coverage.folded;
        coverage.stack_hits = coverage.acquisitions.saturating_sub(coverage.stack_misses);
        self.session.meta.duration_ns = monotonic_ns() - self.origin_ns;
        Collected { session: self.session, data_addresses: self.data_addresses, oracle: self.oracle }
    }
}

impl Source {
    fn drain(&mut self, session: &mut Session, tally: &mut Tally, folded: &mut u64, tick: &mut Tick) {
        for number in 0..self.image.segment.thread_count() {
            self.drain_slot(number, session, tally, tick);
        }
        self.read_folds(session, tally, folded, false);
        self.image.tape.end_round();
    }

    fn drain_slot(&mut self, number: u32, session: &mut Session, tally: &mut Tally, tick: &mut Tick) {
        if self.drains.len() <= number as usize {
            self.drains.resize_with(number as usize + 1, || None);
        }
        loop {
            let Some(slot) = self.image.segment.thread(number) else { return };
            // Acquire: pairs with the shim's Release store; the ring's header is there.
            let offset = slot.ring.load(Ordering::Acquire);
            let Some((ring, slots)) = self.image.segment.ring(offset) else { return };
            let mut records = self.image.tape.blank();
            let read = ring.drain(slots, |record| records.push(record));
            tick.records += read;
            tick.fullest = tick.fullest.max(read as f64 / slots.len() as f64);
            // Into a ring that is full but for its reserve, records are folded.
            let room = slots.len().saturating_sub(RESERVE as usize);
            if read == 0 {
                self.image.tape.give_back(records);
                return;
            }
            let next = records.last().filter(|last| last.op() == Some(Op::NextRing)).map(|last| last.extra);
            if let Some(next) = next {
                slot.ring.store(next, Ordering::Release);
            }
            let drain = match &mut self.drains[number as usize] {
                Some(drain) => drain,
                none => {
                    let first = records.first().filter(|first| first.op() == Some(Op::ThreadStart));
                    let thread = match first {
                        Some(first) => self.image.start_thread(session, number, first.lock, Some(first.ticks)),
                        None => self.image.thread(session, number),
                    };
                    none.insert(Drain::new(number, thread))
                }
            };
            let now = lockprof_now(&self.image);
            drain.apply_all(records, room, now, &mut self.image, session, tally);
            if next.is_none() {
                return;
            }
        }
    }

    /// Locks that are held and never will be given back: acquisitions without a release.
    fn still_held(&mut self, session: &mut Session, tally: &mut Tally) {
        let now = lockprof_now(&self.image);
        // Slots that came after the last look at the rings are of a process that goes on: nothing is left there.
        for number in 0..self.drains.len() as u32 {
            let Some(slot) = self.image.segment.thread(number) else { continue };
            if slot.state.load(Ordering::Acquire) != state::ACTIVE {
                continue;
            }
            let open: Vec<Record> = (self.image.segment.held(slot))
                .filter_map(|entry| {
                    let ticks = entry.ticks.load(Ordering::Relaxed);
                    if ticks == 0 || ticks == u64::MAX {
                        return None;
                    }
                    let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
                    let flags = entry.flags.load(Ordering::Relaxed) as u8 | Flags::UNRELEASED;
                    let hold = Record {
                        ticks,
                        lock: lock_and_stack as u32,
                        stack: (lock_and_stack >> 32) as u32,
                        word: Record::pack(Op::Hold, flags, now.saturating_sub(ticks)),
                        extra: 0,
                    };
                    let wait = entry.wait.load(Ordering::Relaxed);
                    let waited = Record {
                        ticks: ticks.saturating_sub(wait),
                        word: Record::pack(Op::Waited, flags & !Flags::UNRELEASED, wait),
                        extra: entry.holder.load(Ordering::Relaxed),
                        ..hold
                    };
                    Some([waited, hold])
                })
                .flatten()
                .filter(|record| record.op() == Some(Op::Hold) || record.flags() & Flags::CONTENDED != 0)
                .collect();
            let thread = self.image.thread(session, number);
            let drain = self.drains[number as usize].get_or_insert_with(|| Drain::new(number, thread));
            drain.over = true;
            for record in open {
                // A release that was written but not yet taken off the list when the program died.
                if record.op() == Some(Op::Hold) && drain.last_hold == (record.ticks, record.lock) {
                    continue;
                }
                drain.apply(record, &mut self.image, session, tally);
            }
            tally.orders.left(number, thread, &mut self.image, session);
        }
    }

    /// Adds the folds of ended threads (`all`: of all threads) and clears them.
    fn read_folds(&mut self, session: &mut Session, tally: &mut Tally, folded: &mut u64, all: bool) {
        for number in 0..self.image.segment.thread_count() {
            let Some(slot) = self.image.segment.thread(number) else { continue };
            // Acquire: an ended thread's counters are complete.
            let ended = slot.state.load(Ordering::Acquire) == state::ENDED_DIRTY;
            let unused = || self.drains.get(number as usize).is_none_or(Option::is_none);
            if !ended && (!all || slot.state.load(Ordering::Relaxed) == state::ENDED && unused()) {
                continue;
            }
            // Acquire: pairs with the shim's Release store; the table is there.
            let first = slot.folds.load(Ordering::Acquire);
            // What it wrote between the last look at its ring and its end comes before its folds.
            if ended {
                self.drain_slot(number, session, tally, &mut Tick::default());
            }
            let thread = self.image.thread(session, number);
            let looks = self.drains.get(number as usize).and_then(Option::as_ref).map_or(Looks::default(), |d| d.looks);
            let now = lockprof_now(&self.image);
            tally.orders.folded(first, thread, looks, now, &mut self.image, session);
            let mut counted = Vec::new();
            for (_, entries) in order::tables(&self.image.segment, first) {
                counted.extend(entries.iter().filter_map(Folded::take));
            }
            for fold in counted {
                fold.apply(thread, &mut self.image, session, tally, folded);
            }
            if ended && let Some(slot) = self.image.segment.thread(number) {
                // Release: the next thread may use the slot, and finds its counters empty.
                slot.state.store(state::ENDED, Ordering::Release);
            }
        }
    }
}

/// Now, in the ticks of this process.
fn lockprof_now(image: &Image) -> u64 {
    if image.segment.header().ticks_are_tsc.load(Ordering::Relaxed) != 0 {
        // SAFETY: `rdtsc` has no preconditions on x86-64.
        unsafe { core::arch::x86_64::_rdtsc() }
    } else {
        monotonic_ns()
    }
}

/// The newest segment of each process id: an older one is from before an exec.
fn newest_by_pid(sources: &BTreeMap<PathBuf, Source>) -> BTreeMap<u32, PathBuf> {
    let mut newest: BTreeMap<u32, (u64, PathBuf)> = BTreeMap::new();
    for (path, source) in sources {
        let started = source.image.segment.header().start_mono_ns.load(Ordering::Relaxed);
        let entry = newest.entry(source.image.pid).or_insert_with(|| (started, path.clone()));
        if started > entry.0 {
            *entry = (started, path.clone());
        }
    }
    newest.into_iter().map(|(pid, (_, path))| (pid, path)).collect()
}

/// A descriptor of a process; `None` if it has ended already.
fn open_process(pid: u32) -> Option<OwnedFd> {
    // SAFETY: `pidfd_open` takes a process id and flags.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the kernel gave us this descriptor.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd` is passed.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}
