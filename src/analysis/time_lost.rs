//! Where threads lose time: the classes of locks that are waited for long enough to matter, with what is known of each.
//!
//! What is advised has to be worth the reader's time. A wait counts only against the lives of the threads that take the
//! lock, or, where these mostly sleep, against the processor time of the program.

mod gates;

use rustc_hash::{FxHashMap, FxHashSet};

use super::contention::{Contention, GroupBy, LockReport, Query, share};
use super::places::{Place, user_place};
use super::{add, sum_of};
use crate::model::{
    Histogram, LockId, Mode, ProcessId, Session, Site, StackId, Stacks, ThreadId, WaitEvent, WaitKey, WaitStats,
};

/// Less than this is never worth a word.
pub const LEAST_NS: u64 = 10_000_000;
/// Nor is less than this share of the time from the process's first to its last moment,
pub const LEAST_OF_RUN: f64 = 0.01;
/// or of the lives of the threads that take the lock,
const LEAST_OF_THREADS: f64 = 0.01;
/// unless it is this share of processor time and waiting together, and of the run: most threads may be idle.
const LEAST_OF_WORK: (f64, f64) = (0.2, 0.05);
/// From these shares on it is much.
const MUCH_OF_THREADS: f64 = 0.05;
const MUCH_OF_WORK: (f64, f64) = (0.5, 0.2);

/// How much lost time weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight {
    /// The time that threads lost, ns.
    pub lost_ns: u64,
    /// The same as a share of the lives of the threads that it is about, 0 to 1.
    pub of_threads: f64,
    /// Whether it is much.
    pub much: bool,
}

/// What lost time is weighed against.
pub struct Scale<'a> {
    session: &'a Session,
    /// The first and the last moment of each process, ns.
    lives: FxHashMap<ProcessId, (u64, u64)>,
    /// Processor time and waiting for locks, ns; `None` where the kernel did not tell.
    work_ns: Option<u64>,
}

/// What is lost in a recording.
pub struct TimeLost<'a> {
    session: &'a Session,
    /// By class.
    view: Contention,
    /// What it is weighed against.
    pub scale: Scale<'a>,
}

/// A class of locks that is waited for, with what is known of it.
pub struct ClassTime<'a> {
    session: &'a Session,
    /// Its row in a view of classes.
    pub row: &'a LockReport,
    /// What is lost by waiting.
    pub weight: Weight,
    /// The first moment of the process, ns.
    pub start_ns: u64,
    /// From the first to the last moment of the process, ns.
    pub run_ns: u64,
    /// Threads that took such a lock, in the order of the session.
    pub threads: Vec<ThreadId>,
    /// In the order of the session.
    pub sites: Vec<&'a Site>,
    /// In the order of their keys.
    pub waits: Vec<(&'a WaitKey, &'a WaitStats)>,
    /// Contended acquisitions as far as they were kept one by one, in the order of their beginnings.
    pub events: Vec<&'a WaitEvent>,
}

/// Acquisitions at one place in the code that others waited for.
pub struct Culprit {
    /// The place.
    pub place: Place,
    /// The stack there that was waited for most.
    pub stack: StackId,
    /// How it took the lock.
    pub mode: Mode,
    /// Waits meanwhile.
    pub waits: u64,
    /// Their time, ns.
    pub blocked_ns: u64,
    /// All holds of the place.
    pub holds: Histogram,
}

impl<'a> Scale<'a> {
    /// That of a recording in which threads waited so long for locks, ns.
    pub fn of(session: &'a Session, wait_ns: u64) -> Self {
        let mut lives: FxHashMap<ProcessId, (u64, u64)> = FxHashMap::default();
        for thread in &session.threads {
            let end_ns = thread.end_ns.unwrap_or(session.meta.duration_ns);
            let life = lives.entry(thread.process).or_insert((u64::MAX, 0));
            *life = (life.0.min(thread.start_ns), life.1.max(end_ns));
        }
        let work_ns = session.counters.task_clock_ns.map(|cpu| cpu.saturating_add(wait_ns));
        Self { session, lives, work_ns }
    }

    /// The first moment of the process, ns.
    pub fn start_ns(&self, process: ProcessId) -> u64 {
        self.lives.get(&process).map_or(0, |life| life.0)
    }

    /// From the first to the last moment of the process, ns.
    pub fn run_ns(&self, process: ProcessId) -> u64 {
        self.lives.get(&process).map_or(0, |(first, last)| last.saturating_sub(*first))
    }

    /// How long a thread lived, ns.
    fn life_ns(&self, thread: ThreadId) -> u64 {
        let row = self.session.thread(thread);
        row.end_ns.unwrap_or(self.session.meta.duration_ns).saturating_sub(row.start_ns)
    }

    /// What time lost by these threads weighs; `None` where it is too little to speak of.
    pub fn weigh(&self, lost_ns: u64, threads: &[ThreadId], run_ns: u64) -> Option<Weight> {
        let lives_ns = sum_of(threads.iter().map(|thread| self.life_ns(*thread)));
        let of_threads = share(lost_ns, lives_ns).min(1.0);
        let of_work = self.work_ns.map_or(0.0, |work| share(lost_ns, work));
        let of_run = share(lost_ns, run_ns);
        let is = |of_both: f64, (work, run): (f64, f64)| of_threads >= of_both || (of_work >= work && of_run >= run);
        let (enough, much) = (is(LEAST_OF_THREADS, LEAST_OF_WORK), is(MUCH_OF_THREADS, MUCH_OF_WORK));
        (lost_ns >= LEAST_NS && of_run >= LEAST_OF_RUN && enough).then_some(Weight { lost_ns, of_threads, much })
    }

    /// What the waiting for the locks of a row weighs; `None` where it is too little to speak of.
    pub fn weigh_row(&self, row: &LockReport) -> Option<Weight> {
        let run_ns = self.run_ns(row.process);
        if row.wait.total < LEAST_NS || share(row.wait.total, run_ns) < LEAST_OF_RUN {
            return None;
        }
        if self.are_gates(&row.members) {
            return None;
        }
        let locks: FxHashMap<LockId, usize> = row.members.iter().map(|lock| (*lock, 0)).collect();
        let threads = threads_of(self.session, &locks).remove(&0).unwrap_or_default();
        self.weigh(row.wait.total, &threads, run_ns)
    }
}

/// The threads that took the locks of each of these rows.
fn threads_of(session: &Session, rows: &FxHashMap<LockId, usize>) -> FxHashMap<usize, Vec<ThreadId>> {
    let mut threads: FxHashMap<usize, FxHashSet<ThreadId>> = FxHashMap::default();
    for (thread, site) in session.profile.by_thread.keys() {
        let lock = session.profile.sites.get(site.index()).map(|site| site.key.lock);
        if let Some(row) = lock.and_then(|lock| rows.get(&lock)) {
            threads.entry(*row).or_default().insert(*thread);
        }
    }
    let sorted = |threads: FxHashSet<ThreadId>| {
        let mut threads: Vec<ThreadId> = threads.into_iter().collect();
        threads.sort_unstable();
        threads
    };
    threads.into_iter().map(|(row, threads)| (row, sorted(threads))).collect()
}

impl<'a> TimeLost<'a> {
    /// Adds a recording up.
    pub fn of(session: &'a Session) -> Self {
        let view = Contention::of(session, &Query { by: GroupBy::Class, ..Query::default() });
        let scale = Scale::of(session, view.contention.wait_ns);
        Self { session, view, scale }
    }

    /// Every class of locks and of what is waited for otherwise.
    pub fn rows(&self) -> &[LockReport] {
        &self.view.locks
    }

    /// The classes that `wanted` wants and that are waited for long enough to speak of; those that come first are waited
    /// for most.
    pub fn classes(&self, wanted: impl Fn(&LockReport) -> bool) -> Vec<ClassTime<'_>> {
        let heavy = |(_, row): &(usize, &LockReport)| row.wait.total >= LEAST_NS && wanted(row);
        let rows: Vec<(usize, &LockReport)> = self.view.locks.iter().enumerate().filter(heavy).collect();
        let row_of: FxHashMap<LockId, usize> =
            rows.iter().flat_map(|(at, row)| row.members.iter().map(|lock| (*lock, *at))).collect();
        if row_of.is_empty() {
            return Vec::new();
        }
        let mut threads = threads_of(self.session, &row_of);
        let mut classes: FxHashMap<usize, ClassTime<'_>> = FxHashMap::default();
        for (at, row) in &rows {
            let (run_ns, start_ns) = (self.scale.run_ns(row.process), self.scale.start_ns(row.process));
            let threads = threads.remove(at).unwrap_or_default();
            let Some(weight) = self.scale.weigh(row.wait.total, &threads, run_ns) else { continue };
            let (sites, waits, events) = (Vec::new(), Vec::new(), Vec::new());
            let session = self.session;
            classes.insert(*at, ClassTime { session, row, weight, start_ns, run_ns, threads, sites, waits, events });
        }
        let profile = &self.session.profile;
        for site in &profile.sites {
            if let Some(class) = row_of.get(&site.key.lock).and_then(|row| classes.get_mut(row)) {
                class.sites.push(site);
            }
        }
        for wait in &profile.waits {
            if let Some(class) = row_of.get(&wait.0.lock).and_then(|row| classes.get_mut(row)) {
                class.waits.push(wait);
            }
        }
        for event in &profile.wait_events {
            if let Some(class) = row_of.get(&event.key.lock).and_then(|row| classes.get_mut(row)) {
                class.events.push(event);
            }
        }
        for class in classes.values_mut() {
            class.waits.sort_by_key(|(key, _)| **key);
            class.events.sort_by_key(|event| (event.start_ns, event.key));
        }
        rows.iter().filter_map(|(at, _)| classes.remove(at)).collect()
    }
}

impl ClassTime<'_> {
    /// Its locks, the one that is waited for most first.
    pub fn hottest(&self) -> LockId {
        self.row.members.first().copied().unwrap_or_default()
    }

    /// What was waited for one of its locks, ns.
    pub fn wait_of(&self, lock: LockId) -> u64 {
        sum_of(self.sites.iter().filter(|site| site.key.lock == lock).map(|site| site.wait.sum))
    }

    /// Whether one lock is waited for, and hardly any other of its class.
    pub fn is_one_lock(&self) -> bool {
        share(self.wait_of(self.hottest()), self.row.wait.total) >= 0.8
    }

    /// The holds of a lock in these modes.
    pub fn holds(&self, keeps: impl Fn(&Site) -> bool) -> Histogram {
        let mut holds = Histogram::default();
        self.sites.iter().filter(|site| keeps(site)).for_each(|site| holds.merge(&site.hold));
        holds
    }

    /// How long the hottest lock was held alone, as a share of the run.
    pub fn held_share(&self) -> f64 {
        let lock = self.hottest();
        let alone = self.sites.iter().filter(|site| site.key.lock == lock && site.key.mode == Mode::Exclusive);
        share(sum_of(alone.map(|site| site.hold.sum)), self.run_ns).min(1.0)
    }

    /// What was waited for in this mode, ns.
    pub fn waiter_ns(&self, mode: Mode) -> u64 {
        sum_of(self.waits.iter().filter(|(key, _)| key.mode == mode).map(|(_, stats)| stats.wait_ns))
    }

    /// From the first to the last wait, ns; the whole run where not all waits were kept one by one.
    pub fn waited_for_ns(&self) -> u64 {
        let ends = self.events.iter().map(|event| event.start_ns.saturating_add(event.wait_ns));
        match (self.events.first(), ends.max()) {
            (Some(first), Some(end_ns)) if self.keeps_all_events() => end_ns.saturating_sub(first.start_ns),
            _ => self.run_ns,
        }
    }

    /// Whether every wait is there one by one.
    pub fn keeps_all_events(&self) -> bool {
        self.events.len() as u64 >= self.row.contended
    }

    /// Most threads that waited for the lock at one time.
    pub fn max_waiters(&self, lock: LockId) -> u32 {
        self.session.lock(lock).max_waiters
    }

    /// Threads that took the lock to read.
    pub fn readers(&self, lock: LockId) -> usize {
        let profile = &self.session.profile;
        let reads = |key: &crate::model::SiteKey| key.lock == lock && key.mode == Mode::Shared;
        let threads = profile
            .by_thread
            .keys()
            .filter(|(_, site)| profile.sites.get(site.index()).is_some_and(|site| reads(&site.key)));
        threads.map(|(thread, _)| *thread).collect::<FxHashSet<_>>().len()
    }

    /// Threads that waited.
    pub fn waiting_threads(&self) -> usize {
        self.waits.iter().map(|(key, _)| key.thread).collect::<FxHashSet<_>>().len()
    }

    /// Where the lock was taken while others waited, most blocked time first.
    pub fn culprits(&self) -> Vec<Culprit> {
        let mut places: Vec<Culprit> = Vec::new();
        let mut known: FxHashMap<(Place, Mode), usize> = FxHashMap::default();
        let mut of_stack: FxHashMap<(StackId, Mode), usize> = FxHashMap::default();
        for site in &self.sites {
            let place = user_place(self.session, site.key.stack);
            let mode = site.key.mode;
            let at = *known.entry((place.clone(), mode)).or_insert_with(|| {
                let stack = site.key.stack;
                places.push(Culprit { place, stack, mode, waits: 0, blocked_ns: 0, holds: Histogram::default() });
                places.len() - 1
            });
            places[at].holds.merge(&site.hold);
            of_stack.insert((site.key.stack, mode), at);
        }
        let mut most: Vec<u64> = vec![0; places.len()];
        for (stack, ns, count) in self.blocked_by_stack() {
            let modes = [Mode::Exclusive, Mode::Shared];
            let Some(at) = modes.iter().find_map(|mode| of_stack.get(&(stack, *mode)).copied()) else { continue };
            let culprit = &mut places[at];
            add(&mut culprit.blocked_ns, ns);
            add(&mut culprit.waits, count);
            if ns > most[at] {
                (most[at], culprit.stack) = (ns, stack);
            }
        }
        places.retain(|culprit| culprit.blocked_ns > 0);
        places.sort_by_key(|culprit| (std::cmp::Reverse(culprit.blocked_ns), culprit.stack));
        places
    }

    /// The holders' stacks with the time that others waited for them, ns, and how often.
    fn blocked_by_stack(&self) -> Vec<(StackId, u64, u64)> {
        let mut stacks: FxHashMap<StackId, (u64, u64)> = FxHashMap::default();
        for (key, stats) in self.waits.iter().filter(|(key, _)| key.holder != Stacks::UNKNOWN) {
            let sum = stacks.entry(key.holder).or_default();
            add(&mut sum.0, stats.wait_ns);
            add(&mut sum.1, stats.count);
        }
        let mut stacks: Vec<_> = stacks.into_iter().map(|(stack, (ns, count))| (stack, ns, count)).collect();
        stacks.sort_unstable();
        stacks
    }

    /// The stack that waited longest, of the waits that `keeps` keeps.
    pub fn waiter(&self, keeps: impl Fn(&WaitKey) -> bool) -> StackId {
        let mut stacks: FxHashMap<StackId, u64> = FxHashMap::default();
        for (key, stats) in self.waits.iter().filter(|(key, _)| keeps(key)) {
            add(stacks.entry(key.waiter).or_default(), stats.wait_ns);
        }
        let most = stacks.into_iter().max_by_key(|(stack, ns)| (*ns, std::cmp::Reverse(*stack)));
        most.map_or(Stacks::UNKNOWN, |(stack, _)| stack)
    }
}
