//! How serious a cycle is: the most serious combination of requests at its sides decides.

use std::rc::Rc;

use super::feasibility::{Feasibility, Outcome};
use super::gates::Holding;
use super::search::{Candidate, End, Group, Level, Pairs};
use super::trace::Event;
use super::wants::Wants;
use super::writers::{Writer, Writers};
use super::{Class, Step};
use crate::model::{LockId, Mode, Session, ThreadId};

/// Why a verdict is what it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause {
    /// A schedule was found.
    Schedule,
    /// A side gives up after a time.
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
    /// The links from the end of the one's segment to the beginning of the other's.
    Before { earlier: (ThreadId, u32), later: (ThreadId, u32) },
    /// A common lock.
    Gate(Holding, Holding),
    /// No two threads.
    OneThread,
    /// The sides were seen in different runs.
    Apart,
    /// The same, and all of them held a lock of this one's class.
    ApartUnder(LockId),
}

/// A verdict with the requests that it is about.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub class: Class,
    pub fails: bool,
    pub choice: Vec<Candidate>,
    pub cause: Cause,
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
/// The same as long as none was found that fails.
const MOST_BENIGN: usize = 256;

/// What verdicts are made with.
pub(super) struct Court<'a> {
    pub session: &'a Session,
    pub wants: &'a Wants<'a>,
    pub pairs: Pairs<'a>,
    pub feasibility: Feasibility<'a>,
    pub writers: Writers<'a>,
    /// There are hand-overs.
    pub soft: bool,
}

impl Court<'_> {
    /// Judges a cycle: `locks[i]` is wanted by side `i` and held by the next one.
    pub fn judge(&mut self, groups: &[Rc<Group>], locks: &[LockId]) -> Verdict {
        let next = |at: usize| &groups[(at + 1) % groups.len()];
        let readers: Vec<LockId> = (0..groups.len())
            .filter(|at| groups[*at].wanted_mode == Mode::Shared && next(*at).held_mode == Mode::Shared)
            .map(|at| locks[at])
            .collect();
        let merged = locks.iter().copied().find(|lock| self.session.lock(*lock).merged > 1);
        let timed = groups.iter().any(|group| group.timed);
        let mut found = Found::default();
        let Self { pairs, feasibility, writers, wants, .. } = self;
        let end = pairs.search(groups, Level::Free, |pairs, choice| {
            if !readers.is_empty() {
                let (cause, fails) = writers.between(pairs, wants, &readers, choice);
                found.offer(Class::NeedsWriter, fails && !timed, choice, cause);
                return !fails && found.tries < MOST_BENIGN;
            }
            if let Some(lock) = merged {
                found.offer(Class::Possible, !timed, choice, Cause::Merged(lock));
                return false;
            }
            if timed {
                found.offer(Class::Possible, false, choice, Cause::Timed);
                return false;
            }
            match feasibility.judge(choice) {
                Outcome::Feasible(witness) => {
                    found.offer(Class::Feasible, true, choice, Cause::Schedule);
                    if let Some(best) = &mut found.best {
                        best.witness = witness;
                    }
                    return false;
                }
                Outcome::Signal(event) => found.offer(Class::SoftOrdered, false, choice, Cause::Signal(event)),
                Outcome::HandOver(event) => found.offer(Class::Possible, true, choice, Cause::HandOver(event)),
                Outcome::NoWitness => found.offer(Class::Possible, true, choice, Cause::NoWitness),
                Outcome::NotKept => found.offer(Class::Possible, true, choice, Cause::NotKept),
                Outcome::Dropped => found.offer(Class::Possible, true, choice, Cause::Dropped),
                Outcome::TooMuch => found.offer(Class::Possible, true, choice, Cause::TooMany),
            }
            // Combinations that differ in their threads only come out alike, but one that is not reached may hide
            // one that is.
            let benign = found.best.as_ref().is_some_and(|best| best.class > Class::Possible);
            found.tries < if benign { MOST_BENIGN } else { MOST_TRIES }
        });
        let soft = found.best.as_ref().is_some_and(|best| best.class == Class::SoftOrdered);
        if (end == End::Exhausted || end == End::Stopped && soft)
            && found.best.as_ref().is_none_or(|best| best.class > Class::Possible)
        {
            return self.too_many(groups, &readers, timed);
        }
        let met = (self.pairs.met_order, self.pairs.met_gate);
        found.best.unwrap_or_else(|| self.kept_apart(groups, &readers, timed, met))
    }

    /// What keeps the sides apart, as nothing else is left.
    fn kept_apart(&mut self, groups: &[Rc<Group>], readers: &[LockId], timed: bool, met: (bool, bool)) -> Verdict {
        let levels = [
            (Level::SoftOrdered, Class::SoftOrdered, met.0 && self.soft),
            (Level::Guarded, Class::Guarded, met.1),
            (Level::Ordered, Class::Ordered, true),
        ];
        for (level, class, _) in levels.into_iter().filter(|(.., worth)| *worth) {
            let mut found: Option<Vec<Candidate>> = None;
            let end = self.pairs.search(groups, level, |_, choice| {
                found = Some(choice.to_vec());
                false
            });
            if let Some(choice) = found {
                let cause = self.cause(&choice, class);
                return Verdict { class, fails: false, choice, cause, witness: Vec::new() };
            }
            if end == End::Exhausted {
                return self.too_many(groups, readers, timed);
            }
        }
        let choice = groups.iter().filter_map(|group| group.alike.first()?.candidates.first().copied()).collect();
        Verdict { class: Class::SameThread, fails: false, choice, cause: Cause::OneThread, witness: Vec::new() }
    }

    /// The most serious that it can be, as not everything was looked at.
    fn too_many(&self, groups: &[Rc<Group>], readers: &[LockId], timed: bool) -> Verdict {
        let first = |group: &Rc<Group>| group.alike.first()?.candidates.first().copied();
        let choice = groups.iter().filter_map(first).collect();
        let class = if readers.is_empty() { Class::Possible } else { Class::NeedsWriter };
        let blocks = readers.iter().all(|lock| self.session.lock(*lock).traits.writers_first);
        Verdict { class, fails: blocks && !timed, choice, cause: Cause::TooMany, witness: Vec::new() }
    }

    fn cause(&mut self, choice: &[Candidate], class: Class) -> Cause {
        let wants: Vec<_> = choice.iter().filter_map(|candidate| self.wants.get(candidate.want)).collect();
        for (at, one) in wants.iter().enumerate() {
            for other in &wants[at + 1..] {
                if class == Class::Guarded {
                    if let Some((a, b)) = self.pairs.gate(one, other) {
                        return Cause::Gate(a, b);
                    }
                    continue;
                }
                let soft = class == Class::SoftOrdered;
                if !self.pairs.concurrent(soft, one, other)
                    && let (Some(a), Some(b)) = (one.runs.first(), other.runs.first())
                {
                    let clocks = if soft { &mut self.pairs.soft } else { &mut self.pairs.must };
                    let forth = clocks.before(one.thread, a.last, other.thread, b.first);
                    let ((one, a), (other, b)) = if forth { ((one, a), (other, b)) } else { ((other, b), (one, a)) };
                    return Cause::Before { earlier: (one.thread, a.last), later: (other.thread, b.first) };
                }
            }
        }
        Cause::TooMany
    }
}

#[derive(Default)]
struct Found {
    best: Option<Verdict>,
    tries: usize,
}

impl Found {
    fn offer(&mut self, class: Class, fails: bool, choice: &[Candidate], cause: Cause) {
        self.tries += 1;
        let offered = (class, !fails);
        if self.best.as_ref().is_none_or(|best| offered < best.rank()) {
            self.best = Some(Verdict { class, fails, choice: choice.to_vec(), cause, witness: Vec::new() });
        }
    }
}
