//! What the events of a Go program mean, goroutine by goroutine: the part of the recorder that does not fit into a
//! trampoline. It pairs acquisitions with their releases, requests with what ended them, and knows who holds what.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::meaning::Event;
use crate::ingest::accumulator::Accumulator;
use crate::ingest::clock::Ticks;
use crate::ingest::decode::{Access, Done, Failed, Failure, Hold};
use crate::ingest::site_cache::{CacheKey, CachedSite, SiteCache};
use crate::model::order::{self, How, What};
use crate::model::{
    Kind, Lock, LockId, LockName, Mode, NameSource, ProcessId, Session, SiteKey, StackId, Thread, ThreadId, WaitEvent,
    WaitKey,
};
use lockprof_wire::Flags;

/// Goroutines that get a row of their own.
const MOST_THREADS: usize = 1 << 18;
/// Locks that get a row of their own.
const MOST_LOCKS: usize = 1 << 19;

/// A request that took less, ns, and whose goroutine was not parked, did not wait.
const LEAST_WAIT_NS: u64 = 1000;
/// Holds with nothing taken under them that are told to the order of locks: later ones would push out others.
const MOST_SECTIONS: u32 = 200_000;

/// Where the events go.
pub struct Target<'a> {
    /// What was seen so far.
    pub session: &'a mut Session,
    /// What is not in the session yet.
    pub accumulator: &'a mut Accumulator,
    /// The program's clock.
    pub ticks: &'a Ticks,
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

/// A lock that a goroutine holds.
pub(super) struct Held {
    pub lock: LockId,
    pub address: u64,
    pub mode: Mode,
    pub stack: StackId,
    pub since: u64,
    flags: Flags,
    position: u32,
    wait: Option<(WaitKey, u64, u64)>,
    /// The order of locks knows of it.
    is_published: bool,
    /// Events were only counted since: it may have been released.
    pub is_doubtful: bool,
}

/// Something that a goroutine asked for, or an operation that may block, which is not over.
pub(super) struct Asked {
    pub kind: Kind,
    pub mode: Mode,
    pub address: u64,
    pub lock: LockId,
    pub stack: StackId,
    pub since: u64,
    pub is_try: bool,
    /// It was not free, or the goroutine was parked since.
    pub has_waited: bool,
    /// The goroutine was parked since.
    has_parked: bool,
    /// Events were only counted since: it may be over.
    pub is_doubtful: bool,
    holder: Option<(ThreadId, StackId)>,
}

impl Asked {
    /// Whether it waits for a lock until it has it.
    pub fn is_request(&self) -> bool {
        self.kind.nests() && !self.is_try
    }
}

#[derive(Default)]
pub(super) struct Goroutine {
    pub thread: Option<ThreadId>,
    pub held: Vec<Held>,
    pub asked: Vec<Asked>,
    pub is_parked: bool,
    has_ended: bool,
    /// It was woken while it waited for a message.
    woken: Option<LockId>,
    made_at: u64,
    /// Behind the `go` statement that is being executed.
    makes: StackId,
}

impl Goroutine {
    /// Whether it has ended, and left something behind.
    pub fn is_over(&self) -> bool {
        self.has_ended
    }
}

/// What is known of an address.
pub(super) struct LockRow {
    pub id: LockId,
    pub kind: Kind,
    pub holders: Vec<u64>,
    waiting: u32,
    /// How often memory had been collected when it was used last.
    used: u32,
    /// Somebody who holds it may hold it no longer.
    is_doubtful: bool,
}

/// All goroutines of a program that did something, and all its locks.
pub struct Goroutines {
    process: ProcessId,
    pub(super) all: FxHashMap<u64, Goroutine>,
    pub(super) locks: FxHashMap<u64, LockRow>,
    /// For locks beyond those that have rows.
    merged: FxHashMap<Kind, LockId>,
    /// For goroutines beyond those that have rows.
    others: Option<ThreadId>,
    /// By goroutine: what stands for its being woken, in the order of hand-overs.
    wakers: FxHashMap<u64, LockId>,
    threads: usize,
    sites: SiteCache,
    /// Where locks are for as long as the program runs: addresses in memory.
    fixed: Vec<Range<u64>>,
    /// How often memory was collected.
    collections: u32,
    /// Releases of what nobody was known to hold.
    pub orphans: u64,
    /// Acquisitions before the release that made them possible, by the processors' clocks.
    pub overlaps: u64,
    /// Acquisitions of which the lock is not known.
    pub lost: u64,
    /// Acquisitions that waited, and were only counted.
    pub unmeasured: u64,
    /// Acquisitions that were counted, but not lock by lock.
    pub not_told_apart: u64,
    /// Requests that were made, less those that were granted, counted ones included.
    pending: FxHashMap<(Kind, Mode), i64>,
    has_folds: bool,
    /// Holds with nothing taken under them that the order of locks knows of.
    sections: u32,
    /// Events were only counted among those that are being taken in.
    has_gaps: bool,
}

impl Goroutines {
    /// None yet.
    pub fn new(process: ProcessId, fixed: Vec<Range<u64>>) -> Self {
        Self {
            process,
            fixed,
            collections: 0,
            all: FxHashMap::default(),
            locks: FxHashMap::default(),
            merged: FxHashMap::default(),
            others: None,
            wakers: FxHashMap::default(),
            threads: 0,
            sites: SiteCache::new(),
            orphans: 0,
            overlaps: 0,
            lost: 0,
            unmeasured: 0,
            not_told_apart: 0,
            sections: 0,
            pending: FxHashMap::default(),
            has_folds: false,
            has_gaps: false,
        }
    }

    /// Takes in one event. Those of one goroutine come in their order.
    pub fn apply(&mut self, happening: Happening, target: &mut Target) {
        let Happening { event, ticks, goroutine, address, stack } = happening;
        if event == Event::Collects {
            self.collections += 1;
        }
        if goroutine == 0 {
            return;
        }
        match event {
            Event::Acquired { kind, mode, by_try } => {
                self.catch_up(goroutine, ticks, target);
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
                *self.pending.entry((kind, mode)).or_default() -= 1;
                if let Some(asked) = self.answer(goroutine, kind, mode, false) {
                    self.acquired_after_wait(goroutine, asked, ticks, target);
                }
            }
            Event::Released { kind, mode } => self.release(goroutine, kind, mode, address, ticks, target),
            Event::Counted => {
                // The address has 48 bits, the number is above.
                let (address, delta) = (address & ((1 << 48) - 1), (address >> 48) as i16);
                if delta < 0 {
                    self.posted(goroutine, Kind::Waitgroup, address, stack, ticks, target);
                }
            }
            Event::Begins { kind, sends } => {
                let address = if kind == Kind::Select { 0 } else { address };
                self.catch_up(goroutine, ticks, target);
                if sends {
                    self.posted(goroutine, kind, address, stack, ticks, target);
                }
                self.ask(goroutine, (kind, Mode::Exclusive, address, stack), ticks, false, false, target);
            }
            Event::Ends { kind, receives } => {
                if let Some(asked) = self.answer(goroutine, kind, Mode::Exclusive, false) {
                    self.done(goroutine, asked, ticks, receives, target);
                }
            }
            Event::Signals => self.posted(goroutine, Kind::Cond, address, stack, ticks, target),
            Event::Closes => self.posted(goroutine, Kind::Channel, address, stack, ticks, target),
            Event::Parks => {
                let state = self.all.entry(goroutine).or_default();
                state.is_parked = true;
                for asked in &mut state.asked {
                    (asked.has_waited, asked.has_parked) = (true, true);
                }
            }
            Event::Resumes => self.all.entry(goroutine).or_default().is_parked = false,
            Event::Makes => self.all.entry(goroutine).or_default().makes = stack,
            Event::Made => self.made(goroutine, address, ticks, target),
            Event::Exits => self.exited(goroutine, ticks, target),
            Event::Wakes => self.wakes(goroutine, address, ticks, stack, target),
            Event::Collects | Event::Other => {}
        }
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

    /// Counts events that have no record.
    pub fn folded(&mut self, event: Event, address: u64, stack: StackId, count: u64, target: &mut Target) {
        let (kind, mode, contended) = match event {
            Event::Acquired { kind, mode, .. } => (kind, mode, false),
            // It is granted some time, and that has no object.
            Event::Requested { kind, mode, .. } => {
                *self.pending.entry((kind, mode)).or_default() += count as i64;
                (kind, mode, true)
            }
            Event::AcquiredAfterWait { kind, mode } => {
                *self.pending.entry((kind, mode)).or_default() -= count as i64;
                return;
            }
            Event::Begins { kind, .. } => (kind, Mode::Exclusive, false),
            // Which lock it was about is not known.
            Event::Tried { .. } => {
                self.lost += count * (address & 1);
                return;
            }
            _ => return,
        };
        // The mutex inside a read-write lock.
        if kind == Kind::Mutex && self.locks.get(&address).is_some_and(|row| row.kind == Kind::Rwlock) {
            return;
        }
        let address = if kind == Kind::Select { 0 } else { address };
        self.not_told_apart += if address == 0 && kind.nests() { count } else { 0 };
        let lock = self.lock(address, kind, stack, target);
        let site = target.session.profile.site(SiteKey { lock, stack, mode });
        let site = &mut target.session.profile.sites[site.index()];
        site.acquisitions += count;
        site.folded += count;
        site.contended += if contended { count } else { 0 };
        self.unmeasured += if contended { count } else { 0 };
        target.accumulator.aggregated += count;
    }

    /// The program is over: what is held is held for ever.
    pub fn finish(&mut self, ticks: u64, target: &mut Target) {
        let mut numbers: Vec<u64> = self.all.keys().copied().collect();
        numbers.sort_unstable();
        for asked in self.all.values().flat_map(|goroutine| &goroutine.asked) {
            if asked.is_request() && !asked.is_doubtful {
                *self.pending.entry((asked.kind, asked.mode)).or_default() -= 1;
            }
        }
        for number in numbers {
            let Some(mut goroutine) = self.all.remove(&number) else { continue };
            let Some(thread) = goroutine.thread else { continue };
            for asked in std::mem::take(&mut goroutine.asked) {
                if asked.is_doubtful && asked.is_request() {
                    // All that were made were granted, or it is not known which.
                    if self.pending.get(&(asked.kind, asked.mode)).is_none_or(|open| *open <= 0) {
                        let site = self.site(asked.lock, asked.stack, asked.mode, thread, target);
                        target.accumulator.unended(site, target.session);
                    } else {
                        self.lost += 1;
                    }
                    continue;
                }
                if asked.is_request() && !asked.is_doubtful && self.is_in_order(thread, asked.lock, target) {
                    publish(&mut goroutine.held, thread, target);
                    let what = What::Wanted { lock: asked.lock, mode: asked.mode, how: How::Block };
                    tell(thread, asked.since, asked.stack, what, target);
                }
            }
            for held in goroutine.held {
                if held.is_doubtful {
                    self.count(&held, thread, target);
                } else {
                    self.end(held, thread, ticks, Flags::UNRELEASED, target);
                }
            }
        }
    }

    /// The row of an address. An object of another kind there is a new one; so is one on the heap that nobody used while
    /// memory was collected twice: the first may have found it, and its memory have been given to another one since.
    fn lock(&mut self, address: u64, kind: Kind, stack: StackId, target: &mut Target) -> LockId {
        let collections = self.collections;
        if let Some(row) = self.locks.get_mut(&address)
            && row.kind == kind
        {
            let is_idle = row.holders.is_empty() && row.waiting == 0;
            let may_be_new = is_idle && collections - row.used >= 2;
            if !may_be_new || self.fixed.iter().any(|range| range.contains(&address)) {
                row.used = collections;
                return row.id;
            }
        }
        if self.locks.len() >= MOST_LOCKS || address == 0 {
            let process = self.process;
            return *self.merged.entry(kind).or_insert_with(|| add_lock(process, 0, kind, stack, target));
        }
        let id = add_lock(self.process, address, kind, stack, target);
        self.locks.insert(
            address,
            LockRow { id, kind, holders: Vec::new(), waiting: 0, used: collections, is_doubtful: false },
        );
        id
    }

    /// The goroutine's row.
    fn thread(&mut self, number: u64, ticks: u64, target: &mut Target) -> ThreadId {
        let goroutine = self.all.entry(number).or_default();
        if let Some(thread) = goroutine.thread {
            return thread;
        }
        let session = &mut *target.session;
        if self.threads >= MOST_THREADS
            && let Some(others) = self.others
        {
            goroutine.thread = Some(others);
            return others;
        }
        let thread = ThreadId::from(session.threads.len());
        let made_at = if goroutine.made_at == 0 { ticks } else { goroutine.made_at };
        let start_ns = target.ticks.moment_ns(made_at);
        let is_shared = self.threads >= MOST_THREADS;
        let (name, tid) = if is_shared { ("other goroutines", 0) } else { (Thread::GOROUTINE, number as u32) };
        session.threads.push(Thread { process: self.process, tid, name: name.to_owned(), start_ns, end_ns: None });
        session.processes[self.process.index()].threads += 1;
        self.threads += 1;
        goroutine.thread = Some(thread);
        if is_shared {
            self.others = Some(thread);
        } else {
            let what = What::Started { process: self.process, key: 0, token: number as u32 };
            tell(thread, made_at, StackId(0), what, target);
        }
        thread
    }

    /// Whether a goroutine's use of a lock takes part in the order of locks.
    fn is_in_order(&self, thread: ThreadId, lock: LockId, target: &mut Target) -> bool {
        let is = Some(thread) != self.others && target.session.lock(lock).nests();
        target.session.order.dropped += u64::from(!is && target.session.lock(lock).kind.nests());
        is
    }

    fn ask(
        &mut self,
        number: u64,
        (kind, mode, address, stack): (Kind, Mode, u64, StackId),
        ticks: u64,
        certainly: bool,
        is_try: bool,
        target: &mut Target,
    ) {
        /// More operations are not open in one goroutine.
        const MOST: usize = 64;
        let lock = self.lock(address, kind, stack, target);
        self.thread(number, ticks, target);
        let holder = self.locks.get(&address).and_then(|row| row.holders.last()).copied();
        let holder = holder.and_then(|holder| {
            let goroutine = self.all.get(&holder)?;
            let held = goroutine.held.iter().rev().find(|held| held.lock == lock && !held.is_doubtful)?;
            Some((goroutine.thread?, held.stack))
        });
        if kind.nests()
            && !is_try
            && let Some(row) = self.locks.get_mut(&address)
        {
            row.waiting += 1;
            let most = &mut target.session.locks[row.id.index()].max_waiters;
            if certainly {
                *most = (*most).max(row.waiting);
            }
        }
        let has_waited = certainly || kind.nests() && holder.is_some();
        let goroutine = self.all.entry(number).or_default();
        if goroutine.asked.len() >= MOST {
            self.lost += u64::from(kind.nests());
        } else {
            let is_doubtful = self.has_gaps;
            goroutine.asked.push(Asked {
                kind,
                mode,
                address,
                lock,
                stack,
                since: ticks,
                is_try,
                has_waited,
                has_parked: false,
                is_doubtful,
                holder,
            });
        }
    }

    /// What the goroutine asked for last of this kind.
    fn answer(&mut self, number: u64, kind: Kind, mode: Mode, is_try: bool) -> Option<Asked> {
        let goroutine = self.all.get_mut(&number)?;
        let is = |asked: &Asked| (asked.kind, asked.mode, asked.is_try) == (kind, mode, is_try);
        let at = goroutine.asked.iter().rposition(is)?;
        let asked = goroutine.asked.remove(at);
        if kind.nests()
            && !is_try
            && let Some(row) = self.locks.get_mut(&asked.address)
        {
            row.waiting = row.waiting.saturating_sub(1);
        }
        Some(asked)
    }

    /// A goroutine that does something else has what it asked for: the event of that was only counted, or has no place for
    /// a patch.
    fn catch_up(&mut self, number: u64, ticks: u64, target: &mut Target) {
        if self.has_folds {
            self.settle(number, target);
        }
        let Some(goroutine) = self.all.get(&number) else { return };
        let Some(asked) = goroutine.asked.iter().rev().find(|asked| asked.is_request()) else { return };
        let (kind, mode) = (asked.kind, asked.mode);
        if let Some(asked) = self.answer(number, kind, mode, false) {
            self.acquired_after_wait(number, asked, ticks, target);
        }
    }

    /// Counts operations in which nothing else can happen, and whose end was only counted.
    fn settle(&mut self, number: u64, target: &mut Target) {
        let is_over = |asked: &mut Asked| {
            asked.is_doubtful && matches!(asked.kind, Kind::Channel | Kind::Select | Kind::Waitgroup)
        };
        let Some(goroutine) = self.all.get_mut(&number) else { return };
        let over: Vec<Asked> = goroutine.asked.extract_if(.., is_over).collect();
        for mut asked in over {
            asked.has_waited = false;
            let ticks = asked.since;
            self.done(number, asked, ticks, false, target);
        }
    }

    fn acquired_after_wait(&mut self, number: u64, asked: Asked, ticks: u64, target: &mut Target) {
        let what = (asked.lock, asked.address, asked.mode, asked.stack);
        let is_again = asked.kind != Kind::Cond
            && self.all.get(&number).is_some_and(|all| all.asked.iter().any(|asked| asked.kind == Kind::Cond));
        let flags = if is_again { Flags::REACQUIRED } else { Flags::NONE };
        // How long it took is not known where events lack.
        // A free lock with sleepers is not had at the first try either: that is no wait.
        let is_long = target.ticks.duration_ns(ticks.saturating_sub(asked.since)) >= LEAST_WAIT_NS;
        let waited = (asked.has_waited && (asked.has_parked || is_long) && !asked.is_doubtful).then_some(asked);
        self.acquire(number, what, ticks, flags, waited, target);
    }

    fn acquire(
        &mut self,
        number: u64,
        (lock, address, mode, stack): (LockId, u64, Mode, StackId),
        ticks: u64,
        flags: Flags,
        waited: Option<Asked>,
        target: &mut Target,
    ) {
        let thread = self.thread(number, ticks, target);
        self.forget_doubtful(number, address, mode, target);
        let mut flags = if mode == Mode::Shared { flags.with(Flags::SHARED) } else { flags };
        let wait = waited.map(|asked| {
            flags = flags.with(Flags::CONTENDED);
            let (holder_thread, holder) =
                asked.holder.map_or((None, StackId(0)), |(thread, stack)| (Some(thread), stack));
            let key = WaitKey { lock, thread, waiter: stack, mode, holder, holder_thread };
            (key, asked.since, ticks.saturating_sub(asked.since))
        });
        let in_order = self.is_in_order(thread, lock, target);
        let Some(goroutine) = self.all.get_mut(&number) else { return };
        let is_nested = !goroutine.held.is_empty();
        let position = goroutine.held.last().map_or(0, |held| held.position + 1);
        let held = Held {
            lock,
            address,
            mode,
            stack,
            since: ticks,
            flags,
            position,
            wait,
            is_published: !in_order,
            is_doubtful: self.has_gaps,
        };
        goroutine.held.push(held);
        if is_nested && in_order {
            if self.has_gaps {
                target.session.order.dropped += 1;
            } else {
                publish(&mut goroutine.held, thread, target);
            }
        }
        let is_doubtful = self.has_gaps;
        if let Some(row) = self.locks.get_mut(&address) {
            row.holders.push(number);
            row.is_doubtful |= is_doubtful;
        }
    }

    /// What cannot be held any more, as somebody has it, or as this goroutine goes on.
    fn forget_doubtful(&mut self, number: u64, address: u64, mode: Mode, target: &mut Target) {
        if !self.has_folds {
            return;
        }
        let mut owners = vec![number];
        if let Some(row) = self.locks.get_mut(&address)
            && row.is_doubtful
        {
            owners.extend(row.holders.iter().filter(|holder| **holder != number));
            // Readers leave each other alone: a writer will look at all of them.
            row.is_doubtful = mode == Mode::Shared;
        }
        for owner in owners {
            let Some(goroutine) = self.all.get_mut(&owner) else { continue };
            let goes = |held: &mut Held| {
                held.is_doubtful
                    && (owner == number
                        || held.address == address && (mode == Mode::Exclusive || held.mode == Mode::Exclusive))
            };
            let gone: Vec<Held> = goroutine.held.extract_if(.., goes).collect();
            let Some(thread) = goroutine.thread else { continue };
            for held in gone {
                self.unhold(held.address, owner);
                self.drop_doubtful(&held, thread, target);
            }
        }
    }

    fn drop_doubtful(&mut self, held: &Held, thread: ThreadId, target: &mut Target) {
        self.count(held, thread, target);
        if held.is_published && target.session.lock(held.lock).nests() {
            let what = What::Released { position: held.position, lock: held.lock };
            tell(thread, held.since, held.stack, what, target);
        }
    }

    fn unhold(&mut self, address: u64, number: u64) {
        if let Some(row) = self.locks.get_mut(&address)
            && let Some(at) = row.holders.iter().position(|holder| *holder == number)
        {
            row.holders.swap_remove(at);
        }
    }

    fn release(&mut self, number: u64, kind: Kind, mode: Mode, address: u64, ticks: u64, target: &mut Target) {
        let Some(row) = self.locks.get(&address) else {
            self.orphans += 1;
            return;
        };
        if row.kind != kind {
            // The mutex inside a read-write lock.
            self.orphans += u64::from(!(kind == Kind::Mutex && row.kind == Kind::Rwlock));
            return;
        }
        let is = |held: &Held| held.address == address && held.mode == mode;
        let find = |all: &FxHashMap<u64, Goroutine>, number: u64| {
            all.get(&number).and_then(|goroutine| goroutine.held.iter().rposition(is))
        };
        // A request that was granted without a word.
        let own = find(&self.all, number).or_else(|| {
            let goroutine = self.all.get(&number)?;
            goroutine
                .asked
                .iter()
                .any(|asked| asked.address == address && asked.kind == kind && !asked.is_try)
                .then_some(())?;
            self.catch_up(number, ticks, target);
            find(&self.all, number)
        });
        let (owner, at) = match own {
            Some(at) => (number, at),
            None => {
                // Any goroutine may release it.
                let holders = self.locks.get(&address).map_or(&[][..], |row| &row.holders);
                let Some(found) = holders.iter().find_map(|owner| Some((*owner, find(&self.all, *owner)?))) else {
                    self.orphans += u64::from(!self.has_folds);
                    return;
                };
                found
            }
        };
        let Some(goroutine) = self.all.get_mut(&owner) else { return };
        let held = goroutine.held.remove(at);
        let Some(thread) = goroutine.thread else { return };
        if goroutine.has_ended && goroutine.held.is_empty() {
            self.all.remove(&owner);
        }
        self.unhold(address, owner);
        if owner != number {
            target.session.locks[held.lock.index()].traits.handed_over = true;
        }
        self.overlaps += u64::from(ticks < held.since);
        if held.is_doubtful {
            self.drop_doubtful(&held, thread, target);
        } else {
            self.end(held, thread, ticks, Flags::NONE, target);
        }
    }

    fn site(&mut self, lock: LockId, stack: StackId, mode: Mode, thread: ThreadId, target: &mut Target) -> CachedSite {
        let flags = if mode == Mode::Shared { Flags::SHARED } else { Flags::NONE };
        let key = CacheKey::of(Access { lock: lock.0, stack: stack.0, flags }, thread);
        if let Some(site) = self.sites.find(key) {
            return site;
        }
        let site = target.session.profile.site(SiteKey { lock, stack, mode });
        let share = target.accumulator.share(thread, site);
        let found = CachedSite { key, lock, site: site.0, share, in_order: target.session.lock(lock).nests() };
        self.sites.remember(found);
        found
    }

    /// A hold is over.
    fn end(&mut self, held: Held, thread: ThreadId, ticks: u64, flags: Flags, target: &mut Target) {
        let site = self.site(held.lock, held.stack, held.mode, thread, target);
        let access = Access { lock: held.lock.0, stack: held.stack.0, flags: held.flags.with(flags) };
        let hold = Hold {
            ticks: held.since,
            access,
            held: ticks.saturating_sub(held.since),
            position: held.position,
            published_early: held.is_published,
        };
        let hold_ns = target.accumulator.hold(hold, site, thread, target.ticks, target.session);
        if let Some((key, since, wait)) = held.wait {
            let (start_ns, wait_ns) = (target.ticks.moment_ns(since), target.ticks.duration_ns(wait));
            target.accumulator.waited(WaitEvent { key, start_ns, wait_ns, hold_ns }, site, target.session);
        }
        if site.in_order && !held.is_published && self.sections < MOST_SECTIONS && !flags.is_unreleased() {
            // What it hands over may order others.
            self.sections += 1;
            let until_ns = target.ticks.moment_ns(ticks);
            let what = What::Section { lock: held.lock, mode: held.mode, until_ns };
            tell(thread, held.since, held.stack, what, target);
        }
        if held.is_published && site.in_order {
            let (lock, position, mode) = (held.lock, held.position, held.mode);
            let (at, what) = if flags.is_unreleased() {
                (held.since, What::Kept { position, lock, mode })
            } else {
                (ticks, What::Released { position, lock })
            };
            tell(thread, at, held.stack, what, target);
        }
    }

    /// An acquisition whose end was not seen.
    fn count(&mut self, held: &Held, thread: ThreadId, target: &mut Target) {
        let site = self.site(held.lock, held.stack, held.mode, thread, target);
        target.accumulator.unended(site, target.session);
        if let Some((key, since, wait)) = held.wait {
            let (start_ns, wait_ns) = (target.ticks.moment_ns(since), target.ticks.duration_ns(wait));
            target.accumulator.waited(WaitEvent { key, start_ns, wait_ns, hold_ns: 0 }, site, target.session);
        }
    }

    fn missed(&mut self, number: u64, asked: &Asked, target: &mut Target) {
        let thread = self.thread(number, asked.since, target);
        let site = self.site(asked.lock, asked.stack, asked.mode, thread, target);
        let failed = Failed { access: Access::default(), wait: 0, why: Failure::Taken };
        Accumulator::failed(failed, site, target.ticks, target.session);
    }

    fn done(&mut self, number: u64, asked: Asked, ticks: u64, receives: bool, target: &mut Target) {
        let thread = self.thread(number, asked.since, target);
        let site = self.site(asked.lock, asked.stack, asked.mode, thread, target);
        let flags = if asked.has_waited { Flags::CONTENDED } else { Flags::NONE };
        let access = Access { lock: asked.lock.0, stack: asked.stack.0, flags };
        let done = Done { ticks: asked.since, access, wait: ticks.saturating_sub(asked.since), parties: 0 };
        target.accumulator.done(done, site, target.ticks, target.session);
        let until_ns = target.ticks.moment_ns(ticks);
        if receives {
            tell(thread, asked.since, asked.stack, What::Taken { lock: asked.lock, until_ns }, target);
        }
        let woken = self.all.get_mut(&number).and_then(|goroutine| goroutine.woken.take());
        if let Some(lock) = woken {
            tell(thread, asked.since, asked.stack, What::Taken { lock, until_ns }, target);
        }
    }

    fn posted(&mut self, number: u64, kind: Kind, address: u64, stack: StackId, ticks: u64, target: &mut Target) {
        let lock = self.lock(address, kind, stack, target);
        let thread = self.thread(number, ticks, target);
        tell(thread, ticks, stack, What::Posted { lock }, target);
    }

    /// A goroutine wakes one that waits in a `select`, or to send: which channel or message it was is not known, but who was
    /// first.
    fn wakes(&mut self, number: u64, woken: u64, ticks: u64, stack: StackId, target: &mut Target) {
        let Some(goroutine) = self.all.get(&woken) else { return };
        let waits = |asked: &Asked| matches!(asked.kind, Kind::Channel | Kind::Select);
        if !goroutine.asked.last().is_some_and(waits) || number == woken {
            return;
        }
        let process = self.process;
        let lock = *self.wakers.entry(woken).or_insert_with(|| add_lock(process, 0, Kind::Cond, StackId(0), target));
        self.all.entry(woken).or_default().woken = Some(lock);
        let thread = self.thread(number, ticks, target);
        tell(thread, ticks, stack, What::Posted { lock }, target);
    }

    fn made(&mut self, creator: u64, number: u64, ticks: u64, target: &mut Target) {
        let stack = std::mem::take(&mut self.all.entry(creator).or_default().makes);
        let thread = self.thread(creator, ticks, target);
        if Some(thread) != self.others {
            target.accumulator.order.belongs(thread, self.process);
            tell(thread, ticks, stack, What::Created { token: number as u32 }, target);
        }
        self.all.entry(number).or_default().made_at = ticks;
    }

    fn exited(&mut self, number: u64, ticks: u64, target: &mut Target) {
        // What it asked for, it had: else it would not have come here.
        while self.all.get(&number).is_some_and(|goroutine| goroutine.asked.iter().any(Asked::is_request)) {
            self.catch_up(number, ticks, target);
        }
        let Some(goroutine) = self.all.get_mut(&number) else { return };
        goroutine.has_ended = true;
        self.wakers.remove(&number);
        goroutine.asked.clear();
        if let Some(thread) = goroutine.thread.filter(|thread| Some(*thread) != self.others) {
            let end_ns = target.ticks.moment_ns(ticks);
            target.session.threads[thread.index()].end_ns = Some(end_ns);
            if goroutine.held.is_empty() {
                tell(thread, ticks, StackId(0), What::Ended, target);
            }
        }
        // Another goroutine may release what it holds.
        if goroutine.held.is_empty() {
            self.all.remove(&number);
        }
    }
}

fn add_lock(process: ProcessId, address: u64, kind: Kind, stack: StackId, target: &mut Target) -> LockId {
    let id = LockId::from(target.session.locks.len());
    let mut lock = Lock::new(process, address, kind);
    lock.origin_stack = stack;
    if address == 0 && kind.nests() {
        lock.name = Some(LockName { text: "(not told apart)".to_owned(), source: NameSource::User });
    }
    // A waiting writer stops new readers (`sync.RWMutex`).
    lock.traits.writers_first = kind == Kind::Rwlock;
    target.session.locks.push(lock);
    id
}

/// Tells the order of locks what is held and was not told yet.
fn publish(held: &mut [Held], thread: ThreadId, target: &mut Target) {
    for held in held.iter_mut().filter(|held| !held.is_published) {
        held.is_published = true;
        let what = What::Acquired {
            lock: held.lock,
            mode: held.mode,
            how: if held.flags.is_try() { How::Try } else { How::Block },
            reacquired: held.flags.is_reacquired(),
            position: held.position,
            restart: false,
        };
        tell(thread, held.since, held.stack, what, target);
    }
}

fn tell(thread: ThreadId, ticks: u64, stack: StackId, what: What, target: &mut Target) {
    let event = order::Event { at_ns: target.ticks.moment_ns(ticks), stack, what };
    target.accumulator.order.apply(&mut target.session.order, thread, event);
}
