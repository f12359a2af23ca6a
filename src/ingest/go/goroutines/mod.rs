//! What the events of a Go program mean, goroutine by goroutine: the part of the recorder that does not fit into a
//! trampoline. It pairs acquisitions with their releases, requests with what ended them, and knows who holds what.

mod calls;
mod closing;
mod holds;
mod requests;
mod rows;
mod state;

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::Language;
use super::meaning::Event;
use crate::ingest::accumulator::Accumulator;
use crate::ingest::clock::Ticks;
use crate::ingest::order::{Input, Source};
use crate::ingest::site_cache::SiteCache;
use crate::ingest::who::Who;
use crate::model::order::{self, How, What};
use crate::model::{Kind, LockId, Mode, PARK, ProcessId, Session, StackId, ThreadId, WaitKey};
use lockprof_wire::Flags;

/// Goroutines that were begun by one `go` statement and are counted in a row of their own; later ones share one. A server
/// begins some for each request.
const OWN_OF_PLACE: u32 = 1 << 14;
/// The same of all places.
const OWN_ROWS: u32 = 1 << 16;
/// Goroutines that have a row of their own in the order of locks.
const MOST_THREADS: usize = 1 << 18;

/// Locks of one kind, first used at one place, that are counted in a row of their own whatever there is beside them.
const OWN_ALWAYS: u32 = 64;
/// The same as long as there is room.
const OWN_OF_CLASS: u32 = 1 << 14;
/// So much room there is.
const OWN_LOCKS: u32 = 1 << 16;
/// Locks without a row of their own that the order of locks has to know of, as they were taken with others.
const MOST_ORDERED: u32 = 1 << 18;
/// Locks that are known at a time.
const MOST_LOCKS: usize = 1 << 19;

/// A request that took less, ns, and whose goroutine was not parked, did not wait.
const LEAST_WAIT_NS: u64 = 1000;
/// Holds with nothing taken under them that the order of locks gets: later ones would push out others.
const MOST_SECTIONS: u32 = 200_000;

pub use state::{Asked, Goroutine, Held, LockRow};
use state::{Place, Rows, Supposed};

/// Where the events go.
pub struct Target<'a> {
    /// What was seen so far.
    pub session: &'a mut Session,
    /// What is not in the session yet.
    pub accumulator: &'a mut Accumulator,
    /// The program's clock.
    pub ticks: &'a Ticks,
    /// Its threads are told of in a segment, too.
    pub is_merged: bool,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Happening {
    /// What.
    pub event: Event,
    /// When, ticks.
    pub ticks: u64,
    /// The goroutine's number; 0 for the runtime itself.
    pub goroutine: u64,
    /// What it is about.
    pub address: u64,
    /// Where.
    pub stack: StackId,
}

/// All goroutines of a program that did something, and all its locks.
pub struct Goroutines {
    process: ProcessId,
    /// The process's number.
    pid: u32,
    language: Language,
    /// Nobody else counts its threads.
    counts_threads: bool,
    pub(super) all: FxHashMap<u64, Goroutine>,
    pub(super) locks: FxHashMap<u64, LockRow>,
    /// For locks beyond those that have rows.
    merged: FxHashMap<Kind, LockId>,
    /// What looks like a lock that was taken by a try, until a release proves it.
    supposed: FxHashMap<u64, Vec<Supposed>>,
    /// Where goroutines begin, by the `go` statement.
    places: FxHashMap<StackId, Place<ThreadId>>,
    /// Where locks are used first.
    classes: FxHashMap<(Kind, StackId), Place<LockId>>,
    /// Goroutines that are counted in a row of their own.
    own_goroutines: u32,
    /// The same of locks.
    own_locks: u32,
    /// Rows of locks that only the order of locks has.
    ordered_locks: u32,
    /// So many locks are known when those that are gone are looked for.
    purge_at: usize,
    /// For goroutines beyond those that have rows.
    others: Option<ThreadId>,
    /// When those who wait were looked through, ticks.
    promoted: u64,
    /// By goroutine: what stands for its being woken, in the order of hand-overs.
    wakers: FxHashMap<u64, LockId>,
    threads: usize,
    /// Rows of the process's threads, its segment's among them, by their kernel ids; and how many rows were looked at.
    rows: FxHashMap<u32, Vec<ThreadId>>,
    rows_seen: usize,
    sites: SiteCache,
    /// Where locks are for as long as the program runs: addresses in memory.
    fixed: Vec<Range<u64>>,
    /// How often memory was collected.
    collections: u32,
    /// Releases of what nobody was known to hold.
    pub orphans: u64,
    /// Acquisitions of which the lock is not known.
    pub lost: u64,
    /// Acquisitions that waited, and were only counted.
    pub unmeasured: u64,
    /// Acquisitions that were counted, but not lock by lock.
    pub not_told_apart: u64,
    /// Calls that may block, some of them under locks, of which no more is known.
    pub calls_lost: u64,
    /// Requests that were made, less those that were granted, counted ones included.
    pending: FxHashMap<(Kind, Mode), i64>,
    has_folds: bool,
    /// Holds with nothing taken under them that the order of locks knows of.
    sections: u32,
    /// Events were only counted among those that are being taken in.
    has_gaps: bool,
    /// The program ran already when the recording began: see [`Self::is_from_before`].
    is_late: bool,
}

impl Goroutines {
    /// None yet.
    pub fn new(
        (process, pid): (ProcessId, u32),
        (language, counts_threads): (Language, bool),
        fixed: Vec<Range<u64>>,
    ) -> Self {
        Self {
            process,
            pid,
            language,
            counts_threads,
            fixed,
            collections: 0,
            all: FxHashMap::default(),
            locks: FxHashMap::default(),
            merged: FxHashMap::default(),
            supposed: FxHashMap::default(),
            places: FxHashMap::default(),
            classes: FxHashMap::default(),
            own_goroutines: 0,
            own_locks: 0,
            ordered_locks: 0,
            purge_at: 1 << 12,
            others: None,
            promoted: 0,
            wakers: FxHashMap::default(),
            threads: 0,
            rows: FxHashMap::default(),
            rows_seen: 0,
            sites: SiteCache::new(),
            orphans: 0,
            lost: 0,
            unmeasured: 0,
            not_told_apart: 0,
            calls_lost: 0,
            sections: 0,
            pending: FxHashMap::default(),
            has_folds: false,
            has_gaps: false,
            is_late: false,
        }
    }

    /// The same of a program that ran already.
    #[must_use]
    pub fn late(mut self, is_late: bool) -> Self {
        self.is_late = is_late;
        self
    }

    /// Takes in one event. Those of one goroutine come in their order.
    pub fn apply(&mut self, happening: Happening, target: &mut Target) {
        let Happening { event, ticks, goroutine, address, stack } = happening;
        if event == Event::Collects {
            self.collections += 1;
            self.purge();
        }
        if goroutine == 0 {
            return;
        }
        match event {
            Event::Acquired { kind, mode, by_try } => {
                self.catch_up(goroutine, ticks, target);
                if by_try && self.language == Language::Rust && !self.locks.contains_key(&address) {
                    self.suppose(goroutine, (kind, mode, address, stack), ticks);
                    return;
                }
                let lock = self.lock(address, kind, stack, target);
                let flags = if by_try { Flags::TRY } else { Flags::NONE };
                self.acquire(goroutine, (lock, address, mode, stack), ticks, flags, None, target);
            }
            Event::Requested { kind, mode, certainly } => {
                *self.pending.entry((kind, mode)).or_default() += 1;
                self.catch_up(goroutine, ticks, target);
                self.ask(goroutine, (kind, mode, address, stack), ticks, certainly, false, target);
            }
            Event::Try { kind, mode } => {
                self.ask(goroutine, (kind, mode, address, stack), ticks, false, true, target);
            }
            Event::Tried { kind, mode } => {
                if let Some(asked) = self.answer(goroutine, kind, mode, true) {
                    if address & 1 != 0 {
                        let what = (asked.lock, asked.address, mode, asked.stack);
                        self.acquire(goroutine, what, ticks, Flags::TRY, None, target);
                    } else {
                        self.missed(goroutine, &asked, target);
                    }
                }
            }
            Event::AcquiredAfterWait { kind, mode } => {
                if let Some(asked) = self.answered(goroutine, kind, mode) {
                    self.acquired_after_wait(goroutine, asked, ticks, target);
                }
            }
            Event::AcquiredOrGivenUp { kind, mode } => {
                if let Some(asked) = self.answered(goroutine, kind, mode) {
                    if address & 1 != 0 {
                        self.acquired_after_wait(goroutine, asked, ticks, target);
                    } else {
                        self.missed(goroutine, &asked, target);
                    }
                }
            }
            Event::Released { kind, mode } => self.release(goroutine, kind, mode, address, ticks, target),
            Event::Downgraded { kind } => {
                self.release(goroutine, kind, Mode::Exclusive, address, ticks, target);
                let lock = self.lock(address, kind, stack, target);
                // Nobody can come in between.
                self.acquire(goroutine, (lock, address, Mode::Shared, stack), ticks, Flags::TRY, None, target);
            }
            Event::Counted => {
                // The address has 48 bits, the number is above.
                let (address, delta) = (address & ((1 << 48) - 1), (address >> 48) as i16);
                if delta < 0 {
                    self.posted(goroutine, Kind::Waitgroup, address, stack, ticks, target);
                }
            }
            Event::Begins { kind, sends } => {
                let address = match kind {
                    Kind::Select => 0,
                    // Rust's begins with its mutex, which is a lock of its own.
                    Kind::Barrier => address.wrapping_add(1),
                    _ => address,
                };
                self.catch_up(goroutine, ticks, target);
                if sends {
                    self.posted(goroutine, kind, address, stack, ticks, target);
                }
                // Whether a goroutine waits, its being parked tells.
                let waits = self.language == Language::Rust;
                if waits && kind == Kind::Cond {
                    // A thread waits for one thing at a time: the end of an earlier one had no place for a patch.
                    let goroutine = self.all.entry(goroutine).or_default();
                    goroutine.asked.retain(|asked| asked.kind != Kind::Cond);
                }
                self.ask(goroutine, (kind, Mode::Exclusive, address, stack), ticks, waits, false, target);
            }
            Event::Ends { kind, receives } => {
                if let Some(asked) = self.answer(goroutine, kind, Mode::Exclusive, false) {
                    self.done(goroutine, asked, ticks, receives, target);
                }
            }
            Event::Signals { kind } => self.posted(goroutine, kind, address, stack, ticks, target),
            Event::Closes => self.posted(goroutine, Kind::Channel, address, stack, ticks, target),
            Event::Parks => {
                let state = self.all.entry(goroutine).or_default();
                state.is_parked = true;
                for asked in &mut state.asked {
                    (asked.has_waited, asked.has_parked) = (true, true);
                }
                // What it asked for is told as what it waits for; all else is a call, as a sleep.
                if state.asked.is_empty() {
                    self.calls(goroutine, PARK, stack, ticks);
                }
            }
            Event::Resumes => {
                let state = self.all.entry(goroutine).or_default();
                state.is_parked = false;
                if state.asked.is_empty() {
                    self.returns(goroutine, ticks, target);
                }
            }
            Event::Makes => self.all.entry(goroutine).or_default().makes = stack,
            Event::Made => self.made(goroutine, address, ticks, target),
            Event::Exits => self.exited(goroutine, ticks, target),
            Event::Wakes => self.wakes(goroutine, address, ticks, stack, target),
            Event::Calls => {
                let name = self.language.call_name(address).unwrap_or_default();
                self.calls(goroutine, name, stack, ticks);
            }
            Event::Returns => self.returns(goroutine, ticks, target),
            Event::Collects | Event::Other => {}
        }
    }

    /// Whether an address is that of a lock for as long as the program runs.
    pub fn is_fixed(&self, address: u64) -> bool {
        is_in(&self.fixed, address)
    }

    /// Who holds what was asked for and will release it; nobody where that is not certain.
    pub(super) fn holders(&self, asked: &Asked) -> Vec<u64> {
        let row = self.locks.get(&asked.address).filter(|row| !row.is_handed_over && !row.is_doubtful);
        row.filter(|_| asked.is_request()).map(|row| row.holders.clone()).unwrap_or_default()
    }

    /// What is taken in next has gaps, where events were only counted, or it has none. What is held then, or asked for, may
    /// be so no longer.
    pub fn has_gaps(&mut self, has_gaps: bool) {
        self.has_gaps = has_gaps;
        self.has_folds |= has_gaps;
        if has_gaps {
            for goroutine in self.all.values_mut() {
                for held in &mut goroutine.held {
                    held.is_doubtful = true;
                    self.locks.entry(held.address).and_modify(|row| row.is_doubtful = true);
                }
                goroutine.asked.iter_mut().for_each(|asked| asked.is_doubtful = true);
            }
        }
    }
}

/// Hands an event of a goroutine to the order of locks.
fn to_order(thread: ThreadId, ticks: u64, stack: StackId, what: What, target: &mut Target) {
    hand_on(thread, ticks, stack, (what, None), target);
}

/// The same; of a hold with none beside it (`alone`) how it was asked for.
fn hand_on(thread: ThreadId, ticks: u64, stack: StackId, (what, alone): (What, Option<How>), target: &mut Target) {
    let event = order::Event { at_ns: target.ticks.moment_ns(ticks), stack, what };
    if target.is_merged {
        let event = order::Event { what: event.what.in_second_list(), ..event };
        let input = alone.map_or(Input::Event(event), |how| Input::Alone(event, how));
        target.accumulator.merging.add(thread, Source::Rings, input);
    } else {
        target.accumulator.order.apply(&mut target.session.order, thread, event);
    }
}

fn is_in(ranges: &[Range<u64>], address: u64) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}
