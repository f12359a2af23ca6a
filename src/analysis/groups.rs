//! The same counts by the place in the code, or by thread.

use rustc_hash::{FxHashMap, FxHashSet};

use super::add;
use super::contention::{Contention, Cut, Durations, SortKey, Spread};
use super::own_wrappers::OwnWrappers;
use super::places::Place;
use crate::model::{Histogram, LockId, Session, SiteId, StackId, ThreadId};

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupKey {
    /// A place in the code.
    Site(Place),
    /// A thread.
    Thread(ThreadId),
}

/// What one place or thread did with the locks of the view. Only lock kinds are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Which.
    pub key: GroupKey,
    /// How many locks it took.
    pub locks: u64,
    /// Acquisitions.
    pub acquisitions: u64,
    /// Contended ones.
    pub contended: u64,
    /// Waits. Of a thread, the quantiles are of the waits kept one by one.
    pub wait: Durations,
    /// Time held, ns.
    pub hold_ns: u64,
    /// Time that others waited while it held a lock, ns.
    pub blocked_ns: u64,
}

#[derive(Default)]
struct Sum {
    locks: FxHashSet<LockId>,
    acquisitions: u64,
    contended: u64,
    wait: Spread,
    hold_ns: u64,
    blocked_ns: u64,
}

impl Sum {
    fn row(self, key: GroupKey) -> GroupRow {
        GroupRow {
            key,
            locks: self.locks.len() as u64,
            acquisitions: self.acquisitions,
            contended: self.contended,
            wait: self.wait.durations(),
            hold_ns: self.hold_ns,
            blocked_ns: self.blocked_ns,
        }
    }
}

/// Whether the view shows the lock and waiting for it is contention.
fn counts(session: &Session, view: &Contention, lock: LockId) -> bool {
    session.lock(lock).kind.is_lock() && view.row_of(lock).is_some()
}

/// One row per place in the code, in an order that depends on the places only.
pub(super) fn by_site(session: &Session, cut: &Cut<'_>, view: &Contention) -> Vec<GroupRow> {
    let mut places: FxHashMap<StackId, Place> = FxHashMap::default();
    let wrappers = OwnWrappers::of(session);
    let mut place_of = |stack| places.entry(stack).or_insert_with(|| wrappers.place(session, stack)).clone();
    let mut sums: FxHashMap<Place, Sum> = FxHashMap::default();
    for (at, site) in session.profile.sites.iter().enumerate() {
        if !counts(session, view, site.key.lock) {
            continue;
        }
        let Some(kept) = cut.site(SiteId::from(at)) else { continue };
        let sum = sums.entry(place_of(site.key.stack)).or_default();
        sum.locks.insert(site.key.lock);
        add(&mut sum.acquisitions, kept.share.acquisitions);
        add(&mut sum.contended, kept.share.contended);
        sum.wait.add(kept.share.contended, kept.share.wait_ns, kept.wait_max, &kept.wait);
        add(&mut sum.hold_ns, kept.share.hold_ns);
    }
    for (key, stats) in &session.profile.waits {
        if counts(session, view, key.lock)
            && cut.keeps_thread(key.thread)
            && let Some(sum) = sums.get_mut(&place_of(key.holder))
        {
            add(&mut sum.blocked_ns, stats.wait_ns);
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.into_iter().map(|(place, sum)| sum.row(GroupKey::Site(place))).collect()
}

/// One row per thread, in the order of the session's threads.
pub(super) fn by_thread(session: &Session, view: &Contention) -> Vec<GroupRow> {
    let cut = Cut::new(session, view.query.filter.thread.as_ref());
    let mut sums: FxHashMap<ThreadId, Sum> = FxHashMap::default();
    for ((thread, site), share) in &session.profile.by_thread {
        let lock = session.profile.sites[site.index()].key.lock;
        if !counts(session, view, lock) || !cut.keeps_thread(*thread) {
            continue;
        }
        let sum = sums.entry(*thread).or_default();
        sum.locks.insert(lock);
        add(&mut sum.acquisitions, share.acquisitions);
        add(&mut sum.contended, share.contended);
        sum.wait.add(share.contended, share.wait_ns, 0, &Histogram::default());
        add(&mut sum.hold_ns, share.hold_ns);
    }
    for (key, stats) in session.profile.waits.iter().filter(|(key, _)| counts(session, view, key.lock)) {
        if let Some(sum) = sums.get_mut(&key.thread) {
            sum.wait.add(0, 0, stats.max_ns, &Histogram::default());
        }
        if let Some(sum) = key.holder_thread.and_then(|thread| sums.get_mut(&thread)) {
            add(&mut sum.blocked_ns, stats.wait_ns);
        }
    }
    let mut waits: FxHashMap<ThreadId, Histogram> = FxHashMap::default();
    for event in session.profile.wait_events.iter().filter(|event| counts(session, view, event.key.lock)) {
        waits.entry(event.key.thread).or_default().record(event.wait_ns);
    }
    for (thread, histogram) in &waits {
        if let Some(sum) = sums.get_mut(thread) {
            sum.wait.add(0, 0, histogram.max, histogram);
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(thread, _)| *thread);
    rows.into_iter().map(|(thread, sum)| sum.row(GroupKey::Thread(thread))).collect()
}

/// Greatest first; ties keep their order.
pub(super) fn sort(rows: &mut [GroupRow], by: SortKey) {
    let value = |row: &GroupRow| match by {
        SortKey::Wait => row.wait.total,
        SortKey::Max => row.wait.max,
        SortKey::P99 => row.wait.p99,
        SortKey::Count => row.acquisitions,
        SortKey::Hold => row.hold_ns,
    };
    rows.sort_by_key(|row| std::cmp::Reverse((value(row), row.acquisitions)));
}
