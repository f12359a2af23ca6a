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
    /// Took a lock and gave it back at `until_ns`, and asked for no other meanwhile (marks may lie in between).
    Section(Mode),
    /// Passed a mark: `lock` holds its position in the thread's marks.
    Mark,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// When, ns since the start of the session. Events of one thread come in the order of their ends.
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    chunks: VecDeque<Vec<Logged>>,
    /// Nothing is missing after this time, ns; 0: nothing is missing at all.
    pub complete_from_ns: u64,
    /// Events that were dropped.
    pub dropped: u64,
}

impl Log {
    const CHUNK: usize = 1 << 14;
    const MOST_CHUNKS: usize = 32;
    /// Events that are kept at least, once there are as many: 32 MiB are needed at most.
    pub const KEPT: usize = Self::CHUNK * (Self::MOST_CHUNKS - 1);

    /// Appends an event.
    #[inline]
    pub fn push(&mut self, event: Logged) {
        match self.chunks.back_mut() {
            Some(last) if last.len() < Self::CHUNK => last.push(event),
            _ => self.push_chunk(event),
        }
    }

    #[cold]
    fn push_chunk(&mut self, event: Logged) {
        let mut chunk = if self.chunks.len() >= Self::MOST_CHUNKS {
            let mut oldest = self.chunks.pop_front().unwrap_or_default();
            self.dropped += oldest.len() as u64;
            let ends = oldest.iter().map(|event| event.at_ns.max(event.until_ns)).max();
            self.complete_from_ns = self.complete_from_ns.max(ends.unwrap_or(0));
            oldest.clear();
            oldest
        } else {
            Vec::with_capacity(Self::CHUNK)
        };
        chunk.push(event);
        self.chunks.push_back(chunk);
    }

    /// The events that are kept, in the order in which they came.
    pub fn events(&self) -> impl Iterator<Item = &Logged> + '_ {
        self.chunks.iter().flatten()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}
