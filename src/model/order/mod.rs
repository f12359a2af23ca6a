//! What a recording says about the order in which locks are taken, without judging it.
//!
//! [`Fold::apply`] is the one way in: the collector and the tests' simulated programs both go through it.
//! Kept are the *requests* (a lock asked for while others were held: the edges of the lock-order graph, all of
//! them), the *timelines* of threads (what came before what) and a *log* of single events as far as there
//! is room (it takes part in witnesses only).

#[cfg(test)]
pub mod arbitrary;
mod chains;
mod cyclic;
mod event;
mod fold;
mod log;
#[cfg(test)]
mod tests;
mod thread_lineage;

pub use chains::{ChainId, Chains, Link};
pub use event::{Event, SECOND_LIST, What};
pub use fold::Fold;
pub use log::{Log, Logged, LoggedWhat};

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use super::ids::{LockId, StackId, ThreadId};
use super::profile::Mode;
use super::stacks::Stacks;

/// How a lock was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum How {
    /// Waits as long as it takes.
    #[default]
    Block,
    /// Gives up after a time.
    Timed,
    /// Never waits: makes no edge into the lock.
    Try,
}

/// What makes two requests the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// Who asked.
    pub thread: ThreadId,
    /// For what; a lock of kind `Join` stands for the thread that is joined.
    pub lock: LockId,
    /// How it wanted it.
    pub mode: Mode,
    /// How it asked.
    pub how: How,
    /// Asked inside a condition wait, to have the mutex back.
    pub reacquired: bool,
    /// The stack that asked.
    pub stack: StackId,
    /// What the thread held meanwhile: never empty.
    pub held: ChainId,
}

/// Segments of a thread in which a request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first segment: number of sync points of the thread before it.
    pub first: u32,
    /// The last one; more than `first` where single segments are not known any more.
    pub last: u32,
    /// How often.
    pub count: u64,
}

/// A lock asked for while others were held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which.
    pub key: RequestKey,
    /// When, in the order of the segments.
    pub runs: Vec<Run>,
    /// It never ended: the thread waited to the end of the recording.
    pub unanswered: bool,
}

impl Request {
    /// How often it was made.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// Whether the request was made in a segment between these, both included.
    pub fn within(&self, first: u32, last: u32) -> bool {
        self.runs.iter().any(|run| run.first <= last && first <= run.last)
    }
}

/// A point in a thread's timeline that orders it with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPoint {
    /// When it began, ns since the start of the session.
    pub at_ns: u64,
    /// When it was over (waits), else as `at_ns`.
    pub until_ns: u64,
    /// What.
    pub what: SyncWhat,
    /// Where.
    pub stack: StackId,
}

/// What a [`SyncPoint`] is. Hand-overs order the two sides in this run only; the others must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncWhat {
    /// Created this thread (`None`: it was never seen).
    Created(Option<ThreadId>),
    /// Joined this thread.
    Joined(Option<ThreadId>),
    /// Met `count` threads (itself included) at a barrier.
    Barrier {
        /// The barrier.
        lock: LockId,
        /// How many threads meet there.
        count: u32,
    },
    /// Posted a semaphore or signalled a condition variable.
    Posted(LockId),
    /// Had a semaphore, or was woken on a condition variable.
    Taken(LockId),
    /// Took a robust mutex that this thread held when it ended (`None`: it was never seen), and was told so.
    Outlived(Option<ThreadId>),
}

impl SyncWhat {
    /// Whether the order holds in every run.
    pub fn is_hard(self) -> bool {
        matches!(self, Self::Created(_) | Self::Joined(_) | Self::Barrier { .. } | Self::Outlived(_))
    }
}

/// A lock that the creator of a thread held from its creation until it had joined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuardLock {
    /// The lock.
    pub lock: LockId,
    /// How it was held.
    pub mode: Mode,
    /// Where it was taken.
    pub stack: StackId,
}

/// A thread's timeline, as far as it orders it with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadTimeline {
    /// What joiners call it (its `pthread_t`): the address of the lock of kind `Join` that stands for it; 0 where
    /// unknown.
    pub key: u64,
    /// Who created it, and the position of the sync point `Created` in the creator's sync points.
    pub creator: Option<(ThreadId, u32)>,
    /// In the thread's order. Segment n lies before sync point n; the last segment behind all sync points.
    pub sync_points: Vec<SyncPoint>,
    /// Held by the creator all the while.
    pub guards: Vec<GuardLock>,
    /// Hand-overs that were not kept as sync points any more, as there were too many.
    pub soft_dropped: u64,
    /// Creations, joins and barriers that were not kept.
    pub hard_dropped: u64,
}

impl ThreadTimeline {
    /// The segments between two hard sync points, as numbers of segments between all sync points: those behind the
    /// `hard`-th hard one and before the next, first and last.
    pub fn segments(&self, hard: u32) -> (u32, u32) {
        let all = self.sync_points.len() as u32;
        let mut places = (0..all).filter(|at| self.sync_points[*at as usize].what.is_hard());
        let first = match hard.checked_sub(1) {
            None => 0,
            Some(before) => places.nth(before as usize).map_or(all, |at| at + 1),
        };
        (first, places.next().unwrap_or(all))
    }
}

/// How a lock was used as it may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MisuseKind {
    /// Unlocked by a thread that does not hold it, while another does.
    UnlockNotOwner,
    /// Unlocked while nobody holds it.
    UnlockNotLocked,
    /// Destroyed while it is held.
    DestroyedWhileHeld,
    /// A thread ended and held it still.
    HeldAtThreadExit,
    /// A condition was waited for with it while another thread held it.
    WaitNotOwner,
    /// A condition was waited for with it while nobody held it.
    WaitNotLocked,
    /// Asked for again by the thread that has it, which was refused.
    Refused,
}

impl MisuseKind {
    /// Every kind; only ever added to at the end.
    pub const ALL: [Self; 7] = [
        Self::UnlockNotOwner,
        Self::UnlockNotLocked,
        Self::DestroyedWhileHeld,
        Self::HeldAtThreadExit,
        Self::WaitNotOwner,
        Self::WaitNotLocked,
        Self::Refused,
    ];
}

/// A lock used as it may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Misuse {
    /// How.
    pub kind: MisuseKind,
    /// The lock.
    pub lock: LockId,
    /// Where (`HeldAtThreadExit`: where it was taken).
    pub stack: StackId,
    /// Where whoever held it had taken it, as far as known.
    pub holder: StackId,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// Lists of held locks.
    pub chains: Chains,
    /// What was asked for under other locks.
    pub requests: Vec<Request>,
    index: FxHashMap<RequestKey, u32>,
    /// By thread.
    pub timelines: Vec<ThreadTimeline>,
    /// Single events, as far as there is room.
    pub log: Log,
    /// By what, by whom first, how often.
    pub misuses: FxHashMap<Misuse, (ThreadId, u64)>,
    /// Requests that there was no room for: the graph is not complete unless it is 0.
    pub dropped: u64,
}

impl Order {
    /// Distinct requests that are kept.
    pub const MOST_REQUESTS: usize = 4 << 20;
    /// Runs of one request that are kept apart; later ones join the last.
    pub const MOST_RUNS: usize = 512;

    /// Counts a request.
    pub fn request(&mut self, key: RequestKey, run: Run) -> Option<&mut Request> {
        let at = match self.index.get(&key) {
            Some(at) => *at as usize,
            None if self.requests.len() >= Self::MOST_REQUESTS => {
                self.dropped += run.count;
                return None;
            }
            None => {
                let at = self.requests.len();
                self.index.insert(key, at as u32);
                self.requests.push(Request { key, runs: Vec::new(), unanswered: false });
                at
            }
        };
        let request = &mut self.requests[at];
        let full = request.runs.len() >= Self::MOST_RUNS;
        match request.runs.last_mut() {
            Some(last) if (last.first, last.last) == (run.first, run.last) => last.count += run.count,
            Some(last) if full => {
                last.first = last.first.min(run.first);
                last.last = last.last.max(run.last);
                last.count += run.count;
            }
            _ => request.runs.push(run),
        }
        Some(request)
    }

    /// Adds a request with all its runs; false if there is one like it already.
    pub fn insert(&mut self, request: Request) -> bool {
        let Entry::Vacant(new) = self.index.entry(request.key) else { return false };
        new.insert(self.requests.len() as u32);
        self.requests.push(request);
        true
    }

    /// Counts requests without events of their own (folds), made at some time during these segments of the thread,
    /// first and last.
    pub fn requested(&mut self, key: RequestKey, segments: (u32, u32), count: u64) {
        let (first, last) = segments;
        self.request(key, Run { first, last, count });
    }

    /// A thread's timeline, made where it is new.
    pub fn timeline(&mut self, thread: ThreadId) -> &mut ThreadTimeline {
        if thread.index() >= self.timelines.len() {
            self.timelines.resize_with(thread.index() + 1, ThreadTimeline::default);
        }
        &mut self.timelines[thread.index()]
    }

    /// Where a thread was created; the unknown stack where that was not seen.
    pub fn created_at(&self, thread: ThreadId) -> StackId {
        let creation = self.timelines.get(thread.index()).and_then(|timeline| timeline.creator);
        let sync_point = creation.and_then(|(creator, sync_point)| {
            self.timelines.get(creator.index())?.sync_points.get(sync_point as usize)
        });
        sync_point.map_or(Stacks::UNKNOWN, |sync_point| sync_point.stack)
    }

    /// Where a thread that ended had taken a lock that it held still; where another one had, if it is not known of this one.
    pub fn left_behind(&self, thread: ThreadId, lock: LockId) -> Option<StackId> {
        let left = self.misuses.iter().filter(|(misuse, _)| {
            misuse.kind == MisuseKind::HeldAtThreadExit && misuse.lock == lock && misuse.stack != Stacks::UNKNOWN
        });
        left.min_by_key(|(misuse, (first, _))| (*first != thread, **misuse)).map(|(misuse, _)| misuse.stack)
    }

    /// Counts a misuse.
    pub fn misused(&mut self, misuse: Misuse, thread: ThreadId, count: u64) {
        self.misuses.entry(misuse).or_insert((thread, 0)).1 += count;
    }
}
