//! Contention: per lock, how often it was taken, who waited for it, and who held it meanwhile.
//!
//! Sums of the sites of the [`Profile`](crate::model::Profile), nothing estimated. Waiting on kinds that
//! are not locks (condition variables, barriers, joins …) is kept apart and never added to lock contention.
//! This room does not judge: findings and lock order are elsewhere.

mod aggregate;
mod cut;
mod order;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use rustc_hash::{FxHashMap, FxHashSet};

use super::filter::Filter;
use super::groups::{self, GroupRow};
use super::{add, sum_of};
use crate::model::{CallId, CallStats, Histogram, Kind, LockId, Mode, ProcessId, Session, StackId};

pub(crate) use cut::{Cut, Spread};
pub use order::{LEAST_ALIKE, LockSums, lock_sums, name as lock_name};

/// What the rows of the view are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// One row per lock.
    #[default]
    Lock,
    /// One row per class: locks first seen at the same place in the code.
    Class,
    /// One row per place in the code that takes locks.
    Site,
    /// One row per thread.
    Thread,
}

/// What comes first, greatest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortKey {
    /// Total wait.
    #[default]
    Wait,
    /// Longest wait.
    Max,
    /// 99th percentile of the waits.
    P99,
    /// Acquisitions.
    Count,
    /// Total hold.
    Hold,
}

/// What to look at, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What to keep.
    pub filter: Filter,
    /// What the rows are.
    pub by: GroupBy,
    /// In a view of classes: one with a single lock has the lock's id, and sums are over locks. What people see first.
    pub lone_locks: bool,
    /// What comes first.
    pub sort: SortKey,
    /// Locks of which there is nothing to tell one from the other are one row: see [`order::LEAST_ALIKE`].
    pub merge_alike: bool,
}

/// Durations in short, ns. Quantiles are within 1/16 of the value; total and max are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Durations {
    pub total: u64,
    pub mean: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl From<&Histogram> for Durations {
    fn from(histogram: &Histogram) -> Self {
        Self {
            total: histogram.sum,
            mean: histogram.mean(),
            p50: histogram.quantile(0.50),
            p90: histogram.quantile(0.90),
            p99: histogram.quantile(0.99),
            max: histogram.max,
        }
    }
}

/// Contended acquisitions that came by one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The waiter's stack.
    pub stack: StackId,
    /// Contended acquisitions.
    pub count: u64,
    /// Time they waited, ns.
    pub wait_ns: u64,
}

/// What one stack's holds of the lock did to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The stack that took the lock.
    pub stack: StackId,
    /// Acquisitions by that stack.
    pub acquisitions: u64,
    /// Waits that began while this stack's acquisition held the lock.
    pub count: u64,
    /// Time others waited in these, ns.
    pub blocked_ns: u64,
    /// The longest of these waits, ns.
    pub longest_ns: u64,
    /// Time held, ns.
    pub hold_ns: u64,
}

/// All acquisitions by one stack in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteCount {
    /// The stack.
    pub stack: StackId,
    /// How it asked.
    pub mode: Mode,
    /// Acquisitions.
    pub count: u64,
    /// Of these, those that waited.
    pub contended: u64,
    /// Time waited, ns.
    pub wait_ns: u64,
    /// Time held, ns.
    pub hold_ns: u64,
}

/// Waits whose holder could not be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unattributed {
    /// Waits.
    pub count: u64,
    /// Their time, ns.
    pub wait_ns: u64,
}

/// Calls of one function at one place that may block, with the lock held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldCalls {
    /// The function.
    pub call: CallId,
    /// Where it is called.
    pub stack: StackId,
    /// How often, how long, and who waited meanwhile.
    pub stats: CallStats,
}

/// A lock, or a class of locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockReport {
    /// `L1`… for a lock, `C1`… for a class; the same for every view of one recording.
    pub id: String,
    /// The locks in this row, hottest first; never empty.
    pub members: Vec<LockId>,
    /// What people call it.
    pub name: String,
    /// Where such locks are first seen in the code.
    pub class: String,
    /// What it is.
    pub kind: Kind,
    /// Whose it is (of a class: the hottest lock's).
    pub process: ProcessId,
    /// How many locks the row stands for.
    pub stands_for: u64,
    /// Successful acquisitions; completed operations for kinds that are not held.
    pub acquisitions: u64,
    /// Of these, shared ones.
    pub read_acquisitions: u64,
    /// Of these, exclusive ones.
    pub write_acquisitions: u64,
    /// Of these, those that waited.
    pub contended: u64,
    /// Of these, those counted without an event of their own.
    pub folded: u64,
    /// Of these, re-entries by the owner of a recursive lock.
    pub reentries: u64,
    /// Tries that found it taken.
    pub try_failures: u64,
    /// Timed requests that ran out.
    pub timeouts: u64,
    /// Requests that failed otherwise.
    pub failures: u64,
    /// Time waited in requests that ended without the lock, ns; not part of `wait`.
    pub wasted_wait_ns: u64,
    /// Acquisitions never released.
    pub still_held: u64,
    /// How often another thread took it than the one before.
    pub owner_changes: u64,
    /// Most threads that waited at one time.
    pub max_waiters: u32,
    /// Waits of the contended acquisitions.
    pub wait: Durations,
    /// Holds.
    pub hold: Durations,
    /// Who waited, longest total first.
    pub waiters: Vec<Waiter>,
    /// Who held it, most blocked time first.
    pub holders: Vec<Holder>,
    /// Waits whose holder was not seen.
    pub unattributed: Unattributed,
    /// Every acquisition by stack: the counts sum to `acquisitions`. Most acquisitions first.
    pub sites: Vec<SiteCount>,
    /// Calls that may block, with it held: those first that others waited for most. Of all threads, whatever is asked for.
    pub calls: Vec<HeldCalls>,
}

impl LockReport {
    /// Share of the acquisitions that waited, 0 to 1.
    pub fn contended_share(&self) -> f64 {
        share(self.contended, self.acquisitions)
    }
}

/// `part` of `whole`, 0 to 1; 0 of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Locks; rows in a view of classes.
    pub rows: u64,
    /// Rows with a contended acquisition.
    pub contended_rows: u64,
    /// Acquisitions.
    pub acquisitions: u64,
    /// Contended ones.
    pub contended: u64,
    /// Time waited, ns (threads added up).
    pub wait_ns: u64,
    /// Time held, ns.
    pub hold_ns: u64,
}

impl Totals {
    /// The sums of these rows.
    pub fn of<'a>(rows: impl Iterator<Item = &'a LockReport>) -> Self {
        let mut totals = Self::default();
        for row in rows {
            totals.rows += 1;
            totals.contended_rows += u64::from(row.contended > 0);
            add(&mut totals.acquisitions, row.acquisitions);
            add(&mut totals.contended, row.contended);
            add(&mut totals.wait_ns, row.wait.total);
            add(&mut totals.hold_ns, row.hold.total);
        }
        totals
    }
}

/// What a thread filter does to the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// No thread has such a name.
    NoSuchThread,
    /// What is not kept by thread is that of all threads.
    SomeOfAllThreads,
    /// Quantiles of the waits are without so many, which were not kept one by one.
    WaitsLeftOut(u64),
}

/// The result.
#[derive(Clone, Debug, Default)]
pub struct Contention {
    /// What was asked.
    pub query: Query,
    /// Locks or classes: first kinds with [`Kind::is_lock`], then the others; each in the asked order.
    pub locks: Vec<LockReport>,
    /// Rows of `--by site` and `--by thread`; empty otherwise.
    pub groups: Vec<GroupRow>,
    /// Sums over lock kinds: the contention.
    pub contention: Totals,
    /// Sums over the other kinds: blocked, not contended.
    pub blocked: Totals,
    /// What a reader has to know about these figures.
    pub notes: Vec<Note>,
    rows: FxHashMap<LockId, usize>,
}

impl Contention {
    /// Adds a recording up.
    pub fn of(session: &Session, query: &Query) -> Self {
        let cut = Cut::new(session, query.filter.thread.as_ref());
        let canonical = order::canonical(session);
        let classes = order::classes(session, &canonical);
        let kept = order::keep(session, &canonical, &classes, &query.filter);
        let mut members = order::rows(session, &kept, &classes, query);
        if query.merge_alike && query.by != GroupBy::Class {
            members = order::merge_alike(session, members);
        }
        let mut locks = aggregate::rows(session, &cut, members);
        if query.filter.thread.is_some() {
            locks.retain(|row| row.acquisitions > 0);
        }
        if query.filter.min_wait_ns > 0 {
            locks.retain(|row| row.wait.total >= query.filter.min_wait_ns);
        }
        order::sort(&mut locks, query.sort);

        let rows =
            (locks.iter().enumerate()).flat_map(|(at, row)| row.members.iter().map(move |lock| (*lock, at))).collect();
        let mut result = Self {
            contention: Totals::of(locks.iter().filter(|row| row.kind.is_lock())),
            blocked: Totals::of(locks.iter().filter(|row| !row.kind.is_lock())),
            notes: Vec::new(),
            query: query.clone(),
            groups: Vec::new(),
            locks,
            rows,
        };
        result.notes = cut.notes(|lock| result.row_of(lock).is_some_and(|row| result.shows_waits(row)));
        if query.by != GroupBy::Class {
            // A row may be of many locks.
            result.contention.rows = sum_of(result.lock_rows().map(|row| row.members.len() as u64));
            result.blocked.rows = sum_of(result.blocked_rows().map(|row| row.members.len() as u64));
        } else if query.lone_locks {
            result.count_locks(session);
        }
        result.add_calls(session);
        result.groups = match query.by {
            GroupBy::Site => groups::by_site(session, &cut, &result),
            GroupBy::Thread => groups::by_thread(session, &result),
            GroupBy::Lock | GroupBy::Class => Vec::new(),
        };
        groups::sort(&mut result.groups, query.sort);
        result
    }

    /// Counts locks, and not classes.
    fn count_locks(&mut self, session: &Session) {
        let contended = session.profile.sites.iter().filter(|site| site.contended > 0);
        let contended: FxHashSet<LockId> = contended.map(|site| site.key.lock).collect();
        let of = |rows: &mut dyn Iterator<Item = &LockReport>| {
            let (mut all, mut waited_for) = (0, 0);
            for lock in rows.flat_map(|row| &row.members) {
                all += 1;
                waited_for += u64::from(contended.contains(lock));
            }
            (all, waited_for)
        };
        let (locks, others) = (of(&mut self.lock_rows()), of(&mut self.blocked_rows()));
        (self.contention.rows, self.contention.contended_rows) = locks;
        (self.blocked.rows, self.blocked.contended_rows) = others;
    }

    fn add_calls(&mut self, session: &Session) {
        let mut calls: FxHashMap<(usize, CallId, StackId), CallStats> = FxHashMap::default();
        for (key, stats) in &session.profile.calls {
            if let Some(at) = self.row_index(key.lock) {
                calls.entry((at, key.call, key.stack)).or_default().add(stats);
            }
        }
        for ((at, call, stack), stats) in calls {
            self.locks[at].calls.push(HeldCalls { call, stack, stats });
        }
        let rank = |held: &HeldCalls| {
            let HeldCalls { call, stack, stats } = *held;
            (Reverse((stats.blocked_ns, stats.took_ns, stats.count)), call, stack)
        };
        self.locks.iter_mut().for_each(|row| row.calls.sort_unstable_by_key(rank));
    }

    /// Rows of lock kinds: where waiting is contention.
    pub fn lock_rows(&self) -> impl Iterator<Item = &LockReport> {
        self.locks.iter().filter(|row| row.kind.is_lock())
    }

    /// Rows of the other kinds: where waiting is being blocked.
    pub fn blocked_rows(&self) -> impl Iterator<Item = &LockReport> {
        self.locks.iter().filter(|row| !row.kind.is_lock())
    }

    /// Whether a picture of waits has this row: lock kinds, unless other kinds were asked for by name.
    pub fn shows_waits(&self, row: &LockReport) -> bool {
        row.kind.is_lock() || !self.query.filter.kinds.is_empty()
    }

    /// The row that a lock is in, unless the filter left it out.
    pub fn row_of(&self, lock: LockId) -> Option<&LockReport> {
        self.row_index(lock).map(|at| &self.locks[at])
    }

    /// The same, as an index of `locks`.
    pub fn row_index(&self, lock: LockId) -> Option<usize> {
        self.rows.get(&lock).copied()
    }
}
