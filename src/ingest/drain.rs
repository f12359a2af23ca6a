//! Records become counts: the hot loop of the collector.

use lockprof_wire::{Flags, Op, Record};
use rustc_hash::FxHashMap;

use super::blame::{Blame, Span};
use super::image::Image;
use super::order::{self, Looks, Orders, Placed};
use super::runs;
use crate::model::{
    Kind, Lock, LockId, Mode, Session, SiteId, SiteKey, StackId, ThreadId, ThreadShare, WaitEvent, WaitKey,
};

/// Where the counts of one (lock, stack, mode, thread) are.
#[derive(Clone, Copy)]
struct Place {
    key: u64,
    mode_and_thread: u64,
    lock: LockId,
    site: u32,
    share: u32,
    /// The lock takes part in the order of locks.
    ordered: bool,
}

/// Remembers the places of the keys met lately: sets of two, as a processor's cache. Most threads use few
/// locks at few places in the code, so it begins small and grows with its misses.
struct Places {
    entries: Box<[Place]>,
    misses: usize,
}

impl Places {
    const FIRST: usize = 128;
    const MOST: usize = 8192;
    const NOWHERE: Place =
        Place { key: u64::MAX, mode_and_thread: u64::MAX, lock: LockId(0), site: 0, share: 0, ordered: false };

    fn new() -> Self {
        Self { entries: vec![Self::NOWHERE; Self::FIRST].into(), misses: 0 }
    }

    #[inline]
    fn slot(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize & (self.entries.len() - 1)
    }

    #[inline]
    fn find(&self, key: u64, mode_and_thread: u64) -> Option<Place> {
        let at = self.slot(key);
        let is = |place: &Place| place.key == key && place.mode_and_thread == mode_and_thread;
        let first = &self.entries[at];
        if is(first) {
            return Some(*first);
        }
        let second = &self.entries[at ^ 1];
        is(second).then_some(*second)
    }

    fn remember(&mut self, place: Place) {
        self.misses += 1;
        if self.misses > self.entries.len() && self.entries.len() < Self::MOST {
            *self = Self { entries: vec![Self::NOWHERE; self.entries.len() * 4].into(), misses: 0 };
        }
        let at = self.slot(place.key);
        self.entries[at ^ 1] = self.entries[at];
        self.entries[at] = place;
    }
}

/// A slot's ring: what is remembered between records.
pub struct Drain {
    slot: u32,
    thread: ThreadId,
    places: Places,
    pending: Vec<Record>,
    /// Acquisition time of the last `Hold`: one whose release was under way when the program died is not counted twice.
    pub last_hold: (u64, u32),
    /// The process is over: holds come from the list of what is held, not from the ring.
    pub over: bool,
    /// At the ring.
    pub looks: Looks,
    /// When it last began to join a thread.
    joined_ticks: u64,
}

/// Counts that are kept apart from the session while recording, for speed.
#[derive(Default)]
pub struct Tally {
    blame: Blame,
    shares: Vec<((ThreadId, SiteId), ThreadShare)>,
    share_index: FxHashMap<(ThreadId, SiteId), u32>,
    owners: Vec<Owners>,
    /// Locks with acquisitions that are not in their order yet.
    unsettled: Vec<LockId>,
    room: Vec<(u64, ThreadId)>,
    /// Acquisitions with an event of their own.
    pub recorded: u64,
    /// The order of locks.
    pub orders: Orders,
}

/// Who has had a lock.
#[derive(Default)]
struct Owners {
    last: Option<ThreadId>,
    /// More than one thread takes it: all its acquisitions are put into their order.
    shared: bool,
    /// Its acquisitions in this round of the collector, thread by thread: (ticks, thread).
    recent: Vec<(u64, ThreadId)>,
}

impl Owners {
    /// While only one thread takes it, more are not kept: a change of owner between the later ones is not
    /// seen, once in a lock's life.
    const RECENT: usize = 1024;
}

impl Drain {
    /// Reads the ring of this slot.
    pub fn new(slot: u32, thread: ThreadId) -> Self {
        Self {
            slot,
            thread,
            places: Places::new(),
            pending: Vec::new(),
            last_hold: (0, 0),
            over: false,
            looks: Looks::default(),
            joined_ticks: 0,
        }
    }

    /// Counts what was read from the ring at one time (`now`, ticks), and keeps it for a while. While as many as
    /// `room` were not read yet, others may have been folded.
    pub fn apply_all(
        &mut self,
        records: Vec<Record>,
        room: usize,
        now: u64,
        image: &mut Image,
        session: &mut Session,
        tally: &mut Tally,
    ) {
        let mut threads = vec![(0, self.thread)];
        self.looks.saw(&records, records.len() >= room);
        for (record, at) in records.iter().zip(0u32..) {
            if at as usize == room {
                tally.orders.doubt(self.thread);
            }
            let before = self.thread;
            self.apply(*record, image, session, tally);
            if self.thread != before {
                threads.push((at, self.thread));
            }
        }
        if records.len() == room {
            tally.orders.doubt(self.thread);
        }
        image.tape.keep(records, threads, now);
    }

    /// Counts one record. A `NextRing` record is the caller's business.
    #[inline]
    pub fn apply(&mut self, record: Record, image: &mut Image, session: &mut Session, tally: &mut Tally) {
        if record.word as u8 == Op::Hold as u8 {
            self.hold(record, image, session, tally);
        } else if record.word as u8 == Op::Open as u8 {
            self.open(record, image, session, tally);
        } else {
            self.other(record, image, session, tally);
        }
    }

    #[inline]
    fn place(&mut self, record: Record, image: &mut Image, session: &mut Session, tally: &mut Tally) -> Place {
        let key = u64::from(record.lock) | u64::from(record.stack) << 32;
        let mode_and_thread = u64::from(record.flags() & Flags::SHARED) | u64::from(self.thread.0) << 1;
        match self.places.find(key, mode_and_thread) {
            Some(place) => place,
            None => self.find_place(record, key, mode_and_thread, image, session, tally),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_place(
        &mut self,
        record: Record,
        key: u64,
        mode_and_thread: u64,
        image: &mut Image,
        session: &mut Session,
        tally: &mut Tally,
    ) -> Place {
        let lock = image.lock(session, record.lock);
        let stack = image.stack(session, record.stack);
        let mode = if record.flags() & Flags::SHARED != 0 { Mode::Shared } else { Mode::Exclusive };
        let site = session.profile.site(SiteKey { lock, stack, mode });
        let share = tally.share(self.thread, site);
        let ordered = session.lock(lock).nests();
        let place = Place { key, mode_and_thread, lock, site: site.0, share, ordered };
        self.places.remember(place);
        place
    }

    #[inline]
    fn hold(&mut self, record: Record, image: &mut Image, session: &mut Session, tally: &mut Tally) {
        const UNUSUAL: u8 =
            Flags::CONTENDED | Flags::REENTRY | Flags::REACQUIRED | Flags::CONTINUED | Flags::UNRELEASED;
        let place = self.place(record, image, session, tally);
        let hold_ns = image.ticks.duration_ns(record.payload());
        let site = &mut session.profile.sites[place.site as usize];
        let share = &mut tally.shares[place.share as usize].1;
        self.last_hold = (record.ticks, record.lock);
        if tally.blame.watches(place.lock) {
            let start_ns = image.ticks.moment_ns(record.ticks);
            let span = Span { start_ns, end_ns: start_ns + hold_ns, stack: site.key.stack, thread: self.thread };
            tally.blame.held(place.lock, span);
        }
        if record.flags() & UNUSUAL == 0 {
            site.acquisitions += 1;
            site.hold.record(hold_ns);
            share.acquisitions += 1;
            share.hold_ns += hold_ns;
            tally.recorded += 1;
        } else {
            let counted = record.flags() & Flags::CONTINUED == 0;
            let reentry = record.flags() & Flags::REENTRY != 0;
            site.acquisitions += u64::from(counted);
            share.acquisitions += u64::from(counted);
            tally.recorded += u64::from(counted);
            site.reentries += u64::from(reentry);
            site.reacquired += u64::from(record.flags() & Flags::REACQUIRED != 0);
            site.still_held += u64::from(record.flags() & Flags::UNRELEASED != 0);
            if !reentry {
                site.hold.record(hold_ns);
                share.hold_ns += hold_ns;
            }
            if record.flags() & Flags::CONTENDED != 0 {
                self.finish_wait(record, hold_ns, image, session, tally);
            }
        }
        if (!order::is_section(record) || record.ticks <= self.joined_ticks) && place.ordered && !self.over {
            if self.joined_ticks != 0 {
                // The joined thread's sections matter now.
                image.tape.nested();
            }
            tally.orders.hold_ended(self.placed(record, place, session), image, session);
        }
        if record.flags() & (Flags::SHARED | Flags::REENTRY | Flags::CONTINUED) == 0 {
            tally.owned(place.lock, record.ticks, self.thread);
        }
    }

    fn placed(&self, record: Record, place: Place, session: &Session) -> Placed {
        let key = session.profile.sites[place.site as usize].key;
        Placed { record, thread: self.thread, key, ordered: place.ordered }
    }

    /// An acquisition beside others. It is counted when it ends.
    #[inline(never)]
    fn open(&mut self, record: Record, image: &mut Image, session: &mut Session, tally: &mut Tally) {
        let place = self.place(record, image, session, tally);
        let placed = self.placed(record, place, session);
        image.tape.nested();
        tally.orders.opened(placed, &image.ticks, &mut session.order);
    }

    /// The acquisition to which a `Waited` record belongs.
    fn finish_wait(&mut self, hold: Record, hold_ns: u64, image: &mut Image, session: &mut Session, tally: &mut Tally) {
        let found = self.pending.iter().rposition(|waited| waited.lock == hold.lock && waited.stack == hold.stack);
        let Some(waited) = found.map(|at| self.pending.remove(at)) else { return };
        let place = self.place(waited, image, session, tally);
        let wait_ns = image.ticks.duration_ns(waited.payload());
        let site = &mut session.profile.sites[place.site as usize];
        site.contended += 1;
        site.wait.record(wait_ns);
        let key_of_site = site.key;
        let share = &mut tally.shares[place.share as usize].1;
        share.contended += 1;
        share.wait_ns += wait_ns;
        let holder_slot = (waited.extra >> 32) as u32;
        let holder = image.stack(session, waited.extra as u32);
        let holder_thread = holder_slot
            .checked_sub(1)
            .filter(|slot| image.segment.thread(*slot).is_some())
            .and_then(|slot| image.threads.get(slot as usize).copied().flatten());
        let key = WaitKey {
            lock: key_of_site.lock,
            thread: self.thread,
            waiter: key_of_site.stack,
            mode: key_of_site.mode,
            holder,
            holder_thread,
        };
        let start_ns = image.ticks.moment_ns(waited.ticks);
        tally.blame.waited(WaitEvent { key, start_ns, wait_ns, hold_ns });
    }

    #[cold]
    fn other(&mut self, record: Record, image: &mut Image, session: &mut Session, tally: &mut Tally) {
        let Some(op) = record.op() else { return };
        match op {
            Op::ThreadStart => {
                image.set_pthread(self.slot, record.extra);
                let known = image.threads.get(self.slot as usize).copied().flatten();
                let tid = image.tid(record.lock);
                let started = known.filter(|id| {
                    let thread = session.thread(*id);
                    thread.tid == tid && thread.end_ns.is_none()
                });
                self.thread = match started {
                    Some(id) => id,
                    None => image.start_thread(session, self.slot, record.lock, Some(record.ticks)),
                };
                tally.orders.started(record, self.thread, image, session);
            }
            Op::ThreadEnd => {
                session.threads[self.thread.index()].end_ns = Some(image.ticks.moment_ns(record.ticks));
                tally.orders.ended(record, self.thread, image, session);
            }
            Op::Waited => {
                /// More than that are not on their way in one thread: something is wrong with the ring.
                const MOST: usize = 4096;
                if self.pending.len() < MOST {
                    self.pending.push(record);
                }
            }
            Op::Done => {
                let place = self.place(record, image, session, tally);
                let wait_ns = image.ticks.duration_ns(record.payload());
                let site = &mut session.profile.sites[place.site as usize];
                let share = &mut tally.shares[place.share as usize].1;
                site.acquisitions += 1;
                share.acquisitions += 1;
                tally.recorded += 1;
                if record.flags() & Flags::CONTENDED != 0 {
                    site.contended += 1;
                    site.wait.record(wait_ns);
                    share.contended += 1;
                    share.wait_ns += wait_ns;
                }
                if session.lock(place.lock).kind == Kind::Join {
                    self.joined_ticks = record.ticks;
                }
                tally.orders.done(self.placed(record, place, session), image, session);
            }
            Op::Posted => tally.orders.posted(record, self.thread, image, session),
            Op::OwnerDied => tally.orders.owner_died(record, self.thread, image, session),
            Op::Created => tally.orders.created(record, self.thread, image, session),
            Op::Misuse => Orders::misused(record, self.thread, image, session),
            Op::TryFailed | Op::TimedOut | Op::Failed => {
                let place = self.place(record, image, session, tally);
                let wasted = image.ticks.duration_ns(record.payload());
                let site = &mut session.profile.sites[place.site as usize];
                match op {
                    Op::TryFailed => site.try_failures += 1,
                    Op::TimedOut => {
                        site.timeouts += 1;
                        site.wasted_wait_ns += wasted;
                    }
                    _ => site.failures += 1,
                }
            }
            Op::Hold | Op::Open | Op::NextRing => {}
        }
    }
}

/// Adds waits to a (waiter, holder) pair, for kinds whose waits are contention.
pub fn count_wait(session: &mut Session, key: WaitKey, count: u64, wait_ns: u64, max_ns: u64) {
    if session.locks.get(key.lock.index()).is_some_and(|lock: &Lock| lock.kind.is_lock()) {
        let stats = session.profile.waits.entry(key).or_default();
        stats.count += count;
        stats.wait_ns += wait_ns;
        stats.max_ns = stats.max_ns.max(max_ns);
    }
}

impl Tally {
    /// Position of one thread's share of a site.
    fn share(&mut self, thread: ThreadId, site: SiteId) -> u32 {
        *self.share_index.entry((thread, site)).or_insert_with(|| {
            self.shares.push(((thread, site), ThreadShare::default()));
            (self.shares.len() - 1) as u32
        })
    }

    /// One thread's share of a site.
    pub fn share_mut(&mut self, thread: ThreadId, site: SiteId) -> &mut ThreadShare {
        let at = self.share(thread, site);
        &mut self.shares[at as usize].1
    }

    #[inline]
    fn owned(&mut self, lock: LockId, ticks: u64, thread: ThreadId) {
        if lock.index() >= self.owners.len() {
            self.owners.resize_with(lock.index() + 1, Owners::default);
        }
        let owners = &mut self.owners[lock.index()];
        // Rings are read one after the other: another thread may have taken the lock in between.
        let before = owners.recent.last().map(|(_, thread)| *thread).or(owners.last);
        owners.shared |= before.is_some_and(|before| before != thread);
        if owners.recent.is_empty() {
            self.unsettled.push(lock);
        }
        if owners.shared || owners.recent.len() < Owners::RECENT {
            owners.recent.push((ticks, thread));
        }
    }

    /// Puts the acquisitions read since the last call into their order and counts changes of owner.
    pub fn settle(&mut self, session: &mut Session, all: bool) {
        self.blame.settle(session, all);
        self.orders.settle(&mut session.order, all);
        for lock in self.unsettled.drain(..) {
            let owners = &mut self.owners[lock.index()];
            if !owners.shared {
                owners.last = owners.recent.drain(..).next_back().map(|(_, thread)| thread).or(owners.last);
                continue;
            }
            // Each thread's acquisitions are in their order already.
            runs::merge(&mut owners.recent, 0, &mut self.room, |(ticks, _)| *ticks);
            let mut changes = 0;
            for (_, thread) in owners.recent.drain(..) {
                changes += u64::from(owners.last.is_some_and(|last| last != thread));
                owners.last = Some(thread);
            }
            session.locks[lock.index()].owner_changes += changes;
        }
    }

    /// Each thread's part of each site, so far.
    pub fn shares(&self) -> &[((ThreadId, SiteId), ThreadShare)] {
        &self.shares
    }

    /// Gives the shares to the session.
    pub fn finish(&mut self, session: &mut Session) {
        self.settle(session, true);
        session.order.log.sort();
        for (key, share) in &self.shares {
            session.profile.by_thread.insert(*key, *share);
        }
    }
}

/// The unknown stack.
pub const NO_STACK: StackId = StackId(0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProcessId;

    /// Rounds of (ticks, thread) as they are read, ring after ring; how often the owner changed.
    fn changes(rounds: &[&[(u64, u32)]]) -> u64 {
        let mut session = Session { locks: vec![Lock::new(ProcessId(0), 0, Kind::Mutex)], ..Session::default() };
        let mut tally = Tally::default();
        for round in rounds {
            round.iter().for_each(|(ticks, thread)| tally.owned(LockId(0), *ticks, ThreadId(*thread)));
            tally.settle(&mut session, false);
        }
        session.locks[0].owner_changes
    }

    #[test]
    fn owners_change_in_the_order_of_time_not_of_reading() {
        assert_eq!(changes(&[&[(1, 7), (2, 7)], &[(3, 7)]]), 0);
        assert_eq!(changes(&[&[(1, 7), (3, 7), (5, 7), (2, 8), (4, 8)]]), 4);
        assert_eq!(changes(&[&[(5, 7), (1, 8)]]), 1);
        assert_eq!(changes(&[&[(1, 7)], &[(2, 7), (4, 7), (3, 8)], &[(5, 7)], &[(6, 8)]]), 3);
    }

    #[test]
    fn places_are_found_again_until_others_push_them_out() {
        let mut places = Places::new();
        for key in 0..20_000u64 {
            let place = Place { key, mode_and_thread: 2, lock: LockId(0), site: key as u32, share: 0, ordered: true };
            places.remember(place);
            assert_eq!(places.find(key, 2).map(|found| found.site), Some(key as u32));
            assert!(places.find(key, 3).is_none());
        }
        assert_eq!(places.entries.len(), Places::MOST);
    }
}
