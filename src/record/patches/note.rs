//! What is kept in a program of what was done to it: another `lockprof` finds it there, and can undo it.
//!
//! It is the first page of the room that was mapped in the program. Its rows are behind the recorder's data.

use std::io;
use std::ops::Range;

use super::super::inject::enter::answers;
use super::super::inject::target::Target;
use crate::ingest::mappings::Mapping;

const MAGIC: u64 = 0x6b63_6f6c_6e77_6f2e;
const FIELDS: u64 = answers::BYTES;
const ROW: usize = 32;
const CHANGED: usize = 8;
/// More rows are none of ours.
const MOST: u64 = 1 << 20;

/// One patch, as it is in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The first byte that changes.
    pub at: u64,
    /// What is there without it.
    pub without: Vec<u8>,
    /// What is there with it: as long.
    pub with: Vec<u8>,
    /// It is of the runtime's handler of signals: those come first, and go last.
    pub is_of_signals: bool,
}

impl Row {
    fn to_bytes(&self) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        bytes[..8].copy_from_slice(&self.at.to_ne_bytes());
        bytes[8..12].copy_from_slice(&(self.with.len() as u32).to_ne_bytes());
        bytes[12..16].copy_from_slice(&u32::from(self.is_of_signals).to_ne_bytes());
        bytes[16..16 + self.without.len()].copy_from_slice(&self.without);
        bytes[24..24 + self.with.len()].copy_from_slice(&self.with);
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let length = half(8)? as usize;
        (1..=CHANGED).contains(&length).then_some(())?;
        Some(Self {
            at: u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?),
            without: bytes.get(16..16 + length)?.to_vec(),
            with: bytes.get(24..24 + length)?.to_vec(),
            is_of_signals: half(12)? != 0,
        })
    }
}

/// See the module. Addresses are the program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Bytes of the room.
    pub bytes: u64,
    /// The recorder's code.
    pub code: Range<u64>,
    /// Where its data begins.
    pub data: u64,
    /// Where the rows are.
    pub rows: u64,
    /// How many there are.
    pub count: u64,
    /// The rings: where and how long.
    pub rings: (u64, u64),
    /// The word that says where the rings are.
    pub rings_word: u64,
    /// The word that says that trampolines are hidden from signals; 0 where there is none.
    pub signals_word: u64,
    /// Nothing is patched, and no thread is in the room.
    pub is_clean: bool,
    /// Who put it there: the number of the process, and when it was started.
    pub recorder: (u64, u64),
}

impl Note {
    /// That of a program, and where its room is.
    pub fn find(target: &Target, mappings: &[Mapping]) -> Option<(u64, Self)> {
        let may_be = |it: &&Mapping| it.writable && !it.shared && it.path.is_empty();
        let at = |it: &Mapping| it.range.start;
        let is = |at: &u64| target.word(*at).is_ok_and(|word| word == MAGIC);
        let room = mappings.iter().filter(may_be).map(at).find(is)?;
        let word = |number: u64| target.word(room + FIELDS + 8 * number).ok();
        let note = Self {
            bytes: word(0)?,
            code: word(1)?..word(2)?,
            data: word(3)?,
            rows: word(4)?,
            count: word(5)?,
            rings: (word(6)?, word(7)?),
            rings_word: word(8)?,
            signals_word: word(9)?,
            is_clean: word(10)? == 1,
            recorder: (word(11)?, word(12)?),
        };
        Some((room, note))
    }

    /// Writes it. The magic word comes last: who finds it finds the rest.
    ///
    /// # Errors
    /// Where the program is gone.
    pub fn write(&self, target: &Target, room: u64) -> io::Result<()> {
        let words = [
            self.bytes,
            self.code.start,
            self.code.end,
            self.data,
            self.rows,
            self.count,
            self.rings.0,
            self.rings.1,
            self.rings_word,
            self.signals_word,
            u64::from(self.is_clean),
            self.recorder.0,
            self.recorder.1,
        ];
        target.write(room + FIELDS, &words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>())?;
        target.write(room, &MAGIC.to_ne_bytes())
    }

    /// Bytes of so many rows.
    pub fn bytes_of_rows(count: usize) -> u64 {
        (count * ROW) as u64
    }

    /// Writes the rows.
    ///
    /// # Errors
    /// Where the program is gone.
    pub fn write_rows(&self, target: &Target, rows: &[Row]) -> io::Result<()> {
        target.write(self.rows, &rows.iter().flat_map(Row::to_bytes).collect::<Vec<_>>())
    }

    /// The rows.
    ///
    /// # Errors
    /// Where the program is gone.
    pub fn read_rows(&self, target: &Target) -> io::Result<Vec<Row>> {
        let bytes = target.bytes(self.rows, self.count.min(MOST) as usize * ROW)?;
        Ok(bytes.chunks_exact(ROW).filter_map(Row::of_bytes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let row = Row { at: 0x1234, without: vec![1, 2, 3, 4, 5], with: vec![0xe9, 6, 7, 8, 9], is_of_signals: true };
        assert_eq!(Row::of_bytes(&row.to_bytes()), Some(row));
        assert_eq!(Row::of_bytes(&[0xff; ROW]), None);
        assert_eq!(Row::of_bytes(&[0; 4]), None);
    }
}
