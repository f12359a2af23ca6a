//! Whether the recorded events reach a deadlock, and by which schedule.

use std::collections::VecDeque;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::closure::{Care, Closed, Closure, Instances, Signals};
use super::links::Links;
use super::requests::{RequestView, Requests, holds};
use super::search::Candidate;
use super::trace::{Event, Trace, What};
use super::{Action, Step};
use crate::model::order::SyncWhat;
use crate::model::{Kind, LockId, Session, Stacks, ThreadId};

/// What was found out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// This schedule reaches it.
    Feasible(Vec<Step>),
    /// It would, but this acquisition followed another one and may depend on what was done before.
    HandOver(Event),
    /// It would, but this acquisition came after a signal to those who wait.
    Signal(Event),
    /// Critical sections would have to change places.
    NoWitness,
    /// The requests are not in the part of the recording that is kept event by event.
    NotKept,
    /// Some creations, joins or hand-overs were not kept.
    Dropped,
    /// There was too much to look at.
    TooMuch,
}

/// Looks for schedules in the trace, which is made when it is asked for first.
pub(super) struct Feasibility<'a> {
    session: &'a Session,
    requests: &'a Requests<'a>,
    links: &'a Links,
    trace: Option<(Trace, Signals)>,
    /// Where requests were made, by their numbers.
    identities: FxHashMap<u32, Rc<[u32]>>,
    /// Events that may still be looked at.
    steps: u64,
}

impl<'a> Feasibility<'a> {
    /// Events that are looked at in all: some seconds.
    const MOST_STEPS: u64 = 150_000_000;
    /// Steps of a schedule that are reported in full.
    const MOST_FULL: usize = 40;

    pub fn new(session: &'a Session, requests: &'a Requests<'a>, links: &'a Links) -> Self {
        Self { session, requests, links, trace: None, identities: FxHashMap::default(), steps: Self::MOST_STEPS }
    }

    /// Events that may still be looked at.
    pub fn steps_left(&self) -> u64 {
        self.steps
    }

    /// Whether these requests can all be waiting at the same time.
    pub fn reach(&mut self, choice: &[Candidate]) -> Outcome {
        if self.links.dropped {
            return Outcome::Dropped;
        }
        if self.steps == 0 {
            return Outcome::TooMuch;
        }
        let numbered = choice.iter().filter_map(|leg| Some((leg.want, self.requests.get(leg.want)?)));
        let (numbers, requests): (Vec<u32>, Vec<RequestView<'_>>) = numbered.unzip();
        let (trace, signals) = self.trace.get_or_insert_with(|| {
            let trace = Trace::new(self.session);
            let signals = signals(self.session, &trace);
            (trace, signals)
        });
        let is_join = |want: &RequestView<'_>| self.requests.thread_of(want.node).is_some();
        let mut instances = |(number, want): (&u32, &RequestView<'_>)| {
            let make = || trace.instances(self.session, want, is_join(want)).into();
            (want.thread, self.identities.entry(*number).or_insert_with(make).clone())
        };
        let legs: Vec<Instances> = numbers.iter().zip(&requests).map(&mut instances).collect();
        if legs.iter().any(|(_, identities)| identities.is_empty()) {
            return Outcome::NotKept;
        }
        let inside: Vec<LockId> = requests.iter().map(|want| want.lock).collect();
        let mut closure = Closure { trace, links: self.links, signals, care: Care::Strict, inside: &inside };
        let cause = match closure.run(&legs, &mut self.steps) {
            Closed::Reached(upto) => {
                return Outcome::Feasible(witness(self.session, self.requests, trace, &upto, &requests));
            }
            Closed::Exhausted => return Outcome::TooMuch,
            Closed::Not(cause) => cause,
        };
        let event = |cause: Option<u32>| cause.and_then(|cause| trace.events.get(cause as usize).copied());
        closure.care = Care::Signals;
        let signal = match closure.run(&legs, &mut self.steps) {
            Closed::Reached(_) => return event(cause).map_or(Outcome::NoWitness, Outcome::HandOver),
            Closed::Exhausted => return Outcome::TooMuch,
            Closed::Not(signal) => signal,
        };
        closure.care = Care::Plain;
        match closure.run(&legs, &mut self.steps) {
            Closed::Reached(_) if trace.complete => event(signal).map_or(Outcome::NoWitness, Outcome::Signal),
            Closed::Exhausted => Outcome::TooMuch,
            _ => Outcome::NoWitness,
        }
    }
}

/// Conditions on which nobody was seen to wait: whoever takes the lock under which one was signalled next need not
/// have waited, as what it waits for was so already.
fn signals(session: &Session, trace: &Trace) -> Signals {
    let mut signals = Signals::default();
    let sync_points = || session.order.timelines.iter().flat_map(|timeline| &timeline.sync_points);
    let awaited: FxHashSet<LockId> = sync_points()
        .filter_map(|sync_point| if let SyncWhat::Taken(lock) = sync_point.what { Some(lock) } else { None })
        .collect();
    let condition = |lock: LockId| {
        session.locks.get(lock.index()).is_some_and(|row| matches!(row.kind, Kind::Condvar | Kind::Cond))
    };
    let unawaited =
        |what: SyncWhat| matches!(what, SyncWhat::Posted(lock) if condition(lock) && !awaited.contains(&lock));
    if !sync_points().any(|sync_point| unawaited(sync_point.what)) {
        return signals;
    }
    let mut held: FxHashMap<ThreadId, Vec<LockId>> = FxHashMap::default();
    for (number, event) in (0u32..).zip(&trace.events) {
        let held = held.entry(event.thread).or_default();
        match event.what {
            What::Acquire(_) => held.push(event.lock),
            What::Release => held.retain(|lock| *lock != event.lock),
            What::SyncPoint(sync_point) => {
                let timeline = session.order.timelines.get(event.thread.index());
                let is = timeline
                    .and_then(|timeline| timeline.sync_points.get(sync_point as usize))
                    .is_some_and(|sync_point| unawaited(sync_point.what));
                for lock in held.iter().filter(|_| is) {
                    let Some(all) = trace.by_lock.get(lock) else { continue };
                    let next = all.partition_point(|other| *other < number);
                    let others = all[next..].iter();
                    let mut others = others.filter(|at| trace.events[**at as usize].thread != event.thread);
                    if let Some(next) = others.next() {
                        signals.insert(*next, (event.thread, event.place + 1));
                    }
                }
            }
        }
    }
    signals
}

/// The schedule: what was taken in, in the order of the trace, and then the requests that wait for each other.
fn witness(
    session: &Session,
    requests: &Requests<'_>,
    trace: &Trace,
    upto: &[u32],
    legs: &[RequestView<'_>],
) -> Vec<Step> {
    let within = |event: &Event| upto.get(event.thread.index()).is_some_and(|upto| event.place < *upto);
    let given = |event: &Event| trace.events.get(event.mate as usize).is_some_and(&within);
    let known = |event: &&Event| within(event) && event.place >= trace.before[event.thread.index()];
    let all: Vec<&Event> = trace.events.iter().filter(known).collect();
    let inside: FxHashSet<LockId> = legs.iter().map(|want| want.lock).collect();
    let threads: FxHashSet<ThreadId> = legs.iter().map(|want| want.thread).collect();
    let sync_point = |event: &Event, sync_point: u32| {
        let timeline = session.order.timelines.get(event.thread.index());
        timeline.and_then(|timeline| timeline.sync_points.get(sync_point as usize)).map(|sync_point| sync_point.what)
    };
    let tree = |event: &Event| match event.what {
        What::SyncPoint(number) => {
            matches!(sync_point(event, number), Some(SyncWhat::Created(_) | SyncWhat::Joined(_)))
        }
        _ => false,
    };
    let kept: Vec<&Event> = if all.len() <= Feasibility::MOST_FULL {
        all
    } else {
        // Too long for people: what is about the locks of the cycle or held in the end, and the timelines of threads.
        let end: FxHashSet<LockId> = all
            .iter()
            .filter(|event| matches!(event.what, What::Acquire(_)) && !given(event))
            .map(|event| event.lock)
            .collect();
        let about = |event: &&&Event| {
            tree(event)
                || !matches!(event.what, What::SyncPoint(_))
                    && (inside.contains(&event.lock) || end.contains(&event.lock))
        };
        let some: Vec<&Event> = all.iter().filter(about).copied().collect();
        if some.len() <= Feasibility::MOST_FULL {
            some
        } else {
            // Still too long: what the legs hold in the end, and how they came to be.
            let last = |event: &&&Event| match event.what {
                What::Acquire(_) => threads.contains(&event.thread) && !given(event),
                What::Release => false,
                What::SyncPoint(number) => match sync_point(event, number) {
                    Some(SyncWhat::Created(Some(child))) => threads.contains(&child),
                    _ => false,
                },
            };
            some.iter().filter(last).copied().collect()
        }
    };
    let mut open: VecDeque<Step> =
        kept.into_iter().filter_map(|event| step(session, requests, event, &sync_point)).collect();
    open.extend(legs.iter().map(|want| Step {
        thread: want.thread,
        action: Action::Block(want.mode),
        lock: Some(want.lock),
        other: requests.thread_of(want.node),
        stack: want.stack,
    }));
    open.into()
}

fn step(
    session: &Session,
    requests: &Requests<'_>,
    event: &Event,
    sync_point: &impl Fn(&Event, u32) -> Option<SyncWhat>,
) -> Option<Step> {
    let is_lock = |lock: LockId| session.locks.get(lock.index()).is_some_and(holds);
    let end = |child: Option<ThreadId>| child.and_then(|child| requests.lock_of(requests.end_of(child)));
    let (action, lock, other) = match event.what {
        What::Acquire(mode) if is_lock(event.lock) => (Action::Acquire(mode), Some(event.lock), None),
        What::Release if is_lock(event.lock) => (Action::Release, Some(event.lock), None),
        What::Acquire(_) => (Action::Take, Some(event.lock), None),
        What::Release => (Action::Post, Some(event.lock), None),
        What::SyncPoint(number) => match sync_point(event, number)? {
            SyncWhat::Created(child) => (Action::Create, end(child), child),
            SyncWhat::Joined(child) => (Action::Join, end(child), child),
            SyncWhat::Barrier { lock, .. } => (Action::Barrier, Some(lock), None),
            SyncWhat::Posted(lock) => (Action::Post, Some(lock), None),
            SyncWhat::Taken(lock) => (Action::Take, Some(lock), None),
            SyncWhat::Outlived(_) => return None,
        },
    };
    // Where a lock was given back is not recorded: the event knows where it was taken.
    let stack = if event.what == What::Release { Stacks::UNKNOWN } else { event.stack };
    Some(Step { thread: event.thread, action, lock, other, stack })
}
