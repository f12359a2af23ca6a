//! Adds the sites and waits of a row's locks up.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::cut::{Cut, Spread};
use super::order::Row;
use super::{Holder, LockReport, SiteCount, Unattributed, Waiter};
use crate::analysis::{add, sum_of};
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
            add(&mut sum.unattributed.count, stats.count);
            add(&mut sum.unattributed.wait_ns, stats.wait_ns);
        } else {
            let holder = sum.holder(key.holder);
            add(&mut holder.count, stats.count);
            add(&mut holder.blocked_ns, stats.wait_ns);
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
        add(&mut self.acquisitions, share.acquisitions);
        if mode == Mode::Shared {
            add(&mut self.reads, share.acquisitions);
        }
        add(&mut self.contended, share.contended);
        add(&mut self.folded, site.folded);
        add(&mut self.reentries, site.reentries);
        add(&mut self.try_failures, site.try_failures);
        add(&mut self.timeouts, site.timeouts);
        add(&mut self.failures, site.failures);
        add(&mut self.wasted_wait_ns, site.wasted_wait_ns);
        add(&mut self.still_held, site.still_held);
        self.wait.add(share.contended, share.wait_ns, kept.wait_max, &kept.wait);
        let holds = share.acquisitions.saturating_sub(site.reentries).min(kept.hold.count);
        self.hold.add(holds, share.hold_ns, kept.hold.max, kept.hold);

        if share.contended > 0 {
            let waiter = self.waiters.entry(stack).or_insert(Waiter { stack, count: 0, wait_ns: 0 });
            add(&mut waiter.count, share.contended);
            add(&mut waiter.wait_ns, share.wait_ns);
        }
        if share.acquisitions > 0 {
            let empty = SiteCount { stack, mode, count: 0, contended: 0, wait_ns: 0, hold_ns: 0 };
            let count = self.sites.entry((stack, mode)).or_insert(empty);
            add(&mut count.count, share.acquisitions);
            add(&mut count.contended, share.contended);
            add(&mut count.wait_ns, share.wait_ns);
            add(&mut count.hold_ns, share.hold_ns);
        }
        if stack != Stacks::UNKNOWN && kept.hold.count > 0 {
            let holder = self.holder(stack);
            add(&mut holder.acquisitions, share.acquisitions);
            add(&mut holder.hold_ns, share.hold_ns);
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
            stands_for: sum_of(locks.iter().map(|lock| lock.merged.max(1))),
            acquisitions: self.acquisitions,
            read_acquisitions: self.reads,
            write_acquisitions: self.acquisitions.saturating_sub(self.reads),
            contended: self.contended,
            folded: self.folded,
            reentries: self.reentries,
            try_failures: self.try_failures,
            timeouts: self.timeouts,
            failures: self.failures,
            wasted_wait_ns: self.wasted_wait_ns,
            still_held: self.still_held,
            owner_changes: sum_of(locks.iter().map(|lock| lock.owner_changes)),
            max_waiters: locks.iter().map(|lock| lock.max_waiters).max().unwrap_or(0),
            wait: self.wait.durations(),
            hold: self.hold.durations(),
            waiters,
            holders,
            unattributed: self.unattributed,
            sites,
            calls: Vec::new(),
            members: row.members,
        }
    }
}
