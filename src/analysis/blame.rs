//! Who waited for whom: contended acquisitions by both sides at once.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::add;
use super::contention::{Contention, Cut};
use crate::model::{Session, StackId};

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
