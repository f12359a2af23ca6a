//! Rows that count: sites with their histograms, shares of threads, waits.
//!
//! As in `rows`: only ever add fields at the end; references are checked by the reader.

use serde::{Deserialize, Serialize};

use super::rows::{mode, mode_number};
use crate::model::{
    CallId, CallKey, CallStats, Histogram, LockId, Site, SiteId, SiteKey, StackId, ThreadId, ThreadShare, WaitKey,
    WaitStats,
};

/// A histogram: exact values, and the buckets that hold something.
#[derive(Serialize, Deserialize)]
pub struct HistogramRow {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    /// (bucket less the bucket before, count); the first pair has the bucket itself.
    buckets: Vec<(u32, u64)>,
}

impl From<&Histogram> for HistogramRow {
    fn from(histogram: &Histogram) -> Self {
        let mut last = 0;
        let step = |(bucket, count)| (bucket - std::mem::replace(&mut last, bucket), count);
        let buckets = histogram.buckets().map(step).collect();
        Self { count: histogram.count, sum: histogram.sum, min: histogram.min, max: histogram.max, buckets }
    }
}

impl HistogramRow {
    /// `None` where the buckets are not those of a histogram.
    fn histogram(mut self) -> Option<Histogram> {
        let mut last = 0u32;
        for (step, _) in &mut self.buckets {
            last = last.checked_add(*step)?;
            *step = last;
        }
        Histogram::from_parts(self.count, self.sum, self.min, self.max, &self.buckets)
    }

    /// Bytes that it will take in memory beyond the struct.
    fn memory(&self) -> u64 {
        8 * self.buckets.iter().skip(1).fold(1, |span, (step, _)| span + u64::from(*step))
    }

    fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().map(|(_, count)| *count).chain([self.count])
    }
}

/// `SITE`.
#[derive(Serialize, Deserialize)]
pub struct SiteRow {
    lock: u32,
    stack: u32,
    mode: u8,
    acquisitions: u64,
    contended: u64,
    folded: u64,
    reacquired: u64,
    reentries: u64,
    try_failures: u64,
    timeouts: u64,
    failures: u64,
    wait: HistogramRow,
    wasted_wait_ns: u64,
    hold: HistogramRow,
    still_held: u64,
}

impl From<&Site> for SiteRow {
    fn from(site: &Site) -> Self {
        Self {
            lock: site.key.lock.0,
            stack: site.key.stack.0,
            mode: mode_number(site.key.mode),
            acquisitions: site.acquisitions,
            contended: site.contended,
            folded: site.folded,
            reacquired: site.reacquired,
            reentries: site.reentries,
            try_failures: site.try_failures,
            timeouts: site.timeouts,
            failures: site.failures,
            wait: (&site.wait).into(),
            wasted_wait_ns: site.wasted_wait_ns,
            hold: (&site.hold).into(),
            still_held: site.still_held,
        }
    }
}

impl SiteRow {
    /// `None` where a number has no meaning here.
    pub fn site(self) -> Option<Site> {
        let key = SiteKey { lock: LockId(self.lock), stack: StackId(self.stack), mode: mode(self.mode)? };
        Some(Site {
            key,
            acquisitions: self.acquisitions,
            contended: self.contended,
            folded: self.folded,
            reacquired: self.reacquired,
            reentries: self.reentries,
            try_failures: self.try_failures,
            timeouts: self.timeouts,
            failures: self.failures,
            wait: self.wait.histogram()?,
            wasted_wait_ns: self.wasted_wait_ns,
            hold: self.hold.histogram()?,
            still_held: self.still_held,
        })
    }

    /// Bytes that its histograms will take in memory.
    pub fn memory(&self) -> u64 {
        self.wait.memory() + self.hold.memory()
    }

    /// Everything in it that counts events.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        let Self { acquisitions, contended, folded, reacquired, reentries, .. } = *self;
        let Self { try_failures, timeouts, failures, still_held, .. } = *self;
        [acquisitions, contended, folded, reacquired, reentries, try_failures, timeouts, failures, still_held]
            .into_iter()
            .chain(self.wait.counts())
            .chain(self.hold.counts())
    }
}

/// `SHAR`, ascending by thread and site.
#[derive(Serialize, Deserialize)]
pub struct ShareRow {
    thread: u32,
    site: u32,
    acquisitions: u64,
    contended: u64,
    wait_ns: u64,
    hold_ns: u64,
}

impl ShareRow {
    pub fn new((thread, site): (ThreadId, SiteId), share: ThreadShare) -> Self {
        let ThreadShare { acquisitions, contended, wait_ns, hold_ns } = share;
        Self { thread: thread.0, site: site.0, acquisitions, contended, wait_ns, hold_ns }
    }

    pub fn share(self) -> ((ThreadId, SiteId), ThreadShare) {
        let Self { thread, site, acquisitions, contended, wait_ns, hold_ns } = self;
        ((ThreadId(thread), SiteId(site)), ThreadShare { acquisitions, contended, wait_ns, hold_ns })
    }
}

/// `WKEY`: who waited for whom; `WAIT` and `WEVT` refer to these.
#[derive(Serialize, Deserialize)]
pub struct WaitKeyRow {
    lock: u32,
    thread: u32,
    waiter: u32,
    mode: u8,
    holder: u32,
    holder_thread: Option<u32>,
}

impl From<WaitKey> for WaitKeyRow {
    fn from(key: WaitKey) -> Self {
        Self {
            lock: key.lock.0,
            thread: key.thread.0,
            waiter: key.waiter.0,
            mode: mode_number(key.mode),
            holder: key.holder.0,
            holder_thread: key.holder_thread.map(|thread| thread.0),
        }
    }
}

impl WaitKeyRow {
    /// `None` where a number has no meaning here.
    pub fn key(self) -> Option<WaitKey> {
        Some(WaitKey {
            lock: LockId(self.lock),
            thread: ThreadId(self.thread),
            waiter: StackId(self.waiter),
            mode: mode(self.mode)?,
            holder: StackId(self.holder),
            holder_thread: self.holder_thread.map(ThreadId),
        })
    }
}

/// `WAIT`: the totals of a row of `WKEY`.
#[derive(Serialize, Deserialize)]
pub struct WaitRow {
    pub key: u32,
    count: u64,
    wait_ns: u64,
    max_ns: u64,
}

impl WaitRow {
    pub fn new(key: u32, stats: WaitStats) -> Self {
        let WaitStats { count, wait_ns, max_ns } = stats;
        Self { key, count, wait_ns, max_ns }
    }

    pub fn stats(&self) -> WaitStats {
        let Self { count, wait_ns, max_ns, .. } = *self;
        WaitStats { count, wait_ns, max_ns }
    }
}

/// `CALL`: calls that may block, while a lock was held; ascending by the first four fields.
#[derive(Serialize, Deserialize)]
pub struct CallRow {
    lock: u32,
    /// A row of `CALN`.
    call: u32,
    stack: u32,
    taken: u32,
    count: u64,
    took_ns: u64,
    max_ns: u64,
    folded: u64,
    waits: u64,
    blocked_ns: u64,
}

impl CallRow {
    pub fn new(key: CallKey, stats: CallStats) -> Self {
        let CallStats { count, took_ns, max_ns, folded, waits, blocked_ns } = stats;
        let (lock, call, stack, taken) = (key.lock.0, key.call.0, key.stack.0, key.taken.0);
        Self { lock, call, stack, taken, count, took_ns, max_ns, folded, waits, blocked_ns }
    }

    pub fn call(self) -> (CallKey, CallStats) {
        let Self { lock, call, stack, taken, count, took_ns, max_ns, folded, waits, blocked_ns } = self;
        let key = CallKey { lock: LockId(lock), call: CallId(call), stack: StackId(stack), taken: StackId(taken) };
        (key, CallStats { count, took_ns, max_ns, folded, waits, blocked_ns })
    }
}

/// `WEVT`: one contended acquisition.
#[derive(Serialize, Deserialize)]
pub struct WaitEventRow {
    pub key: u32,
    /// When the wait began, ns, less that of the row before (0 before the first row), modulo 2^64.
    pub start_step_ns: i64,
    pub wait_ns: u64,
    pub hold_ns: u64,
}
