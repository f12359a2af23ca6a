//! What the order in which locks were taken means: cycles, how serious each is, and why.
//!
//! The verdicts are those of `docs/lock-order.md`. Nothing here fails: what was cut, dropped or cannot be known is
//! part of the result and makes a verdict more careful, never less.

mod clocks;
mod closure;
mod components;
mod cycles;
mod edges;
mod entries;
mod feasibility;
pub(super) mod fingerprint;
mod gates;
mod graph;
mod hung;
mod links;
pub(super) mod places;
mod processes;
mod reason;
mod search;
mod told;
mod trace;
mod verdict;
pub(super) mod wants;
mod writers;

pub(crate) use fingerprint::Fnv;

use super::findings::{self, Finding, Rule, catalog};
use crate::model::{HangKind, LockId, Mode, Session, StackId, ThreadId};

/// How serious a cycle is; the most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The program was deadlocked: a cycle of waits among living threads, a lock whose holder had ended, or threads whom
    /// nobody was left to wake.
    Hung,
    /// A run that steered the threads reached the deadlock.
    Confirmed,
    /// A reordering of the recorded events reaches the deadlock; the witness says which.
    Feasible,
    /// The pattern is there, no order rules it out, and no witness was found.
    Possible,
    /// Read locks only: needs a writer that queues in between, and readers that then wait behind it.
    NeedsWriter,
    /// The sides were only ever separated by a condition variable, a semaphore or another hand-over.
    SoftOrdered,
    /// The sides hold a common lock that keeps them apart.
    Guarded,
    /// Thread creation, join or a barrier keeps the sides apart.
    Ordered,
    /// One and the same thread took both orders.
    SameThread,
}

impl Class {
    /// Every class, the most serious first.
    pub const ALL: [Self; 9] = [
        Self::Hung,
        Self::Confirmed,
        Self::Feasible,
        Self::Possible,
        Self::NeedsWriter,
        Self::SoftOrdered,
        Self::Guarded,
        Self::Ordered,
        Self::SameThread,
    ];

    /// Its row in the catalogue.
    pub fn rule(self) -> &'static Rule {
        match self {
            Self::Hung => &catalog::HUNG,
            Self::Confirmed => &catalog::CONFIRMED,
            Self::Feasible => &catalog::FEASIBLE,
            Self::Possible => &catalog::POSSIBLE,
            Self::NeedsWriter => &catalog::NEEDS_WRITER,
            Self::SoftOrdered => &catalog::SOFT_ORDERED,
            Self::Guarded => &catalog::GUARDED,
            Self::Ordered => &catalog::ORDERED,
            Self::SameThread => &catalog::SAME_THREAD,
        }
    }

    /// The word of the contract.
    pub fn name(self) -> &'static str {
        let Rule { id, .. } = self.rule();
        id
    }
}

/// A lock that a side holds beside the one that the cycle is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lock.
    pub lock: LockId,
    /// How it is held.
    pub mode: Mode,
    /// Where it was taken.
    pub stack: StackId,
}

/// One side of a cycle: a thread holds a lock and wants the one that the next side holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Who.
    pub thread: ThreadId,
    /// The lock that the side before wants.
    pub held: Held,
    /// The lock that it wants.
    pub wanted: LockId,
    /// How.
    pub wanted_mode: Mode,
    /// Where.
    pub wanted_stack: StackId,
    /// What else it holds then, from the outermost on.
    pub also_held: Vec<Held>,
    /// How often the request was made, by all threads that are alike.
    pub count: u64,
    /// The request gives up after a time.
    pub timed: bool,
    /// The request is a condition wait that takes its mutex again.
    pub reacquired: bool,
}

/// A step of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who.
    pub thread: ThreadId,
    /// What.
    pub action: Action,
    /// Which lock (for a creation or a join: the lock of kind `Join`, where there is one).
    pub lock: Option<LockId>,
    /// Which thread is created or joined.
    pub other: Option<ThreadId>,
    /// Where.
    pub stack: StackId,
}

/// What a [`Step`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    Acquire(Mode),
    Release,
    /// Wants a lock that another side holds: the deadlock.
    Block(Mode),
    Create,
    Join,
    Barrier,
    Post,
    Take,
}

/// A cycle in the lock-order graph. All cycles of the same locks' classes at the same places in the code are one.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// The same in every run, on every machine and after a rebuild that moves nothing in these functions.
    pub fingerprint: String,
    /// How serious.
    pub class: Class,
    /// What kind of a hang it was ([`Class::Hung`]).
    pub hang: Option<HangKind>,
    /// Whether it fails the gate by default.
    pub fails: bool,
    /// Why it is of this class: one sentence, with the names of locks, functions and lines that matter.
    pub reason: String,
    /// What would make it a deadlock, or keep it from one: one sentence for whoever has to act.
    pub advice: String,
    /// The sides; one for a self-deadlock. Of a hang without a ring: threads that wait, with what they wait for as held.
    pub sides: Vec<Side>,
    /// The schedule that reaches it (feasible ones).
    pub witness: Vec<Step>,
    /// How many cycles of single locks are told as this one.
    pub instances: u64,
    /// The component was too rich to tell its cycles one by one: this one stands for all, and this many locks take part.
    pub component: Option<u64>,
    /// How close the sides came: the locks' waits and holds, for the order in which cycles are told.
    pub heat: f64,
}

/// A lock, or a class of locks, in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// A lock of it.
    pub lock: LockId,
    /// What it is called.
    pub name: String,
    /// How many locks it stands for.
    pub locks: u64,
    /// Its level in the hierarchy: locks of level 0 are never taken under another one; an edge leads to a higher level
    /// unless it is part of a cycle.
    pub level: u32,
    /// The number of its component, where that has a cycle.
    pub component: Option<u32>,
}

/// "Taken while that was held."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphEdge {
    /// The lock held: a position in [`Graph::nodes`].
    pub from: u32,
    /// The lock wanted.
    pub to: u32,
    /// How often.
    pub count: u64,
    /// Threads that did.
    pub threads: u64,
    /// Where the held one was taken and where the other was asked for, the commonest pair.
    pub stacks: (StackId, StackId),
    /// How the two were asked for: held, wanted.
    pub modes: (Mode, Mode),
    /// Part of a cycle in the graph: the most serious class of the told cycles that it is part of.
    pub cycle: Option<Class>,
}

/// What a node of the graph stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// One lock.
    Instance,
    /// All locks of a class.
    Class,
}

/// The lock-order graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// By level, then by name.
    pub nodes: Vec<GraphNode>,
    /// By `from` and `to`.
    pub edges: Vec<GraphEdge>,
}

/// What the order of locks means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// Cycles, the most serious first.
    pub cycles: Vec<Cycle>,
    /// Misuses.
    pub findings: Vec<Finding>,
    /// What a reader has to know: what was cut or not looked at, in whole sentences.
    pub notes: Vec<String>,
    /// Whether everything that happened was looked at.
    pub complete: bool,
}

/// Judges the order in which locks were taken.
pub fn orders(session: &Session) -> Orders {
    let wants = wants::Wants::new(session);
    let places = places::Places::new(session);
    let knots = edges::knots(session, &wants);
    let findings = findings::find(&findings::Scope { session, requested_again: &knots.own, places: &places });
    let mut orders = Orders { findings, complete: true, ..Orders::default() };
    if session.order.dropped > 0 {
        orders.complete = false;
        orders
            .notes
            .push("not every request for a lock could be noted: cycles that need the others are missing".into());
    }
    if session.coverage.contended_only {
        orders.complete = false;
        orders.notes.push("the profile of another tool does not know in which order locks were taken".into());
    }
    let apart = processes::apart(session, &wants, &places);
    if !knots.edges.is_empty() || !knots.own.is_empty() || !apart.is_empty() {
        foresee(session, &wants, &places, (&knots, apart), &mut orders);
    }
    hung::tell(session, &places, &mut orders.cycles);
    orders
}

/// Judges the cycles of the graph.
fn foresee(
    session: &Session,
    wants: &wants::Wants<'_>,
    places: &places::Places<'_>,
    (knots, apart): (&edges::Knots, Vec<processes::Apart>),
    orders: &mut Orders,
) {
    let (must, soft) = (links::Links::new(session, false), links::Links::new(session, true));
    let mut teller = told::Teller::new(session, wants, places, &must, &soft);
    teller.tell_all(knots);
    for entry in apart {
        teller.add(false, entry.fingerprint, entry.verdict, None, |_| entry.sides);
    }
    orders.cycles = entries::written_out(session, places, &teller.court.pairs, &teller.entries);
    if teller.cut {
        orders.complete = false;
        orders.notes.push("there are too many ways to combine the requests: not all of them were looked at".into());
    }
    let pairs = &teller.court.pairs;
    if pairs.must.exhausted() || pairs.soft.exhausted() {
        let note = "there are too many creations, joins and hand-overs: some orders were not found, so some verdicts \
                    are more serious than they need be";
        orders.notes.push(note.into());
    }
}

/// The lock-order graph, with what `orders` says of its cycles; `cycles_only`: without what lies on none.
pub fn graph(session: &Session, orders: &Orders, by: By, cycles_only: bool) -> Graph {
    graph::graph(session, orders, by, cycles_only)
}

/// The fingerprint that a cycle had before fingerprints were made without the names of files: older baselines and
/// suppressions know it by that one.
pub fn former_cycle(session: &Session, cycle: &Cycle) -> String {
    let places = places::Places::new(session);
    let sides: Vec<u64> = cycle.sides.iter().map(|side| entries::former_side_hash(&places, side)).collect();
    fingerprint::written(fingerprint::of_cycle(&sides))
}

#[cfg(test)]
mod tests;
