//! The rows of goroutines, locks and sites in the session; how goroutines begin and end.

use super::{Asked, Goroutines, Language, LockRow, MOST_LOCKS, MOST_THREADS, Target, is_in, to_order};
use crate::ingest::decode::Access;
use crate::ingest::image::thread_name;
use crate::ingest::site_cache::{CacheKey, CachedSite};
use crate::model::order::What;
use crate::model::{Kind, Lock, LockId, LockName, Mode, NameSource, ProcessId, SiteKey, StackId, Thread, ThreadId};
use lockprof_wire::Flags;

impl Goroutines {
    /// The row of an address. An object of another kind there is a new one; so is one on the heap that nobody used while
    /// memory was collected twice: the first may have found it, and its memory have been given to another one since.
    pub(super) fn lock(&mut self, address: u64, kind: Kind, stack: StackId, target: &mut Target) -> LockId {
        let collections = self.collections;
        if let Some(row) = self.locks.get_mut(&address)
            && row.kind == kind
        {
            let is_idle = row.holders.is_empty() && row.waiting == 0;
            let may_be_new = is_idle && collections - row.used >= 2;
            if !may_be_new || is_in(&self.fixed, address) {
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
            LockRow {
                id,
                kind,
                holders: Vec::new(),
                waiting: 0,
                used: collections,
                is_doubtful: false,
                is_handed_over: false,
            },
        );
        id
    }

    /// The goroutine's row.
    pub(super) fn thread(&mut self, number: u64, ticks: u64, target: &mut Target) -> ThreadId {
        let goroutine = self.all.entry(number).or_default();
        if !target.is_merged
            && let Some(thread) = goroutine.thread
        {
            return thread;
        }
        let session = &mut *target.session;
        if target.is_merged {
            for (at, row) in session.threads.iter().enumerate().skip(self.rows_seen) {
                if row.process == self.process {
                    self.rows.entry(row.tid).or_default().push(ThreadId::from(at));
                }
            }
            self.rows_seen = session.threads.len();
            // Numbers are used again: it is the last that had begun by then.
            let rows = self.rows.get(&(number as u32)).map_or(&[][..], Vec::as_slice);
            let now_ns = target.ticks.moment_ns(ticks);
            let row = rows.iter().rfind(|row| session.thread(**row).start_ns <= now_ns).or(rows.first());
            if let Some(row) = row {
                goroutine.thread = Some(*row);
                return *row;
            }
        }
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
        let (name, tid) = match self.language {
            _ if is_shared => ("other goroutines".to_owned(), 0),
            Language::Go => (Thread::GOROUTINE.to_owned(), number as u32),
            Language::Rust => (thread_name(self.pid, number as u32).unwrap_or_default(), number as u32),
        };
        session.threads.push(Thread { process: self.process, tid, name, start_ns, end_ns: None });
        session.processes[self.process.index()].threads += u32::from(self.counts_threads);
        self.threads += 1;
        goroutine.thread = Some(thread);
        if is_shared {
            self.others = Some(thread);
        } else if target.is_merged {
            target.accumulator.order.belongs(thread, self.process);
        } else {
            let what = What::Started { process: self.process, key: 0, token: number as u32 };
            to_order(thread, made_at, StackId(0), what, target);
        }
        thread
    }

    /// Whether a goroutine's use of a lock takes part in the order of locks.
    pub(super) fn is_in_order(&self, thread: ThreadId, lock: LockId, target: &mut Target) -> bool {
        let is = Some(thread) != self.others && target.session.lock(lock).nests();
        target.session.order.dropped += u64::from(!is && target.session.lock(lock).kind.nests());
        is
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
        let found = CachedSite { key, lock, site: site.0, share, in_order: target.session.lock(lock).nests() };
        self.sites.remember(found);
        found
    }

    pub(super) fn made(&mut self, creator: u64, number: u64, ticks: u64, target: &mut Target) {
        let stack = std::mem::take(&mut self.all.entry(creator).or_default().makes);
        let thread = self.thread(creator, ticks, target);
        if Some(thread) != self.others {
            target.accumulator.order.belongs(thread, self.process);
            to_order(thread, ticks, stack, What::Created { token: number as u32 }, target);
        }
        self.all.entry(creator).or_default().last_made = ticks;
        self.all.entry(number).or_default().made_at = ticks;
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
        if let Some(thread) = goroutine.thread.filter(|thread| Some(*thread) != self.others) {
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
    if address == 0 && kind.nests() {
        lock.name = Some(LockName { text: "(not told apart)".to_owned(), source: NameSource::User });
    }
    // A waiting writer stops new readers (`sync.RWMutex`).
    lock.traits.writers_first = kind == Kind::Rwlock;
    target.session.locks.push(lock);
    id
}
