//! The rings of one process: records are read out of them, decoded and counted; then what had no room in them.

use std::sync::atomic::Ordering;

use lockprof_wire::ring::{FIRST_CAPACITY, GROWTH, RESERVE};
use lockprof_wire::thread::state;
use rustc_hash::FxHashSet;

use super::Tick;
use super::aggregates::Aggregate;
use crate::ingest::decode::{self, WireEvent};
use crate::ingest::drain::Drain;
use crate::ingest::order;
use crate::ingest::polls::Polls;
use crate::ingest::reducer::Reducer;

/// Slots of a ring that has grown once: smaller ones are left to run full, since they grow then.
const GROWN: usize = (FIRST_CAPACITY * GROWTH) as usize;

/// What is known of the ring of each slot.
#[derive(Default)]
pub(super) struct Rings {
    drains: Vec<Option<Drain>>,
    /// Those that were full and had no larger one to go on in.
    cramped: FxHashSet<u32>,
}

impl Rings {
    /// Reads everything that is there.
    pub(super) fn drain(&mut self, reducer: &mut Reducer, tick: &mut Tick) {
        for number in 0..reducer.image.segment.thread_count() {
            self.drain_slot(number, reducer, tick);
        }
        self.read_aggregates(reducer, false);
        reducer.image.recent.end_round();
    }

    fn drain_slot(&mut self, number: u32, reducer: &mut Reducer, tick: &mut Tick) {
        if self.drains.len() <= number as usize {
            self.drains.resize_with(number as usize + 1, || None);
        }
        loop {
            let image = &mut *reducer.image;
            let Some(slot) = image.segment.thread(number) else { return };
            // Acquire: pairs with the shim's Release store; the ring's header is there.
            let offset = slot.ring.load(Ordering::Acquire);
            let Some((ring, slots)) = image.segment.ring(offset) else { return };
            let mut records = image.recent.blank();
            let read = ring.drain(slots, |record| records.push(record));
            tick.records += read;
            // Into a ring that is full but for its reserve, records are aggregated.
            let room = slots.len().saturating_sub(RESERVE as usize);
            if read == 0 {
                image.recent.recycle(records);
                image.mend(ring, slots.len());
                return;
            }
            let next = records.last().and_then(decode::next_ring);
            if next.is_none() && read >= room as u64 {
                self.cramped.insert(number);
            }
            let holds = if self.cramped.contains(&number) { slots.len() } else { slots.len().max(GROWN) };
            tick.fullest = tick.fullest.max(read as f64 / holds as f64);
            if let Some(next) = next {
                slot.ring.store(next, Ordering::Release);
            }
            image.keep_plausible(&mut records);
            let drain = match &mut self.drains[number as usize] {
                Some(drain) => drain,
                none => {
                    let thread = match records.first().and_then(decode::decode) {
                        Some(WireEvent::ThreadStart(start)) => {
                            image.start_thread(reducer.session, number, start.tid, Some(start.ticks))
                        }
                        _ => image.thread(reducer.session, number),
                    };
                    none.insert(Drain::new(number, thread))
                }
            };
            let now = image.ticks.now();
            drain.apply_all(records, room, now, reducer);
            if next.is_none() {
                return;
            }
        }
    }

    /// Locks that are held and never will be released: acquisitions without a release.
    pub(super) fn still_held(&mut self, reducer: &mut Reducer) {
        let now = reducer.image.ticks.now();
        // Slots that came after the last look at the rings are of a process that goes on: nothing is left there.
        for (number, drain) in (0u32..).zip(&mut self.drains) {
            let segment = &reducer.image.segment;
            let Some(slot) = segment.thread(number) else { continue };
            if slot.state.load(Ordering::Acquire) != state::ACTIVE {
                continue;
            }
            let held: Vec<_> = segment.held(slot).filter_map(decode::held).collect();
            let calls = decode::open_call(slot, &held, now);
            let thread = reducer.thread(number);
            let drain = drain.get_or_insert_with(|| Drain::new(number, thread));
            calls.into_iter().for_each(|call| drain.apply(call, reducer));
            drain.still_held(&held, now, reducer);
            order::left(number, thread, reducer);
        }
    }

    /// Adds the aggregates of ended threads (`all`: of all threads) and clears them.
    pub(super) fn read_aggregates(&mut self, reducer: &mut Reducer, all: bool) {
        for number in 0..reducer.image.segment.thread_count() {
            let Some(slot) = reducer.image.segment.thread(number) else { continue };
            // Acquire: an ended thread's counters are complete.
            let ended = slot.state.load(Ordering::Acquire) == state::ENDED_DIRTY;
            let unused = || self.drains.get(number as usize).is_none_or(Option::is_none);
            if !ended && (!all || slot.state.load(Ordering::Relaxed) == state::ENDED && unused()) {
                continue;
            }
            // Acquire: pairs with the shim's Release store; the table is there.
            let first = slot.folds.load(Ordering::Acquire);
            // What it wrote between the last look at its ring and its end comes before its aggregates.
            if ended {
                self.drain_slot(number, reducer, &mut Tick::default());
            }
            let thread = reducer.thread(number);
            let drain = self.drains.get(number as usize).and_then(Option::as_ref);
            let polls = drain.map_or(Polls::default(), Drain::polls);
            let now = reducer.image.ticks.now();
            order::aggregated(first, thread, polls, now, reducer);
            let mut counted = Vec::new();
            for (_, entries) in order::tables(&reducer.image.segment, first) {
                counted.extend(entries.iter().filter_map(Aggregate::take));
            }
            for aggregate in counted {
                aggregate.apply(thread, reducer);
            }
            if ended && let Some(slot) = reducer.image.segment.thread(number) {
                // Release: the next thread may use the slot, and finds its counters empty.
                slot.state.store(state::ENDED, Ordering::Release);
            }
        }
    }
}
