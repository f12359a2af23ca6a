//! Counts that are kept apart from the session while recording, for speed, or because they are complete only when other
//! rings were read.

use rustc_hash::FxHashMap;

use super::blame::{Blame, Call, Span};
use super::clock::Ticks;
use super::decode::{Done, Failed, Failure, Hold};
use super::order::Merging;
use super::runs;
use super::site_cache::CachedSite;
use super::who::Who;
use crate::model::order::Fold;
use crate::model::{CallStats, LockId, Session, SiteId, ThreadId, ThreadShare, WaitEvent};

/// See the module.
#[derive(Default)]
pub struct Accumulator {
    blame: Blame,
    shares: Vec<((ThreadId, SiteId), ThreadShare)>,
    share_index: FxHashMap<(ThreadId, SiteId), u32>,
    owners: Vec<Owners>,
    /// Locks with acquisitions that are not in their order yet.
    unordered: Vec<LockId>,
    room: Vec<(u64, u32)>,
    /// Acquisitions with an event of their own.
    pub recorded: u64,
    /// Acquisitions that were only counted.
    pub aggregated: u64,
    /// The order of locks.
    pub order: Fold,
    /// What is on its way there.
    pub merging: Merging,
}

/// Who has had a lock, by [`Who::number`].
#[derive(Default)]
struct Owners {
    last: Option<u32>,
    /// More than one thread takes it: all its acquisitions are put into their order.
    shared: bool,
    /// Its acquisitions in this round of the collector, thread by thread: (ticks, who).
    recent: Vec<(u64, u32)>,
}

impl Owners {
    /// While only one thread takes it, more are not kept: a change of owner between the later ones is not
    /// seen, once in a lock's life.
    const RECENT: usize = 1024;
}

impl Accumulator {
    /// Acquisitions so far, with an event of their own or without.
    pub fn acquisitions(&self) -> u64 {
        self.recorded + self.aggregated
    }

    /// Counts an acquisition; its time, ns.
    #[inline(always)]
    pub fn hold(&mut self, hold: Hold, site: CachedSite, who: Who, ticks: &Ticks, session: &mut Session) -> u64 {
        let hold_ns = ticks.duration_ns(hold.held);
        let flags = hold.access.flags;
        let counts = &mut session.profile.sites[site.site as usize];
        let share = &mut self.shares[site.share as usize].1;
        if self.blame.watches(site.lock) {
            let start_ns = ticks.moment_ns(hold.ticks);
            let span = Span { start_ns, end_ns: start_ns + hold_ns, stack: counts.key.stack, who };
            self.blame.held(site.lock, span);
        }
        if hold.is_plain() {
            counts.acquisitions += 1;
            counts.hold.record(hold_ns);
            share.acquisitions += 1;
            share.hold_ns += hold_ns;
            self.recorded += 1;
        } else {
            let counted = u64::from(!flags.is_continued());
            counts.acquisitions += counted;
            share.acquisitions += counted;
            self.recorded += counted;
            counts.reentries += u64::from(flags.is_reentry());
            counts.reacquired += u64::from(flags.is_reacquired());
            counts.still_held += u64::from(flags.is_unreleased());
            if !flags.is_reentry() {
                counts.hold.record(hold_ns);
                share.hold_ns += hold_ns;
            }
        }
        if !(flags.is_shared() | flags.is_reentry() | flags.is_continued() | site.stands_for_many) {
            self.owned(site.lock, hold.ticks, who.number);
        }
        hold_ns
    }

    /// Counts an acquisition whose end was not seen.
    pub fn unended(&mut self, site: CachedSite, session: &mut Session) {
        session.profile.sites[site.site as usize].acquisitions += 1;
        self.shares[site.share as usize].1.acquisitions += 1;
        self.recorded += 1;
    }

    /// Counts the wait of a contended acquisition (`number`: tells who waited from others that share the row).
    pub fn waited(&mut self, wait: WaitEvent, number: u32, site: CachedSite, session: &mut Session) {
        let counts = &mut session.profile.sites[site.site as usize];
        counts.contended += 1;
        counts.wait.record(wait.wait_ns);
        let share = &mut self.shares[site.share as usize].1;
        share.contended += 1;
        share.wait_ns += wait.wait_ns;
        self.blame.waited(wait, number, !site.stands_for_many);
    }

    /// Counts a call that may block, under a lock.
    pub fn called(&mut self, call: Call, waits_for_work: bool, session: &mut Session) {
        let took_ns = call.end_ns - call.start_ns;
        let stats = CallStats { count: 1, took_ns, max_ns: took_ns, ..CallStats::default() };
        session.profile.calls.entry(call.key).or_default().add(&stats);
        self.blame.called(call, waits_for_work);
    }

    /// Counts an operation that blocks but is not held.
    pub fn done(&mut self, done: Done, site: CachedSite, ticks: &Ticks, session: &mut Session) {
        let counts = &mut session.profile.sites[site.site as usize];
        let share = &mut self.shares[site.share as usize].1;
        counts.acquisitions += 1;
        share.acquisitions += 1;
        self.recorded += 1;
        if done.access.flags.is_contended() {
            let wait_ns = ticks.duration_ns(done.wait);
            counts.contended += 1;
            counts.wait.record(wait_ns);
            share.contended += 1;
            share.wait_ns += wait_ns;
        }
    }

    /// Counts a request that did not get the lock.
    pub fn failed(failed: Failed, site: CachedSite, ticks: &Ticks, session: &mut Session) {
        let counts = &mut session.profile.sites[site.site as usize];
        match failed.why {
            Failure::Taken => counts.try_failures += 1,
            Failure::TimedOut => {
                counts.timeouts += 1;
                counts.wasted_wait_ns += ticks.duration_ns(failed.wait);
            }
            Failure::Error => counts.failures += 1,
        }
    }

    /// Position of one thread's share of a site.
    pub fn share(&mut self, thread: ThreadId, site: SiteId) -> u32 {
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
    fn owned(&mut self, lock: LockId, ticks: u64, number: u32) {
        if lock.index() >= self.owners.len() {
            self.owners.resize_with(lock.index() + 1, Owners::default);
        }
        let owners = &mut self.owners[lock.index()];
        // Rings are read one after the other: another thread may have taken the lock in between.
        let before = owners.recent.last().map(|(_, number)| *number).or(owners.last);
        owners.shared |= before.is_some_and(|before| before != number);
        if owners.recent.is_empty() {
            self.unordered.push(lock);
        }
        if owners.shared || owners.recent.len() < Owners::RECENT {
            owners.recent.push((ticks, number));
        }
    }

    /// Writes down what is complete, now that all rings were read (`all`: what is left of it, too): whose fault waits were,
    /// the order of locks, and how often locks changed their owner.
    pub fn flush(&mut self, session: &mut Session, all: bool) {
        self.blame.flush(session, all);
        self.order.flush(&mut session.order, all);
        for lock in self.unordered.drain(..) {
            let owners = &mut self.owners[lock.index()];
            if !owners.shared {
                owners.last = owners.recent.drain(..).next_back().map(|(_, number)| number).or(owners.last);
                continue;
            }
            // Each thread's acquisitions are in their order already.
            runs::merge(&mut owners.recent, 0, &mut self.room, |(ticks, _)| *ticks);
            let mut changes = 0;
            for (_, number) in owners.recent.drain(..) {
                changes += u64::from(owners.last.is_some_and(|last| last != number));
                owners.last = Some(number);
            }
            session.locks[lock.index()].owner_changes += changes;
        }
    }

    /// Each thread's part of each site, so far.
    pub fn shares(&self) -> &[((ThreadId, SiteId), ThreadShare)] {
        &self.shares
    }

    /// Takes in what two sources say of the same threads, up to this moment: all that they said up to then is there.
    pub fn settle(&mut self, session: &mut Session, until_ns: u64) {
        self.merging.settle(until_ns, &mut self.order, &mut session.order);
    }

    /// Gives everything to the session.
    pub fn finish(&mut self, session: &mut Session) {
        self.settle(session, u64::MAX);
        self.flush(session, true);
        session.order.log.sort();
        for (key, share) in &self.shares {
            session.profile.by_thread.insert(*key, *share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Lock, ProcessId};

    /// Rounds of (ticks, who) as they are read, ring after ring; how often the owner changed.
    fn changes(rounds: &[&[(u64, u32)]]) -> u64 {
        let mut session = Session { locks: vec![Lock::new(ProcessId(0), 0, Kind::Mutex)], ..Session::default() };
        let mut accumulator = Accumulator::default();
        for round in rounds {
            round.iter().for_each(|(ticks, number)| accumulator.owned(LockId(0), *ticks, *number));
            accumulator.flush(&mut session, false);
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
}
