//! Who created and who joined whom, and what was held meanwhile.
//!
//! Rings are read one after the other, so a thread's start may be read before its creation. A creation is resolved
//! as soon as both sides are there; a join when all rings were read once more: the joined thread had written
//! everything before the join was over. Gates are found at the very end: a hold is reported when it is over.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{GuardLock, Order, SyncWhat};
use crate::model::ids::{LockId, ProcessId, ThreadId};

/// A join whose thread is not known yet.
#[derive(Debug)]
pub(super) struct Join {
    pub process: ProcessId,
    pub thread: ThreadId,
    pub sync_point: u32,
    pub key: u64,
    pub at_ns: u64,
    pub until_ns: u64,
}

/// A thread that took a lock whose owner had ended.
#[derive(Debug)]
pub(super) struct Heir {
    pub thread: ThreadId,
    pub sync_point: u32,
    pub lock: LockId,
    pub at_ns: u64,
}

/// One of the threads that have had the same name one after the other.
#[derive(Debug)]
struct HandleOwner {
    began_ns: u64,
    ended_ns: u64,
    thread: ThreadId,
    joined: bool,
}

/// A hold during which its thread created or joined others.
#[derive(Debug)]
pub(super) struct Span {
    pub thread: ThreadId,
    pub guard: GuardLock,
    pub at_ns: u64,
    pub until_ns: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ThreadLineage {
    /// Creators and their sync points, by process and token.
    creations: FxHashMap<(ProcessId, u32), (ThreadId, u32)>,
    /// Threads whose creation was not read yet, by process and token.
    started: FxHashMap<(ProcessId, u32), ThreadId>,
    /// By what joiners call them, in the order in which they began.
    owners: FxHashMap<(ProcessId, u64), Vec<HandleOwner>>,
    /// Joins whose thread has been read by now.
    ready: Vec<Join>,
    /// Joins that were read since the last flush.
    pending: Vec<Join>,
    spans: Vec<Span>,
    /// Threads that ended and held a lock, with when they had taken it.
    kept: FxHashMap<LockId, Vec<(u64, ThreadId)>>,
    /// Whose owner is looked for at the very end: what a thread kept is reported when it ends.
    heirs: Vec<Heir>,
}

impl ThreadLineage {
    /// Holds that are kept to find guards; what is missing makes a verdict more careful.
    const MOST_SPANS: usize = 1 << 18;
    /// The same for locks that threads held at their ends, and for those who took them.
    const MOST_KEPT: usize = 1 << 16;

    /// A thread began.
    pub fn started(&mut self, order: &mut Order, process: ProcessId, thread: ThreadId, token: u32) {
        if token == 0 {
            return;
        }
        match self.creations.remove(&(process, token)) {
            Some(creator) => parent(order, creator, thread),
            None => _ = self.started.insert((process, token), thread),
        }
    }

    /// A thread is about to be created.
    pub fn created(&mut self, order: &mut Order, process: ProcessId, token: u32, creator: (ThreadId, u32)) {
        match self.started.remove(&(process, token)) {
            Some(child) => parent(order, creator, child),
            None => _ = self.creations.insert((process, token), creator),
        }
    }

    /// A thread that was created has ended without having begun here.
    pub fn never_started(&mut self, process: ProcessId, token: u32) {
        self.creations.remove(&(process, token));
    }

    /// A thread goes by this name from now on.
    pub fn named(&mut self, process: ProcessId, key: u64, thread: ThreadId, began_ns: u64) {
        if key == 0 {
            return;
        }
        let owners = self.owners.entry((process, key)).or_default();
        let at = owners.partition_point(|other| other.began_ns <= began_ns);
        owners.insert(at, HandleOwner { began_ns, ended_ns: u64::MAX, thread, joined: false });
    }

    /// A thread ended.
    pub fn ended(&mut self, process: ProcessId, key: u64, thread: ThreadId, ended_ns: u64) {
        let owners = self.owners.get_mut(&(process, key));
        if let Some(owner) = owners.and_then(|all| all.iter_mut().rev().find(|owner| owner.thread == thread)) {
            owner.ended_ns = ended_ns;
        }
    }

    /// A thread was joined.
    pub fn joined(&mut self, join: Join) {
        self.pending.push(join);
    }

    /// A lock was held while others were created or joined.
    pub fn spanned(&mut self, span: Span) {
        if self.spans.len() < Self::MOST_SPANS {
            self.spans.push(span);
        }
    }

    /// A thread holds a lock since then, and ends.
    pub fn kept(&mut self, lock: LockId, thread: ThreadId, taken_ns: u64) {
        if self.kept.len() < Self::MOST_KEPT {
            self.kept.entry(lock).or_default().push((taken_ns, thread));
        }
    }

    /// A thread was told that the owner of a lock had ended.
    pub fn outlived(&mut self, heir: Heir) {
        if self.heirs.len() < Self::MOST_KEPT {
            self.heirs.push(heir);
        }
    }

    /// See [`Fold::flush`](super::Fold::flush).
    pub fn flush(&mut self, order: &mut Order, all: bool) {
        let mut ready = std::mem::replace(&mut self.ready, std::mem::take(&mut self.pending));
        if all {
            ready.append(&mut self.ready);
        }
        // One who bore the name before must be known as joined when the next one's turn comes.
        ready.sort_by_key(|join| join.until_ns);
        for join in ready {
            if let Some(child) = self.owner(&join) {
                order.timeline(join.thread).sync_points[join.sync_point as usize].what = SyncWhat::Joined(Some(child));
            }
        }
        if all {
            self.spans.drain(..).for_each(|span| guard(order, &span));
            for Heir { thread, sync_point, lock, at_ns } in self.heirs.drain(..) {
                let owners = self.kept.get(&lock).into_iter().flatten();
                let last = owners.filter(|(taken_ns, owner)| *taken_ns <= at_ns && *owner != thread).max();
                if let Some((_, owner)) = last {
                    order.timeline(thread).sync_points[sync_point as usize].what = SyncWhat::Outlived(Some(*owner));
                }
            }
            order.timelines.iter_mut().for_each(|timeline| {
                timeline.guards.sort();
                timeline.guards.dedup();
            });
        }
    }

    /// Whom it joined; `None` where that cannot be told.
    fn owner(&mut self, join: &Join) -> Option<ThreadId> {
        let owners = self.owners.get_mut(&(join.process, join.key))?;
        let last = owners.partition_point(|owner| owner.began_ns <= join.until_ns).checked_sub(1)?;
        // A name is free as soon as its thread was joined, a moment before the joiner says so: whoever began
        // during the join may be the thread joined, or already the next one of its name.
        let before = last.checked_sub(1).filter(|_| owners[last].began_ns > join.at_ns);
        let at = match before {
            Some(before) if !owners[before].joined => {
                if owners[last].ended_ns <= join.until_ns {
                    return None;
                }
                before
            }
            _ => last,
        };
        owners[at].joined = true;
        Some(owners[at].thread)
    }
}

fn parent(order: &mut Order, creator: (ThreadId, u32), child: ThreadId) {
    order.timeline(child).creator = Some(creator);
    order.timeline(creator.0).sync_points[creator.1 as usize].what = SyncWhat::Created(Some(child));
}

/// Threads that were created and joined within the hold are guarded by it.
fn guard(order: &mut Order, span: &Span) {
    let sync_points = &order.timeline(span.thread).sync_points;
    let first = sync_points.partition_point(|sync_point| sync_point.until_ns < span.at_ns);
    let mut created = FxHashSet::default();
    let mut guarded = Vec::new();
    for sync_point in sync_points[first..].iter().take_while(|sync_point| sync_point.until_ns <= span.until_ns) {
        match sync_point.what {
            SyncWhat::Created(Some(child)) if sync_point.at_ns >= span.at_ns => _ = created.insert(child),
            SyncWhat::Joined(Some(child)) if created.contains(&child) => guarded.push(child),
            _ => {}
        }
    }
    for child in guarded {
        order.timeline(child).guards.push(span.guard);
    }
}
