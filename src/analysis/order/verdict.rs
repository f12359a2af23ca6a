//! How serious a cycle is: the most serious combination of requests at its legs decides.

use std::rc::Rc;

use super::feasibility::{Feasibility, Outcome};
use super::guard_locks::LegGuard;
use super::requests::Requests;
use super::search::{Candidate, End, Group, Level, Next, Pairs};
use super::trace::Event;
use super::writers::{Writer, Writers};
use super::{Class, Step};
use crate::model::{LockId, Mode, Session, ThreadId};

/// Why a verdict is what it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Grounds {
    /// A schedule was found.
    Schedule,
    /// A leg gives up after a time.
    Timed,
    /// A lock's row stands for many locks.
    Merged(LockId),
    /// The schedule takes a lock earlier than recorded.
    HandOver(Event),
    /// No schedule without changing the order of critical sections.
    NoWitness,
    /// The requests are not in the log any more.
    NotKept,
    /// Creations, joins or hand-overs were not kept.
    Dropped,
    /// There were too many combinations.
    TooMany,
    /// Readers meet at this lock; a writer that queues may block them.
    Readers(LockId, Option<Writer>),
    /// A signal came before.
    Signal(Event),
    /// The links from the end of the one's segment to the beginning of the other's; a lock that both hold as well.
    Before { earlier: (ThreadId, u32), later: (ThreadId, u32), guard: Option<LockId> },
    /// A common lock.
    Guard(LegGuard, LegGuard),
    /// No two threads.
    OneThread,
    /// The legs were seen in different runs.
    CrossRun,
    /// The same, and all of them held a lock of this one's class.
    CrossRunUnder(LockId),
}

/// A verdict with the requests that it is about.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub class: Class,
    pub fails: bool,
    pub choice: Vec<Candidate>,
    pub grounds: Grounds,
    pub witness: Vec<Step>,
}

impl Verdict {
    /// The more serious, the smaller.
    pub fn rank(&self) -> (Class, bool) {
        (self.class, !self.fails)
    }
}

/// Combinations that are looked at for a schedule, as all are alike in most programs.
const MOST_TRIES: usize = 4;
/// The same as long as none was found that fails, or all of them together cost little.
const MOST_BENIGN: usize = 256;
/// Little is this part of the events that may still be looked at.
const CHEAP: u64 = 1024;

/// What verdicts are made with.
pub(super) struct Classifier<'a> {
    pub session: &'a Session,
    pub requests: &'a Requests<'a>,
    pub pairs: Pairs<'a>,
    pub feasibility: Feasibility<'a>,
    pub writers: Writers<'a>,
    /// There are hand-overs.
    pub soft: bool,
}

impl Classifier<'_> {
    /// Classifies a cycle: `locks[i]` is wanted by leg `i` and held by the next one.
    pub fn classify(&mut self, groups: &[Rc<Group>], locks: &[LockId]) -> Verdict {
        let next = |at: usize| &groups[(at + 1) % groups.len()];
        let readers: Vec<LockId> = (0..groups.len())
            .filter(|at| groups[*at].wanted_mode == Mode::Shared && next(*at).held_mode == Mode::Shared)
            .map(|at| locks[at])
            .collect();
        let merged = locks.iter().copied().find(|lock| self.session.lock(*lock).merged > 1);
        let timed = groups.iter().any(|group| group.timed);
        let mut found = Found::default();
        let Self { pairs, feasibility, writers, requests, .. } = self;
        let mut end = End::Complete;
        // First one choice for each candidate of the first leg, then all: who comes first often decides.
        let ways = if readers.is_empty() { &[Next::Other, Next::On][..] } else { &[Next::On] };
        for way in ways {
            found.tries = 0;
            let left = feasibility.steps_left();
            end = pairs.search(groups, Level::Free, |pairs, choice| {
                if !readers.is_empty() {
                    let (lock, writer, fails) = writers.between(pairs, requests, &readers, choice);
                    found.offer(Class::NeedsWriter, fails && !timed, choice, Grounds::Readers(lock, writer));
                    return if !fails && found.tries < MOST_BENIGN { *way } else { Next::Stop };
                }
                if let Some(lock) = merged {
                    found.offer(Class::Possible, !timed, choice, Grounds::Merged(lock));
                    return Next::Stop;
                }
                if timed {
                    found.offer(Class::Possible, false, choice, Grounds::Timed);
                    return Next::Stop;
                }
                match feasibility.reach(choice) {
                    Outcome::Feasible(witness) => {
                        found.offer(Class::Feasible, true, choice, Grounds::Schedule);
                        if let Some(best) = &mut found.best {
                            best.witness = witness;
                        }
                        return Next::Stop;
                    }
                    Outcome::Signal(event) => found.offer(Class::SoftOrdered, false, choice, Grounds::Signal(event)),
                    Outcome::HandOver(event) => found.offer(Class::Possible, true, choice, Grounds::HandOver(event)),
                    Outcome::NoWitness => found.offer(Class::Possible, true, choice, Grounds::NoWitness),
                    Outcome::NotKept => found.offer(Class::Possible, true, choice, Grounds::NotKept),
                    Outcome::Dropped => found.offer(Class::Possible, true, choice, Grounds::Dropped),
                    Outcome::TooMuch => found.offer(Class::Possible, true, choice, Grounds::TooMany),
                }
                // Combinations that differ in their threads only come out alike, but one that is not reached may hide
                // one that is.
                let benign = found.best.as_ref().is_some_and(|best| best.class > Class::Possible);
                let cheap = left - feasibility.steps_left() < left / CHEAP;
                if found.tries < if benign || cheap { MOST_BENIGN } else { MOST_TRIES } { *way } else { Next::Stop }
            });
            if end != End::Complete || found.best.is_none() {
                break;
            }
        }
        let soft = found.best.as_ref().is_some_and(|best| best.class == Class::SoftOrdered);
        if (end == End::Exhausted || end == End::Stopped && soft)
            && found.best.as_ref().is_none_or(|best| best.class > Class::Possible)
        {
            return self.too_many(groups, &readers, timed);
        }
        let met = (self.pairs.met_order, self.pairs.met_guard);
        found.best.unwrap_or_else(|| self.kept_apart(groups, &readers, timed, met))
    }

    /// What keeps the legs apart, as nothing else is left.
    fn kept_apart(&mut self, groups: &[Rc<Group>], readers: &[LockId], timed: bool, met: (bool, bool)) -> Verdict {
        // What keeps them apart in every run says more than a guard lock, but finding it out may be too much.
        let levels = [
            (Level::SoftOrdered, Class::SoftOrdered, met.0 && self.soft),
            (Level::Guarded, Class::Guarded, met.1),
            (Level::Ordered, Class::Ordered, true),
        ];
        for (level, class, _) in levels.into_iter().filter(|(.., worth)| *worth) {
            let (mut found, mut end) = self.any(groups, level);
            if end == End::Exhausted && level == Level::Guarded {
                (found, end) = self.any(groups, Level::GuardedOrOrdered);
            }
            if let Some(choice) = found {
                let grounds = self.grounds(&choice, class);
                return Verdict { class, fails: false, choice, grounds, witness: Vec::new() };
            }
            if end == End::Exhausted {
                return self.too_many(groups, readers, timed);
            }
        }
        let choice = groups.iter().filter_map(|group| group.equivalents.first()?.candidates.first().copied()).collect();
        Verdict { class: Class::SameThread, fails: false, choice, grounds: Grounds::OneThread, witness: Vec::new() }
    }

    /// Any choice that this level allows.
    fn any(&mut self, groups: &[Rc<Group>], level: Level) -> (Option<Vec<Candidate>>, End) {
        let mut found: Option<Vec<Candidate>> = None;
        let end = self.pairs.search(groups, level, |_, choice| {
            found = Some(choice.to_vec());
            Next::Stop
        });
        (found, end)
    }

    /// The most serious that it can be, as not everything was looked at.
    fn too_many(&self, groups: &[Rc<Group>], readers: &[LockId], timed: bool) -> Verdict {
        let first = |group: &Rc<Group>| group.equivalents.first()?.candidates.first().copied();
        let choice = groups.iter().filter_map(first).collect();
        let class = if readers.is_empty() { Class::Possible } else { Class::NeedsWriter };
        let blocks = readers.iter().all(|lock| self.session.lock(*lock).traits.writers_first);
        Verdict { class, fails: blocks && !timed, choice, grounds: Grounds::TooMany, witness: Vec::new() }
    }

    fn grounds(&mut self, choice: &[Candidate], class: Class) -> Grounds {
        let requests: Vec<_> = choice.iter().filter_map(|candidate| self.requests.get(candidate.want)).collect();
        for (at, one) in requests.iter().enumerate() {
            for other in &requests[at + 1..] {
                if class == Class::Guarded {
                    if let Some((a, b)) = self.pairs.guard(one, other) {
                        return Grounds::Guard(a, b);
                    }
                    continue;
                }
                let soft = class == Class::SoftOrdered;
                if !self.pairs.concurrent(soft, one, other)
                    && let (Some(a), Some(b)) = (one.runs.first(), other.runs.first())
                {
                    let clocks = if soft { &mut self.pairs.soft } else { &mut self.pairs.hard };
                    let forth = clocks.before(one.thread, a.last, other.thread, b.first);
                    let ((one, a), (other, b)) = if forth { ((one, a), (other, b)) } else { ((other, b), (one, a)) };
                    let guard = self.pairs.guard(one, other).filter(|_| !soft).map(|(held, _)| held.lock);
                    return Grounds::Before { earlier: (one.thread, a.last), later: (other.thread, b.first), guard };
                }
            }
        }
        // Every two of them could run at the same time, but not all together: one of the orders that matter.
        let clocks = if class == Class::SoftOrdered { &mut self.pairs.soft } else { &mut self.pairs.hard };
        let ordered =
            requests.iter().flat_map(|one| requests.iter().map(move |other| (one, other))).find_map(|(one, other)| {
                let (a, b) = (one.runs.first()?, other.runs.first()?);
                let (earlier, later) = ((one.thread, a.last), (other.thread, b.first));
                let before = one.thread != other.thread && clocks.before(earlier.0, earlier.1, later.0, later.1);
                before.then_some(Grounds::Before { earlier, later, guard: None })
            });
        ordered.unwrap_or(Grounds::TooMany)
    }
}

#[derive(Default)]
struct Found {
    best: Option<Verdict>,
    tries: usize,
}

impl Found {
    fn offer(&mut self, class: Class, fails: bool, choice: &[Candidate], grounds: Grounds) {
        self.tries += 1;
        let offered = (class, !fails);
        if self.best.as_ref().is_none_or(|best| offered < best.rank()) {
            self.best = Some(Verdict { class, fails, choice: choice.to_vec(), grounds, witness: Vec::new() });
        }
    }
}
