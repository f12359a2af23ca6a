//! The detours of a program that the recorder was brought into: put, and taken away again.
//!
//! What they are is kept in the program, in front of their code: another `lockprof` finds it there.

use std::io;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, bail};

use super::boot::REGION_BYTES;
use super::hurry::Hurry;
use super::target::Target;
use crate::ingest::freeze::{Frozen, Late};
use crate::ingest::mappings::Mapping;
use crate::ingest::stop;

const MAGIC: u64 = 0x6c6f_636b_7072_6f66;
/// Bytes before the code: a head of four words, then the rows.
pub const CODE: u64 = 0x4000;
const HEAD: usize = 32;
const ROW: usize = 128;
/// The greatest number of instructions that a near jump lies over, less the first.
const INNER: usize = 4;
const CHANGED: usize = 8;

/// One detour, as it is in the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The first byte that changes.
    pub entry: u64,
    /// What is there without it.
    pub without: Vec<u8>,
    /// What is there with it: as long.
    pub with: Vec<u8>,
    /// Places between its instructions, and where those are meanwhile.
    pub inner: Vec<(u64, u64)>,
}

impl Row {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ROW);
        bytes.extend(self.entry.to_ne_bytes());
        bytes.extend((self.with.len() as u64).to_ne_bytes());
        for code in [&self.without, &self.with] {
            let mut padded = code.clone();
            padded.resize(CHANGED, 0);
            bytes.extend(padded);
        }
        bytes.extend((self.inner.len() as u64).to_ne_bytes());
        for (from, to) in &self.inner {
            bytes.extend(from.to_ne_bytes().iter().chain(&to.to_ne_bytes()));
        }
        bytes.resize(ROW, 0);
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (length, inner) = (word(8)? as usize, word(32)? as usize);
        if length == 0 || length > CHANGED || inner > INNER {
            return None;
        }
        let inner = (0..inner).map(|at| Some((word(40 + 16 * at)?, word(48 + 16 * at)?))).collect::<Option<_>>()?;
        let (without, with) = (bytes[16..16 + length].to_vec(), bytes[24..24 + length].to_vec());
        Some(Self { entry: word(0)?, without, with, inner })
    }
}

/// See the module.
pub struct Detours {
    target: Target,
    rows: Vec<Row>,
    late: Late,
}

impl Detours {
    /// The most that there can be.
    pub const MOST: usize = (CODE as usize - HEAD) / ROW;

    /// Those that a program has, put or not.
    ///
    /// # Errors
    /// Where it has some and may not be touched.
    pub fn of(pid: u32) -> anyhow::Result<Option<Self>> {
        let Ok(target) = Target::open(pid) else { return Ok(None) };
        let mappings = target.mappings()?;
        let may_be = |it: &&Mapping| {
            it.executable && !it.writable && it.path.is_empty() && it.range.end - it.range.start == REGION_BYTES
        };
        let is = |it: &&Mapping| target.word(it.range.start).is_ok_and(|word| word == MAGIC);
        let Some(region) = mappings.iter().filter(may_be).find(is).map(|it| it.range.start) else { return Ok(None) };
        let count = (target.word(region + 8)? as usize).min(Self::MOST);
        let bytes = target.bytes(region + HEAD as u64, count * ROW)?;
        let rows = bytes.chunks_exact(ROW).filter_map(Row::of_bytes).collect();
        Ok(Some(Self { target, rows, late: Late::default() }))
    }

    /// Writes into a program what its detours are.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn note(target: &Target, region: u64, rows: &[Row]) -> io::Result<()> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend((rows.len() as u64).to_ne_bytes());
        bytes.resize(HEAD, 0);
        rows.iter().for_each(|row| bytes.extend(row.to_bytes()));
        // The magic word comes last: who finds it finds the rest.
        target.write(region + 8, &bytes[8..])?;
        target.write(region, &bytes[..8])
    }

    /// Whether one of them is within these addresses.
    pub fn has_in(&self, code: &Range<u64>) -> bool {
        self.rows.iter().any(|row| code.contains(&row.entry))
    }

    /// Leads calls to the hooks.
    ///
    /// # Errors
    /// Where the program cannot be stopped, or somebody else has changed the same code.
    pub fn put(&mut self) -> anyhow::Result<()> {
        self.change(true)
    }

    /// Puts the program's code back as it was.
    ///
    /// # Errors
    /// Where the program cannot be stopped.
    pub fn remove(&mut self) -> anyhow::Result<()> {
        self.change(false)
    }

    fn change(&mut self, put: bool) -> anyhow::Result<()> {
        const TRIES: u32 = 100;
        if todo(&self.target, &self.rows, put)?.is_empty() {
            return Ok(());
        }
        let mut is_there = false;
        for _ in 0..TRIES {
            let hurry = Hurry::begin();
            let frozen = self.late.freeze_patiently(self.target.pid);
            is_there |= frozen.is_some();
            let changed = match &frozen {
                Some(frozen) => change(&self.target, &self.rows, frozen, put)?,
                None => false,
            };
            drop(frozen);
            drop(hurry);
            if changed {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if is_there {
            bail!("process {}: its threads are in code that has to be changed, again and again", self.target.pid);
        }
        let pid = self.target.pid;
        bail!("process {pid} cannot be stopped: {}", self.late.why_not(pid));
    }
}

/// What has to be written, and where.
fn todo<'a>(target: &Target, rows: &'a [Row], put: bool) -> anyhow::Result<Vec<(&'a Row, &'a [u8])>> {
    let mut todo = Vec::new();
    for row in rows {
        let is = target.bytes(row.entry, row.with.len()).context("its code cannot be read")?;
        let (from, to) = if put { (&row.without, &row.with) } else { (&row.with, &row.without) };
        if is == *from {
            todo.push((row, &**to));
        } else if is != *to && put {
            bail!(
                "process {}: another tool has changed a function of libc that lockprof would have to change ({:#x})",
                target.pid,
                row.entry
            );
        }
    }
    Ok(todo)
}

/// Changes a stopped program; false if a thread is in the way.
fn change(target: &Target, rows: &[Row], frozen: &Frozen<'_>, put: bool) -> anyhow::Result<bool> {
    let todo = todo(target, rows, put)?;
    let mut inner: Vec<(u64, u64)> =
        if put { todo.iter().flat_map(|(row, _)| &row.inner).copied().collect() } else { Vec::new() };
    inner.sort_unstable();
    if !inner.is_empty() && !move_aside(target, frozen, &inner) {
        return Ok(false);
    }
    for (row, to) in todo {
        target.write(row.entry, to).context("its code cannot be written")?;
    }
    Ok(true)
}

/// Moves threads that are between instructions which go to their copies (`inner`: sorted); false if a signal handler will come
/// back there.
fn move_aside(target: &Target, frozen: &Frozen<'_>, inner: &[(u64, u64)]) -> bool {
    const STACK: usize = 256 << 10;
    let mut moves = Vec::new();
    let (least, most) = (inner[0].0, inner[inner.len() - 1].0);
    for tid in frozen.threads() {
        let Some(mut registers) = stop::registers(tid) else { continue };
        if let Some((_, to)) = inner.iter().find(|(from, _)| *from == registers.rip) {
            registers.rip = *to;
            moves.push((tid, registers));
        }
        let stack = readable(target, registers.rsp & !7, STACK);
        let words = stack.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
        let is_inner =
            |word: u64| (least..=most).contains(&word) && inner.binary_search_by_key(&word, |(from, _)| *from).is_ok();
        if words.into_iter().any(is_inner) {
            return false;
        }
    }
    // One that is gone needs no other place.
    moves.iter().for_each(|(tid, registers)| _ = stop::set_registers(*tid, registers));
    true
}

/// As much of memory as there is from an address on.
fn readable(target: &Target, at: u64, most: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; most];
    let read = target.memory.read_at(&mut bytes, at).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let short = Row { entry: 0x1234, without: vec![0x48, 0x89], with: vec![0xeb, 0xf9], inner: Vec::new() };
        let near = Row {
            entry: 7,
            without: vec![0x55, 1, 2, 3, 4],
            with: vec![0xe9, 0, 0, 0, 0],
            inner: vec![(8, 100), (10, 105)],
        };
        for row in [short, near] {
            let bytes = row.to_bytes();
            assert_eq!(bytes.len(), ROW);
            assert_eq!(Row::of_bytes(&bytes), Some(row));
        }
        assert_eq!(Row::of_bytes(&[0xff; ROW]), None);
        assert_eq!(Row::of_bytes(&[0; 8]), None);
    }
}
