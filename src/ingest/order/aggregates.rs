//! What was aggregated when a ring was full: nested acquisitions hang together in the fold tables as a tree, so no
//! request is lost; sync points and single events are, and that is counted.

use std::sync::atomic::Ordering;

use lockprof_wire::FoldEntry;
use lockprof_wire::fold::{self, FoldTable};
use rustc_hash::{FxHashMap, FxHashSet};

use super::count_misuse;
use crate::ingest::decode::{self, Access, AggregateKey, Aggregated, Misuse, Nesting};
use crate::ingest::polls::Polls;
use crate::ingest::reducer::Reducer;
use crate::ingest::segment::Segment;
use crate::model::order::{ChainId, Link, MisuseKind, RequestKey};
use crate::model::{SiteKey, ThreadId};

/// More tables of a slot are not believed.
const MOST_TABLES: usize = 4096;

/// The fold tables of a slot: the one at this offset, and what hangs on it. Damaged memory may have any offsets: tables that
/// are not as the shim makes them are left out, and all together are no larger than what is there.
pub fn tables(segment: &Segment, first: u64) -> impl Iterator<Item = (u64, &[FoldEntry])> {
    let mut waiting = vec![(first, None)];
    let mut known: FxHashSet<u64> = FxHashSet::default();
    // Asked for only where there is more than one.
    let mut left = None;
    let next = move || loop {
        let (at, capacity) = waiting.pop()?;
        let Some((table, entries)) = segment.folds(at) else { continue };
        if capacity.is_some_and(|capacity| capacity != entries.len() as u64) {
            segment.damaged("a table of sums has another size");
            continue;
        }
        // Acquire: pairs with the shim's Release store; the table is there. It was carved later, so it lies behind.
        let hanging = table.next.iter().map(|next| next.load(Ordering::Acquire));
        let capacity = entries.len() as u64;
        let (behind, below) = (at + fold::FoldTable::bytes(capacity), fold::entries_below(capacity));
        for next in hanging.filter(|next| *next >= behind) {
            let left = left.get_or_insert_with(|| segment.bytes_in_memory());
            if known.len() + 2 > MOST_TABLES || *left < fold::FoldTable::bytes(below) || !known.insert(next) {
                continue;
            }
            *left -= fold::FoldTable::bytes(below);
            waiting.push((next, Some(below)));
        }
        return Some((at, entries));
    };
    std::iter::from_fn(next)
}

/// An aggregated acquisition beside others.
#[derive(Clone, Copy)]
struct Nested {
    access: Access,
    nesting: Nesting,
}

/// Aggregated misuses of one lock at one place.
struct Misuses {
    access: Access,
    /// Node of the holder's stack.
    holder: u32,
    counts: Vec<(MisuseKind, u64)>,
}

/// What the tables of a thread say beside counts and times.
#[derive(Default)]
struct Found {
    /// By the entry's offset.
    nested: FxHashMap<u64, Nested>,
    /// How often those were made that were not counted yet.
    requests: Vec<(u64, u64)>,
    others: Vec<(AggregateKey, u64)>,
    misuses: Vec<Misuses>,
}

impl Found {
    /// Takes what is in the tables from this offset on.
    fn take(first_table: u64, reducer: &Reducer) -> Self {
        let mut found = Self::default();
        for (offset, entries) in tables(&reducer.image.segment, first_table) {
            for (entry, number) in entries.iter().zip(0u64..) {
                let Some(key) = decode::aggregate_key(entry) else { continue };
                let count = reducer.image.plausible_count(entry.count.load(Ordering::Relaxed));
                match key.what {
                    Aggregated::EarlyAcquire(nesting) => {
                        let at = offset + size_of::<FoldTable>() as u64 + number * size_of::<FoldEntry>() as u64;
                        found.nested.insert(at, Nested { access: key.access, nesting });
                        if count > 0 {
                            entry.count.store(0, Ordering::Relaxed);
                            found.requests.push((at, count));
                        }
                    }
                    Aggregated::Misuse(holder) => {
                        let counts = decode::misuses(entry);
                        found.misuses.push(Misuses { access: key.access, holder, counts });
                    }
                    Aggregated::Hold | Aggregated::Done | Aggregated::Created | Aggregated::Posted if count > 0 => {
                        found.others.push((key, count));
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

/// Reads what a thread's aggregates say beside counts and times. `polls`: of its ring; `now`: ticks.
pub fn aggregated(first_table: u64, thread: ThreadId, polls: Polls, now: u64, reducer: &mut Reducer) {
    let Found { nested, requests, others, misuses } = Found::take(first_table, reducer);
    if !requests.is_empty() || !others.is_empty() {
        let until = reducer.image.ticks.moment_ns(polls.aggregated_until().unwrap_or(now));
        reducer.session.order.log.missing_until(until);
    }
    for (key, count) in others {
        miss_sync_point(key, thread, count, reducer);
    }
    for Misuses { access: Access { lock, stack, .. }, holder, counts } in misuses {
        let holder_stack = reducer.stack(holder);
        for (kind, count) in counts {
            count_misuse(Misuse { kind, lock, stack, holder }, holder_stack, (thread, count), reducer);
        }
    }
    if !requests.is_empty() {
        reducer.image.recent.nested();
    }
    let mut lists = Lists { nested, known: FxHashMap::default() };
    for (at, count) in requests {
        if lists.request(at, count, thread, reducer).is_none() {
            reducer.session.order.dropped += count;
        }
    }
}

/// A sync point that was only counted.
fn miss_sync_point(key: AggregateKey, thread: ThreadId, count: u64, reducer: &mut Reducer) {
    let is_hard = match key.what {
        Aggregated::Created => true,
        Aggregated::Posted => false,
        Aggregated::Done => {
            let lock = reducer.lock(key.access.lock);
            match reducer.session.lock(lock).kind {
                kind if kind.orders_hard() => true,
                kind if kind.is_posted() => false,
                _ => return,
            }
        }
        _ => return,
    };
    let timeline = reducer.session.order.timeline(thread);
    if is_hard {
        timeline.hard_dropped += count;
    } else {
        timeline.soft_dropped += count;
    }
}

/// The lists of held locks that the entries stand for.
struct Lists {
    nested: FxHashMap<u64, Nested>,
    /// The list with the entry's lock on top, by the entry's offset.
    known: FxHashMap<u64, ChainId>,
}

impl Lists {
    /// Counts an entry's requests; `None` where it cannot be told what was held, or there is no room for it.
    fn request(&mut self, at: u64, count: u64, thread: ThreadId, reducer: &mut Reducer) -> Option<()> {
        let Nested { access, nesting } = *self.nested.get(&at)?;
        let flags = access.flags;
        if nesting.outer == 0 || flags.is_reentry() || flags.is_try() || flags.is_continued() {
            return Some(());
        }
        let held = self.held(nesting.outer, reducer)?;
        let lock = reducer.lock_in_order(access.lock)?;
        if held == ChainId::EMPTY {
            return Some(());
        }
        let SiteKey { mode, stack, .. } = reducer.site_key(access);
        let (how, reacquired) = (access.how(), flags.is_reacquired());
        let key = RequestKey { thread, lock, mode, how, reacquired, stack, held };
        let timeline = reducer.session.order.timeline(thread);
        let segments = match nesting.hard_before {
            None => (0, timeline.sync_points.len() as u32),
            Some(hard) => timeline.segments(hard),
        };
        reducer.session.order.requested(key, segments, count);
        Some(())
    }

    /// The list with this entry's lock on top.
    fn held(&mut self, at: u64, reducer: &mut Reducer) -> Option<ChainId> {
        let mut missing = Vec::new();
        let mut next = at;
        let mut list = loop {
            if next == 0 {
                break ChainId::EMPTY;
            }
            if let Some(known) = self.known.get(&next) {
                break *known;
            }
            // A way that is longer than there are entries goes round in a ring.
            if missing.len() > self.nested.len() {
                return None;
            }
            missing.push(next);
            next = self.nested.get(&next)?.nesting.outer;
        };
        for at in missing.into_iter().rev() {
            let access = self.nested.get(&at)?.access;
            if !access.flags.is_reentry() {
                let lock = reducer.lock_in_order(access.lock)?;
                let SiteKey { stack, mode, .. } = reducer.site_key(access);
                list = reducer.session.order.chains.try_intern(Link { outer: list, lock, mode, stack })?;
            }
            self.known.insert(at, list);
        }
        Some(list)
    }
}
