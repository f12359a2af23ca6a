//! Major version 1: which tables there are, their rows, and how they become the model.
//!
//! Once released, this room changes only by adding: fields at the end of a row, tables, values.
//! The current writer lives here too; a version 2 would take it along and leave the reader.

mod counts;
mod damage;
mod hangs;
mod orders;
mod read;
mod rows;
mod write;

pub use read::{MEMORY_LIMIT, read};
pub use write::write;

use super::container::Tag;

/// The first chunk: one row that says what the recording is.
pub const META: Tag = *b"META";
/// The last chunk: nothing is missing before it.
pub const END: Tag = *b"END ";

/// A string in a row is at most this long, bytes; longer ones are shortened when written.
pub const STRING_LIMIT: usize = 1 << 20;
/// Frames (by inlining) at one address; more are left out when written.
pub const FRAMES_LIMIT: usize = 1 << 10;

/// The tables, in the order in which they are written: rows refer only to rows before them, and what a
/// cut costs least comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Table {
    Arguments,
    Notes,
    Processes,
    Runs,
    Threads,
    Modules,
    Nodes,
    Locks,
    Hangs,
    HangWaits,
    HangHeld,
    Sites,
    Strings,
    FrameLists,
    Symbols,
    Chains,
    SyncPoints,
    Timelines,
    Requests,
    Misuses,
    Missing,
    Shares,
    WaitKeys,
    Waits,
    CallNames,
    Calls,
    WaitEvents,
    OrderEvents,
}

impl Table {
    /// All of them, in order.
    pub const ALL: [Self; 28] = [
        Self::Arguments,
        Self::Notes,
        Self::Processes,
        Self::Runs,
        Self::Threads,
        Self::Modules,
        Self::Nodes,
        Self::Locks,
        Self::Hangs,
        Self::HangWaits,
        Self::HangHeld,
        Self::Sites,
        Self::Strings,
        Self::FrameLists,
        Self::Symbols,
        Self::Chains,
        Self::SyncPoints,
        Self::Timelines,
        Self::Requests,
        Self::Misuses,
        Self::Missing,
        Self::Shares,
        Self::WaitKeys,
        Self::Waits,
        Self::CallNames,
        Self::Calls,
        Self::WaitEvents,
        Self::OrderEvents,
    ];

    /// The tag of its chunks, and what its rows are for a person.
    fn words(self) -> (&'static Tag, &'static str) {
        match self {
            Self::Arguments => (b"ARGS", "command words"),
            Self::Notes => (b"NOTE", "notes"),
            Self::Processes => (b"PROC", "processes"),
            Self::Runs => (b"RUNS", "later runs"),
            Self::Threads => (b"THRD", "threads"),
            Self::Modules => (b"MODU", "modules"),
            Self::Nodes => (b"NODE", "stack nodes"),
            Self::Locks => (b"LOCK", "locks"),
            Self::Hangs => (b"HANG", "hangs"),
            Self::HangWaits => (b"HWTG", "threads in hangs"),
            Self::HangHeld => (b"HHLD", "locks held in hangs"),
            Self::Sites => (b"SITE", "call sites"),
            Self::Strings => (b"STRS", "symbol strings"),
            Self::FrameLists => (b"FRAM", "frames"),
            Self::Symbols => (b"SYMB", "symbolised stack nodes"),
            Self::Chains => (b"CHAN", "lists of held locks"),
            Self::SyncPoints => (b"MARK", "marks in threads' lives"),
            Self::Timelines => (b"LIFE", "threads' lives"),
            Self::Requests => (b"EDGE", "edges of the lock order"),
            Self::Misuses => (b"MISU", "misuses of locks"),
            Self::Missing => (b"ORDR", "totals of the lock order"),
            Self::Shares => (b"SHAR", "shares of threads"),
            Self::WaitKeys => (b"WKEY", "pairs of waiter and holder"),
            Self::Waits => (b"WAIT", "wait totals"),
            Self::CallNames => (b"CALN", "names of calls"),
            Self::Calls => (b"CALL", "calls under locks"),
            Self::WaitEvents => (b"WEVT", "single waits"),
            Self::OrderEvents => (b"OEVT", "single events of the lock order"),
        }
    }

    /// The layout of the rows that this writer knows; a reader passes over fields that it does not know.
    pub fn revision(self) -> u8 {
        u8::from(self == Self::Locks)
    }

    pub fn tag(self) -> Tag {
        *self.words().0
    }

    pub fn noun(self) -> &'static str {
        self.words().1
    }

    pub fn of(tag: Tag) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.tag() == tag)
    }
}
