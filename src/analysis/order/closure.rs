//! Can the recorded events be reordered so that the threads stand before their requests at the same time?
//!
//! "Sound Dynamic Deadlock Prediction in Linear Time" (Tunç, Mathur, Pavlogiannis, Viswanathan, PLDI 2023): take
//! everything that happened before each request, and close it: whatever an event needs is in, and of the critical
//! sections of a lock that are in, all but the last one are in as a whole, so that they can run one after the
//! other as they were recorded. If no request is in, the events in the order of the trace lead to the deadlock. If
//! one is, take the next instance of that request and go on: what is in stays in, so that all instances together
//! cost one walk over the trace.
//!
//! The paper's traces hold reads and writes of memory, ours do not. So `strict` takes any hand-over of a lock outside
//! the cycle as if it carried data, and the result holds whatever the program passes under these locks.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::links::{Links, Via};
use super::trace::{NONE, Trace, What};
use crate::model::{LockId, Mode, ThreadId};

/// What counts as needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Orders and hand-overs.
    Plain,
    /// Signals to those who had no need to wait as well.
    Signals,
    /// Every release that was followed by an acquisition elsewhere, but of the locks of the cycle.
    Strict,
}

/// How it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Reached: so many events of each thread.
    Reached(Vec<u32>),
    /// No instance is left of one of the requests: the last time, an event of this number (an acquisition or a sync point)
    /// needed what comes after the request.
    Not(Option<u32>),
    /// There was too much to look at.
    Exhausted,
}

/// A leg: its thread and the places of its instances.
pub(super) type Instances = (ThreadId, Rc<[u32]>);

/// A signal under a lock, and the acquisition behind it that saw what it reported.
pub(super) type Signals = FxHashMap<u32, (ThreadId, u32)>;

/// See the module.
pub(super) struct Closure<'a> {
    pub trace: &'a Trace,
    pub links: &'a Links,
    pub signals: &'a Signals,
    pub care: Care,
    /// Locks of the cycle.
    pub inside: &'a [LockId],
}

/// Acquisitions of a lock that are in.
#[derive(Default)]
struct Taken {
    /// The last one of each thread.
    last: Vec<u32>,
    /// The latest of those that kept everybody out.
    alone: Option<u32>,
}

struct State {
    /// Events of each thread that are in.
    upto: Vec<u32>,
    /// Those that were looked at.
    done: Vec<u32>,
    open: Vec<u32>,
    /// Of each lock.
    taken: FxHashMap<LockId, Taken>,
    /// What asked last for more of a thread.
    cause: Vec<u32>,
    started: Vec<bool>,
    rounds: Vec<bool>,
}

impl Closure<'_> {
    /// Looks for instances of all legs that can be reached together.
    pub fn run(&self, legs: &[Instances], steps: &mut u64) -> Closed {
        let threads = self.trace.by_thread.len();
        let mut state = State {
            upto: self.trace.before.clone(),
            done: self.trace.before.clone(),
            open: Vec::new(),
            taken: FxHashMap::default(),
            cause: vec![NONE; threads],
            started: self.trace.before.iter().map(|before| *before > 0).collect(),
            rounds: vec![false; self.links.rounds.len()],
        };
        self.begin(&mut state);
        let mut at = vec![0usize; legs.len()];
        loop {
            for ((thread, places), at) in legs.iter().zip(&at) {
                let Some(place) = places.get(*at) else { return Closed::Not(None) };
                self.raise(&mut state, thread.0, *place, NONE);
            }
            if !self.close(&mut state, steps) {
                return if *steps == 0 { Closed::Exhausted } else { Closed::Not(None) };
            }
            let mut moved = false;
            for ((thread, places), at) in legs.iter().zip(&mut at) {
                let upto = state.upto[thread.index()];
                if places[*at] < upto {
                    let cause = state.cause[thread.index()];
                    *at = places.partition_point(|place| *place < upto);
                    if *at == places.len() {
                        return Closed::Not((cause != NONE).then_some(cause));
                    }
                    moved = true;
                }
            }
            if !moved {
                return Closed::Reached(state.upto);
            }
        }
    }

    /// Locks that were held where the known part of the trace begins.
    fn begin(&self, state: &mut State) {
        for (events, before) in self.trace.by_thread.iter().zip(&self.trace.before) {
            for number in &events[..*before as usize] {
                let event = &self.trace.events[*number as usize];
                let mate = self.trace.events.get(event.mate as usize);
                if let What::Acquire(mode) = event.what
                    && mate.is_none_or(|mate| mate.place >= *before)
                {
                    let taken = state.taken.entry(event.lock).or_default();
                    taken.last.push(*number);
                    taken.alone = taken.alone.max((mode == Mode::Exclusive).then_some(*number));
                }
            }
        }
    }

    fn raise(&self, state: &mut State, thread: u32, upto: u32, cause: u32) {
        let at = thread as usize;
        let Some(known) = state.upto.get_mut(at) else { return };
        if *known < upto {
            *known = upto;
            state.cause[at] = cause;
            state.open.push(thread);
        } else if !state.started[at] {
            state.open.push(thread);
        }
    }

    /// Takes in what is needed. `false`: it cannot be had.
    fn close(&self, state: &mut State, steps: &mut u64) -> bool {
        while let Some(thread) = state.open.pop() {
            let at = thread as usize;
            if !std::mem::replace(&mut state.started[at], true) {
                self.links_into(state, thread, 0, NONE);
            }
            while state.done[at] < state.upto[at] {
                *steps = steps.saturating_sub(1);
                if *steps == 0 {
                    return false;
                }
                let Some(number) = self.trace.by_thread[at].get(state.done[at] as usize).copied() else { break };
                state.done[at] += 1;
                let event = &self.trace.events[number as usize];
                match event.what {
                    What::Acquire(mode) => {
                        if !self.acquire(state, number, mode, steps) {
                            return false;
                        }
                    }
                    What::Release => {}
                    What::SyncPoint(sync_point) => self.links_into(state, thread, sync_point + 1, number),
                }
            }
        }
        true
    }

    /// Takes in what leads into a segment.
    fn links_into(&self, state: &mut State, node: u32, seg: u32, cause: u32) {
        let into = self.links.into(node);
        let from = into.partition_point(|link| link.seg < seg);
        for link in into[from..].iter().take_while(|link| link.seg == seg) {
            if let Some(round) = self.links.round(link.node) {
                let number = link.node as usize - (self.links.nodes() - self.links.rounds.len());
                if !std::mem::replace(&mut state.rounds[number], true) {
                    for (thread, sync_point) in &round.met {
                        // All must have come, but none need have gone on.
                        let place = self.trace.sync_point(*thread, *sync_point).unwrap_or(0);
                        self.raise(state, thread.0, place, cause);
                    }
                }
                continue;
            }
            let upto = match link.via {
                Via::Joined | Via::Outlived => self.trace.by_thread.get(link.node as usize).map_or(0, Vec::len) as u32,
                // The creation or the post itself is needed too.
                _ => self.trace.sync_point(ThreadId(link.node), link.upto - 1).map_or(0, |place| place + 1),
            };
            self.raise(state, link.node, upto, cause);
        }
    }

    fn acquire(&self, state: &mut State, number: u32, mode: Mode, steps: &mut u64) -> bool {
        let event = &self.trace.events[number as usize];
        if self.care != Care::Plain
            && let Some((thread, upto)) = self.signals.get(&number)
        {
            self.raise(state, thread.0, *upto, number);
        }
        let loose = self.trace.loose.contains(&event.lock);
        if loose || self.care == Care::Strict && !self.inside.contains(&event.lock) {
            self.handed_over(state, number, mode, steps);
        }
        if loose {
            return true;
        }
        let mut taken = state.taken.remove(&event.lock).unwrap_or_default();
        taken.alone = taken.alone.max((mode == Mode::Exclusive).then_some(number));
        let same = |known: &&mut u32| self.trace.events[**known as usize].thread == event.thread;
        match taken.last.iter_mut().find(same) {
            Some(known) => {
                let first = &self.trace.events[*known as usize];
                let given = self.trace.events.get(first.mate as usize).map_or(u32::MAX, |given| given.place);
                // A reader that reads again: the first one counts until both are given back.
                if given < event.place {
                    *known = number;
                }
            }
            None => taken.last.push(number),
        }
        let fine = self.one_by_one(state, &taken);
        state.taken.insert(event.lock, taken);
        fine
    }

    /// Of the critical sections of a lock, all that another one comes after must be over.
    fn one_by_one(&self, state: &mut State, taken: &Taken) -> bool {
        let newest = taken.last.iter().copied().max();
        for number in taken.last.iter().copied() {
            let event = &self.trace.events[number as usize];
            let follower = if event.what == What::Acquire(Mode::Shared) { taken.alone } else { newest };
            let Some(follower) = follower.filter(|follower| *follower > number) else { continue };
            let Some(given) = self.trace.events.get(event.mate as usize) else { return false };
            self.raise(state, event.thread.0, given.place + 1, follower);
        }
        true
    }

    /// Everything that was done under the lock before is needed.
    fn handed_over(&self, state: &mut State, number: u32, mode: Mode, steps: &mut u64) {
        let event = &self.trace.events[number as usize];
        let mut before = event.exclusive_before;
        let give = |state: &mut State, taken: u32| {
            let taken = &self.trace.events[taken as usize];
            if taken.thread != event.thread
                && let Some(given) = self.trace.events.get(taken.mate as usize)
            {
                self.raise(state, taken.thread.0, given.place + 1, number);
            }
        };
        if before != NONE {
            give(state, before);
        } else {
            before = 0;
        }
        if mode == Mode::Exclusive
            && let Some(all) = self.trace.by_lock.get(&event.lock)
        {
            let readers = all[..all.partition_point(|other| *other < number)].iter().rev();
            for reader in readers.take_while(|reader| **reader > before || before == 0) {
                *steps = steps.saturating_sub(1);
                give(state, *reader);
            }
        }
    }
}
