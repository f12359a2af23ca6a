//! The search for threads that can stand at the legs of a cycle at the same time.
//!
//! Each leg of a cycle has candidates: requests, by threads, in segments. Wanted is one of each leg such that every
//! two of them go together: a clique with one node of each part, found by trying one leg after the other and going
//! back where nothing fits.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::clocks::Clocks;
use super::guard_locks::{GuardLocks, LegGuard};
use super::requests::{RequestView, Requests, holds};
use crate::model::order::{ChainId, Run};
use crate::model::{LockId, Mode, Session, StackId, ThreadId};

/// A request that may stand at a leg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Its number.
    pub want: u32,
    pub thread: ThreadId,
    /// How the thread holds the lock that the leg before wants, and where it took it.
    pub held_mode: Mode,
    pub held_stack: StackId,
}

/// Requests under the same locks, taken at the same places: whatever holds of the locks holds of all.
#[derive(Debug)]
pub(super) struct EquivalenceClass {
    pub held: ChainId,
    pub inherited: Rc<[LegGuard]>,
    pub candidates: Vec<Candidate>,
}

/// Requests that one leg of a reported cycle stands for.
#[derive(Debug)]
pub(super) struct Group {
    /// The leg's part of the fingerprint.
    pub hash: u64,
    pub held_mode: Mode,
    pub wanted_mode: Mode,
    pub timed: bool,
    pub equivalents: Vec<EquivalenceClass>,
    /// Requests made.
    pub count: u64,
}

/// How much two legs may stand in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Not at all.
    Free,
    /// They may be ordered by hand-overs.
    SoftOrdered,
    /// They may hold a common lock as well.
    Guarded,
    /// Those that hold a common lock may be ordered as well.
    GuardedOrOrdered,
    /// They need only be different threads.
    Ordered,
}

/// How a search goes on from a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With the next one.
    On,
    /// With another candidate at the first leg: those that differ at the others mostly come out alike.
    Other,
    /// Not at all.
    Stop,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was looked at.
    Complete,
    /// Who asked had enough.
    Stopped,
    /// There was too much to look at.
    Exhausted,
}

/// What is known of pairs of requests.
pub(super) struct Pairs<'a> {
    session: &'a Session,
    requests: &'a Requests<'a>,
    pub hard: Clocks<'a>,
    pub soft: Clocks<'a>,
    pub guard_locks: GuardLocks<'a>,
    /// Whether two lists of held locks have a guard lock in common.
    guarded: FxHashMap<(ChainId, ChainId), bool>,
    /// Steps that are left for all searches.
    pub steps: u64,
    /// The last search met requests kept apart by a guard lock, or by an order.
    pub met_guard: bool,
    pub met_order: bool,
}

impl<'a> Pairs<'a> {
    /// Pairs that one search looks at: about a second.
    const MOST_STEPS: u64 = 10_000_000;
    /// The same for all searches.
    const MOST_STEPS_IN_ALL: u64 = 60_000_000;

    pub fn new(session: &'a Session, requests: &'a Requests<'a>, hard: Clocks<'a>, soft: Clocks<'a>) -> Self {
        let guard_locks = GuardLocks::new(session);
        Self {
            session,
            requests,
            hard,
            soft,
            guard_locks,
            guarded: FxHashMap::default(),
            steps: Self::MOST_STEPS_IN_ALL,
            met_guard: false,
            met_order: false,
        }
    }

    /// What a thread holds at a request by itself, as far as it is one lock each.
    fn own(&self, held: ChainId, owner: ThreadId) -> impl Iterator<Item = LegGuard> + '_ {
        let links = self.session.order.chains.walk(held);
        let guard =
            |lock: LockId| self.session.locks.get(lock.index()).is_some_and(|lock| lock.merged <= 1 && holds(lock));
        links.filter(move |link| guard(link.lock)).map(move |link| LegGuard {
            lock: link.lock,
            mode: link.mode,
            stack: link.stack,
            owner,
        })
    }

    /// The lock that keeps two requests apart: held by two different threads at the time, and not by both to read.
    pub fn guard(&mut self, a: &RequestView<'_>, b: &RequestView<'_>) -> Option<(LegGuard, LegGuard)> {
        let (inherited_a, inherited_b) = (self.guard_locks.of(a.thread), self.guard_locks.of(b.thread));
        let of_b: Vec<LegGuard> = self.own(b.held, b.thread).chain(inherited_b.iter().copied()).collect();
        let mut of_a = self.own(a.held, a.thread).chain(inherited_a.iter().copied());
        of_a.find_map(|one| {
            let apart = |other: &&LegGuard| {
                other.lock == one.lock
                    && other.owner != one.owner
                    && (one.mode, other.mode) != (Mode::Shared, Mode::Shared)
            };
            of_b.iter().find(apart).map(|other| (one, *other))
        })
    }

    /// The same for all requests of two kinds, where nothing depends on the threads.
    fn guarded(&mut self, a: &EquivalenceClass, b: &EquivalenceClass) -> Option<bool> {
        if !a.inherited.is_empty() || !b.inherited.is_empty() {
            return None;
        }
        let key = (a.held.min(b.held), a.held.max(b.held));
        if let Some(known) = self.guarded.get(&key) {
            return Some(*known);
        }
        let of_b: Vec<LegGuard> = self.own(b.held, ThreadId(1)).collect();
        let guarded = self.own(a.held, ThreadId(0)).any(|one| {
            of_b.iter().any(|other| other.lock == one.lock && (one.mode, other.mode) != (Mode::Shared, Mode::Shared))
        });
        self.guarded.insert(key, guarded);
        Some(guarded)
    }

    fn clocks(&mut self, soft: bool) -> &mut Clocks<'a> {
        if soft { &mut self.soft } else { &mut self.hard }
    }

    /// Whether two runs are not ordered.
    fn apart(&mut self, soft: bool, a: (ThreadId, Run), b: (ThreadId, Run)) -> bool {
        let clocks = self.clocks(soft);
        !clocks.before(a.0, a.1.last, b.0, b.1.first) && !clocks.before(b.0, b.1.last, a.0, a.1.first)
    }

    /// Whether some run of one and some run of the other are not ordered.
    pub fn concurrent(&mut self, soft: bool, a: &RequestView<'_>, b: &RequestView<'_>) -> bool {
        self.concurrent_runs(soft, a, b).is_some()
    }

    /// Such runs.
    pub fn concurrent_runs(&mut self, soft: bool, a: &RequestView<'_>, b: &RequestView<'_>) -> Option<(Run, Run)> {
        for run in a.runs {
            self.steps = self.steps.saturating_sub(1);
            let clocks = self.clocks(soft);
            let ended = clocks.ended(b.thread, a.thread, run.first);
            // The first run of b that had not ended; if this one comes after a's, all later ones do.
            let next = b.runs.get(b.runs.partition_point(|other| other.last < ended));
            if let Some(next) = next
                && !clocks.before(a.thread, run.last, b.thread, next.first)
            {
                return Some((*run, *next));
            }
        }
        None
    }

    /// Whether two requests go together. `open`: it is known that no lock keeps them apart.
    fn fits(&mut self, level: Level, open: bool, a: &RequestView<'_>, b: &RequestView<'_>) -> bool {
        self.steps = self.steps.saturating_sub(1);
        if a.thread == b.thread || level == Level::Ordered {
            return a.thread != b.thread;
        }
        if !open && self.guard(a, b).is_some() {
            self.met_guard = true;
            if level != Level::Guarded {
                return level == Level::GuardedOrOrdered;
            }
        }
        let concurrent = self.concurrent(level == Level::Free, a, b);
        self.met_order |= !concurrent;
        concurrent
    }

    /// Whether all requests come one after the other, so that no two go together.
    fn in_a_row(&mut self, groups: &[Rc<Group>], soft: bool) -> bool {
        /// Fewer are looked at pair by pair.
        const WORTH_IT: usize = 64;
        let all = || groups.iter().flat_map(|group| &group.equivalents).flat_map(|class| &class.candidates);
        if all().count() < WORTH_IT {
            return false;
        }
        let mut runs: Vec<(u64, ThreadId, Run)> = Vec::new();
        for want in all().filter_map(|candidate| self.requests.get(candidate.want)) {
            let (Some(first), Some(last)) = (want.runs.first(), want.runs.last()) else { return false };
            let run = Run { first: first.first, last: last.last, count: 0 };
            runs.push((self.begin_ns(want.thread, run.first), want.thread, run));
        }
        runs.sort_unstable_by_key(|(begin_ns, thread, run)| (*begin_ns, *thread, run.first));
        self.steps = self.steps.saturating_sub(runs.len() as u64);
        let clocks = if soft { &mut self.soft } else { &mut self.hard };
        runs.windows(2).all(|pair| {
            let ((_, one, a), (_, other, b)) = (pair[0], pair[1]);
            one != other && clocks.before(one, a.last, other, b.first)
        })
    }

    /// When a segment began.
    fn begin_ns(&self, thread: ThreadId, segment: u32) -> u64 {
        let sync_point = |thread: ThreadId, sync_point: u32| {
            self.session
                .order
                .timelines
                .get(thread.index())?
                .sync_points
                .get(sync_point as usize)
                .map(|sync_point| sync_point.until_ns)
        };
        let creator = || self.session.order.timelines.get(thread.index())?.creator;
        let before = match segment.checked_sub(1) {
            Some(before) => sync_point(thread, before),
            None => creator().and_then(|(creator, at)| sync_point(creator, at)),
        };
        before.unwrap_or(0)
    }

    /// Reports the choices of one candidate for each leg that go together; `tell` says how to go on.
    pub fn search(
        &mut self,
        groups: &[Rc<Group>],
        level: Level,
        mut report: impl FnMut(&mut Self, &[Candidate]) -> Next,
    ) -> End {
        let requests = self.requests;
        (self.met_guard, self.met_order) = (false, false);
        if level <= Level::Guarded && self.in_a_row(groups, level == Level::Free) {
            self.met_order = true;
            return End::Complete;
        }
        // Of each leg so far: whether its kind is known to share no lock with the kind of the leg that is tried.
        let mut open: Vec<bool> = Vec::new();
        let floor = self.steps.saturating_sub(Self::MOST_STEPS);
        // Of each leg so far: the kind and the candidate that is tried next.
        let mut next = vec![(0usize, 0usize)];
        let mut chosen: Vec<(usize, Candidate)> = Vec::new();
        while let Some((kind, at)) = next.last_mut() {
            let group = &groups[chosen.len()];
            let Some(class) = group.equivalents.get(*kind) else {
                next.pop();
                chosen.pop();
                continue;
            };
            let Some(candidate) = class.candidates.get(*at).copied() else {
                (*kind, *at) = (*kind + 1, 0);
                continue;
            };
            let others = groups.iter().zip(&chosen).map(|(group, (kind, _))| &group.equivalents[*kind]);
            let guarded: Vec<Option<bool>> = others.map(|other| self.guarded(class, other)).collect();
            if level <= Level::SoftOrdered && guarded.contains(&Some(true)) {
                self.met_guard = true;
                self.steps = self.steps.saturating_sub(1);
                (*kind, *at) = (*kind + 1, 0);
                continue;
            }
            open.clear();
            open.extend(guarded.iter().map(|guarded| *guarded == Some(false)));
            let number = *kind;
            *at += 1;
            if self.steps <= floor {
                return End::Exhausted;
            }
            let Some(want) = requests.get(candidate.want) else { continue };
            let fits = chosen.iter().zip(&open).all(|((_, other), open)| {
                candidate.thread != other.thread
                    && requests.get(other.want).is_some_and(|other| self.fits(level, *open, &want, &other))
            });
            if !fits {
                continue;
            }
            chosen.push((number, candidate));
            if chosen.len() < groups.len() {
                next.push((0, 0));
                continue;
            }
            let choice: Vec<Candidate> = chosen.iter().map(|(_, candidate)| *candidate).collect();
            chosen.pop();
            if self.runs_fit(level, &choice) {
                match report(self, &choice) {
                    Next::On => {}
                    Next::Other => {
                        next.truncate(1);
                        chosen.clear();
                    }
                    Next::Stop => return End::Stopped,
                }
            }
        }
        End::Complete
    }

    /// Whether runs can be chosen such that all of them go together, not only every two requests.
    fn runs_fit(&mut self, level: Level, choice: &[Candidate]) -> bool {
        if level > Level::Guarded || choice.len() < 3 {
            return true;
        }
        let requests: Vec<RequestView<'_>> =
            choice.iter().filter_map(|candidate| self.requests.get(candidate.want)).collect();
        if requests.iter().filter(|want| want.runs.len() > 1).count() < 2 {
            return true;
        }
        let soft = level == Level::Free;
        let mut next = vec![0usize];
        let mut chosen: Vec<(ThreadId, Run)> = Vec::new();
        while let Some(at) = next.last_mut() {
            let want = &requests[chosen.len()];
            let Some(run) = want.runs.get(*at).copied() else {
                next.pop();
                chosen.pop();
                continue;
            };
            *at += 1;
            self.steps = self.steps.saturating_sub(1);
            if self.steps == 0 {
                return true;
            }
            if chosen.iter().all(|other| self.apart(soft, *other, (want.thread, run))) {
                chosen.push((want.thread, run));
                if chosen.len() == requests.len() {
                    return true;
                }
                next.push(0);
            }
        }
        // Every two of them have such runs, but not all together.
        self.met_order = true;
        false
    }
}
