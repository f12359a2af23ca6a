//! Adds the sites and waits of a row's locks up.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::cut::{Cut, Spread};
use super::order::Row;
use super::{Holder, LockReport, SiteCount, Unattributed, Waiter};
use crate::model::{LockId, Mode, Session, SiteId, StackId, Stacks};

/// The rows with everything added up. Rows of which nothing is left stay, with zeros.
pub(super) fn rows(session: &Session, cut: &Cut<'_>, rows: Vec<Row>) -> Vec<LockReport> {
    let row_of: FxHashMap<LockId, usize> =
        (rows.iter().enumerate()).flat_map(|(at, row)| row.members.iter().map(move |lock| (*lock, at))).collect();
    let mut sums: Vec<Sums> = rows.iter().map(|_| Sums::default()).collect();
    for (at, site) in session.profile.sites.iter().enumerate() {
        if let Some(row) = row_of.get(&site.key.lock) {
            sums[*row].add_site(session, cut, SiteId::from(at));
        }
    }
    for (key, stats) in &session.profile.waits {
        let Some(row) = row_of.get(&key.lock).filter(|_| cut.keeps_thread(key.thread)) else { continue };
        let sum = &mut sums[*row];
        if key.holder == Stacks::UNKNOWN {
            sum.unattributed.count += stats.count;
            sum.unattributed.wait_ns = sum.unattributed.wait_ns.saturating_add(stats.wait_ns);
        } else {
            let holder = sum.holder(key.holder);
            holder.count += stats.count;
            holder.blocked_ns = holder.blocked_ns.saturating_add(stats.wait_ns);
            holder.longest_ns = holder.longest_ns.max(stats.max_ns);
        }
    }
    rows.into_iter().zip(sums).map(|(row, sum)| sum.into_report(session, row)).collect()
}

#[derive(Default)]
struct Sums {
    acquisitions: u64,
    reads: u64,
    contended: u64,
    folded: u64,
    reentries: u64,
    try_failures: u64,
    timeouts: u64,
    failures: u64,
    wasted_wait_ns: u64,
    still_held: u64,
    wait: Spread,
    hold: Spread,
    waiters: FxHashMap<StackId, Waiter>,
    holders: FxHashMap<StackId, Holder>,
    unattributed: Unattributed,
    sites: FxHashMap<(StackId, Mode), SiteCount>,
}

impl Sums {
    fn holder(&mut self, stack: StackId) -> &mut Holder {
        self.holders.entry(stack).or_insert(Holder {
            stack,
            acquisitions: 0,
            count: 0,
            blocked_ns: 0,
            longest_ns: 0,
            hold_ns: 0,
        })
    }

    fn add_site(&mut self, session: &Session, cut: &Cut<'_>, id: SiteId) {
        let site = &session.profile.sites[id.index()];
        let (stack, mode) = (site.key.stack, site.key.mode);
        let Some(kept) = cut.site(id) else { return };
        let share = kept.share;
        self.acquisitions += share.acquisitions;
        if mode == Mode::Shared {
            self.reads += share.acquisitions;
        }
        self.contended += share.contended;
        self.folded += site.folded;
        self.reentries += site.reentries;
        self.try_failures += site.try_failures;
        self.timeouts += site.timeouts;
        self.failures += site.failures;
        self.wasted_wait_ns = self.wasted_wait_ns.saturating_add(site.wasted_wait_ns);
        self.still_held += site.still_held;
        self.wait.add(share.contended, share.wait_ns, kept.wait_max, &kept.wait);
        let holds = share.acquisitions.saturating_sub(site.reentries).min(kept.hold.count);
        self.hold.add(holds, share.hold_ns, kept.hold.max, kept.hold);

        if share.contended > 0 {
            let waiter = self.waiters.entry(stack).or_insert(Waiter { stack, count: 0, wait_ns: 0 });
            waiter.count += share.contended;
            waiter.wait_ns = waiter.wait_ns.saturating_add(share.wait_ns);
        }
        if share.acquisitions > 0 {
            let empty = SiteCount { stack, mode, count: 0, contended: 0, wait_ns: 0, hold_ns: 0 };
            let count = self.sites.entry((stack, mode)).or_insert(empty);
            count.count += share.acquisitions;
            count.contended += share.contended;
            count.wait_ns = count.wait_ns.saturating_add(share.wait_ns);
            count.hold_ns = count.hold_ns.saturating_add(share.hold_ns);
        }
        if stack != Stacks::UNKNOWN && kept.hold.count > 0 {
            let holder = self.holder(stack);
            holder.acquisitions += share.acquisitions;
            holder.hold_ns = holder.hold_ns.saturating_add(share.hold_ns);
        }
    }

    fn into_report(self, session: &Session, row: Row) -> LockReport {
        let mut waiters: Vec<_> = self.waiters.into_values().collect();
        waiters.sort_by_key(|w| (Reverse(w.wait_ns), Reverse(w.count), w.stack));
        let mut holders: Vec<_> = self.holders.into_values().collect();
        holders.sort_by_key(|h| (Reverse(h.blocked_ns), Reverse(h.count), Reverse(h.hold_ns), h.stack));
        let mut sites: Vec<_> = self.sites.into_values().collect();
        sites.sort_by_key(|s| (Reverse(s.count), Reverse(s.wait_ns), s.stack, s.mode));

        let locks: Vec<_> = row.members.iter().map(|id| session.lock(*id)).collect();
        // A row has a lock; the first is the hottest.
        let first = locks[0];
        LockReport {
            id: row.id,
            name: row.name,
            class: first.class.clone(),
            kind: first.kind,
            process: first.process,
            stands_for: locks.iter().map(|lock| lock.merged.max(1)).sum(),
            acquisitions: self.acquisitions,
            read_acquisitions: self.reads,
            write_acquisitions: self.acquisitions - self.reads,
            contended: self.contended,
            folded: self.folded,
            reentries: self.reentries,
            try_failures: self.try_failures,
            timeouts: self.timeouts,
            failures: self.failures,
            wasted_wait_ns: self.wasted_wait_ns,
            still_held: self.still_held,
            owner_changes: locks.iter().map(|lock| lock.owner_changes).sum(),
            max_waiters: locks.iter().map(|lock| lock.max_waiters).max().unwrap_or(0),
            wait: self.wait.durations(),
            hold: self.hold.durations(),
            waiters,
            holders,
            unattributed: self.unattributed,
            sites,
            members: row.members,
        }
    }
}
