//! Who waited for whom: contended acquisitions by both sides at once, or by one side with its threads.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::add;
use super::contention::{Contention, Cut};
use crate::model::{Session, StackId, ThreadId};

/// Waits of one stack for another one's hold of one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The row of [`Contention::locks`].
    pub row: usize,
    /// The waiter's stack.
    pub waiter: StackId,
    /// The holder's; [`Stacks::UNKNOWN`](crate::model::Stacks::UNKNOWN) where it could not be seen.
    pub holder: StackId,
    /// Waits.
    pub count: u64,
    /// Their time, ns.
    pub wait_ns: u64,
}

/// The pairs of the view's locks, longest total first.
pub fn pairs(session: &Session, contention: &Contention) -> Vec<Pair> {
    let cut = Cut::new(session, contention.query.filter.thread.as_ref());
    let mut pairs: FxHashMap<(usize, StackId, StackId), Pair> = FxHashMap::default();
    for (key, stats) in session.profile.waits.iter().filter(|(key, _)| cut.keeps_thread(key.thread)) {
        let Some(row) = contention.row_index(key.lock) else { continue };
        let (waiter, holder) = (key.waiter, key.holder);
        let empty = Pair { row, waiter, holder, count: 0, wait_ns: 0 };
        let pair = pairs.entry((row, waiter, holder)).or_insert(empty);
        add(&mut pair.count, stats.count);
        add(&mut pair.wait_ns, stats.wait_ns);
    }
    let mut pairs: Vec<_> = pairs.into_values().collect();
    pairs.sort_by_key(|p| (Reverse(p.wait_ns), Reverse(p.count), p.row, p.waiter, p.holder));
    pairs
}

/// One side of the waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// Those who waited.
    #[default]
    Waiter,
    /// Those who held the lock meanwhile.
    Holder,
}

/// What one stack of one thread waited for a lock, or made others wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The row of [`Contention::locks`].
    pub row: usize,
    /// The stack; [`Stacks::UNKNOWN`](crate::model::Stacks::UNKNOWN) where it could not be seen.
    pub stack: StackId,
    /// The thread, where it is known.
    pub thread: Option<ThreadId>,
    /// Contended acquisitions.
    pub count: u64,
    /// Their waits, ns.
    pub wait_ns: u64,
}

/// The waits of the view by one side: they sum to those of the rows for which
/// [`Contention::shows_waits`]. By row, then in the order of the row's waiters or holders.
pub fn parts(session: &Session, contention: &Contention, whose: Whose) -> Vec<Part> {
    let mut parts = match whose {
        Whose::Waiter => waiters(session, contention),
        Whose::Holder => holders(session, contention),
    };
    parts.retain(|part| contention.shows_waits(&contention.locks[part.row]) && (part.count > 0 || part.wait_ns > 0));
    parts
}

fn waiters(session: &Session, contention: &Contention) -> Vec<Part> {
    let cut = Cut::new(session, contention.query.filter.thread.as_ref());
    let mut shares: FxHashMap<(usize, StackId), BTreeMap<ThreadId, (u64, u64)>> = FxHashMap::default();
    for ((thread, site), share) in &session.profile.by_thread {
        let key = session.profile.sites[site.index()].key;
        let Some(row) = contention.row_index(key.lock).filter(|_| cut.keeps_thread(*thread)) else { continue };
        if share.contended > 0 {
            let sum = shares.entry((row, key.stack)).or_default().entry(*thread).or_default();
            add(&mut sum.0, share.contended);
            add(&mut sum.1, share.wait_ns);
        }
    }
    let mut parts = Vec::new();
    for (row, report) in contention.locks.iter().enumerate() {
        for waiter in &report.waiters {
            let part = |thread, count, wait_ns| Part { row, stack: waiter.stack, thread, count, wait_ns };
            let threads = shares.remove(&(row, waiter.stack)).unwrap_or_default();
            let sum = threads
                .values()
                .fold((0u64, 0u64), |sum, share| (sum.0.saturating_add(share.0), sum.1.saturating_add(share.1)));
            if sum == (waiter.count, waiter.wait_ns) {
                parts.extend(threads.into_iter().map(|(thread, (count, ns))| part(Some(thread), count, ns)));
            } else {
                // The threads' shares do not tell the whole: a cut trace. The whole is what counts.
                parts.push(part(None, waiter.count, waiter.wait_ns));
            }
        }
    }
    parts
}

fn holders(session: &Session, contention: &Contention) -> Vec<Part> {
    let cut = Cut::new(session, contention.query.filter.thread.as_ref());
    let mut sums: BTreeMap<(usize, StackId, Option<ThreadId>), Part> = BTreeMap::new();
    for (key, stats) in session.profile.waits.iter().filter(|(key, _)| cut.keeps_thread(key.thread)) {
        let Some(row) = contention.row_index(key.lock) else { continue };
        let (stack, thread) = (key.holder, key.holder_thread);
        let empty = Part { row, stack, thread, count: 0, wait_ns: 0 };
        let part = sums.entry((row, stack, thread)).or_insert(empty);
        add(&mut part.count, stats.count);
        add(&mut part.wait_ns, stats.wait_ns);
    }
    let mut parts: Vec<Part> = sums.into_values().collect();
    parts.sort_by_key(|part| (part.row, Reverse(part.wait_ns), Reverse(part.count), part.stack, part.thread));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::contention::Query;
    use crate::analysis::testing::{busy, server};

    #[test]
    fn both_sides_sum_to_the_report() {
        for session in [server(), busy()] {
            let view = Contention::of(&session, &Query::default());
            for whose in [Whose::Waiter, Whose::Holder] {
                let parts = parts(&session, &view, whose);
                let total = (view.contention.contended, view.contention.wait_ns);
                assert_eq!((parts.iter().map(|p| p.count).sum(), parts.iter().map(|p| p.wait_ns).sum()), total);
                assert!(parts.iter().any(|part| part.thread.is_some()));
                assert!(parts.is_sorted_by_key(|part| part.row));
            }
        }
    }

    #[test]
    fn what_the_threads_lack_is_told_without_a_thread() {
        let mut session = server();
        session.profile.by_thread.clear();
        let view = Contention::of(&session, &Query::default());
        let parts = parts(&session, &view, Whose::Waiter);
        assert_eq!(parts.iter().map(|part| part.wait_ns).sum::<u64>(), view.contention.wait_ns);
        assert!(parts.iter().all(|part| part.thread.is_none()));
    }
}
