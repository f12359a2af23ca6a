//! What each patch's records mean, looked up once.

use crate::model::{Kind, Mode};
use crate::sites::go::plan::{Operation, Planned};
use crate::sites::layout::info;
use crate::sites::plan::Named;
use crate::sites::rust::operations::UPDATE_TO_WRITER;
use crate::sites::rust::plan::{Operation as RustOperation, Planned as RustPlanned};
use crate::sites::table::{self, Event as Row};

/// What a goroutine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Asked for a lock. `certainly`: and it was not free.
    Requested { kind: Kind, mode: Mode, certainly: bool },
    /// Has a lock.
    Acquired { kind: Kind, mode: Mode, by_try: bool },
    /// Has what it asked for last by this operation.
    AcquiredAfterWait { kind: Kind, mode: Mode },
    /// Has it, or has given up: the result tells.
    AcquiredOrGivenUp { kind: Kind, mode: Mode },
    /// Tries to have a lock; the result follows.
    Try { kind: Kind, mode: Mode },
    /// The result of the last try.
    Tried { kind: Kind, mode: Mode },
    /// Has a lock no longer.
    Released { kind: Kind, mode: Mode },
    /// Holds a lock with other readers that it held alone.
    Downgraded { kind: Kind },
    /// A wait group's count was changed.
    Counted,
    /// Begins an operation that may block. `sends`: others may go on by it.
    Begins { kind: Kind, sends: bool },
    /// It is over. `receives`: others made it possible.
    Ends { kind: Kind, receives: bool },
    /// Wakes those who wait for this.
    Signals { kind: Kind },
    /// Wakes a goroutine.
    Wakes,
    /// Closes a channel.
    Closes,
    /// Is taken off its thread.
    Parks,
    /// Goes on.
    Resumes,
    /// Is about to make a goroutine, by a `go` statement before this address.
    Makes,
    /// Made this goroutine.
    Made,
    /// Is at its end.
    Exits,
    /// Is about to make a call that may block, while it holds locks.
    Calls,
    /// That is over.
    Returns,
    /// Found memory that nobody reaches any more.
    Collects,
    /// Nothing that counts.
    Other,
}

impl Event {
    /// Whether it is the beginning of a mutex's operation.
    pub fn is_of_mutex(self) -> bool {
        matches!(
            self,
            Self::Requested { kind: Kind::Mutex, .. }
                | Self::Acquired { kind: Kind::Mutex, .. }
                | Self::Try { kind: Kind::Mutex, .. }
        )
    }
}

/// What a patch's records mean.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    usual: Event,
    failed: Event,
    /// The address in the file, plus one, as if it were a return address: the innermost frame. 0 where the caller is.
    pub leaf: u64,
}

impl Meaning {
    /// Of the beginning and the end of a call that the shim sees.
    pub const CALLS: [Self; 2] = [Self::bare(Event::Calls), Self::bare(Event::Returns)];

    const fn bare(usual: Event) -> Self {
        Self { usual, failed: Event::Other, leaf: 0 }
    }

    /// Of a planned patch.
    pub fn of(planned: &Planned) -> Self {
        let operation = planned.operation;
        let name = operation.name();
        let kind = kind_of(name);
        let event = |row: Option<Row>, begins: bool| row.map_or(Event::Other, |row| event(row, (name, kind), begins));
        let (usual, failed) = match operation {
            Operation::Atomic(row) => {
                let failed = match row.failure {
                    Some(Row::Requested(mode)) => Event::Requested { kind, mode: mode_of(mode), certainly: true },
                    other => event(other, true),
                };
                (event(Some(row.event), true), failed)
            }
            Operation::Call(row) => match row.event {
                Some((Row::Requested(mode), _)) => {
                    (Event::Requested { kind, mode: mode_of(mode), certainly: true }, Event::Other)
                }
                _ => (Event::Other, Event::Other),
            },
            Operation::Entry(row) => (event(row.entry, true), Event::Other),
            Operation::Exit(row) => (event(row.exit, false), Event::Other),
            Operation::Start => (Event::Other, Event::Other),
        };
        Self { usual, failed, leaf: planned.address + 1 }
    }

    /// Of a planned patch in a Rust program.
    pub fn of_rust(planned: &RustPlanned) -> Self {
        let name = planned.operation.name();
        let kind = match name {
            _ if name.contains("RwLock") => Kind::Rwlock,
            _ if name.contains("Condvar") || name.starts_with("std::thread::") => Kind::Cond,
            _ if name.contains("Once") => Kind::Once,
            _ if name.contains("Barrier") => Kind::Barrier,
            _ => Kind::Mutex,
        };
        let mut failed = Event::Other;
        let (usual, leaf) = match planned.operation {
            RustOperation::Update(row) => {
                failed = event(UPDATE_TO_WRITER, (name, kind), true);
                (event(row.atomic.event, (name, kind), true), 0)
            }
            RustOperation::Inlined(row) => (event(row.atomic.event, (name, kind), true), planned.address + 1),
            RustOperation::Called(row) => (event(row.atomic.event, (name, kind), true), 0),
            RustOperation::Asked(cold) => {
                let waits = cold.waits.map_or(Event::Other, |row| event(row, (name, kind), true));
                (
                    if let Event::Requested { kind, mode, .. } = waits {
                        Event::Requested { kind, mode, certainly: true }
                    } else {
                        waits
                    },
                    0,
                )
            }
            RustOperation::Granted(cold, is_limited) => {
                let granted = match cold.waits {
                    Some(Row::Requested(mode)) if is_limited => Event::AcquiredOrGivenUp { kind, mode: mode_of(mode) },
                    Some(Row::Requested(mode)) => Event::AcquiredAfterWait { kind, mode: mode_of(mode) },
                    Some(row) => event(row, (name, kind), false),
                    None => Event::Other,
                };
                (granted, 0)
            }
        };
        Self { usual, failed, leaf }
    }

    /// Of a record with this word.
    pub fn event(&self, word: u32) -> Event {
        if word & info::FAILED != 0 { self.failed } else { self.usual }
    }
}

/// The number of the patch that a record is of.
pub fn number(info: u32) -> usize {
    (info & !(info::FAILED | info::NO_STACK)) as usize
}

fn event(row: Row, (name, kind): (&str, Kind), begins: bool) -> Event {
    match row {
        Row::Requested(mode) => Event::Requested { kind, mode: mode_of(mode), certainly: false },
        Row::Acquired(mode) => Event::Acquired { kind, mode: mode_of(mode), by_try: false },
        Row::AcquiredAfterWait(mode) => Event::AcquiredAfterWait { kind, mode: mode_of(mode) },
        Row::Try(mode) => Event::Try { kind, mode: mode_of(mode) },
        Row::Tried(mode) => Event::Tried { kind, mode: mode_of(mode) },
        Row::TryAcquired(mode) => Event::Acquired { kind, mode: mode_of(mode), by_try: true },
        Row::Released(mode) => Event::Released { kind, mode: mode_of(mode) },
        Row::Downgraded => Event::Downgraded { kind },
        Row::Counted => Event::Counted,
        Row::Wait | Row::Message if begins => {
            Event::Begins { kind, sends: name == "runtime.chansend" || kind == Kind::Barrier }
        }
        Row::Wait | Row::Message => {
            let receives = matches!(kind, Kind::Waitgroup | Kind::Cond | Kind::Barrier)
                || kind == Kind::Once && !name.starts_with("sync.")
                || name == "runtime.chanrecv";
            Event::Ends { kind, receives }
        }
        Row::Waited => Event::Ends { kind, receives: true },
        Row::Wake if matches!(kind, Kind::Cond | Kind::Once) => Event::Signals { kind },
        Row::Wake => Event::Wakes,
        Row::Closed => Event::Closes,
        Row::Created if begins => Event::Makes,
        Row::Created => Event::Made,
        Row::Ended => Event::Exits,
        Row::Collected => Event::Collects,
        Row::Parked if begins => Event::Parks,
        Row::Parked => Event::Resumes,
        Row::Signal => Event::Other,
    }
}

fn mode_of(mode: table::Mode) -> Mode {
    match mode {
        table::Mode::Exclusive => Mode::Exclusive,
        table::Mode::Shared => Mode::Shared,
    }
}

/// What the object of an operation is, by the function's name.
fn kind_of(operation: &str) -> Kind {
    const KINDS: [(&str, Kind); 10] = [
        ("sync.(*RWMutex)", Kind::Rwlock),
        ("sync.runtime_SemacquireRWMutexR", Kind::Rwlock),
        // Up to 1.19 readers wait in it; its row is hooked for them alone.
        ("sync.runtime_SemacquireMutex", Kind::Rwlock),
        ("sync.(*WaitGroup)", Kind::Waitgroup),
        ("sync.(*Once)", Kind::Once),
        ("sync.(*Cond)", Kind::Cond),
        ("sync.runtime_notifyList", Kind::Cond),
        ("runtime.selectgo", Kind::Select),
        ("runtime.chan", Kind::Channel),
        ("runtime.closechan", Kind::Channel),
    ];
    KINDS.iter().find(|(prefix, _)| operation.starts_with(prefix)).map_or(Kind::Mutex, |(_, kind)| *kind)
}
