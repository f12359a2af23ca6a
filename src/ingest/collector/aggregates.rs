//! What a thread counted where its ring was full, and how it becomes part of the profile.

use std::sync::atomic::Ordering;

use lockprof_wire::fold;

use crate::ingest::blame::count_wait;
use crate::ingest::decode::{self, AggregateKey, Aggregated, Failure};
use crate::ingest::reducer::Reducer;
use crate::model::{CallKey, CallStats, Histogram, SiteKey, ThreadId, WaitKey};

/// An aggregate, copied out.
pub(super) struct Aggregate {
    key: AggregateKey,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    buckets: Vec<(usize, u32)>,
}

impl Aggregate {
    /// Copies it out and leaves nothing.
    pub(super) fn take(entry: &fold::FoldEntry) -> Option<Self> {
        let taken = Self::peek(entry)?;
        entry.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        for counter in [&entry.count, &entry.sum, &entry.not_min, &entry.max] {
            counter.store(0, Ordering::Relaxed);
        }
        Some(taken)
    }

    /// Copies it out. Of a thread that lives the last event may be in a part of the counters only.
    pub(super) fn peek(entry: &fold::FoldEntry) -> Option<Self> {
        let key = decode::aggregate_key(entry)?;
        let count = entry.count.load(Ordering::Relaxed);
        (count > 0).then(|| Self {
            key,
            count,
            sum: entry.sum.load(Ordering::Relaxed),
            min: !entry.not_min.load(Ordering::Relaxed),
            max: entry.max.load(Ordering::Relaxed),
            buckets: (entry.buckets.iter().enumerate())
                .map(|(at, bucket)| (at, bucket.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
        })
    }

    /// Whether it is part of the profile. Nested acquisitions are for the order of locks alone: they have no times.
    pub(super) fn is_profiled(&self) -> bool {
        !matches!(self.key.what, Aggregated::EarlyAcquire(_))
    }

    /// Makes sure that the session has its lock and stacks.
    pub(super) fn look_up(&self, reducer: &mut Reducer) {
        reducer.site_key(self.key.access);
        if let Aggregated::Blocked(_, taken) = self.key.what {
            reducer.stack(taken);
        }
        if let Aggregated::Waited(holder) = self.key.what {
            reducer.stack(holder);
        }
    }

    /// Adds it to the thread's counts.
    pub(super) fn apply(self, thread: ThreadId, reducer: &mut Reducer) {
        if !reducer.image.are_plausible(self.count, self.sum, self.min, self.max) {
            return;
        }
        let SiteKey { lock, stack, mode } = reducer.site_key(self.key.access);
        if let Aggregated::Blocked(call, taken) = self.key.what {
            let (call, taken) = (reducer.session.profile.call(call), reducer.stack(taken));
            let ticks = &reducer.image.ticks;
            let (took_ns, max_ns) = (ticks.duration_ns(self.sum), ticks.duration_ns(self.max));
            let stats = CallStats { count: self.count, took_ns, max_ns, folded: self.count, ..CallStats::default() };
            reducer.session.profile.calls.entry(CallKey { lock, call, stack, taken }).or_default().add(&stats);
            return;
        }
        let flags = self.key.access.flags;
        let Reducer { image, session, accumulator } = reducer;
        let site_id = session.profile.site(SiteKey { lock, stack, mode });
        let ns = |ticks: u64| image.ticks.duration_ns(ticks);
        let (sum, min, max) = (ns(self.sum), ns(self.min), ns(self.max));
        let site = &mut session.profile.sites[site_id.index()];
        let mut aggregated = 0;
        let share = accumulator.share_mut(thread, site_id);
        let fill = |histogram: &mut Histogram| {
            histogram.record_summary(self.count, sum, min, max);
            for (bucket, count) in &self.buckets {
                let middle = fold::bucket_low(*bucket).midpoint(fold::bucket_low(*bucket + 1));
                histogram.add_to_bucket(ns(middle).clamp(min, max), u64::from(*count));
            }
        };
        match self.key.what {
            Aggregated::Hold | Aggregated::Done => {
                let is_hold = self.key.what == Aggregated::Hold;
                let counted = if flags.is_continued() { 0 } else { self.count };
                site.acquisitions += counted;
                site.folded += counted;
                share.acquisitions += counted;
                aggregated += counted;
                if flags.is_reentry() {
                    site.reentries += self.count;
                } else if is_hold {
                    fill(&mut site.hold);
                    share.hold_ns = share.hold_ns.saturating_add(sum);
                }
                if flags.is_reacquired() {
                    site.reacquired += self.count;
                }
                if flags.is_unreleased() {
                    site.still_held += self.count;
                }
                if !is_hold && flags.is_contended() {
                    site.contended += self.count;
                    fill(&mut site.wait);
                    share.contended += self.count;
                    share.wait_ns = share.wait_ns.saturating_add(sum);
                }
            }
            Aggregated::Waited(holder) => {
                site.contended += self.count;
                fill(&mut site.wait);
                share.contended += self.count;
                share.wait_ns = share.wait_ns.saturating_add(sum);
                let holder = image.stack(session, holder);
                let key = WaitKey { lock, thread, waiter: stack, mode, holder, holder_thread: None };
                count_wait(session, key, self.count, sum, max);
            }
            Aggregated::Failed(Failure::Taken) => site.try_failures += self.count,
            Aggregated::Failed(Failure::TimedOut) => {
                site.timeouts += self.count;
                site.wasted_wait_ns = site.wasted_wait_ns.saturating_add(sum);
            }
            Aggregated::Failed(Failure::Error) => site.failures += self.count,
            _ => {}
        }
        accumulator.aggregated += aggregated;
    }
}
