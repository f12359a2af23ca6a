//! Which locks protect a thread all its life, since its creator holds them meanwhile.
//!
//! Such a guard keeps the thread away from everyone who takes the guard himself, but not from its creator, nor from
//! its siblings under the same guard: so each guard is kept with who holds it.

use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::order::{SyncWhat, ThreadTimeline};
use crate::model::{LockId, Mode, Session, StackId, ThreadId};

/// A lock that keeps a leg apart: held by its thread, or on the thread's behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegGuard {
    /// The lock.
    pub lock: LockId,
    /// How it is held.
    pub mode: Mode,
    /// Where it was taken.
    pub stack: StackId,
    /// Who holds it.
    pub owner: ThreadId,
}

/// Creators above a thread that are looked at.
const MOST_ANCESTORS: usize = 64;

/// The guard locks of threads.
#[derive(Debug)]
pub(super) struct GuardLocks<'a> {
    timelines: &'a [ThreadTimeline],
    /// Threads that their creator joined.
    joined: FxHashSet<ThreadId>,
    memo: FxHashMap<ThreadId, Rc<[LegGuard]>>,
}

impl<'a> GuardLocks<'a> {
    pub fn new(session: &'a Session) -> Self {
        let timelines = &session.order.timelines;
        let mut joined = FxHashSet::default();
        if timelines.iter().any(|timeline| !timeline.guards.is_empty()) {
            for (at, timeline) in timelines.iter().enumerate() {
                for sync_point in &timeline.sync_points {
                    if let SyncWhat::Joined(Some(child)) = sync_point.what {
                        let creator = timelines.get(child.index()).and_then(|timeline| timeline.creator);
                        if creator.is_some_and(|(creator, _)| creator.index() == at) {
                            joined.insert(child);
                        }
                    }
                }
            }
        }
        Self { timelines, joined, memo: FxHashMap::default() }
    }

    /// What is held on behalf of a thread from its beginning to its end. A guard of its creator counts where the
    /// creator's life encloses the thread's.
    pub fn of(&mut self, thread: ThreadId) -> Rc<[LegGuard]> {
        if let Some(known) = self.memo.get(&thread) {
            return known.clone();
        }
        let mut found = Vec::new();
        let mut at = thread;
        for _ in 0..MOST_ANCESTORS {
            let Some(timeline) = self.timelines.get(at.index()) else { break };
            let Some((creator, _)) = timeline.creator.filter(|_| self.joined.contains(&at)) else { break };
            found.extend(timeline.guards.iter().map(|guard| LegGuard {
                lock: guard.lock,
                mode: guard.mode,
                stack: guard.stack,
                owner: creator,
            }));
            at = creator;
        }
        let found: Rc<[LegGuard]> = found.into();
        self.memo.insert(thread, found.clone());
        found
    }
}
