//! Threads that go no further: deadlocks that happened, and who waited for what when a program was ended.

use super::ids::{LockId, ProcessId, StackId, ThreadId};
use super::profile::Mode;

/// What kind of a standstill it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HangKind {
    /// Threads wait for each other in a ring.
    Deadlock,
    /// A thread waits for itself.
    SelfDeadlock,
    /// No ring: who waited for what when the program was told to end.
    Waits,
    /// Threads wait for a lock whose owner has ended.
    Abandoned,
    /// Threads wait, those without which the program cannot end among them, and nobody is left to wake one.
    Stuck,
    /// Threads wait, and nobody is left to wake one; others go on without them.
    Leaked,
}

impl HangKind {
    /// Every kind, in a fixed order.
    pub const ALL: [Self; 6] =
        [Self::Deadlock, Self::SelfDeadlock, Self::Waits, Self::Abandoned, Self::Stuck, Self::Leaked];

    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::SelfDeadlock => "self-deadlock",
            Self::Waits => "waits",
            Self::Abandoned => "abandoned-lock",
            Self::Stuck => "nobody-left",
            Self::Leaked => "leaked",
        }
    }

    /// Whether the threads wait for nobody in particular, and nobody is left to wake one.
    pub fn is_left_alone(self) -> bool {
        matches!(self, Self::Stuck | Self::Leaked)
    }
}

/// A lock that a thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeldLock {
    /// Which.
    pub lock: LockId,
    /// How.
    pub mode: Mode,
    /// The stack that took it.
    pub stack: StackId,
    /// Since when, ns since the start of the session.
    pub since_ns: u64,
}

/// A thread that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// Who.
    pub thread: ThreadId,
    /// For what. Of a join it is the "lock" that stands for the joined thread.
    pub lock: LockId,
    /// How it was asked for.
    pub mode: Mode,
    /// Whether the wait ends by itself at some time.
    pub timed: bool,
    /// Where it waits.
    pub stack: StackId,
    /// Since when, ns since the start of the session.
    pub since_ns: u64,
    /// Whose doing it is, as far as that can be told: who holds the lock, the thread joined, the writer that
    /// readers queue behind. In a ring, the next thread of the ring comes first.
    pub holders: Vec<ThreadId>,
    /// What it holds meanwhile, in the order in which it was taken.
    pub held: Vec<HeldLock>,
}

/// Threads of one process that go no further.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hang {
    /// What it is.
    pub kind: HangKind,
    /// Where.
    pub process: ProcessId,
    /// When it was seen, ns since the start of the session.
    pub at_ns: u64,
    /// A ring: each thread waits for the next, the last one for the first. Empty where there is none.
    pub cycle: Vec<Waiting>,
    /// With a ring: who else waits for its threads, directly or not. Of an abandoned lock: who waits for it (the thread that
    /// has ended is their holder), and then who waits for those. Else: everybody who waits.
    pub others: Vec<Waiting>,
    /// Threads of the process that did not wait for anything that is recorded.
    pub running: u32,
}

impl Hang {
    /// Whether it is certain: then it is a fact that none of its threads can ever go on.
    pub fn is_deadlock(&self) -> bool {
        self.kind != HangKind::Waits
    }

    /// Whether it keeps the program from ever ending by itself, as far as is known.
    pub fn keeps_program(&self) -> bool {
        self.is_deadlock() && self.kind != HangKind::Leaked
    }

    /// Whether every thread of the process that was seen waits without a limit of time.
    pub fn is_standstill(&self) -> bool {
        self.running == 0 && self.waiting().all(|waiting| !waiting.timed)
    }

    /// The thread that ended and left a lock behind, and that lock.
    pub fn left_behind(&self) -> Option<(ThreadId, LockId)> {
        let first = self.others.first().filter(|_| self.kind == HangKind::Abandoned)?;
        Some((*first.holders.first()?, first.lock))
    }

    /// All its waits, those of the ring first.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.cycle.iter().chain(&self.others)
    }

    /// The lock through which one thread of the ring waits for the next, as that next thread holds it; `None` for joins
    /// and for readers behind a writer that only waits itself.
    pub fn held_by_next(&self, at: usize) -> Option<&HeldLock> {
        let next = self.cycle.get((at + 1) % self.cycle.len().max(1))?;
        let wanted = self.cycle.get(at)?.lock;
        next.held.iter().find(|held| held.lock == wanted)
    }
}

/// Where the rows of one session are in another.
pub trait Rows {
    /// The new row of a process.
    fn process(&mut self, id: ProcessId) -> ProcessId;
    /// The new row of a thread.
    fn thread(&mut self, id: ThreadId) -> ThreadId;
    /// The new row of a lock.
    fn lock(&mut self, id: LockId) -> LockId;
    /// The new number of a stack.
    fn stack(&mut self, id: StackId) -> StackId;
}

impl Hang {
    /// The same hang in another session.
    pub fn moved(&self, rows: &mut impl Rows) -> Self {
        Self {
            process: rows.process(self.process),
            cycle: self.cycle.iter().map(|waiting| waiting.moved(rows)).collect(),
            others: self.others.iter().map(|waiting| waiting.moved(rows)).collect(),
            ..*self
        }
    }
}

impl Waiting {
    fn moved(&self, rows: &mut impl Rows) -> Self {
        let held = self.held.iter();
        Self {
            thread: rows.thread(self.thread),
            lock: rows.lock(self.lock),
            stack: rows.stack(self.stack),
            holders: self.holders.iter().map(|thread| rows.thread(*thread)).collect(),
            held: held
                .map(|held| HeldLock { lock: rows.lock(held.lock), stack: rows.stack(held.stack), ..*held })
                .collect(),
            ..*self
        }
    }
}
