//! A thread of a patched program has two sources: its segment, and the program's own rings. What both say of the order of locks
//! is put into one order, by time, before it is taken in.
//!
//! Each source is complete up to the moment at which the collector began to look; what is younger waits for the next look, and
//! what is older for one look more: a lock that is held alone by what its source says is told of at its end, and the other
//! source may say that one was taken meanwhile. Then it is an acquisition and a release, at their times.

use std::mem;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::ThreadId;
use crate::model::order::{Event, Fold, GuardLock, How, Order, SECOND_LIST, What};

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The shim, in the process's segment.
    Segment,
    /// The program's own code, in its rings.
    Rings,
}

/// Something that matters for the order of locks.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// An event.
    Event(Event),
    /// A lock was held with no other of the source beside it: a [`What::Section`], and how it was asked for.
    Alone(Event, How),
    /// A lock was held alone, from then to then.
    Spanned(GuardLock, u64, u64),
    /// Records may be missing.
    Unreliable,
}

/// What waits to be handed on.
#[derive(Clone, Copy, Debug)]
enum Step {
    Input(Input),
    /// The beginning of what is [`Input::Alone`]; whether something of the other source was or may have been taken meanwhile.
    Begun(Event, How, bool),
    /// Its end.
    Over(Event),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    at_ns: u64,
    thread: ThreadId,
    source: Source,
    step: Step,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Merging {
    waiting: Vec<Waiting>,
    /// Each source tells of a thread in its order, though not always when it happened.
    last: FxHashMap<(ThreadId, Source), u64>,
    /// Threads that took locks of which the shim tells.
    of_both: FxHashSet<ThreadId>,
    /// Acquisitions that are handed on, and whose end is not.
    begun: FxHashSet<(ThreadId, u64)>,
    /// The moment of the look before.
    looked_ns: u64,
}

impl Merging {
    /// Takes what a source says of a thread. Places in the list of held locks are the source's own.
    pub fn add(&mut self, thread: ThreadId, source: Source, input: Input) {
        let at_ns = match input {
            Input::Event(Event { what: What::Joined { until_ns, .. } | What::JoinedBy { until_ns, .. }, .. })
            | Input::Event(Event { what: What::Section { until_ns, .. } | What::Taken { until_ns, .. }, .. })
            | Input::Alone(Event { what: What::Section { until_ns, .. }, .. }, _)
            | Input::Event(Event { what: What::Barrier { until_ns, .. }, .. })
            | Input::Spanned(_, _, until_ns) => until_ns,
            Input::Event(event) | Input::Alone(event, _) => event.at_ns,
            Input::Unreliable => 0,
        };
        if source == Source::Segment
            && let Input::Alone(..) | Input::Event(Event { what: What::Acquired { .. }, .. }) = input
        {
            self.of_both.insert(thread);
        }
        let last = self.last.entry((thread, source)).or_default();
        *last = at_ns.max(*last);
        self.waiting.push(Waiting { at_ns: *last, thread, source, step: Step::Input(input) });
    }

    /// Hands on what is not younger than the look before this one (`until_ns`: when it began); everything at the end
    /// (`u64::MAX`).
    pub fn settle(&mut self, until_ns: u64, fold: &mut Fold, order: &mut Order) {
        let until_ns = if until_ns == u64::MAX { until_ns } else { mem::replace(&mut self.looked_ns, until_ns) };
        if self.waiting.is_empty() {
            return;
        }
        self.split(until_ns);
        self.waiting.sort_by_key(|waiting| waiting.at_ns);
        let ready = self.waiting.partition_point(|waiting| waiting.at_ns <= until_ns);
        for Waiting { thread, source, step, .. } in self.waiting.drain(..ready) {
            let place = if source == Source::Rings { SECOND_LIST } else { 0 };
            match step {
                Step::Input(Input::Event(event) | Input::Alone(event, _)) => fold.apply(order, thread, event),
                Step::Input(Input::Spanned(guard, at_ns, until_ns)) => {
                    fold.spanned(order, thread, guard, at_ns, until_ns);
                }
                Step::Input(Input::Unreliable) => fold.mark_unreliable(thread),
                Step::Begun(event, how, is_beside) => {
                    if let What::Section { lock, mode, .. } = event.what
                        && (is_beside || fold.holds(thread))
                    {
                        self.begun.insert((thread, event.at_ns));
                        let (position, restart, reacquired) = (place, false, false);
                        let what = What::Acquired { lock, mode, how, reacquired, position, restart };
                        fold.apply(order, thread, Event { what, ..event });
                    }
                }
                Step::Over(event) => match event.what {
                    What::Section { lock, until_ns, .. } if self.begun.remove(&(thread, event.at_ns)) => {
                        let what = What::Released { position: place, lock };
                        fold.apply(order, thread, Event { at_ns: until_ns, what, ..event });
                    }
                    _ => fold.apply(order, thread, event),
                },
            }
        }
    }

    /// Makes a beginning and an end of each hold that is alone and began up to then, of threads of which both sources tell.
    fn split(&mut self, until_ns: u64) {
        if self.of_both.is_empty() {
            return;
        }
        let mut taken: FxHashMap<(ThreadId, Source), Vec<u64>> = FxHashMap::default();
        let is_of_both = |waiting: &&Waiting| self.of_both.contains(&waiting.thread);
        for waiting in self.waiting.iter().filter(is_of_both) {
            if let Step::Input(Input::Alone(event, _) | Input::Event(event)) = waiting.step
                && matches!(event.what, What::Section { .. } | What::Acquired { .. } | What::Wanted { .. })
            {
                taken.entry((waiting.thread, waiting.source)).or_default().push(event.at_ns);
            }
        }
        taken.values_mut().for_each(|times| times.sort_unstable());
        let mut beginnings = Vec::new();
        for waiting in self.waiting.iter_mut().filter(|waiting| self.of_both.contains(&waiting.thread)) {
            let Step::Input(Input::Alone(event, how)) = waiting.step else { continue };
            let What::Section { until_ns: end_ns, .. } = event.what else { continue };
            if event.at_ns > until_ns {
                continue;
            }
            let other = if waiting.source == Source::Rings { Source::Segment } else { Source::Rings };
            let is_beside = taken.get(&(waiting.thread, other)).is_some_and(|times| {
                let from = times.partition_point(|at_ns| *at_ns < event.at_ns);
                times.get(from).is_some_and(|at_ns| *at_ns <= end_ns)
            });
            let step = Step::Begun(event, how, is_beside || end_ns > until_ns);
            beginnings.push(Waiting { at_ns: event.at_ns, step, ..*waiting });
            waiting.step = Step::Over(event);
        }
        self.waiting.extend(beginnings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LockId, Mode, StackId};

    fn alone(lock: u32, at_ns: u64, until_ns: u64) -> Input {
        let what = What::Section { lock: LockId(lock), mode: Mode::Exclusive, until_ns };
        Input::Alone(Event { at_ns, stack: StackId(0), what }, How::Block)
    }

    /// How many requests there are under a held lock.
    fn requests(inputs: &[(Source, Input)], looks: &[u64]) -> usize {
        let (mut merging, mut fold, mut order) = (Merging::default(), Fold::default(), Order::default());
        for (source, input) in inputs {
            merging.add(ThreadId(0), *source, *input);
        }
        for until_ns in looks.iter().copied().chain([u64::MAX]) {
            merging.settle(until_ns, &mut fold, &mut order);
        }
        order.requests.len()
    }

    #[test]
    fn a_lock_of_one_source_under_one_of_the_other_is_asked_for_under_it() {
        use Source::{Rings, Segment};
        for looks in [&[][..], &[100], &[10, 20], &[5, 12, 18]] {
            assert_eq!(requests(&[(Segment, alone(1, 10, 20)), (Rings, alone(2, 12, 14))], looks), 1, "inside");
            assert_eq!(requests(&[(Rings, alone(1, 10, 20)), (Segment, alone(2, 12, 14))], looks), 1, "inside");
            assert_eq!(requests(&[(Rings, alone(1, 10, 20)), (Segment, alone(2, 15, 30))], looks), 1, "hand over hand");
            assert_eq!(requests(&[(Segment, alone(1, 10, 20)), (Rings, alone(2, 21, 30))], looks), 0, "one by one");
            assert_eq!(requests(&[(Segment, alone(1, 10, 20)), (Segment, alone(2, 21, 30))], looks), 0, "one source");
        }
    }
}
