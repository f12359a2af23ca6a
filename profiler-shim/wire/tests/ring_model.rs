//! The ring under a model checker: every order in which the two sides' reads and writes can come, with every value that the
//! memory model lets a read see. The code is that of the shim and of the collector.
//!
//! Not found by it: a `tail` without Release and Acquire. What would go wrong then, a read that sees a later write, is no
//! order that loom tries.
//!
//! What signal handlers do in the middle of a write is the recorder's business (`writing`), and not modelled: they run in
//! the producer's own thread.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an ordinary program"
)]

use std::sync::atomic::Ordering;

use lockprof_wire::record::Slot;
use lockprof_wire::ring::{Word, Writer};
use lockprof_wire::{Record, RingHeader};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;

/// A number of loom's.
struct Modelled(AtomicU64);

impl Word for Modelled {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }
}

fn zero() -> Modelled {
    Modelled(AtomicU64::new(0))
}

struct Ring {
    header: RingHeader<Modelled>,
    slots: Vec<Slot<Modelled>>,
}

/// All words of a record tell its number.
fn record(number: u64) -> Record {
    Record { ticks: number, lock: number as u32, stack: number as u32, word: number, extra: number }
}

/// The producer writes `records`, two of them as a pair that comes together or not at all, wherever there is room; the
/// collector looks `looks` times meanwhile and once when the producer has ended.
fn run(capacity: u32, records: u64, looks: u32) {
    loom::model(move || {
        let slots = (0..capacity).map(|_| Slot([zero(), zero(), zero(), zero()])).collect();
        let ring = Arc::new(Ring { header: RingHeader::new(capacity, zero), slots });
        let shared = Arc::clone(&ring);
        let producer = thread::spawn(move || {
            let writer = Writer::new(zero(), zero());
            writer.begin(capacity);
            let mut written = 0;
            for count in [2].into_iter().chain((2..records).map(|_| 1)) {
                if writer.has_room_surely() || writer.has_room(&shared.header, u64::from(capacity), count, 0) {
                    for _ in 0..count {
                        let number = writer.next();
                        let slot = &shared.slots[number as usize % shared.slots.len()];
                        writer.publish(&shared.header, slot, number, record(written).words());
                        written += 1;
                    }
                }
            }
            written
        });
        let mut read = 0;
        let mut drain = || {
            ring.header.drain(&ring.slots, |found| {
                assert_eq!(found, record(read), "in order, whole, and each once");
                read += 1;
            });
        };
        (0..looks).for_each(|_| drain());
        let written = producer.join().expect("the producer");
        drain();
        assert_eq!(read, written, "nothing is lost");
        assert!(written >= u64::from(capacity).min(records));
    });
}

#[test]
fn a_ring_that_wraps() {
    run(2, 4, 2);
}

#[test]
fn a_ring_with_room() {
    run(4, 4, 2);
}
