//! What was only counted, and what is still held or asked for when the program is over.

use super::{Goroutines, Target, to_order};
use crate::ingest::go::meaning::Event;
use crate::model::order::{How, What};
use crate::model::{Kind, Mode, SiteKey, StackId};
use lockprof_wire::Flags;

impl Goroutines {
    /// Counts events that have no record.
    pub fn folded(&mut self, event: Event, address: u64, stack: StackId, count: u64, target: &mut Target) {
        let (kind, mode, contended) = match event {
            Event::Acquired { kind, mode, .. } => (kind, mode, false),
            // It is granted some time, and that has no object.
            Event::Requested { kind, mode, .. } => {
                *self.pending.entry((kind, mode)).or_default() += count as i64;
                (kind, mode, true)
            }
            Event::AcquiredAfterWait { kind, mode } | Event::AcquiredOrGivenUp { kind, mode } => {
                *self.pending.entry((kind, mode)).or_default() -= count as i64;
                return;
            }
            Event::Begins { kind, .. } => (kind, Mode::Exclusive, false),
            // Which lock it was about is not known.
            Event::Tried { .. } => {
                self.lost += count * (address & 1);
                return;
            }
            Event::Returns => {
                self.calls_lost += count;
                return;
            }
            _ => return,
        };
        // The mutex inside a read-write lock.
        if kind == Kind::Mutex && self.locks.get(&address).is_some_and(|row| row.kind == Kind::Rwlock) {
            return;
        }
        let address = if kind == Kind::Select { 0 } else { address };
        self.not_told_apart += if address == 0 && kind.nests() { count } else { 0 };
        let lock = self.lock(address, kind, stack, target);
        let site = target.session.profile.site(SiteKey { lock, stack, mode });
        let site = &mut target.session.profile.sites[site.index()];
        site.acquisitions += count;
        site.folded += count;
        site.contended += if contended { count } else { 0 };
        self.unmeasured += if contended { count } else { 0 };
        target.accumulator.aggregated += count;
    }

    /// The program is over: what is held is held for ever.
    pub fn finish(&mut self, ticks: u64, target: &mut Target) {
        self.end_calls(ticks, target);
        let mut numbers: Vec<u64> = self.all.keys().copied().collect();
        numbers.sort_unstable();
        for asked in self.all.values().flat_map(|goroutine| &goroutine.asked) {
            if asked.is_request() && !asked.is_doubtful {
                *self.pending.entry((asked.kind, asked.mode)).or_default() -= 1;
            }
        }
        for number in numbers {
            let Some(goroutine) = self.all.get_mut(&number) else { continue };
            let Some(counts) = goroutine.counts else { continue };
            for asked in std::mem::take(&mut goroutine.asked) {
                if asked.is_doubtful && asked.is_request() {
                    // All that were made were granted, or it is not known which.
                    if self.pending.get(&(asked.kind, asked.mode)).is_none_or(|open| *open <= 0) {
                        let site = self.site(asked.lock, asked.stack, asked.mode, counts, target);
                        target.accumulator.unended(site, target.session);
                    } else {
                        self.lost += 1;
                    }
                    continue;
                }
                let holds = self.all.get(&number).is_some_and(|goroutine| !goroutine.held.is_empty());
                if asked.is_request() && !asked.is_doubtful && holds {
                    self.publish(number, asked.since, target);
                    let thread = self.own(number, asked.since, target);
                    let is_in = Some(thread) != self.others;
                    match is_in.then(|| self.ordered(asked.address, asked.lock, target)).flatten() {
                        Some(lock) => {
                            let what = What::Wanted { lock, mode: asked.mode, how: How::Block };
                            to_order(thread, asked.since, asked.stack, what, target);
                        }
                        None => target.session.order.dropped += 1,
                    }
                }
            }
            let Some(mut goroutine) = self.all.remove(&number) else { continue };
            let Some(rows) = goroutine.rows(number) else { continue };
            for held in std::mem::take(&mut goroutine.held) {
                if held.is_doubtful {
                    self.count(&held, rows, target);
                } else {
                    self.end(held, rows, ticks, Flags::UNRELEASED, target);
                }
            }
        }
    }
}
