//! Where the events of one process image go: its own tables, the session, and the counts that are kept apart from it.

use super::accumulator::Accumulator;
use super::decode::Access;
use super::image::Image;
use crate::model::{LockId, Session, SiteKey, StackId, ThreadId};

/// See the module.
pub struct Reducer<'a> {
    /// The process image that the events are of.
    pub image: &'a mut Image,
    /// What was seen so far.
    pub session: &'a mut Session,
    /// What is not in the session yet.
    pub accumulator: &'a mut Accumulator,
}

impl Reducer<'_> {
    /// The session's lock of a row.
    pub fn lock(&mut self, row: u32) -> LockId {
        self.image.lock(self.session, row)
    }

    /// The session's lock of a row, if its acquisitions are part of the order of locks.
    pub fn lock_in_order(&mut self, row: u32) -> Option<LockId> {
        let lock = self.lock(row);
        self.session.lock(lock).nests().then_some(lock)
    }

    /// The session's stack of a node.
    pub fn stack(&mut self, node: u32) -> StackId {
        self.image.stack(self.session, node)
    }

    /// The session's thread that writes into a slot's ring.
    pub fn thread(&mut self, slot: u32) -> ThreadId {
        self.image.thread(self.session, slot)
    }

    /// Lock, stack and mode of a use of a lock.
    pub fn site_key(&mut self, access: Access) -> SiteKey {
        SiteKey { lock: self.lock(access.lock), stack: self.stack(access.stack), mode: access.mode() }
    }
}
