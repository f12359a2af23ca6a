use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lockprof_wire::fold::{ANY_SEGMENT, CLAIMED};
use lockprof_wire::record::{PAYLOAD_MAX, extra_hold};
use lockprof_wire::{Flags, FoldEntry};
use proptest::prelude::*;

use super::*;

const TICKS: u64 = 1_000;

fn record(op: Op, flags: Flags, payload: u64, extra: u64) -> Record {
    Record { ticks: TICKS, lock: 3, stack: 5, word: Record::pack(op, flags, payload), extra }
}

fn access(flags: Flags) -> Access {
    Access { lock: 3, stack: 5, flags }
}

#[test]
fn holds_and_acquisitions_that_are_reported_early() {
    let hold = Hold { ticks: TICKS, access: access(Flags::TRY), held: 7, position: 2, published_early: true };
    assert_eq!(decode(&record(Op::Hold, Flags::TRY, 7, extra_hold(2) | PUBLISHED_EARLY)), Some(WireEvent::Hold(hold)));
    assert!(!hold.is_section() && hold.is_plain());
    let alone = Hold { published_early: false, ..hold };
    assert!(alone.is_section());
    for flags in [Flags::REENTRY, Flags::UNRELEASED] {
        assert!(!Hold { access: access(flags), ..alone }.is_section());
    }
    for flags in [Flags::CONTENDED, Flags::REENTRY, Flags::REACQUIRED, Flags::CONTINUED, Flags::UNRELEASED] {
        assert!(!Hold { access: access(flags), ..hold }.is_plain());
    }
    let open = |restart| {
        WireEvent::EarlyAcquire(EarlyAcquire { ticks: TICKS, access: access(Flags::NONE), position: 4, restart })
    };
    assert_eq!(decode(&record(Op::EarlyAcquire, Flags::NONE, 0, extra_hold(4))), Some(open(false)));
    assert_eq!(decode(&record(Op::EarlyAcquire, Flags::NONE, 0, extra_hold(4) | RESTART)), Some(open(true)));
}

#[test]
fn waits_and_failures() {
    let waited = |holder| WireEvent::Waited(Waited { ticks: TICKS, access: access(Flags::SHARED), wait: 9, holder });
    let of = |extra| decode(&record(Op::Waited, Flags::SHARED, 9, extra));
    assert_eq!(of(6), Some(waited(Holder { stack: 6, slot: None })));
    assert_eq!(of(6 | 1 << 32), Some(waited(Holder { stack: 6, slot: Some(0) })));
    let done = Done { ticks: TICKS, access: access(Flags::NONE), wait: 8, parties: 4 };
    assert_eq!(decode(&record(Op::Done, Flags::NONE, 8, 4)), Some(WireEvent::Done(done)));
    for (op, why) in [(Op::TryFailed, Failure::Taken), (Op::TimedOut, Failure::TimedOut), (Op::Failed, Failure::Error)]
    {
        let failed = Failed { access: access(Flags::TIMED), wait: 11, why };
        assert_eq!(decode(&record(op, Flags::TIMED, 11, 0)), Some(WireEvent::Failed(failed)));
    }
}

#[test]
fn threads_and_single_events() {
    let start = ThreadStart { ticks: TICKS, tid: 3, token: 5, pthread: 77 };
    assert_eq!(decode(&record(Op::ThreadStart, Flags::NONE, 0, 77)), Some(WireEvent::ThreadStart(start)));
    assert_eq!(decode(&record(Op::ThreadEnd, Flags::NONE, 0, 0)), Some(WireEvent::ThreadEnd(TICKS)));
    assert_eq!(decode(&record(Op::NextRing, Flags::NONE, 0, 4096)), Some(WireEvent::NextRing(4096)));
    let moment = Moment { ticks: TICKS, lock: 3, stack: 5 };
    assert_eq!(decode(&record(Op::Posted, Flags::NONE, 0, 0)), Some(WireEvent::Posted(moment)));
    assert_eq!(decode(&record(Op::OwnerDied, Flags::NONE, 0, 0)), Some(WireEvent::OwnerDied(moment)));
    let created = Created { ticks: TICKS, stack: 5, token: 12 };
    assert_eq!(decode(&record(Op::Created, Flags::NONE, 0, 12)), Some(WireEvent::Created(created)));
    assert_eq!(next_ring(&record(Op::NextRing, Flags::NONE, 0, 64)), Some(64));
    assert_eq!(next_ring(&record(Op::ThreadEnd, Flags::NONE, 0, 64)), None);
}

#[test]
fn misuses_have_known_numbers() {
    let of = |number| decode(&record(Op::Misuse, Flags::NONE, number, 9 | 2 << 32));
    for number in 1..misuse::END {
        let Some(WireEvent::Misuse(misuse)) = of(number) else { panic!("{number}") };
        assert_eq!((misuse.lock, misuse.stack, misuse.holder), (3, 5, 9));
    }
    let kinds: std::collections::BTreeSet<_> = (0..=misuse::END).filter_map(misuse_kind).collect();
    assert_eq!(kinds.len() as u64, misuse::END - 1, "each number is a kind of its own");
    assert_eq!((of(0), of(misuse::END), of(PAYLOAD_MAX)), (None, None, None));
}

#[test]
fn how_and_in_which_mode() {
    assert_eq!((access(Flags::NONE).how(), access(Flags::NONE).mode()), (How::Block, Mode::Exclusive));
    assert_eq!((access(Flags::SHARED).how(), access(Flags::SHARED).mode()), (How::Block, Mode::Shared));
    assert_eq!(access(Flags::TIMED).how(), How::Timed);
    assert_eq!(access(Flags::TIMED.with(Flags::TRY)).how(), How::Try);
    assert_eq!(access(Flags::CONTINUED).how(), How::Try);
}

#[test]
fn what_is_held_to_the_end() {
    let held = Held { ticks: TICKS, access: access(Flags::NONE), wait: 30, holder: Holder { stack: 1, slot: None } };
    assert_eq!(held.waited(), None);
    let WireEvent::Hold(hold) = held.until_the_end(TICKS + 5) else { panic!("a hold") };
    assert_eq!((hold.ticks, hold.held, hold.access.flags.is_unreleased()), (TICKS, 5, true));
    let held = Held { access: access(Flags::CONTENDED), wait: u64::MAX, ..held };
    let Some(WireEvent::Waited(waited)) = held.waited() else { panic!("a wait") };
    assert_eq!((waited.ticks, waited.wait), (0, PAYLOAD_MAX));
    let WireEvent::Hold(hold) = held.until_the_end(0) else { panic!("a hold") };
    assert_eq!(hold.held, 0, "a clock that went back");
}

proptest! {
    /// A segment may hold anything: what is known is decoded, and its numbers are those of the record.
    #[test]
    fn any_words(ticks: u64, lock: u32, stack: u32, word: u64, extra: u64) {
        let record = Record { ticks, lock, stack, word, extra };
        let event = decode(&record);
        let known = Op::from_u8(word as u8).filter(|op| match op {
            Op::Misuse => misuse_kind(record.payload()).is_some(),
            Op::Blocked => blocking::name(extra as u32).is_some(),
            _ => true,
        });
        prop_assert_eq!(event.is_some(), known.is_some());
        let _ = (end_of(&record), next_ring(&record));
        if let Some(WireEvent::Hold(hold)) = event {
            prop_assert_eq!((hold.ticks, hold.access.lock, hold.access.stack), (ticks, lock, stack));
            prop_assert_eq!((hold.held, hold.access.flags), (word >> 16, Flags::from_bits((word >> 8) as u8)));
            let _ = (hold.is_section(), hold.is_plain(), hold.access.how(), hold.access.mode());
        }
    }

    #[test]
    fn unknown_operations(number in 16u8.., flags: u8, payload in 0..PAYLOAD_MAX) {
        let word = payload << 16 | u64::from(flags) << 8 | u64::from(number);
        prop_assert_eq!(decode(&Record { word, ..Record::default() }), None);
    }

    #[test]
    fn any_aggregate(op_and_flags: u32, lock: u32, stack: u32, holder: u32, segment: u32) {
        let entry = entry_of(op_and_flags, lock, stack, holder, segment);
        let Some(key) = aggregate_key(&entry) else {
            prop_assert!(matches!(op_and_flags, 0 | CLAIMED));
            return Ok(());
        };
        prop_assert_eq!((key.access.lock, key.access.stack), (lock, stack));
        let known = Op::from_u8(op_and_flags as u8);
        prop_assert_eq!(matches!(key.what, Aggregated::Other), match known {
            None | Some(Op::ThreadStart | Op::ThreadEnd | Op::NextRing | Op::OwnerDied) => true,
            Some(Op::Blocked) => blocking::name(holder).is_none(),
            Some(_) => false,
        });
        prop_assert!(misuses(&entry).is_empty());
    }
}

fn entry_of(op_and_flags: u32, lock: u32, stack: u32, holder: u32, segment: u32) -> FoldEntry {
    FoldEntry {
        op_and_flags: AtomicU32::new(op_and_flags),
        lock: AtomicU32::new(lock),
        stack: AtomicU32::new(stack),
        holder: AtomicU32::new(holder),
        count: AtomicU64::new(0),
        sum: AtomicU64::new(0),
        not_min: AtomicU64::new(0),
        max: AtomicU64::new(0),
        segment: AtomicU32::new(segment),
        place: AtomicU32::new(0),
        buckets: std::array::from_fn(|_| AtomicU32::new(0)),
    }
}

#[test]
fn calls_that_block() {
    let number = blocking::NAMES.iter().position(|name| *name == "fsync").expect("a call") as u32;
    let decoded = decode(&record(Op::Blocked, Flags::NONE, 9, u64::from(number) | 4 << 32));
    let blocked = Blocked { ticks: TICKS, took: 9, lock: 3, call: "fsync", stack: 5, taken: 4 };
    assert_eq!(decoded, Some(WireEvent::Blocked(blocked)));
    let key = aggregate_key(&entry_of(Op::Blocked as u32, 3, 5, number, 4)).map(|key| key.what);
    assert_eq!(key, Some(Aggregated::Blocked("fsync", 4)));
    let unknown = blocking::NAMES.len() as u32;
    assert_eq!(decode(&record(Op::Blocked, Flags::NONE, 9, u64::from(unknown))), None);
}

#[test]
fn aggregates_of_nested_acquisitions_and_misuses() {
    let nesting = |segment| aggregate_key(&entry_of(Op::EarlyAcquire as u32, 1, 2, 768, segment)).map(|key| key.what);
    assert_eq!(nesting(4), Some(Aggregated::EarlyAcquire(Nesting { outer: 768, hard_before: Some(4) })));
    assert_eq!(nesting(ANY_SEGMENT), Some(Aggregated::EarlyAcquire(Nesting { outer: 768, hard_before: None })));
    let entry = entry_of(Op::Misuse as u32, 1, 2, 3, 0);
    entry.buckets[misuse::REFUSED as usize].store(2, Ordering::Relaxed);
    entry.buckets[0].store(9, Ordering::Relaxed);
    assert_eq!(misuses(&entry), [(MisuseKind::Refused, 2)]);
    let (empty, claimed) = (entry_of(0, 1, 1, 1, 1), entry_of(CLAIMED, 1, 1, 1, 1));
    assert_eq!((aggregate_key(&empty), aggregate_key(&claimed)), (None, None));
}
