//! What the threads of one process show of themselves at one moment, copied out of its segment.
//!
//! A thread writes its slot without regard to readers. What is read here is whole all the same: while a thread waits it
//! changes nothing in its slot, and that it was one and the same wait before and behind the reading is checked.

use std::sync::atomic::Ordering;

use lockprof_wire::lock::TraitBits;
use lockprof_wire::thread::state;
use lockprof_wire::{Flags, Kind, LockInfo, ThreadSlot};
use rustc_hash::{FxHashMap, FxHashSet};

use super::graph::Graph;
use crate::ingest::decode::{self, Access};
use crate::ingest::segment::Segment;

/// Held entries that are read of one thread; the segment may say anything.
const MOST_HELD: usize = 4096;

/// A lock that a thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grip {
    /// Its row.
    pub lock: u32,
    /// The stack that took it.
    pub stack: u32,
    /// When.
    pub ticks: u64,
    /// Whether others may read at the same time.
    pub shared: bool,
}

/// A thread that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitSample {
    /// Its slot.
    pub slot: u32,
    /// Kernel thread id.
    pub tid: u32,
    /// The row of what it waits for.
    pub lock: u32,
    /// Address of that.
    pub address: u64,
    /// What that is.
    pub kind: Kind,
    /// What is particular about that.
    pub traits: TraitBits,
    /// Where it waits.
    pub stack: u32,
    /// Since when, ticks.
    pub since: u64,
    /// Flags of the request.
    pub flags: Flags,
    /// What it holds, each lock once.
    pub held: Vec<Grip>,
}

impl WaitSample {
    /// The thread in this slot, if it waits.
    pub fn at(segment: &Segment, number: u32) -> Option<Self> {
        let slot = segment.thread(number)?;
        let (lock, since) = wait_of(slot)?;
        let info = segment.lock(lock)?;
        let seen = Self {
            slot: number,
            tid: slot.tid.load(Ordering::Relaxed),
            lock,
            address: info.address.load(Ordering::Relaxed),
            kind: info.kind()?,
            traits: info.traits(),
            stack: slot.wait_stack.load(Ordering::Relaxed),
            since,
            flags: slot.request_flags(),
            held: grips(segment, slot),
        };
        (wait_of(slot) == Some((lock, since))).then_some(seen)
    }

    /// Whether the request ends by itself at some time.
    pub fn is_timed(&self) -> bool {
        self.flags.is_timed()
    }

    /// Whether others may have the lock at the same time.
    pub fn is_shared(&self) -> bool {
        self.flags.is_shared()
    }

    /// Whether only certain threads can end the wait: the holders of a lock, the thread joined. Anybody may signal a
    /// condition, post a semaphore or come to a barrier; and whoever runs an initialisation shows that as a wait.
    pub fn is_for_holders(&self) -> bool {
        // A row without an address stands for many locks.
        self.address != 0 && self.kind.blocks_others(self.traits)
    }

    /// Whether it waits for a lock that says whose it is, and that nobody but its owner was seen to give back.
    pub fn may_be_abandoned(&self) -> bool {
        let owned = self.kind.names_owner() && self.address != 0;
        owned && !self.traits.is_robust() && !self.traits.is_handed_over()
    }

    /// Its hold of a lock.
    pub fn grip_of(&self, lock: u32) -> Option<&Grip> {
        self.held.iter().find(|grip| grip.lock == lock)
    }
}

/// Whether a thread has the slot.
pub fn is_active(slot: &ThreadSlot) -> bool {
    // Acquire: a slot that was taken over says so before its fields are written.
    slot.state.load(Ordering::Acquire) == state::ACTIVE
}

/// Whether the wait that a slot shows ends by itself at some time.
pub fn is_timed(slot: &ThreadSlot) -> bool {
    slot.request_flags().is_timed()
}

/// Whether the wait that a slot shows may be for what certain threads have: a look at its kind only.
pub fn is_for_holders(segment: &Segment, slot: &ThreadSlot) -> bool {
    let kind = segment.lock(slot.wait_lock.load(Ordering::Relaxed)).and_then(LockInfo::kind);
    kind.is_some_and(Kind::may_block_others)
}

/// The lock that a thread waits for, and since when.
pub fn wait_of(slot: &ThreadSlot) -> Option<(u32, u64)> {
    if !is_active(slot) {
        return None;
    }
    // Acquire: pairs with the shim's Release store; what belongs to the wait is there.
    let lock = slot.wait_lock.load(Ordering::Acquire);
    (lock != 0).then(|| (lock, slot.wait_since.load(Ordering::Acquire)))
}

/// What a thread holds, each lock once, in the order in which it was taken. Of a thread that runs it may be out of date.
pub fn grips(segment: &Segment, slot: &ThreadSlot) -> Vec<Grip> {
    let mut grips: Vec<Grip> = Vec::new();
    for held in segment.held(slot).take(MOST_HELD).filter_map(decode::held) {
        let Access { lock, stack, flags } = held.access;
        let grip = Grip { lock, stack, ticks: held.ticks, shared: flags.is_shared() };
        // A recursive lock is there several times; a reader's second hold adds nothing either.
        if segment.lock(grip.lock).is_some() && grips.last().is_none_or(|last| last.lock != grip.lock) {
            grips.push(grip);
        }
    }
    let mut known = FxHashSet::default();
    grips.retain(|grip| known.insert(grip.lock));
    grips
}

/// Who waits for whom: nodes are the threads, in the order of `seen`, and after them the locks they wait for, once for
/// each mode, so that a crowd before one lock takes as many edges as it has threads. `thread_of` finds a joined thread's
/// slot by its `pthread_t`.
pub fn graph(seen: &[WaitSample], thread_of: impl Fn(u64) -> Option<u32>) -> Graph {
    let mut graph = Graph::new(seen.len());
    let mut wanted: FxHashMap<(u32, bool), u32> = FxHashMap::default();
    let by_slot: FxHashMap<u32, u32> = seen.iter().zip(0..).map(|(seen, at)| (seen.slot, at)).collect();
    for (waiter, at) in seen.iter().zip(0u32..) {
        if !waiter.is_for_holders() {
            continue;
        }
        if waiter.kind == Kind::Join {
            if let Some(joined) = thread_of(waiter.address).and_then(|slot| by_slot.get(&slot)) {
                graph.edge(at, *joined);
            }
            continue;
        }
        let lock = *wanted.entry((waiter.lock, waiter.is_shared())).or_insert_with(|| graph.node());
        graph.edge(at, lock);
    }
    for (holder, at) in seen.iter().zip(0u32..) {
        for grip in &holder.held {
            if let Some(lock) = wanted.get(&(grip.lock, false)) {
                graph.edge(*lock, at);
            }
            if let Some(lock) = wanted.get(&(grip.lock, true)).filter(|_| !grip.shared) {
                graph.edge(*lock, at);
            }
        }
        if queues_readers(holder)
            && let Some(lock) = wanted.get(&(holder.lock, true))
        {
            graph.edge(*lock, at);
        }
    }
    graph
}

/// Whether readers wait behind this thread, which waits for the lock itself.
pub fn queues_readers(waiter: &WaitSample) -> bool {
    waiter.kind.has_readers() && !waiter.is_shared() && waiter.traits.lets_writers_first()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn seen(slot: u32, lock: u32, kind: Kind, flags: Flags, held: &[(u32, bool)]) -> WaitSample {
        let grip = |(lock, shared): &(u32, bool)| Grip { lock: *lock, stack: 0, ticks: 1, shared: *shared };
        WaitSample {
            slot,
            tid: 100 + slot,
            lock,
            address: 0x1000 * u64::from(lock),
            kind,
            traits: TraitBits::default(),
            stack: 0,
            since: 1,
            flags,
            held: held.iter().map(grip).collect(),
        }
    }

    /// The rings, locks left out.
    fn rings(seen: &[WaitSample]) -> Vec<Vec<u32>> {
        let graph = graph(seen, |pthread| (pthread >= 0x10_0000).then(|| (pthread - 0x10_0000) as u32));
        let threads = |ring: Vec<u32>| ring.into_iter().filter(|node| (*node as usize) < seen.len()).collect();
        graph.rings().into_iter().map(threads).collect()
    }

    #[test]
    fn readers_and_writers() {
        let (read, write) = (Flags::SHARED, Flags::NONE);
        // Two readers of one lock that want to write it: each waits for itself already.
        let upgrade = |slot| seen(slot, 1, Kind::Rwlock, write, &[(1, true)]);
        assert_eq!(rings(&[upgrade(0), upgrade(1)]).len(), 1);
        // A reader that reads again is in nobody's way, unless the lock lets writers first.
        let mut pair = [seen(0, 1, Kind::Rwlock, read, &[(1, true)]), seen(1, 1, Kind::Rwlock, write, &[])];
        assert!(rings(&pair).is_empty());
        pair.iter_mut().for_each(|seen| seen.traits = TraitBits::WRITERS_FIRST);
        assert_eq!(rings(&pair), [[0, 1]]);
        // Read locks in both orders exclude nobody.
        let inverse = [seen(0, 2, Kind::Rwlock, read, &[(1, true)]), seen(1, 1, Kind::Rwlock, read, &[(2, true)])];
        assert!(rings(&inverse).is_empty());
    }

    #[test]
    fn joins_and_semaphores() {
        let mut parent = seen(0, 9, Kind::Join, Flags::NONE, &[(1, false)]);
        parent.address = 0x10_0001;
        assert_eq!(rings(&[parent.clone(), seen(1, 1, Kind::Mutex, Flags::NONE, &[])]), [[0, 1]]);
        parent.address = 0x10_0007;
        assert!(rings(&[parent, seen(1, 1, Kind::Mutex, Flags::NONE, &[])]).is_empty(), "joins another one");

        let mut pair = [
            seen(0, 2, Kind::Semaphore, Flags::NONE, &[(1, false)]),
            seen(1, 1, Kind::Semaphore, Flags::NONE, &[(2, false)]),
        ];
        assert!(rings(&pair).is_empty(), "anybody may post");
        pair.iter_mut().for_each(|seen| seen.traits = TraitBits::BINARY);
        assert_eq!(rings(&pair), [[0, 1]]);
        pair[0].traits = TraitBits::BINARY.with(TraitBits::HANDED_OVER);
        assert!(rings(&pair).is_empty());
        pair[0].traits = TraitBits::BINARY;
        pair[0].address = 0;
        assert!(rings(&pair).is_empty(), "one row for many semaphores");
    }

    #[test]
    fn conditions_are_for_somebody() {
        let waiter = seen(0, 5, Kind::Condvar, Flags::NONE, &[(1, false)]);
        let blocked = seen(1, 1, Kind::Mutex, Flags::NONE, &[(5, false)]);
        assert!(rings(&[waiter.clone(), blocked.clone()]).is_empty());
        // But who waits for its lock waits for it.
        assert!(graph(&[waiter, blocked], |_| None).reaching(&[0])[1]);
    }

    type Raw = (u32, Kind, bool, bool, Vec<(u32, bool)>);

    fn raw() -> impl Strategy<Value = Raw> {
        let kinds = select(vec![Kind::Mutex, Kind::Rwlock, Kind::Spinlock, Kind::Condvar]);
        (1..5u32, kinds, any::<bool>(), any::<bool>(), vec((1..5u32, any::<bool>()), 0..3))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// The locks among the nodes change nothing: threads wait for each other as if each edge were drawn.
        #[test]
        fn locks_as_nodes_are_a_shorthand(raw in vec(raw(), 1..8)) {
            let threads: Vec<WaitSample> = raw.into_iter().zip(0..).map(|((lock, kind, shared, first, mut held), slot)| {
                held.sort_unstable();
                held.dedup_by_key(|(lock, _)| *lock);
                let mut seen = seen(slot, lock, kind, if shared { Flags::SHARED } else { Flags::NONE }, &held);
                seen.traits = if first { TraitBits::WRITERS_FIRST } else { TraitBits::default() };
                seen
            }).collect();
            let mut naive = Graph::new(threads.len());
            for (waiter, from) in threads.iter().zip(0..) {
                for (other, to) in threads.iter().zip(0..) {
                    let holds = other.grip_of(waiter.lock).is_some_and(|grip| !(grip.shared && waiter.is_shared()));
                    let queued = waiter.is_shared() && other.lock == waiter.lock && queues_readers(other);
                    if waiter.is_for_holders() && (holds || queued) {
                        naive.edge(from, to);
                    }
                }
            }
            prop_assert_eq!(rings(&threads).len(), naive.rings().len());
            let graph = graph(&threads, |_| None);
            for target in 0..threads.len() as u32 {
                prop_assert_eq!(&graph.reaching(&[target])[..threads.len()], &naive.reaching(&[target])[..]);
            }
        }
    }
}
