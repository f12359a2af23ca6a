//! What a thread counted where its ring was full, and how it becomes part of the profile.

use std::sync::atomic::Ordering;

use lockprof_wire::{Flags, Op, Record, fold};

use crate::ingest::drain::{Tally, count_wait};
use crate::ingest::image::Image;
use crate::model::{Histogram, Mode, Session, SiteKey, ThreadId, WaitKey};

/// A fold, copied out.
pub(super) struct Folded {
    /// The event, without a time.
    pub record: Record,
    /// The holder's stack, of a wait.
    pub holder: u32,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    buckets: Vec<(usize, u32)>,
}

impl Folded {
    /// Copies it out and leaves nothing.
    pub(super) fn take(entry: &fold::FoldEntry) -> Option<Self> {
        let folded = Self::peek(entry)?;
        entry.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        for counter in [&entry.count, &entry.sum, &entry.not_min, &entry.max] {
            counter.store(0, Ordering::Relaxed);
        }
        Some(folded)
    }

    /// Copies it out. Of a thread that lives the last event may be in a part of the counters only.
    pub(super) fn peek(entry: &fold::FoldEntry) -> Option<Self> {
        let op_and_flags = entry.op_and_flags.load(Ordering::Acquire);
        let count = entry.count.load(Ordering::Relaxed);
        if matches!(op_and_flags, 0 | fold::CLAIMED) || count == 0 {
            return None;
        }
        Some(Self {
            record: Record {
                ticks: 0,
                lock: entry.lock.load(Ordering::Relaxed),
                stack: entry.stack.load(Ordering::Relaxed),
                word: u64::from(op_and_flags),
                extra: 0,
            },
            holder: entry.holder.load(Ordering::Relaxed),
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

    pub(super) fn apply(
        self,
        thread: ThreadId,
        image: &mut Image,
        session: &mut Session,
        tally: &mut Tally,
        folded: &mut u64,
    ) {
        if !image.is_likely(self.count, self.sum, self.min, self.max) {
            return;
        }
        let lock = image.lock(session, self.record.lock);
        let stack = image.stack(session, self.record.stack);
        let flags = self.record.flags();
        let mode = if flags & Flags::SHARED != 0 { Mode::Shared } else { Mode::Exclusive };
        let site_id = session.profile.site(SiteKey { lock, stack, mode });
        let ns = |ticks: u64| image.ticks.duration_ns(ticks);
        let (sum, min, max) = (ns(self.sum), ns(self.min), ns(self.max));
        let site = &mut session.profile.sites[site_id.index()];
        let share = tally.share_mut(thread, site_id);
        let fill = |histogram: &mut Histogram| {
            histogram.record_summary(self.count, sum, min, max);
            for (bucket, count) in &self.buckets {
                let middle = fold::bucket_low(*bucket).midpoint(fold::bucket_low(*bucket + 1));
                histogram.add_to_bucket(ns(middle).clamp(min, max), u64::from(*count));
            }
        };
        match self.record.op() {
            Some(Op::Hold | Op::Done) => {
                let is_hold = self.record.op() == Some(Op::Hold);
                let counted = if flags & Flags::CONTINUED == 0 { self.count } else { 0 };
                site.acquisitions += counted;
                site.folded += counted;
                share.acquisitions += counted;
                *folded += counted;
                if flags & Flags::REENTRY != 0 {
                    site.reentries += self.count;
                } else if is_hold {
                    fill(&mut site.hold);
                    share.hold_ns = share.hold_ns.saturating_add(sum);
                }
                if flags & Flags::REACQUIRED != 0 {
                    site.reacquired += self.count;
                }
                if flags & Flags::UNRELEASED != 0 {
                    site.still_held += self.count;
                }
                if !is_hold && flags & Flags::CONTENDED != 0 {
                    site.contended += self.count;
                    fill(&mut site.wait);
                    share.contended += self.count;
                    share.wait_ns = share.wait_ns.saturating_add(sum);
                }
            }
            Some(Op::Waited) => {
                site.contended += self.count;
                fill(&mut site.wait);
                share.contended += self.count;
                share.wait_ns = share.wait_ns.saturating_add(sum);
                let holder = image.stack(session, self.holder);
                let key = WaitKey { lock, thread, waiter: stack, mode, holder, holder_thread: None };
                count_wait(session, key, self.count, sum, max);
            }
            Some(Op::TryFailed) => site.try_failures += self.count,
            Some(Op::TimedOut) => {
                site.timeouts += self.count;
                site.wasted_wait_ns = site.wasted_wait_ns.saturating_add(sum);
            }
            Some(Op::Failed) => site.failures += self.count,
            _ => {}
        }
    }
}
