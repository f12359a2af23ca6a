//! Who created and who joined whom.
//!
//! Rings are read one after the other, so a thread's start may be read before its creation. A creation is resolved
//! as soon as both sides are there; a join when all rings were read once more: the joined thread had written
//! everything before the join was over.

use rustc_hash::FxHashMap;

use super::{Gate, MarkWhat, Order};
use crate::model::ids::{ProcessId, ThreadId};

/// A creation whose thread is not known yet.
#[derive(Debug)]
pub(super) struct Creation {
    pub thread: ThreadId,
    pub mark: u32,
    /// What the creator holds: number of the acquisition, and the lock.
    pub open: Vec<(u64, Gate)>,
}

/// A join whose thread is not known yet.
#[derive(Debug)]
pub(super) struct Join {
    pub process: ProcessId,
    pub thread: ThreadId,
    pub mark: u32,
    pub key: u64,
    pub at_ns: u64,
    pub until_ns: u64,
    /// Acquisitions that the joiner holds.
    pub open: Vec<u64>,
}

/// One of the threads that have had the same name one after the other.
#[derive(Debug)]
struct Bearer {
    began_ns: u64,
    ended_ns: u64,
    thread: ThreadId,
    joined: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kin {
    /// By process and token.
    creations: FxHashMap<(ProcessId, u32), Creation>,
    /// Threads whose creation was not read yet, by process and token.
    started: FxHashMap<(ProcessId, u32), ThreadId>,
    /// By what joiners call them, in the order in which they began.
    bearers: FxHashMap<(ProcessId, u64), Vec<Bearer>>,
    /// What a creator held when it created a thread.
    held_at_creation: FxHashMap<ThreadId, Vec<(u64, Gate)>>,
    /// Joins whose thread has been read by now.
    ripe: Vec<Join>,
    /// Joins that were read since the last settling.
    fresh: Vec<Join>,
}

impl Kin {
    /// A thread began; `key` and `token` as in [`What::Started`](super::What::Started).
    pub fn started(&mut self, order: &mut Order, process: ProcessId, thread: ThreadId, token: u32) {
        if token == 0 {
            return;
        }
        match self.creations.remove(&(process, token)) {
            Some(creation) => self.parent(order, creation, thread),
            None => _ = self.started.insert((process, token), thread),
        }
    }

    /// A thread goes by this name from now on.
    pub fn named(&mut self, process: ProcessId, key: u64, thread: ThreadId, began_ns: u64) {
        if key == 0 {
            return;
        }
        let bearers = self.bearers.entry((process, key)).or_default();
        let at = bearers.partition_point(|other| other.began_ns <= began_ns);
        bearers.insert(at, Bearer { began_ns, ended_ns: u64::MAX, thread, joined: false });
    }

    /// A thread ended.
    pub fn ended(&mut self, process: ProcessId, key: u64, thread: ThreadId, ended_ns: u64) {
        let bearers = self.bearers.get_mut(&(process, key));
        if let Some(bearer) = bearers.and_then(|all| all.iter_mut().rev().find(|bearer| bearer.thread == thread)) {
            bearer.ended_ns = ended_ns;
        }
    }

    /// A thread is about to be created.
    pub fn created(&mut self, order: &mut Order, process: ProcessId, token: u32, creation: Creation) {
        match self.started.remove(&(process, token)) {
            Some(child) => self.parent(order, creation, child),
            None => _ = self.creations.insert((process, token), creation),
        }
    }

    /// A thread was joined.
    pub fn joined(&mut self, join: Join) {
        self.fresh.push(join);
    }

    fn parent(&mut self, order: &mut Order, creation: Creation, child: ThreadId) {
        order.life(child).creator = Some((creation.thread, creation.mark));
        order.life(creation.thread).marks[creation.mark as usize].what = MarkWhat::Created(Some(child));
        if !creation.open.is_empty() {
            self.held_at_creation.insert(child, creation.open);
        }
    }

    /// See [`Fold::settle`](super::Fold::settle).
    pub fn settle(&mut self, order: &mut Order, all: bool) {
        let mut ripe = std::mem::replace(&mut self.ripe, std::mem::take(&mut self.fresh));
        if all {
            ripe.append(&mut self.ripe);
        }
        // One who bore the name before must be known as joined when the next one's turn comes.
        ripe.sort_by_key(|join| join.until_ns);
        for join in ripe {
            let Some(child) = self.bearer(&join) else { continue };
            order.life(join.thread).marks[join.mark as usize].what = MarkWhat::Joined(Some(child));
            let Some(held) = self.held_at_creation.remove(&child) else { continue };
            if order.life(child).creator.is_some_and(|(creator, _)| creator == join.thread) {
                let still = held.into_iter().filter(|(serial, _)| join.open.contains(serial));
                order.life(child).gates = still.map(|(_, gate)| gate).collect();
            }
        }
    }

    /// Whom it joined; `None` where that cannot be told.
    fn bearer(&mut self, join: &Join) -> Option<ThreadId> {
        let bearers = self.bearers.get_mut(&(join.process, join.key))?;
        let last = bearers.partition_point(|bearer| bearer.began_ns <= join.until_ns).checked_sub(1)?;
        // A name is free as soon as its thread was joined, a moment before the joiner says so: whoever began
        // during the join may be the thread joined, or already the next one of its name.
        let before = last.checked_sub(1).filter(|_| bearers[last].began_ns > join.at_ns);
        let at = match before {
            Some(before) if !bearers[before].joined => {
                if bearers[last].ended_ns <= join.until_ns {
                    return None;
                }
                before
            }
            _ => last,
        };
        bearers[at].joined = true;
        Some(bearers[at].thread)
    }
}
