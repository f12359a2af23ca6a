//! What the records of one ring mean, one after the other: the hot loop of the collector.

use lockprof_wire::{Record, blocking};

use super::accumulator::Accumulator;
use super::blame::Call;
use super::decode::{self, Access, Blocked, Done, EarlyAcquire, Hold, ThreadStart, Waited, WireEvent};
use super::order;
use super::polls::Polls;
use super::reducer::Reducer;
use super::site_cache::{CacheKey, CachedSite, SiteCache};
use super::who::Who;
use crate::model::{CallKey, Kind, ThreadId, WaitEvent, WaitKey};

/// A slot's ring: what is remembered between records.
pub struct Drain {
    slot: u32,
    thread: ThreadId,
    sites: SiteCache,
    /// Waits whose acquisition has not come yet.
    waits: Vec<Waited>,
    /// Time and lock row of the last acquisition that was read.
    last_hold: (u64, u32),
    /// The process is over: holds come from the list of what is held, not from the ring.
    over: bool,
    polls: Polls,
    /// When it last began to join a thread.
    joined_ticks: u64,
}

impl Drain {
    /// Reads the ring of this slot.
    pub fn new(slot: u32, thread: ThreadId) -> Self {
        Self {
            slot,
            thread,
            sites: SiteCache::new(),
            waits: Vec::new(),
            last_hold: (0, 0),
            over: false,
            polls: Polls::default(),
            joined_ticks: 0,
        }
    }

    /// How full the ring was.
    pub fn polls(&self) -> Polls {
        self.polls
    }

    /// Counts what was read from the ring at one time (`now`, ticks), and keeps it for a while. While as many as
    /// `room` were not read yet, others may have been aggregated.
    pub fn apply_all(&mut self, records: Vec<Record>, room: usize, now: u64, reducer: &mut Reducer) {
        let mut threads = vec![(0, self.thread)];
        self.polls.read(&records, records.len() >= room);
        for (record, at) in records.iter().zip(0u32..) {
            if at as usize == room {
                order::mark_unreliable(self.thread, reducer);
            }
            let before = self.thread;
            self.apply_record(record, reducer);
            if self.thread != before {
                threads.push((at, self.thread));
            }
        }
        if records.len() == room {
            order::mark_unreliable(self.thread, reducer);
        }
        reducer.image.recent.keep(records, threads, now);
    }

    /// Counts what one record says.
    #[inline(always)]
    pub fn apply_record(&mut self, record: &Record, reducer: &mut Reducer) {
        if let Some(hold) = Hold::decode(record) {
            self.hold(hold, reducer);
        } else if let Some(early) = EarlyAcquire::decode(record) {
            self.acquired_early(early, reducer);
        } else if let Some(event) = decode::decode(record) {
            self.other(event, reducer);
        }
    }

    /// Counts one event.
    pub fn apply(&mut self, event: WireEvent, reducer: &mut Reducer) {
        match event {
            WireEvent::Hold(hold) => self.hold(hold, reducer),
            WireEvent::EarlyAcquire(early) => self.acquired_early(early, reducer),
            other => self.other(other, reducer),
        }
    }

    /// What the thread still holds (`held`) when the process is over (`now`, ticks): it will not be released.
    pub fn still_held(&mut self, held: &[decode::Held], now: u64, reducer: &mut Reducer) {
        self.over = true;
        for held in held {
            if let Some(waited) = held.waited() {
                self.apply(waited, reducer);
            }
            // A release that was written but not yet taken off the list when the program died is counted already.
            if self.last_hold != (held.ticks, held.access.lock) {
                self.apply(held.until_the_end(now), reducer);
            }
        }
    }

    #[inline]
    fn site(&mut self, access: Access, reducer: &mut Reducer) -> CachedSite {
        let key = CacheKey::of(access, self.thread);
        match self.sites.find(key) {
            Some(site) => site,
            None => self.find_site(access, key, reducer),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_site(&mut self, access: Access, key: CacheKey, reducer: &mut Reducer) -> CachedSite {
        let site_key = reducer.site_key(access);
        let site = reducer.session.profile.site(site_key);
        let share = reducer.accumulator.share(self.thread, site);
        let lock = reducer.session.lock(site_key.lock);
        let (in_order, stands_for_many) = (lock.nests(), lock.address == 0);
        let found = CachedSite { key, lock: site_key.lock, site: site.0, share, in_order, stands_for_many };
        self.sites.remember(found);
        found
    }

    #[inline(always)]
    fn hold(&mut self, hold: Hold, reducer: &mut Reducer) {
        let site = self.site(hold.access, reducer);
        self.last_hold = (hold.ticks, hold.access.lock);
        let who = Who::thread(self.thread);
        let hold_ns = reducer.accumulator.hold(hold, site, who, &reducer.image.ticks, reducer.session);
        if hold.access.flags.is_contended() {
            self.finish_wait(hold, hold_ns, reducer);
        }
        if (!hold.is_section() || hold.ticks <= self.joined_ticks) && site.in_order && !self.over {
            if self.joined_ticks != 0 {
                // The joined thread's sections matter now.
                reducer.image.recent.nested();
            }
            let key = reducer.session.profile.sites[site.site as usize].key;
            order::hold_ended(hold, key, self.thread, reducer);
        } else if reducer.image.is_patched && site.in_order && !self.over {
            let key = reducer.session.profile.sites[site.site as usize].key;
            order::held_alone(hold, key, self.thread, reducer);
        }
    }

    /// An acquisition beside others. It is counted when it ends.
    #[inline(never)]
    fn acquired_early(&mut self, early: EarlyAcquire, reducer: &mut Reducer) {
        let site = self.site(early.access, reducer);
        let key = reducer.session.profile.sites[site.site as usize].key;
        order::acquired_early(early, key, site.in_order, self.thread, reducer);
    }

    /// The acquisition to which a wait belongs.
    fn finish_wait(&mut self, hold: Hold, hold_ns: u64, reducer: &mut Reducer) {
        let is_of = |wait: &Waited| (wait.access.lock, wait.access.stack) == (hold.access.lock, hold.access.stack);
        let Some(waited) = self.waits.iter().rposition(is_of).map(|at| self.waits.remove(at)) else { return };
        let site = self.site(waited.access, reducer);
        let key = reducer.session.profile.sites[site.site as usize].key;
        let key = WaitKey {
            lock: key.lock,
            thread: self.thread,
            waiter: key.stack,
            mode: key.mode,
            holder: reducer.stack(waited.holder.stack),
            holder_thread: waited.holder.slot.and_then(|slot| reducer.image.thread_seen(slot)),
        };
        let ticks = &reducer.image.ticks;
        let (start_ns, wait_ns) = (ticks.moment_ns(waited.ticks), ticks.duration_ns(waited.wait));
        let wait = WaitEvent { key, start_ns, wait_ns, hold_ns };
        reducer.accumulator.waited(wait, self.thread.0, site, reducer.session);
    }

    #[cold]
    fn other(&mut self, event: WireEvent, reducer: &mut Reducer) {
        match event {
            WireEvent::ThreadStart(start) => self.thread_started(start, reducer),
            WireEvent::ThreadEnd(ticks) => {
                let end_ns = reducer.image.ticks.moment_ns(ticks);
                reducer.session.threads[self.thread.index()].end_ns = Some(end_ns);
                order::ended(end_ns, self.thread, reducer);
            }
            WireEvent::Waited(waited) => {
                /// More than that are not on their way in one thread: something is wrong with the ring.
                const MOST: usize = 4096;
                if self.waits.len() < MOST {
                    self.waits.push(waited);
                }
            }
            WireEvent::Done(done) => self.done(done, reducer),
            WireEvent::Failed(failed) => {
                let site = self.site(failed.access, reducer);
                Accumulator::failed(failed, site, &reducer.image.ticks, reducer.session);
            }
            WireEvent::Posted(posted) => order::posted(posted, self.thread, reducer),
            WireEvent::OwnerDied(died) => order::owner_died(died, self.thread, reducer),
            WireEvent::Created(created) => order::created(created, self.thread, reducer),
            WireEvent::Misuse(misuse) => order::misused(misuse, self.thread, reducer),
            WireEvent::Blocked(blocked) => self.blocked(blocked, reducer),
            // The next ring is the caller's business.
            WireEvent::Hold(_) | WireEvent::EarlyAcquire(_) | WireEvent::NextRing(_) => {}
        }
    }

    fn thread_started(&mut self, start: ThreadStart, reducer: &mut Reducer) {
        let image = &mut *reducer.image;
        image.set_pthread(self.slot, start.pthread);
        let tid = image.tid(start.tid);
        let is_it = |id: &ThreadId| {
            let thread = reducer.session.thread(*id);
            thread.tid == tid && thread.end_ns.is_none()
        };
        self.thread = match image.thread_in(self.slot).filter(is_it) {
            Some(id) => id,
            None => image.start_thread(reducer.session, self.slot, start.tid, Some(start.ticks)),
        };
        order::started(start, self.thread, reducer);
    }

    /// A call that may block while a lock was held.
    fn blocked(&mut self, blocked: Blocked, reducer: &mut Reducer) {
        let (lock, stack, taken) =
            (reducer.lock(blocked.lock), reducer.stack(blocked.stack), reducer.stack(blocked.taken));
        let key = CallKey { lock, call: reducer.session.profile.call(blocked.call), stack, taken };
        let ticks = &reducer.image.ticks;
        let (start_ns, took_ns) = (ticks.moment_ns(blocked.ticks), ticks.duration_ns(blocked.took));
        let call = Call { start_ns, end_ns: start_ns.saturating_add(took_ns), key, thread: self.thread };
        reducer.accumulator.called(call, blocking::waits_for_work(blocked.call), reducer.session);
    }

    fn done(&mut self, done: Done, reducer: &mut Reducer) {
        let site = self.site(done.access, reducer);
        reducer.accumulator.done(done, site, &reducer.image.ticks, reducer.session);
        if reducer.session.lock(site.lock).kind == Kind::Join {
            self.joined_ticks = done.ticks;
        }
        let key = reducer.session.profile.sites[site.site as usize].key;
        order::done(done, key, self.thread, reducer);
    }
}
