//! Chunks of version 1 into the model, every reference checked.
//!
//! Nothing in a file is trusted: a row that refers to what is not there, or that would need more
//! memory than allowed, ends the reading; what came before it stays.

use std::io::Read;

use serde::Deserialize;

use super::counts::{ShareRow, SiteRow, WaitEventRow, WaitKeyRow, WaitRow};
use super::damage::Progress;
use super::hangs::{HangHeldRow, HangReader, HangRow, HangWaitRow};
use super::read_orders::Reached;
use super::rows::{
    EndRow, FrameRow, LockRow, LockRow1, MetaRow, ModuleRow, NodeRow, ProcessRow, RunRow, SymbolRow, ThreadRow,
};
use super::{END, META, Table};
use crate::ingest::file::container::{Chunk, ChunkReader, Damage, Tag};
use crate::ingest::file::error::ReadError;
use crate::ingest::size::{MEMORY_FLOOR, MEMORY_PER_BYTE, view_allowance, view_size};
use crate::model::lock_class;
use crate::model::{
    CodeAddress, Frame, Frames, Hang, HeldLock, Lock, Module, ModuleId, Process, ProcessId, Session, Site, StackId,
    Thread, ThreadId, WaitEvent, WaitKey,
};

/// Memory that a session read from a file may take, bytes (estimated), however large the file is.
pub const MEMORY_LIMIT: u64 = 4 << 30;

/// What a table's row takes beside its own struct: entries of indexes, rounding by the allocator.
const ROW_OVERHEAD: u64 = 64;

/// Reads everything up to the END chunk or the first damage. `memory`: see [`MEMORY_LIMIT`].
pub fn read<R: Read>(chunks: &mut ChunkReader<R>, memory: u64) -> Result<Session, ReadError> {
    let (_, minor) = chunks.version();
    let mut builder = match chunks.next_chunk() {
        Ok(chunk) => Builder::begin(&chunk, minor, memory).ok_or(ReadError::DamagedHeader)?,
        Err(Damage::Ends) => return Err(ReadError::CutInHeader),
        Err(Damage::Io(error)) => return Err(ReadError::Io(error)),
        Err(_) => return Err(ReadError::DamagedHeader),
    };
    let mut seen = 1;
    let damage = loop {
        let offset = chunks.offset;
        let outcome = chunks.next_chunk().and_then(|chunk| {
            builder.grant(chunk.stored);
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
    pub(super) session: Session,
    progress: Progress,
    strings: Vec<String>,
    lists: Vec<Frames>,
    symbolised: u32,
    last_share: Option<(ThreadId, crate::model::SiteId)>,
    wait_keys: Vec<WaitKey>,
    hangs: HangReader,
    last_start_ns: u64,
    pub(super) reached: Reached,
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
    fn grant(&mut self, bytes: usize) {
        let more = (bytes as u64).saturating_mul(MEMORY_PER_BYTE).min(self.ungranted);
        self.memory_left += more;
        self.ungranted -= more;
    }

    /// Memory that was allowed for so far, bytes.
    fn granted(&self) -> u64 {
        self.memory_left + self.taken
    }

    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), Damage> {
        self.taken = self.taken.saturating_add(bytes.min(self.memory_left));
        self.memory_left = self.memory_left.checked_sub(bytes).ok_or(Damage::TooLarge)?;
        Ok(())
    }

    pub(super) fn count(&mut self, events: u64) -> Result<(), Damage> {
        self.counted = self.counted.checked_add(events).ok_or(Damage::Senseless("the counts overflow"))?;
        Ok(())
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

    fn module(&mut self, row: ModuleRow) -> Result<(), Damage> {
        self.charge(size_of::<Module>() as u64)?;
        self.session.stacks.modules.push(Module { path: row.path.to_owned(), build_id: row.build_id.to_owned() });
        Ok(())
    }

    fn node(&mut self, row: NodeRow) -> Result<(), Damage> {
        // A node, and an entry of the index over nodes.
        self.charge(96)?;
        let stacks = &mut self.session.stacks;
        let at = stacks.len();
        let caller = at.checked_sub(row.back as usize).filter(|caller| *caller < at);
        let caller = caller.ok_or(Damage::Senseless("a stack is its own caller"))?;
        if let Some(module) = row.module {
            check(module as usize, stacks.modules.len(), "code of an unknown module")?;
        }
        let address = CodeAddress { module: row.module.map(ModuleId), address: row.address };
        if stacks.intern(StackId::from(caller), address).index() != at {
            return Err(Damage::Senseless("a stack is there twice"));
        }
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

    fn site(&mut self, row: SiteRow) -> Result<(), Damage> {
        self.charge(row.memory() + size_of::<Site>() as u64)?;
        row.counts().try_for_each(|events| self.count(events))?;
        let site = row.site().ok_or(Damage::Senseless("a call site that has no meaning"))?;
        check(site.key.lock.index(), self.session.locks.len(), "a call site of an unknown lock")?;
        self.known_stack(site.key.stack)?;
        let profile = &mut self.session.profile;
        let next = profile.sites.len();
        if profile.site(site.key).index() != next {
            return Err(Damage::Senseless("a call site is there twice"));
        }
        profile.sites[next] = site;
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Damage> {
        self.strings.push(text.to_owned());
        Ok(())
    }

    fn frames(&mut self, rows: Vec<FrameRow>) -> Result<(), Damage> {
        let text = |at: Option<u32>| match at {
            None => Ok(None),
            Some(at) => self.strings.get(at as usize).map(Some).ok_or(Damage::Senseless("a name that is not there")),
        };
        let mut bytes = 0;
        for row in &rows {
            let texts = [text(row.function)?, text(row.file)?];
            let texts: usize = texts.into_iter().flatten().map(String::len).sum();
            bytes += (size_of::<Frame>() + texts) as u64 + ROW_OVERHEAD;
        }
        let frame = |row: &FrameRow| {
            Ok(Frame {
                function: text(row.function)?.cloned(),
                file: text(row.file)?.cloned(),
                line: row.line,
                column: row.column,
                inlined: row.inlined,
            })
        };
        // What it takes is known before it is taken.
        if bytes > self.memory_left {
            return Err(Damage::TooLarge);
        }
        let frames = rows.iter().map(frame).collect::<Result<Vec<_>, Damage>>()?;
        self.charge(bytes)?;
        self.lists.push(frames.into());
        Ok(())
    }

    fn symbol(&mut self, row: SymbolRow) -> Result<(), Damage> {
        let node = self.symbolised.saturating_add(row.node_step);
        check(node as usize, self.session.stacks.len(), "symbols of an unknown stack")?;
        if row.node_step == 0 {
            return Err(Damage::Senseless("symbols of one stack twice"));
        }
        let frames = self.lists.get(row.frames as usize).ok_or(Damage::Senseless("frames that are not there"))?;
        self.session.stacks.node_mut(StackId(node)).frames = frames.clone();
        self.symbolised = node;
        Ok(())
    }

    fn share(&mut self, row: ShareRow) -> Result<(), Damage> {
        let (key, share) = row.share();
        check(key.0.index(), self.session.threads.len(), "a share of an unknown thread")?;
        check(key.1.index(), self.session.profile.sites.len(), "a share of an unknown call site")?;
        if self.last_share.replace(key) >= Some(key) {
            return Err(Damage::Senseless("shares out of order"));
        }
        self.count(share.acquisitions)?;
        self.count(share.contended)?;
        self.session.profile.by_thread.insert(key, share);
        Ok(())
    }

    fn wait_key(&mut self, row: WaitKeyRow) -> Result<(), Damage> {
        let key = row.key().ok_or(Damage::Senseless("a wait that has no meaning"))?;
        check(key.lock.index(), self.session.locks.len(), "a wait for an unknown lock")?;
        for thread in [Some(key.thread), key.holder_thread].into_iter().flatten() {
            check(thread.index(), self.session.threads.len(), "a wait of an unknown thread")?;
        }
        self.known_stack(key.waiter)?;
        self.known_stack(key.holder)?;
        if self.wait_keys.last() >= Some(&key) {
            return Err(Damage::Senseless("waits out of order"));
        }
        self.wait_keys.push(key);
        Ok(())
    }

    fn wait(&mut self, row: WaitRow) -> Result<(), Damage> {
        let key = *self.wait_keys.get(row.key as usize).ok_or(Damage::Senseless("a wait that is not there"))?;
        self.count(row.stats().count)?;
        if self.session.profile.waits.insert(key, row.stats()).is_some() {
            return Err(Damage::Senseless("a wait is there twice"));
        }
        Ok(())
    }

    fn wait_event(&mut self, row: WaitEventRow) -> Result<(), Damage> {
        let key = *self.wait_keys.get(row.key as usize).ok_or(Damage::Senseless("a wait that is not there"))?;
        let start_ns = self.last_start_ns.wrapping_add(row.start_step_ns as u64);
        self.last_start_ns = start_ns;
        let WaitEventRow { wait_ns, hold_ns, .. } = row;
        self.session.profile.wait_events.push(WaitEvent { key, start_ns, wait_ns, hold_ns });
        Ok(())
    }
}

pub fn check(index: usize, len: usize, what: &'static str) -> Result<(), Damage> {
    if index < len { Ok(()) } else { Err(Damage::Senseless(what)) }
}
