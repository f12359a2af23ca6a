//! What the analysis of lock orders returns.

use super::cause::Cause;
use crate::model::{HangKind, LockId, Mode, StackId, ThreadId};

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
    /// The legs were only ever separated by a condition variable, a semaphore or another hand-over.
    SoftOrdered,
    /// The legs hold a common lock that keeps them apart.
    Guarded,
    /// Thread creation, join or a barrier keeps the legs apart.
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
}

/// A lock that a leg holds beside the one that the cycle is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lock.
    pub lock: LockId,
    /// How it is held.
    pub mode: Mode,
    /// Where it was taken.
    pub stack: StackId,
}

/// One leg of a cycle: a thread holds a lock and wants the one that the next leg holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Who.
    pub thread: ThreadId,
    /// The lock that the leg before wants.
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
    /// Requests a lock that another leg holds: the deadlock.
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
    /// Whether it fails the gate by default.
    pub fails: bool,
    /// Why it is of this class.
    pub cause: Cause,
    /// Other classes of which sets of locks like these are.
    pub other_classes: Vec<Class>,
    /// The legs; one for a self-deadlock. Of a hang without a ring: threads that wait, with what they wait for as held.
    pub legs: Vec<Leg>,
    /// The schedule that reaches it (feasible ones).
    pub witness: Vec<Step>,
    /// How many cycles of single locks are reported as this one.
    pub instances: u64,
    /// The component was too rich to report its cycles one by one: this one stands for all, and this many locks take
    /// part.
    pub component: Option<u64>,
    /// How close the legs came: the locks' waits and holds, for the order in which cycles are reported.
    pub score: f64,
    /// Of one that happened: the same cycle as it was foreseen.
    pub foreseen: Option<Box<Cycle>>,
}

impl Cycle {
    /// What kind of a hang it was, if it happened.
    pub fn hang(&self) -> Option<HangKind> {
        match self.cause {
            Cause::Hung { kind, .. } => Some(kind),
            _ => None,
        }
    }
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
    /// Part of a cycle in the graph: the most serious class of the reported cycles that it is part of.
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

/// What a reader of the result has to know: what was cut or not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Requests had no room.
    RequestsDropped,
    /// The recording has contended acquisitions only, and no order of locks.
    ContendedOnly,
    /// Not all ways to combine the requests were looked at.
    TooManyCombinations,
    /// Not all creations, joins and hand-overs were looked at: verdicts may be more serious than they need be.
    TooManyLinks,
}

/// What the order of locks means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// Cycles, the most serious first.
    pub cycles: Vec<Cycle>,
    /// Requests for a lock that its thread holds already, by their number in the recording.
    pub requested_again: Vec<u32>,
    /// What was cut or not looked at.
    pub notes: Vec<Note>,
    /// Whether everything that happened was looked at.
    pub complete: bool,
}
