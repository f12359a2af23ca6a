//! What a process, or a core of one, looks like at one moment: its threads, what each waits for, and who has that.

use super::hang::HangKind;
use super::ids::{LockId, StackId, ThreadId};
use super::profile::Mode;
use super::session::Session;

/// A look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// The one process, its threads, the locks that somebody waits for, their stacks.
    pub session: Session,
    /// Threads, the first one of the process first; then goroutines.
    pub threads: Vec<SeenThread>,
    /// Deadlocks that stand.
    pub standstills: Vec<Standstill>,
    /// The core file; `None` where the process lives.
    pub core: Option<String>,
    /// The signal that made the core; 0 for none.
    pub signal: i32,
    /// What a reader has to know about it, in whole sentences.
    pub notes: Vec<String>,
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs, or could.
    Running,
    /// It sleeps.
    Blocked,
    /// Somebody stopped it.
    Stopped,
}

/// A thread, or a goroutine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenThread {
    /// Its row.
    pub thread: ThreadId,
    /// Whether it is a goroutine.
    pub is_goroutine: bool,
    /// What it does.
    pub activity: Activity,
    /// The system call that it is in, or Go's word for why a goroutine waits.
    pub reason: Option<String>,
    /// Whether it ran between the two looks.
    pub moved: bool,
    /// Where it is.
    pub stack: StackId,
    /// Why that is not the whole stack, in words; `None` where it is.
    pub cut: Option<&'static str>,
    /// What it waits for.
    pub wait: Option<LockWait>,
}

/// A wait for a lock or the like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockWait {
    /// For what. Of a join it is the "lock" that stands for the joined thread.
    pub lock: LockId,
    /// What it is called in its library; empty where the kind says enough.
    pub noun: &'static str,
    /// How it was asked for.
    pub mode: Mode,
    /// Whether the wait ends by itself at some time.
    pub timed: bool,
    /// Who can end it.
    pub holder: Holder,
}

/// Who has what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The lock names this thread: its place in the list of threads.
    Thread(usize),
    /// The lock names nobody, but the code that this thread goes on with gives it back, and no other thread's does.
    GivesBack(usize),
    /// The lock names a thread (by its number) which is not there (any more).
    Ended(u32),
    /// The lock lies in shared memory and names a thread of another process.
    Elsewhere(u32),
    /// So many readers, whom the lock does not name.
    Readers(u32),
    /// Somebody has it, and the lock does not say who.
    NotRecorded,
    /// Nobody has it at this moment.
    Free,
    /// Nobody has such a thing.
    Nobody,
}

impl Holder {
    /// The thread that is known to have it.
    pub fn thread(self) -> Option<usize> {
        match self {
            Self::Thread(at) | Self::GivesBack(at) => Some(at),
            _ => None,
        }
    }
}

/// Threads that go no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// What it is.
    pub kind: HangKind,
    /// Threads, by their places in the list. Of a ring each waits for the next, the last one for the first.
    pub threads: Vec<usize>,
    /// How many other threads wait for them, directly or not.
    pub behind: usize,
}

impl Look {
    /// Whether a deadlock stands.
    pub fn has_deadlock(&self) -> bool {
        !self.standstills.is_empty()
    }

    /// Whether a thread is in the ring of a deadlock, or waits for a lock that nobody will give back.
    pub fn is_stuck(&self, at: usize) -> bool {
        self.standstills.iter().any(|standstill| standstill.threads.contains(&at))
    }
}
