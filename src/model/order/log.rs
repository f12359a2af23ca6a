//! Single events, as far as there is room: what witnesses are made of.

use std::collections::VecDeque;

use super::How;
use crate::model::ids::{LockId, StackId, ThreadId};
use crate::model::profile::Mode;

/// What a [`Logged`] event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoggedWhat {
    /// Took a lock. `until_ns` is 0.
    Acquired(Mode),
    /// The same, by a request that would not have waited for ever.
    Tried(Mode, How),
    /// Gave it back. `until_ns` is 0.
    Released,
    /// Took a lock and gave it back at `until_ns`, and asked for no other meanwhile (sync points may lie in between).
    Section(Mode),
    /// Passed a sync point: `lock` holds its position in the thread's sync points.
    SyncPoint,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// When, ns since the start of the session. Events come in the order of their ends.
    pub at_ns: u64,
    /// See [`LoggedWhat`].
    pub until_ns: u64,
    /// Who.
    pub thread: ThreadId,
    /// The lock.
    pub lock: LockId,
    /// Where.
    pub stack: StackId,
    /// What.
    pub what: LoggedWhat,
}

/// The latest events: whole chunks are dropped from the front.
#[derive(Clone, Debug, Default)]
pub struct Log {
    full: VecDeque<Chunk>,
    last: Chunk,
    /// Nothing is missing after this time, ns; 0: nothing is missing at all.
    pub complete_from_ns: u64,
    /// Events that were dropped.
    pub dropped: u64,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    events: Vec<Logged>,
    /// Nothing in it ends later.
    ends_ns: u64,
}

impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        (self.complete_from_ns, self.dropped) == (other.complete_from_ns, other.dropped)
            && self.events().eq(other.events())
    }
}

impl Log {
    const CHUNK: usize = 1 << 14;
    const MOST_CHUNKS: usize = 32;
    /// Events that are kept at least, once there are as many: 32 MiB are needed at most.
    pub const KEPT: usize = Self::CHUNK * (Self::MOST_CHUNKS - 1);

    /// Appends an event.
    #[inline]
    pub fn push(&mut self, event: Logged) {
        if self.last.events.len() == self.last.events.capacity() {
            self.next_chunk();
        }
        self.last.ends_ns = self.last.ends_ns.max(event.at_ns).max(event.until_ns);
        self.last.events.push(event);
    }

    #[cold]
    #[inline(never)]
    fn next_chunk(&mut self) {
        let mut next = Chunk::default();
        if self.full.len() + 1 >= Self::MOST_CHUNKS
            && let Some(oldest) = self.full.pop_front()
        {
            self.dropped += oldest.events.len() as u64;
            self.missing_until(oldest.ends_ns);
            next.events = oldest.events;
            next.events.clear();
        } else {
            next.events.reserve_exact(Self::CHUNK);
        }
        let full = std::mem::replace(&mut self.last, next);
        if !full.events.is_empty() {
            self.full.push_back(full);
        }
    }

    /// Some event up to this time, ns, is missing.
    pub fn missing_until(&mut self, ns: u64) {
        self.complete_from_ns = self.complete_from_ns.max(ns);
    }

    /// Puts events that came in parts into the order of their ends. Call once, at the end.
    pub fn sort(&mut self) {
        let mut events: Vec<Logged> = self.events().copied().collect();
        // What ends at the same time came one after the other in its thread: whoever began earlier comes first.
        events.sort_by_key(|event| (event.at_ns.max(event.until_ns), event.at_ns));
        (self.full, self.last) = Default::default();
        events.into_iter().for_each(|event| self.push(event));
    }

    /// The events that are kept, in the order in which they came.
    pub fn events(&self) -> impl Iterator<Item = &Logged> + '_ {
        self.full.iter().chain([&self.last]).flat_map(|chunk| &chunk.events)
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.full.iter().map(|chunk| chunk.events.len()).sum::<usize>() + self.last.events.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
