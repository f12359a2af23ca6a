//! Rows that say what hung: deadlocks, and who waited when the program was ended. Since format 1.1.

use serde::{Deserialize, Serialize};

use super::rows::{mode, mode_number};
use crate::ingest::file::container::Damage;
use crate::model::{Hang, HangKind, HeldLock, LockId, ProcessId, Session, StackId, ThreadId, Waiting};

// A value's number in the file is its place in this list: only ever add at the end.
const KINDS: [HangKind; 6] = [
    HangKind::Deadlock,
    HangKind::SelfDeadlock,
    HangKind::Waits,
    HangKind::Abandoned,
    HangKind::Stuck,
    HangKind::Leaked,
];

/// `HANG`.
#[derive(Serialize, Deserialize)]
pub struct HangRow {
    kind: u8,
    process: u32,
    at_ns: u64,
    running: u32,
}

/// `HWTG`: a thread that waits in a hang.
#[derive(Serialize, Deserialize)]
pub struct HangWaitRow {
    hang: u32,
    /// Whether it is part of the ring.
    in_cycle: bool,
    thread: u32,
    lock: u32,
    mode: u8,
    timed: bool,
    stack: u32,
    since_ns: u64,
    holders: Vec<u32>,
}

/// `HHLD`: a lock that such a thread holds.
#[derive(Serialize, Deserialize)]
pub struct HangHeldRow {
    wait: u32,
    lock: u32,
    mode: u8,
    stack: u32,
    since_ns: u64,
}

/// The rows of `HANG`.
pub fn hangs(session: &Session) -> impl Iterator<Item = HangRow> {
    session.hangs.iter().map(|hang| HangRow {
        kind: KINDS.iter().position(|kind| *kind == hang.kind).map_or(u8::MAX, |at| at as u8),
        process: hang.process.0,
        at_ns: hang.at_ns,
        running: hang.running,
    })
}

/// Every wait: the number of its hang, whether it is in the ring, and itself.
fn all_waits(session: &Session) -> impl Iterator<Item = (u32, bool, &Waiting)> {
    session.hangs.iter().zip(0..).flat_map(|(hang, number)| {
        let cycle = hang.cycle.iter().map(move |waiting| (number, true, waiting));
        cycle.chain(hang.others.iter().map(move |waiting| (number, false, waiting)))
    })
}

/// The rows of `HWTG`.
pub fn waits(session: &Session) -> impl Iterator<Item = HangWaitRow> {
    all_waits(session).map(|(hang, in_cycle, waiting)| HangWaitRow {
        hang,
        in_cycle,
        thread: waiting.thread.0,
        lock: waiting.lock.0,
        mode: mode_number(waiting.mode),
        timed: waiting.timed,
        stack: waiting.stack.0,
        since_ns: waiting.since_ns,
        holders: waiting.holders.iter().map(|id| id.0).collect(),
    })
}

/// The rows of `HHLD`.
pub fn held(session: &Session) -> impl Iterator<Item = HangHeldRow> {
    all_waits(session).zip(0..).flat_map(|((_, _, waiting), wait)| {
        waiting.held.iter().map(move |held| HangHeldRow {
            wait,
            lock: held.lock.0,
            mode: mode_number(held.mode),
            stack: held.stack.0,
            since_ns: held.since_ns,
        })
    })
}

/// Puts the rows together again.
#[derive(Default)]
pub struct HangReader {
    /// Of each wait its hang, whether it is in the ring, and its place there.
    waits: Vec<(usize, bool, usize)>,
}

/// What one list element of a row takes in memory, beside its bytes in the file.
pub const LISTED: u64 = size_of::<ThreadId>() as u64;

impl HangWaitRow {
    /// Bytes that it takes in memory.
    pub fn memory(&self) -> u64 {
        size_of::<Waiting>() as u64 + self.holders.len() as u64 * LISTED
    }
}

impl HangReader {
    /// Adds a hang.
    pub fn hang(&self, session: &mut Session, row: &HangRow) -> Result<(), Damage> {
        let kind = *KINDS.get(usize::from(row.kind)).ok_or(Damage::Senseless("a hang of an unknown sort"))?;
        known(row.process, session.processes.len(), "a hang of an unknown process")?;
        session.hangs.push(Hang {
            kind,
            process: ProcessId(row.process),
            at_ns: row.at_ns,
            cycle: Vec::new(),
            others: Vec::new(),
            running: row.running,
        });
        Ok(())
    }

    /// Adds a wait to its hang.
    pub fn wait(&mut self, session: &mut Session, row: &HangWaitRow) -> Result<(), Damage> {
        let mode = mode(row.mode).ok_or(Damage::Senseless("a wait that has no meaning"))?;
        for thread in std::iter::once(&row.thread).chain(&row.holders) {
            known(*thread, session.threads.len(), "a wait of an unknown thread")?;
        }
        known(row.lock, session.locks.len(), "a wait for an unknown lock")?;
        known(row.stack, session.stacks.len(), "a stack that is not there")?;
        known(row.hang, session.hangs.len(), "a wait in a hang that is not there")?;
        let at = row.hang as usize;
        // Rows of one hang follow each other, those of the ring first: nothing else could be written again.
        let last = self.waits.last().map(|(hang, in_cycle, _)| (*hang, !*in_cycle));
        if last > Some((at, !row.in_cycle)) {
            return Err(Damage::Senseless("waits out of order"));
        }
        let hang = &mut session.hangs[at];
        let part = if row.in_cycle { &mut hang.cycle } else { &mut hang.others };
        self.waits.push((at, row.in_cycle, part.len()));
        part.push(Waiting {
            thread: ThreadId(row.thread),
            lock: LockId(row.lock),
            mode,
            timed: row.timed,
            stack: StackId(row.stack),
            since_ns: row.since_ns,
            holders: row.holders.iter().map(|id| ThreadId(*id)).collect(),
            held: Vec::new(),
        });
        Ok(())
    }

    /// Adds a held lock to its wait.
    pub fn held(&self, session: &mut Session, row: &HangHeldRow) -> Result<(), Damage> {
        let mode = mode(row.mode).ok_or(Damage::Senseless("a hold that has no meaning"))?;
        known(row.lock, session.locks.len(), "a hold of an unknown lock")?;
        known(row.stack, session.stacks.len(), "a stack that is not there")?;
        let wait = self.waits.get(row.wait as usize).ok_or(Damage::Senseless("a wait that is not there"))?;
        let hang = &mut session.hangs[wait.0];
        let part = if wait.1 { &mut hang.cycle } else { &mut hang.others };
        part[wait.2].held.push(HeldLock {
            lock: LockId(row.lock),
            mode,
            stack: StackId(row.stack),
            since_ns: row.since_ns,
        });
        Ok(())
    }
}

fn known(row: u32, rows: usize, what: &'static str) -> Result<(), Damage> {
    if (row as usize) < rows { Ok(()) } else { Err(Damage::Senseless(what)) }
}
