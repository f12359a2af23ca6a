//! Keys of fold tables: what was only counted, since the ring was full.

use std::sync::atomic::Ordering;

use lockprof_wire::fold::{ANY_SEGMENT, CLAIMED};
use lockprof_wire::record::misuse;
use lockprof_wire::{Flags, FoldEntry, Op, blocking};

use super::{Access, Failure, misuse_kind};
use crate::model::order::MisuseKind;

/// What an aggregate counts: the events of one kind, of one lock, from one place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateKey {
    /// What happened.
    pub what: Aggregated,
    /// To which lock, where and how.
    pub access: Access,
}

/// See [`AggregateKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    /// As [`WireEvent::Hold`](super::WireEvent::Hold).
    Hold,
    /// As [`WireEvent::EarlyAcquire`](super::WireEvent::EarlyAcquire).
    EarlyAcquire(Nesting),
    /// As [`WireEvent::Waited`](super::WireEvent::Waited), with the node of the holder's stack.
    Waited(u32),
    /// As [`WireEvent::Done`](super::WireEvent::Done).
    Done,
    /// As [`WireEvent::Failed`](super::WireEvent::Failed).
    Failed(Failure),
    /// As [`WireEvent::Posted`](super::WireEvent::Posted).
    Posted,
    /// As [`WireEvent::Created`](super::WireEvent::Created).
    Created,
    /// As [`WireEvent::Misuse`](super::WireEvent::Misuse), with the node of the holder's stack; the kinds are counted by [`misuses`].
    Misuse(u32),
    /// As [`WireEvent::Blocked`](super::WireEvent::Blocked): the function's name, and the node of the stack that had taken the lock.
    Blocked(&'static str, u32),
    /// Nothing that is ever aggregated.
    Other,
}

/// Where an aggregated acquisition stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nesting {
    /// Offset of the entry of the acquisition around it; 0 for the outermost one.
    pub outer: u64,
    /// Hard sync points of the thread before it; `None` where that is not known.
    pub hard_before: Option<u32>,
}

/// What an entry of a fold table counts; `None` for an empty one, or one whose key is being written.
pub fn aggregate_key(entry: &FoldEntry) -> Option<AggregateKey> {
    // Acquire: pairs with the shim's Release store; the key is there.
    let op_and_flags = entry.op_and_flags.load(Ordering::Acquire);
    if matches!(op_and_flags, 0 | CLAIMED) {
        return None;
    }
    let access = Access {
        lock: entry.lock.load(Ordering::Relaxed),
        stack: entry.stack.load(Ordering::Relaxed),
        flags: Flags::from_bits((op_and_flags >> 8) as u8),
    };
    let holder = || entry.holder.load(Ordering::Relaxed);
    let what = match Op::from_u8(op_and_flags as u8) {
        Some(Op::Hold) => Aggregated::Hold,
        Some(Op::EarlyAcquire) => Aggregated::EarlyAcquire(Nesting {
            outer: u64::from(holder()),
            hard_before: Some(entry.segment.load(Ordering::Relaxed)).filter(|before| *before != ANY_SEGMENT),
        }),
        Some(Op::Waited) => Aggregated::Waited(holder()),
        Some(Op::Done) => Aggregated::Done,
        Some(Op::TryFailed) => Aggregated::Failed(Failure::Taken),
        Some(Op::TimedOut) => Aggregated::Failed(Failure::TimedOut),
        Some(Op::Failed) => Aggregated::Failed(Failure::Error),
        Some(Op::Posted) => Aggregated::Posted,
        Some(Op::Created) => Aggregated::Created,
        Some(Op::Misuse) => Aggregated::Misuse(holder()),
        Some(Op::Blocked) => match blocking::name(holder()) {
            Some(call) => Aggregated::Blocked(call, entry.segment.load(Ordering::Relaxed)),
            None => Aggregated::Other,
        },
        Some(Op::ThreadStart | Op::ThreadEnd | Op::NextRing | Op::OwnerDied) | None => Aggregated::Other,
    };
    Some(AggregateKey { what, access })
}

/// How often an entry counts each kind of misuse. Numbers this small have a bucket each.
pub fn misuses(entry: &FoldEntry) -> Vec<(MisuseKind, u64)> {
    let counts = (0..misuse::END).map(|number| {
        let count = entry.buckets[number as usize].load(Ordering::Relaxed);
        (misuse_kind(number), u64::from(count))
    });
    counts.filter_map(|(kind, count)| Some((kind?, count))).filter(|(_, count)| *count > 0).collect()
}
