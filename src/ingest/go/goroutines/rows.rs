//! The rows of goroutines, locks and sites in the session; how goroutines begin and end.

use super::{
    Asked, Goroutine, Goroutines, Language, LockRow, MOST_LOCKS, MOST_ORDERED, MOST_THREADS, OWN_ALWAYS, OWN_LOCKS,
    OWN_OF_CLASS, OWN_OF_PLACE, OWN_ROWS, Rows, Target, is_in, to_order,
};
use crate::ingest::decode::Access;
use crate::ingest::image::thread_name;
use crate::ingest::site_cache::{CacheKey, CachedSite};
use crate::model::order::What;
use crate::model::{Kind, Lock, LockId, LockName, Mode, NameSource, ProcessId, SiteKey, StackId, Thread, ThreadId};
use lockprof_wire::Flags;

impl Goroutine {
    /// Its rows, once it has one.
    pub(super) fn rows(&self, number: u64) -> Option<Rows> {
        Some(Rows { number, counts: self.counts?, ordered: self.thread })
    }

    /// Where it is told of.
    pub fn row(&self) -> Option<ThreadId> {
        self.thread.or(self.counts)
    }
}

impl Goroutines {
    /// The row of an address. An object of another kind there is a new one; so is one on the heap that nobody used while
    /// memory was collected twice: the first may have found it, and its memory have been given to another one since.
    pub(super) fn lock(&mut self, address: u64, kind: Kind, stack: StackId, target: &mut Target) -> LockId {
        let collections = self.collections;
        if let Some(row) = self.locks.get_mut(&address)
            && row.kind == kind
            && (!row.may_be_gone(collections) || is_in(&self.fixed, address))
        {
            row.used = collections;
            return row.id;
        }
        let process = self.process;
        if self.locks.len() >= MOST_LOCKS || address == 0 {
            let lock = *self.merged.entry(kind).or_insert_with(|| {
                let lock = add_lock(process, 0, kind, stack, target);
                if kind.nests() {
                    let name = LockName { text: "(not told apart)".to_owned(), source: NameSource::User };
                    target.session.locks[lock.index()].name = Some(name);
                }
                lock
            });
            return lock;
        }
        let class = self.classes.entry((kind, stack)).or_default();
        class.count += 1;
        let is_own = is_in(&self.fixed, address)
            || class.count <= OWN_ALWAYS
            || class.count <= OWN_OF_CLASS && self.own_locks < OWN_LOCKS;
        let id = if is_own {
            self.own_locks += 1;
            add_lock(process, address, kind, stack, target)
        } else {
            let lock = class.row.get_or_insert_with(|| {
                let lock = add_lock(process, 0, kind, stack, target);
                target.session.locks[lock.index()].merged = 0;
                lock
            });
            target.session.locks[lock.index()].merged += 1;
            *lock
        };
        self.locks.insert(
            address,
            LockRow {
                id,
                ordered: is_own.then_some(id),
                place: stack,
                kind,
                holders: Vec::new(),
                waiting: 0,
                used: collections,
                is_doubtful: false,
                is_handed_over: false,
                is_settled: false,
            },
        );
        id
    }

    /// What a lock is in the order of locks; `None` where there is no room for it there.
    pub(super) fn ordered(&mut self, address: u64, counted: LockId, target: &mut Target) -> Option<LockId> {
        let process = self.process;
        let Some(row) = self.locks.get_mut(&address).filter(|row| row.id == counted) else {
            return (target.session.lock(counted).address != 0).then_some(counted);
        };
        if row.ordered.is_none() {
            if self.ordered_locks >= MOST_ORDERED {
                return None;
            }
            self.ordered_locks += 1;
            let id = add_lock(process, address, row.kind, row.place, target);
            target.session.locks[id.index()].traits = target.session.lock(row.id).traits;
            row.ordered = Some(id);
        }
        row.ordered
    }

    /// Forgets locks that may be gone: what is at their addresses next is a new one in any case.
    pub(super) fn purge(&mut self) {
        if self.locks.len() < self.purge_at {
            return;
        }
        let Self { locks, fixed, collections, .. } = self;
        locks.retain(|address, row| !row.may_be_gone(*collections) || is_in(fixed, *address));
        self.purge_at = (2 * locks.len()).max(1 << 12);
    }

    /// Where a goroutine is counted.
    pub(super) fn row(&mut self, number: u64, ticks: u64, target: &mut Target) -> ThreadId {
        let goroutine = self.all.entry(number).or_default();
        if !target.is_merged
            && let Some(row) = goroutine.counts
        {
            return row;
        }
        if target.is_merged
            && let Some(row) = self.row_of_segment(number, ticks, target)
        {
            let goroutine = self.all.entry(number).or_default();
            (goroutine.thread, goroutine.counts) = (Some(row), Some(row));
            return row;
        }
        let made_by = self.all.entry(number).or_default().made_by;
        let place = self.places.entry(made_by).or_default();
        let is_own = self.language != Language::Go || place.count < OWN_OF_PLACE && self.own_goroutines < OWN_ROWS;
        place.count += 1;
        target.session.processes[self.process.index()].threads += u32::from(self.counts_threads);
        let row = match place.row {
            _ if is_own => {
                self.own_goroutines += 1;
                self.own(number, ticks, target)
            }
            Some(row) => row,
            None => {
                let start_ns = target.ticks.moment_ns(ticks);
                let row = self.add_thread(Thread::GOROUTINES.to_owned(), 0, start_ns, target);
                self.places.entry(made_by).or_default().row = Some(row);
                row
            }
        };
        self.all.entry(number).or_default().counts = Some(row);
        row
    }

    /// The row that the process's segment has of a thread.
    fn row_of_segment(&mut self, number: u64, ticks: u64, target: &mut Target) -> Option<ThreadId> {
        let session = &mut *target.session;
        for (at, row) in session.threads.iter().enumerate().skip(self.rows_seen) {
            if row.process == self.process {
                self.rows.entry(row.tid).or_default().push(ThreadId::from(at));
            }
        }
        self.rows_seen = session.threads.len();
        // Numbers are used again: it is the last that had begun by then.
        let rows = self.rows.get(&(number as u32)).map_or(&[][..], Vec::as_slice);
        let now_ns = target.ticks.moment_ns(ticks);
        rows.iter().rfind(|row| session.thread(**row).start_ns <= now_ns).or(rows.first()).copied()
    }

    /// The row of a goroutine that is told apart from all others, as far as there is room for such rows.
    pub(super) fn own(&mut self, number: u64, ticks: u64, target: &mut Target) -> ThreadId {
        let goroutine = self.all.entry(number).or_default();
        if let Some(thread) = goroutine.thread {
            return thread;
        }
        let made_at = if goroutine.made_at == 0 { ticks } else { goroutine.made_at };
        let start_ns = target.ticks.moment_ns(made_at);
        let thread = if self.threads < MOST_THREADS {
            self.threads += 1;
            let name = match self.language {
                Language::Go => Thread::GOROUTINE.to_owned(),
                Language::Rust => thread_name(self.pid, number as u32).unwrap_or_default(),
            };
            let thread = self.add_thread(name, number as u32, start_ns, target);
            if !target.is_merged {
                let what = What::Started { process: self.process, key: 0, token: number as u32 };
                to_order(thread, made_at, StackId(0), what, target);
            }
            thread
        } else if let Some(others) = self.others {
            others
        } else {
            let others = self.add_thread("other goroutines".to_owned(), 0, start_ns, target);
            *self.others.insert(others)
        };
        self.all.entry(number).or_default().thread = Some(thread);
        thread
    }

    fn add_thread(&mut self, name: String, tid: u32, start_ns: u64, target: &mut Target) -> ThreadId {
        let thread = ThreadId::from(target.session.threads.len());
        target.session.threads.push(Thread { process: self.process, tid, name, start_ns, end_ns: None });
        target.accumulator.order.belongs(thread, self.process);
        thread
    }

    /// Where the order of locks notes what a goroutine hands over: its own row, or the one that it is counted in.
    pub(super) fn acting(&mut self, number: u64, ticks: u64, target: &mut Target) -> ThreadId {
        let counts = self.row(number, ticks, target);
        self.all.get(&number).and_then(|goroutine| goroutine.thread).unwrap_or(counts)
    }

    /// Goroutines that wait for long, and those that have what they wait for, may be told of: they get rows of their own.
    /// `all`: those that wait since a moment ago, too.
    pub fn promote(&mut self, now: u64, all: bool, target: &mut Target) {
        const PAUSE_NS: u64 = 100_000_000;
        const LEAST_NS: u64 = 400_000_000;
        if target.is_merged || !all && target.ticks.duration_ns(now.saturating_sub(self.promoted)) < PAUSE_NS {
            return;
        }
        self.promoted = now;
        let waits_long = |goroutine: &Goroutine| {
            let is_long = |asked: &Asked| all || target.ticks.duration_ns(now.saturating_sub(asked.since)) >= LEAST_NS;
            goroutine.asked.last().filter(|asked| is_long(asked)).map(|asked| asked.address)
        };
        let waiting = self.all.iter().filter_map(|(number, goroutine)| Some((*number, waits_long(goroutine)?)));
        let mut found: Vec<u64> = Vec::new();
        for (number, address) in waiting {
            found.push(number);
            found.extend(self.locks.get(&address).map_or(&[][..], |row| &row.holders));
        }
        found.retain(|number| self.all.get(number).is_some_and(|goroutine| goroutine.thread.is_none()));
        found.sort_unstable();
        found.dedup();
        for number in found {
            self.own(number, now, target);
        }
    }

    pub(super) fn site(
        &mut self,
        lock: LockId,
        stack: StackId,
        mode: Mode,
        thread: ThreadId,
        target: &mut Target,
    ) -> CachedSite {
        let flags = if mode == Mode::Shared { Flags::SHARED } else { Flags::NONE };
        let key = CacheKey::of(Access { lock: lock.0, stack: stack.0, flags }, thread);
        if let Some(site) = self.sites.find(key) {
            return site;
        }
        let site = target.session.profile.site(SiteKey { lock, stack, mode });
        let share = target.accumulator.share(thread, site);
        let row = target.session.lock(lock);
        let (in_order, stands_for_many) = (row.nests(), row.address == 0);
        let found = CachedSite { key, lock, site: site.0, share, in_order, stands_for_many };
        self.sites.remember(found);
        found
    }

    pub(super) fn made(&mut self, creator: u64, number: u64, ticks: u64, target: &mut Target) {
        let stack = std::mem::take(&mut self.all.entry(creator).or_default().makes);
        let thread = self.own(creator, ticks, target);
        if Some(thread) != self.others {
            to_order(thread, ticks, stack, What::Created { token: number as u32 }, target);
        }
        self.all.entry(creator).or_default().last_made = ticks;
        let made = self.all.entry(number).or_default();
        (made.made_at, made.made_by) = (ticks, stack);
    }

    pub(super) fn exited(&mut self, number: u64, ticks: u64, target: &mut Target) {
        // What it asked for, it had: else it would not have come here.
        while self.all.get(&number).is_some_and(|goroutine| goroutine.asked.iter().any(Asked::is_request)) {
            self.catch_up(number, ticks, target);
        }
        let Some(goroutine) = self.all.get_mut(&number) else { return };
        goroutine.has_ended = true;
        self.wakers.remove(&number);
        goroutine.asked.clear();
        if goroutine.thread.is_none() {
            target.accumulator.order.never_started(self.process, number as u32);
        } else if let Some(thread) = goroutine.thread.filter(|thread| Some(*thread) != self.others) {
            let end_ns = target.ticks.moment_ns(ticks);
            target.session.threads[thread.index()].end_ns = Some(end_ns);
            if goroutine.held.is_empty() {
                to_order(thread, ticks, StackId(0), What::Ended, target);
            }
        }
        // Another goroutine may release what it holds.
        if goroutine.held.is_empty() {
            self.all.remove(&number);
        }
    }
}

pub(super) fn add_lock(process: ProcessId, address: u64, kind: Kind, stack: StackId, target: &mut Target) -> LockId {
    let id = LockId::from(target.session.locks.len());
    let mut lock = Lock::new(process, address, kind);
    lock.origin_stack = stack;
    // A waiting writer stops new readers (`sync.RWMutex`).
    lock.traits.writers_first = kind == Kind::Rwlock;
    target.session.locks.push(lock);
    id
}
