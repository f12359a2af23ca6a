//! A thread of a patched program has two sources: its segment, and the program's own rings. What both say of the order of locks
//! is put into one order, by time, before it is taken in.
//!
//! Each source is complete up to the moment at which the collector began to look; what is younger waits for the next look.

use rustc_hash::FxHashMap;

use crate::model::ThreadId;
use crate::model::order::{Event, Fold, GuardLock, Order, What};

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
    /// A lock was held alone, from then to then.
    Spanned(GuardLock, u64, u64),
    /// Records may be missing.
    Unreliable,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Merging {
    waiting: Vec<(u64, ThreadId, Input)>,
    /// Each source tells of a thread in its order, though not always when it happened.
    last: FxHashMap<(ThreadId, Source), u64>,
}

impl Merging {
    /// Takes what a source says of a thread. Places in the list of held locks are the source's own.
    pub fn add(&mut self, thread: ThreadId, source: Source, input: Input) {
        let at_ns = match input {
            Input::Event(Event { what: What::Joined { until_ns, .. } | What::JoinedBy { until_ns, .. }, .. })
            | Input::Event(Event { what: What::Section { until_ns, .. } | What::Taken { until_ns, .. }, .. })
            | Input::Event(Event { what: What::Barrier { until_ns, .. }, .. })
            | Input::Spanned(_, _, until_ns) => until_ns,
            Input::Event(event) => event.at_ns,
            Input::Unreliable => 0,
        };
        let last = self.last.entry((thread, source)).or_default();
        *last = at_ns.max(*last);
        self.waiting.push((*last, thread, input));
    }

    /// Hands on what is not younger than this.
    pub fn settle(&mut self, until_ns: u64, fold: &mut Fold, order: &mut Order) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.sort_by_key(|(at_ns, ..)| *at_ns);
        let ready = self.waiting.partition_point(|(at_ns, ..)| *at_ns <= until_ns);
        for (_, thread, input) in self.waiting.drain(..ready) {
            match input {
                Input::Event(event) => fold.apply(order, thread, event),
                Input::Spanned(guard, at_ns, until_ns) => fold.spanned(order, thread, guard, at_ns, until_ns),
                Input::Unreliable => fold.mark_unreliable(thread),
            }
        }
    }
}
