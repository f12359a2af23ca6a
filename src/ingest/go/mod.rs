//! Programs of Go and Rust that were patched at their start: the events in their rings become the same session that a segment's
//! records do ([design](../../docs/design/go.md)).
//!
//! Goroutines are the threads of the model. Whatever a trampoline could not do in a few nanoseconds is done here: pairing,
//! nesting, holders, counts.

mod goroutines;
mod hangs;
mod heap;
mod meaning;
mod rings;
mod system_calls;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::accumulator::Accumulator;
use super::clock::{Clocks, Rate, Ticks, monotonic_ns};
use super::image::Image;
use super::owner::Liveness;
use super::runs;
use crate::model::{
    CodeAddress, Coverage, Hang, LockId, Module, ModuleId, Now, Process, ProcessId, Session, StackId, ThreadId,
    ThreadNow, ThreadShare, WaitNow,
};
use crate::sites::layout::info;
use goroutines::{Goroutines, Happening, Target};
use hangs::Watcher;
pub use heap::HeapAccess;
use heap::{Reach, Subject};
use lockprof_wire::{blocking, own_locks};
use meaning::Event;
pub use meaning::Meaning;
use rings::Folded;
pub use rings::{Batch, DEPTH, Rings, Shape};

/// What a patched program is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Its goroutines are the threads of the model.
    Go,
    /// Its threads are threads.
    Rust,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Go => "Go",
            Self::Rust => "Rust",
        }
    }

    /// What a call that may block is known by: by the number of the function in libc, or of the system call.
    fn call_name(self, number: u64) -> Option<&'static str> {
        match self {
            Self::Go => system_calls::name(number),
            Self::Rust => blocking::name(u32::try_from(number).ok()?),
        }
    }
}

/// What whoever patched a program says of it.
pub struct Patched {
    /// Its process.
    pub pid: u32,
    /// The file's path and build-id.
    pub module: Module,
    /// The file, which may be gone from its path before it is asked for names.
    pub file: Arc<File>,
    /// What is added to the file's addresses.
    pub base: u64,
    /// Where its data lies: file addresses.
    pub data: Vec<Range<u64>>,
    /// What its heap can be read by, of a program of Go.
    pub heap: Option<HeapAccess>,
    /// The return addresses of calls by which an `RWMutex` takes the mutex inside it, sorted: file addresses.
    pub inner_calls: Vec<u64>,
    /// By a record's number: what it is about.
    pub meanings: Vec<Meaning>,
    /// What it is written in.
    pub language: Language,
    /// Some places where locks are given back write nothing: what is held may be so no longer.
    pub lacks_releases: bool,
    /// Nobody else counts its threads: the shim is not in it, or sees others.
    pub counts_threads: bool,
    /// It ran already when it was patched: what was held or waited for then is not known.
    pub is_late: bool,
    /// What it writes.
    pub rings: Rings,
    /// What was found, for people; of programs that are followed only, that it is so.
    pub found: String,
    /// What could not be patched, for people; empty where all could.
    pub left_out: Vec<String>,
}

/// A patched program that is being read.
pub struct Program {
    /// Its process.
    pub pid: u32,
    /// Its row in the session.
    pub process: ProcessId,
    /// When it began, ticks.
    pub born: u64,
    /// To see it end by.
    pub liveness: Liveness,
    /// Its file.
    pub module: Module,
    /// Acquisitions that were taken in.
    pub counted: u64,
    /// Where locks lie in its data, for naming them.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
    module_id: ModuleId,
    base: u64,
    inner_calls: Vec<u64>,
    meanings: Vec<Meaning>,
    /// What it is written in.
    pub language: Language,
    left_out: Vec<String>,
    rings: Rings,
    ticks: Ticks,
    goroutines: Goroutines,
    watcher: Watcher,
    reach: Reach,
    /// Where its variables are.
    data: Vec<Range<u64>>,
    heap: Option<HeapAccess>,
    /// Locks up to this row were looked up in the program's data.
    looked_up: usize,
    stacks: FxHashMap<Box<[u32]>, StackId>,
    key: Vec<u32>,
    batch: Batch,
    lacks_releases: bool,
    /// The shim tells of its threads, too.
    is_merged: bool,
    /// Events were folded before the last reading.
    had_folds: bool,
}

/// Time stamps of two processors may differ by so much, ticks.
const SKEW: u64 = 50_000;

impl Program {
    /// Adds its process to the session, if that has no row (`process`) there yet.
    pub fn new(
        patched: Patched,
        process: Option<ProcessId>,
        session: &mut Session,
        rate: &Rate,
        origin_ns: u64,
    ) -> Self {
        let process = process.unwrap_or_else(|| {
            let parent_pid = super::procfs::parent(&super::procfs::folder(patched.pid)).unwrap_or(0);
            session.processes.push(Process {
                pid: patched.pid,
                parent_pid,
                exe: patched.module.path.clone(),
                exit: None,
                threads: 0,
            });
            ProcessId::from(session.processes.len() - 1)
        });
        if !session.coverage.notes.contains(&patched.found) {
            session.coverage.notes.push(patched.found);
        }
        let moved = |range: &Range<u64>| range.start.wrapping_add(patched.base)..range.end.wrapping_add(patched.base);
        let data: Vec<Range<u64>> = patched.data.iter().map(moved).collect();
        let clocks = Clocks { are_tsc: true, ticks: super::clock::tsc(), monotonic_ns: monotonic_ns(), real_ns: 0 };
        Self {
            pid: patched.pid,
            process,
            born: clocks.ticks,
            liveness: Liveness::of(patched.pid),
            module_id: session.stacks.intern_module(&patched.module),
            module: patched.module,
            counted: 0,
            data_addresses: FxHashMap::default(),
            base: patched.base,
            inner_calls: patched.inner_calls,
            meanings: patched.meanings,
            language: patched.language,
            left_out: patched.left_out,
            rings: patched.rings,
            ticks: Ticks::new(rate, clocks, origin_ns),
            goroutines: Goroutines::new(
                (process, patched.pid),
                (patched.language, patched.counts_threads),
                data.clone(),
            )
            .late(patched.is_late),
            watcher: Watcher::default(),
            reach: Reach::default(),
            data,
            heap: patched.heap,
            looked_up: session.locks.len(),
            stacks: FxHashMap::default(),
            key: Vec::new(),
            batch: Batch::default(),
            lacks_releases: patched.lacks_releases,
            is_merged: !patched.counts_threads,
            had_folds: false,
        }
    }

    /// Gives it the clock of its segment, before anything is read: two may be some microseconds apart, and which of two locks was
    /// taken under the other one would not be known.
    pub fn share_ticks(&mut self, ticks: Ticks) {
        if ticks.are_tsc() {
            self.ticks = ticks;
        }
    }

    /// Its clock, for a segment that is found later.
    pub fn ticks(&self) -> Ticks {
        self.ticks
    }

    /// Takes in what was written since the last time, and before the collector began to look (`began`, ticks; `None` when
    /// nothing more comes). `image`: of the shim in it, which knows stacks of calls. How many events, and how full the fullest
    /// ring was.
    pub fn drain(
        &mut self,
        session: &mut Session,
        accumulator: &mut Accumulator,
        began: Option<u64>,
        mut image: Option<&mut Image>,
    ) -> (u64, f64) {
        let until = began.map_or(u64::MAX, |began| began.saturating_sub(SKEW));
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let fullest = self.rings.read(until, &mut batch);
        // After the records: whatever was folded before one of them is there.
        let folded = self.rings.folded();
        // What was folded just now may lie between records that are read the next time.
        let had_folds = std::mem::replace(&mut self.had_folds, !folded.is_empty());
        self.goroutines.has_gaps(had_folds || self.had_folds || self.lacks_releases);
        for at in runs::in_order(&batch.records, |(record, _)| record.ticks) {
            let (record, start) = &batch.records[at];
            let Some(meaning) = self.meanings.get(meaning::number(record.info)).copied() else { continue };
            let event = meaning.event(record.info);
            if event == Event::Other || event.is_of_mutex() && self.is_inner(batch.stack(record, *start)) {
                continue;
            }
            let mut address = record.address;
            let stack = match event {
                Event::Calls if self.language == Language::Rust => {
                    let (call, node) = own_locks::of(address);
                    address = call.into();
                    image.as_deref_mut().map_or(StackId(0), |image| image.stack(session, node))
                }
                // The innermost frame is all that is known: where the `go` statement is.
                Event::Makes => self.stack(session, &[], record.address.wrapping_sub(self.base)),
                _ if record.info & info::NO_STACK != 0 => StackId(0),
                _ if record.stack == 0 && (self.language == Language::Go || meaning.leaf == 0) => StackId(0),
                _ => self.stack(session, batch.stack(record, *start), meaning.leaf),
            };
            let target = &mut Target { session, accumulator, ticks: &self.ticks, is_merged: self.is_merged };
            let happening = Happening { event, ticks: record.ticks, goroutine: record.goroutine, address, stack };
            self.goroutines.apply(happening, target);
        }
        let events = batch.records.len() as u64;
        self.batch = batch;
        self.take_folds(folded, session, accumulator);
        let target = &mut Target { session, accumulator, ticks: &self.ticks, is_merged: self.is_merged };
        self.goroutines.promote(self.ticks.now(), began.is_none(), target);
        self.look_up_data(session);
        (events, fullest)
    }

    /// Whether a mutex's function was called by an `RWMutex`, as part of its own operation.
    fn is_inner(&self, returns: &[u32]) -> bool {
        // From 1.24 on there is a function between the two where nothing is inlined.
        let mut callers = returns.iter().take(2).map(|low| u64::from(low.wrapping_sub(self.base as u32)));
        callers.any(|caller| self.inner_calls.binary_search(&caller).is_ok())
    }

    fn take_folds(&mut self, folded: Vec<Folded>, session: &mut Session, accumulator: &mut Accumulator) {
        for fold in folded {
            let Some(meaning) = self.meanings.get(meaning::number(fold.info)).copied() else { continue };
            let stack = self.stack(session, &[], meaning.leaf);
            let target = &mut Target { session, accumulator, ticks: &self.ticks, is_merged: self.is_merged };
            self.goroutines.folded(meaning.event(fold.info), fold.address, stack, fold.count, target);
        }
    }

    /// The session's stack of return addresses (their low halves), with the innermost frame before them.
    fn stack(&mut self, session: &mut Session, returns: &[u32], leaf: u64) -> StackId {
        self.key.clear();
        self.key.extend_from_slice(&[leaf as u32, (leaf >> 32) as u32]);
        self.key.extend_from_slice(returns);
        if let Some(known) = self.stacks.get(&self.key[..]) {
            return *known;
        }
        let module = Some(self.module_id);
        let mut id = StackId(0);
        for low in returns.iter().rev() {
            // The code is within 2 GiB of where the file was put.
            let address = u64::from(low.wrapping_sub(self.base as u32));
            id = session.stacks.intern(id, CodeAddress { module, address });
        }
        if leaf != 0 {
            id = session.stacks.intern(id, CodeAddress { module, address: leaf });
        }
        self.stacks.insert(self.key[..].into(), id);
        id
    }

    /// Notes which of the new locks lie in the program's own data.
    fn look_up_data(&mut self, session: &Session) {
        for at in self.looked_up..session.locks.len() {
            let lock = &session.locks[at];
            if lock.process == self.process && self.goroutines.is_fixed(lock.address) {
                let address = lock.address.wrapping_sub(self.base);
                let place = CodeAddress { module: Some(self.module_id), address };
                self.data_addresses.insert(LockId::from(at), place);
            }
        }
        self.looked_up = session.locks.len();
    }

    /// Ends what is held and asked for, now that everything has been drained. Notes on what is missing.
    pub fn finish(&mut self, session: &mut Session, accumulator: &mut Accumulator) -> Vec<String> {
        let now = self.ticks.now();
        let target = &mut Target { session, accumulator, ticks: &self.ticks, is_merged: self.is_merged };
        self.goroutines.finish(now, target);
        // As for other programs with locks of their own: where there is one thread, nobody waits.
        if self.language == Language::Rust && session.processes[self.process.index()].threads <= 1 {
            self.left_out.clear();
        }
        let mut notes: Vec<String> = self.left_out.drain(..).map(|what| Coverage::in_part(&what)).collect();
        if self.goroutines.orphans > 0 {
            let what = format!(
                "{} releases of {} locks in process {} have no acquisition that was seen",
                self.goroutines.orphans,
                self.language.name(),
                self.pid
            );
            notes.push(Coverage::in_part(&what));
        }
        if self.goroutines.unmeasured > 0 {
            let what = format!(
                "{} waits for {} locks in process {} were counted and not measured, as there was more to record than could be \
                 read: waits and holds of that part are not in the times",
                self.goroutines.unmeasured,
                self.language.name(),
                self.pid
            );
            notes.push(Coverage::in_part(&what));
        }
        if self.rings.lacks_rings() {
            let what = format!(
                "process {} had more threads{}, one after the other, than there is room for: {} of them were recorded",
                self.pid,
                if self.language == Language::Go { " of Go's runtime" } else { "" },
                self.rings.shape().count
            );
            notes.push(Coverage::in_part(&what));
        }
        if self.goroutines.not_told_apart > 0 {
            let what = format!(
                "{} acquisitions of {} locks in process {} are not told apart by lock: there were more at a time than could \
                 be read, and more locks than are counted one by one then",
                self.goroutines.not_told_apart,
                self.language.name(),
                self.pid
            );
            notes.push(Coverage::in_part(&what));
        }
        if self.goroutines.calls_lost > 0 {
            // Every acquisition is counted all the same.
            notes.push(format!(
                "of process {}, up to {} calls that block while a lock is held are not told: there was more to record than \
                 could be read",
                self.pid, self.goroutines.calls_lost
            ));
        }
        notes
    }

    /// Events of which nothing is known.
    pub fn lost(&self) -> u64 {
        self.rings.lost().saturating_add(self.goroutines.lost)
    }

    /// Goroutines that go no further, as far as that is certain; each comes once. `is_over`: the program has ended.
    pub fn hangs(&mut self, is_over: bool) -> Vec<Hang> {
        let now = self.ticks.now();
        let mut hangs = self.watcher.look(&self.goroutines, &self.ticks, (self.process, now), is_over);
        let heap = self.heap.as_ref().filter(|_| !is_over && !self.watcher.has_found());
        if let Some(access) = heap {
            let subject = Subject { pid: self.pid, data: &self.data, access };
            let stuck = self.reach.look(&subject, &self.goroutines, &self.ticks, now);
            hangs.extend(self.watcher.stuck(&stuck, &self.goroutines, &self.ticks, (self.process, now)));
        }
        hangs
    }

    /// Who waits for whom, if somebody has for long.
    pub fn waits(&self, least_ns: u64) -> Option<Hang> {
        hangs::waits(&self.goroutines, &self.ticks, (self.process, self.ticks.now()), least_ns)
    }

    /// Goroutines that hold or wait for something.
    pub fn now(&self, shares: &FxHashMap<ThreadId, ThreadShare>, now: &mut Now) {
        let mut counted: FxHashSet<ThreadId> = FxHashSet::default();
        for goroutine in self.goroutines.all.values() {
            let Some(thread) = goroutine.row() else { continue };
            // Of many that share a row one has the counts.
            let share = shares.get(&thread).filter(|_| counted.insert(thread)).copied().unwrap_or_default();
            let waits = goroutine
                .asked
                .last()
                .map(|asked| WaitNow { lock: asked.lock, since_ns: self.ticks.moment_ns(asked.since) });
            let held = goroutine.held.iter().map(|held| (held.lock, held.mode)).collect();
            now.threads.push(ThreadNow { thread, share, waits, held });
        }
        now.threads.sort_unstable_by_key(|row| row.thread);
    }
}
