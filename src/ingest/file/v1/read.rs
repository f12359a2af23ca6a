//! Chunks of version 1 into the model, every reference checked.
//!
//! Nothing in a file is trusted: a row that refers to what is not there, or that would need more
//! memory than allowed, ends the reading; what came before it stays.

mod code;
mod counts;
mod orders;

use std::io::Read;

use serde::Deserialize;

use super::damage::Progress;
use super::hangs::{HangHeldRow, HangReader, HangRow, HangWaitRow};
use super::rows::{EndRow, LockRow, LockRow1, MetaRow, ProcessRow, RunRow, ThreadRow};
use super::{END, META, Table};
use crate::ingest::file::container::{Chunk, ChunkReader, Damage, Tag};
use crate::ingest::file::error::ReadError;
use crate::ingest::size::{MEMORY_FLOOR, MEMORY_PER_BYTE, view_allowance, view_size};
use crate::model::lock_class;
use crate::model::{
    Frames, Hang, HeldLock, Lock, LockId, Process, ProcessId, Session, StackId, Thread, ThreadId, WaitKey,
};
use orders::Reached;

/// Memory that a session read from a file may take, bytes (estimated), however large the file is.
pub const MEMORY_LIMIT: u64 = 4 << 30;

/// What a table's row takes beside its own struct: entries of indexes, rounding by the allocator.
const ROW_OVERHEAD: u64 = 64;

/// Reads everything up to the END chunk or the first damage. `memory`: see [`MEMORY_LIMIT`]. `size`: bytes of the file, as
/// far as that is known; they allow for memory from the beginning.
pub fn read<R: Read>(chunks: &mut ChunkReader<R>, memory: u64, size: u64) -> Result<Session, ReadError> {
    let (_, minor) = chunks.version();
    let mut builder = match chunks.next_chunk() {
        Ok(chunk) => Builder::begin(&chunk, minor, memory).ok_or(ReadError::DamagedHeader)?,
        Err(Damage::Ends) => return Err(ReadError::CutInHeader),
        Err(Damage::Io(error)) => return Err(ReadError::Io(error)),
        Err(_) => return Err(ReadError::DamagedHeader),
    };
    builder.grant(size);
    let mut seen = 1;
    let damage = loop {
        let offset = chunks.offset;
        let outcome = chunks.next_chunk().and_then(|chunk| {
            if offset >= size {
                builder.grant(chunk.stored as u64);
            }
            if chunk.tag == END {
                builder.end(&chunk, seen).map(|()| true)
            } else {
                builder.chunk(&chunk).map(|()| false)
            }
        });
        match outcome {
            Ok(true) => break None,
            Ok(false) => seen += 1,
            Err(Damage::TooLarge) => return Err(ReadError::TooLarge { megabytes: builder.granted() >> 20 }),
            Err(damage) => break Some((damage, offset)),
        }
    };
    builder.untangle();
    let most = view_allowance(chunks.offset);
    if view_size(&builder.session) > most {
        return Err(ReadError::TooLarge { megabytes: most >> 20 });
    }
    let mut session = builder.session;
    lock_class::forget_file_names(&mut session);
    if let Some((damage, offset)) = damage {
        builder.progress.settle(&mut session, &damage, offset);
    }
    Ok(session)
}

/// The bytes of each row of a chunk.
fn row_bytes<'a>(chunk: &Chunk<'a>) -> impl Iterator<Item = Result<&'a [u8], Damage>> + use<'a> {
    let mut rest = chunk.raw;
    (0..chunk.rows).map(move |_| {
        let (row, after) =
            postcard::take_from_bytes::<&[u8]>(rest).map_err(|_| Damage::Senseless("a row ends early"))?;
        rest = after;
        Ok(row)
    })
}

/// Decodes a row; bytes after the known fields are those of a newer minor version.
fn decode<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Result<T, Damage> {
    postcard::take_from_bytes(row).map(|(value, _)| value).map_err(|_| Damage::Senseless("a row cannot be decoded"))
}

/// The session so far, and what the rows to come refer to.
pub struct Builder {
    session: Session,
    progress: Progress,
    strings: Vec<String>,
    lists: Vec<Frames>,
    symbolised: u32,
    last_share: Option<(ThreadId, crate::model::SiteId)>,
    wait_keys: Vec<WaitKey>,
    hangs: HangReader,
    last_start_ns: u64,
    reached: Reached,
    /// Memory that may still be taken, and that the bytes to come may still add, bytes.
    memory_left: u64,
    ungranted: u64,
    taken: u64,
    /// All events counted anywhere: a sum that analyses may build without overflow.
    counted: u64,
}

impl Builder {
    /// `None` where the first chunk is not a proper META chunk.
    fn begin(chunk: &Chunk, minor: u16, memory: u64) -> Option<Self> {
        let row = row_bytes(chunk).next().filter(|_| chunk.tag == META)?.ok()?;
        let meta: MetaRow = decode(row).ok()?;
        let total = Table::ALL.map(|table| {
            let of_table = |(tag, _): &&(Tag, u64)| *tag == table.tag();
            meta.tables.iter().find(of_table).map_or(0, |(_, rows)| *rows)
        });
        Some(Self {
            session: meta.session(),
            progress: Progress { read: [0; Table::ALL.len()], total, minor },
            strings: Vec::new(),
            lists: Vec::new(),
            symbolised: 0,
            last_share: None,
            wait_keys: Vec::new(),
            hangs: HangReader::default(),
            last_start_ns: 0,
            reached: Reached::default(),
            memory_left: memory.min(MEMORY_FLOOR),
            ungranted: memory.saturating_sub(MEMORY_FLOOR),
            taken: 0,
            counted: 0,
        })
    }

    fn end(&mut self, chunk: &Chunk, seen: u32) -> Result<(), Damage> {
        let row = row_bytes(chunk).next().unwrap_or(Err(Damage::Senseless("the END chunk is empty")))?;
        let end: EndRow = decode(row)?;
        if end.chunks == seen && self.progress.whole() {
            Ok(())
        } else {
            Err(Damage::Senseless("chunks are missing before the end"))
        }
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), Damage> {
        let Some(table) = Table::of(chunk.tag) else { return Ok(()) };
        match table {
            Table::Arguments => self.each(chunk, table, Self::argument),
            Table::Notes => self.each(chunk, table, Self::note),
            Table::Processes => self.each(chunk, table, Self::process),
            Table::Runs => self.each(chunk, table, Self::run),
            Table::Threads => self.each(chunk, table, Self::thread),
            Table::Modules => self.each(chunk, table, Self::module),
            Table::Nodes => self.each(chunk, table, Self::node),
            Table::Locks if chunk.revision == 0 => self.each(chunk, table, |this, row: LockRow| this.lock(row.lock())),
            Table::Locks => self.each(chunk, table, |this, row: LockRow1| this.lock(row.lock())),
            Table::Hangs => self.each(chunk, table, Self::hang),
            Table::HangWaits => self.each(chunk, table, Self::hang_wait),
            Table::HangHeld => self.each(chunk, table, Self::hang_held),
            Table::Sites => self.each(chunk, table, Self::site),
            Table::Strings => self.each(chunk, table, Self::string),
            Table::FrameLists => self.each(chunk, table, Self::frames),
            Table::Symbols => self.each(chunk, table, Self::symbol),
            Table::Shares => self.each(chunk, table, Self::share),
            Table::WaitKeys => self.each(chunk, table, Self::wait_key),
            Table::Waits => self.each(chunk, table, Self::wait),
            Table::CallNames => self.each(chunk, table, Self::call_name),
            Table::Calls => self.each(chunk, table, Self::call),
            Table::WaitEvents => self.each(chunk, table, Self::wait_event),
            Table::Chains => self.each(chunk, table, Self::chain),
            Table::SyncPoints => self.each(chunk, table, Self::sync_point),
            Table::Timelines => self.each(chunk, table, Self::timeline),
            Table::Requests => self.each(chunk, table, Self::request),
            Table::Misuses => self.each(chunk, table, Self::misuse),
            Table::Missing => self.each(chunk, table, Self::missing),
            Table::OrderEvents => self.each(chunk, table, Self::order_event),
        }
    }

    fn each<'a, T: Deserialize<'a>>(
        &mut self,
        chunk: &Chunk<'a>,
        table: Table,
        take: fn(&mut Self, T) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        for row in row_bytes(chunk) {
            let row = row?;
            self.charge(row.len() as u64 + ROW_OVERHEAD)?;
            take(self, decode(row)?)?;
            self.progress.read[table as usize] += 1;
        }
        Ok(())
    }

    /// Bytes of the file allow for memory.
    fn grant(&mut self, bytes: u64) {
        let more = bytes.saturating_mul(MEMORY_PER_BYTE).min(self.ungranted);
        self.memory_left += more;
        self.ungranted -= more;
    }

    /// Memory that was allowed for so far, bytes.
    fn granted(&self) -> u64 {
        self.memory_left + self.taken
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Damage> {
        self.taken = self.taken.saturating_add(bytes.min(self.memory_left));
        self.memory_left = self.memory_left.checked_sub(bytes).ok_or(Damage::TooLarge)?;
        Ok(())
    }

    fn count(&mut self, events: u64) -> Result<(), Damage> {
        self.counted = self.counted.checked_add(events).ok_or(Damage::Senseless("the counts overflow"))?;
        Ok(())
    }

    fn known_lock(&self, lock: LockId) -> Result<(), Damage> {
        check(lock.index(), self.session.locks.len(), "an order of an unknown lock")
    }

    fn known_thread(&self, thread: ThreadId) -> Result<(), Damage> {
        check(thread.index(), self.session.threads.len(), "an order of an unknown thread")
    }

    fn known_stack(&self, stack: StackId) -> Result<(), Damage> {
        check(stack.index(), self.session.stacks.len(), "a stack that is not there")
    }

    fn argument(&mut self, word: &str) -> Result<(), Damage> {
        self.session.meta.command.push(word.to_owned());
        Ok(())
    }

    fn note(&mut self, note: &str) -> Result<(), Damage> {
        self.session.coverage.notes.push(note.to_owned());
        Ok(())
    }

    fn process(&mut self, row: ProcessRow) -> Result<(), Damage> {
        self.charge(size_of::<Process>() as u64)?;
        self.session.processes.push(row.into());
        Ok(())
    }

    fn run(&mut self, row: RunRow) -> Result<(), Damage> {
        let first = ProcessId(row.first_process);
        check(first.index(), self.session.processes.len(), "a run of an unknown process")?;
        if self.session.later_runs.last().copied().unwrap_or_default() >= first {
            return Err(Damage::Senseless("runs out of order"));
        }
        self.session.later_runs.push(first);
        Ok(())
    }

    fn thread(&mut self, row: ThreadRow) -> Result<(), Damage> {
        self.charge(size_of::<Thread>() as u64)?;
        let thread = Thread::from(row);
        check(thread.process.index(), self.session.processes.len(), "a thread of an unknown process")?;
        self.session.threads.push(thread);
        Ok(())
    }

    fn lock(&mut self, lock: Option<Lock>) -> Result<(), Damage> {
        self.charge(size_of::<Lock>() as u64)?;
        let lock = lock.ok_or(Damage::Senseless("a lock of an unknown sort"))?;
        check(lock.process.index(), self.session.processes.len(), "a lock of an unknown process")?;
        self.known_stack(lock.origin_stack)?;
        self.session.locks.push(lock);
        Ok(())
    }

    fn hang(&mut self, row: HangRow) -> Result<(), Damage> {
        self.charge(size_of::<Hang>() as u64)?;
        self.hangs.hang(&mut self.session, &row)
    }

    fn hang_wait(&mut self, row: HangWaitRow) -> Result<(), Damage> {
        self.charge(row.memory())?;
        self.hangs.wait(&mut self.session, &row)
    }

    fn hang_held(&mut self, row: HangHeldRow) -> Result<(), Damage> {
        self.charge(size_of::<HeldLock>() as u64)?;
        self.hangs.held(&mut self.session, &row)
    }
}

fn check(index: usize, len: usize, what: &'static str) -> Result<(), Damage> {
    if index < len { Ok(()) } else { Err(Damage::Senseless(what)) }
}
