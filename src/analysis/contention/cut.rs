//! The part of the counts that a thread filter leaves.
//!
//! Without a filter the sites are taken as they are. With one, counts and totals are exact (they are kept
//! per thread); the spread of the waits comes from the waits kept one by one, and the spread of the holds,
//! which is not kept per thread, is that of all threads: [`Cut::notes`] says so.

use std::borrow::Cow;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Durations, Note};
use crate::analysis::filter::Glob;
use crate::analysis::{add, sum_of};
use crate::model::{Histogram, LockId, Session, SiteId, SiteKey, ThreadId, ThreadShare, WaitKey};

/// Durations being added up.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Their sum, ns.
    pub sum: u64,
    /// The longest, ns.
    pub max: u64,
    histogram: Histogram,
}

impl Spread {
    /// Adds durations known by their sum and, as far as it is known, their histogram.
    pub fn add(&mut self, count: u64, sum: u64, max: u64, histogram: &Histogram) {
        add(&mut self.count, count);
        add(&mut self.sum, sum);
        self.max = self.max.max(max);
        self.histogram.merge(histogram);
    }

    /// In short. Quantiles never exceed the exact maximum.
    pub fn durations(&self) -> Durations {
        let q = |q| self.histogram.quantile(q).min(self.max);
        Durations {
            total: self.sum,
            mean: self.sum.checked_div(self.count).unwrap_or(0),
            p50: q(0.50),
            p90: q(0.90),
            p99: q(0.99),
            max: self.max,
        }
    }
}

/// What is kept of a site.
pub(crate) struct SiteCut<'a> {
    pub share: ThreadShare,
    pub wait_max: u64,
    pub wait: Cow<'a, Histogram>,
    pub hold: &'a Histogram,
}

#[derive(Default)]
struct ThreadPart {
    share: ThreadShare,
    wait_max: u64,
    waits: Histogram,
}

/// A view of the counts.
pub(crate) struct Cut<'a> {
    session: &'a Session,
    threads: Option<FxHashSet<ThreadId>>,
    parts: FxHashMap<SiteId, ThreadPart>,
}

impl<'a> Cut<'a> {
    /// The counts of the threads whose names match, or of all.
    pub fn new(session: &'a Session, thread: Option<&Glob>) -> Self {
        let mut cut = Self { session, threads: None, parts: FxHashMap::default() };
        let Some(glob) = thread else { return cut };
        let threads: FxHashSet<ThreadId> = (session.threads.iter().enumerate())
            .filter(|(_, thread)| glob.matches(&thread.name) || glob.as_str() == thread.tid.to_string())
            .map(|(at, _)| ThreadId::from(at))
            .collect();
        for ((thread, site), share) in &session.profile.by_thread {
            if threads.contains(thread) {
                let part = &mut cut.parts.entry(*site).or_default().share;
                add(&mut part.acquisitions, share.acquisitions);
                add(&mut part.contended, share.contended);
                add(&mut part.wait_ns, share.wait_ns);
                add(&mut part.hold_ns, share.hold_ns);
            }
        }
        for (key, stats) in session.profile.waits.iter().filter(|(key, _)| threads.contains(&key.thread)) {
            if let Some(site) = session.profile.find(site_of(key)) {
                let part = cut.parts.entry(site).or_default();
                part.wait_max = part.wait_max.max(stats.max_ns);
            }
        }
        for event in session.profile.wait_events.iter().filter(|event| threads.contains(&event.key.thread)) {
            if let Some(site) = session.profile.find(site_of(&event.key)) {
                let part = cut.parts.entry(site).or_default();
                part.wait_max = part.wait_max.max(event.wait_ns);
                part.waits.record(event.wait_ns);
            }
        }
        cut.threads = Some(threads);
        cut
    }

    /// Whether this thread's doings are kept.
    pub fn keeps_thread(&self, thread: ThreadId) -> bool {
        self.threads.as_ref().is_none_or(|threads| threads.contains(&thread))
    }

    /// What is kept of a site; `None` where nothing is.
    pub fn site(&self, id: SiteId) -> Option<SiteCut<'_>> {
        let site = &self.session.profile.sites[id.index()];
        if self.threads.is_none() {
            let share = ThreadShare {
                acquisitions: site.acquisitions,
                contended: site.contended,
                wait_ns: site.wait.sum,
                hold_ns: site.hold.sum,
            };
            return Some(SiteCut { share, wait_max: site.wait.max, wait: Cow::Borrowed(&site.wait), hold: &site.hold });
        }
        let part = self.parts.get(&id)?;
        Some(SiteCut { share: part.share, wait_max: part.wait_max, wait: Cow::Borrowed(&part.waits), hold: &site.hold })
    }

    /// What a reader has to know about the figures of the locks that are shown.
    pub fn notes(&self, shows: impl Fn(LockId) -> bool) -> Vec<Note> {
        let mut notes = Vec::new();
        let Some(threads) = &self.threads else { return notes };
        if threads.is_empty() {
            notes.push(Note::NoSuchThread);
            return notes;
        }
        notes.push(Note::SomeOfAllThreads);
        let shown = self.parts.iter().filter(|(site, _)| shows(self.session.profile.sites[site.index()].key.lock));
        let left_out = sum_of(shown.map(|(_, part)| part.share.contended.saturating_sub(part.waits.count)));
        if left_out > 0 {
            notes.push(Note::WaitsLeftOut(left_out));
        }
        notes
    }
}

/// The site that a wait belongs to.
fn site_of(key: &WaitKey) -> SiteKey {
    SiteKey { lock: key.lock, stack: key.waiter, mode: key.mode }
}
