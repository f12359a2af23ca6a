//! Tables that give each address of a function a number: the line, the file, the frame's size, the inlined call.
//!
//! A table is a chain of runs, each a change of the value (zigzag) and a length in bytes of code, both as variable-length
//! numbers. The value begins at -1; a change of zero that is not the first ends the table (`runtime.step`).

use super::super::bytes::varint;

/// A stretch of code with one value; it begins where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first address behind it.
    pub end: u64,
    /// Its value.
    pub value: i32,
}

/// The runs of a table. They end at the table's end or where it is damaged.
#[derive(Clone, Debug)]
pub struct Runs<'data> {
    rest: &'data [u8],
    last: Run,
    first: bool,
}

impl<'data> Runs<'data> {
    /// The table that begins with these bytes, of a function that begins at `start`.
    pub fn new(bytes: &'data [u8], start: u64) -> Self {
        Self { rest: bytes, last: Run { end: start, value: -1 }, first: true }
    }

    /// The value at an address in the function.
    pub fn value_at(mut self, address: u64) -> Option<i32> {
        self.find(|run| address < run.end).map(|run| run.value)
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let (change, taken) = varint(self.rest)?;
        if change == 0 && !self.first {
            self.rest = &[];
            return None;
        }
        let (length, more) = varint(&self.rest[taken..])?;
        self.rest = &self.rest[taken + more..];
        self.first = false;
        let change = if change & 1 == 0 { change >> 1 } else { !(change >> 1) };
        self.last.value = self.last.value.wrapping_add_unsigned(change);
        self.last.end = self.last.end.checked_add(u64::from(length))?;
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_each_other() {
        // +1 (to 0) for 4 bytes, +10 for 300, -11 for 1, the end.
        let table = [2, 4, 20, 0xac, 2, 21, 1, 0, 7, 7];
        let runs: Vec<_> = Runs::new(&table, 100).map(|run| (run.end, run.value)).collect();
        assert_eq!(runs, [(104, 0), (404, 10), (405, -1)]);
        let at = |address| Runs::new(&table, 100).value_at(address);
        assert_eq!((at(100), at(103), at(104), at(404), at(405)), (Some(0), Some(0), Some(10), Some(-1), None));
    }

    #[test]
    fn a_damaged_table_ends() {
        assert_eq!(Runs::new(&[], 0).count(), 0);
        assert_eq!(
            Runs::new(&[0, 4, 0], 0).map(|run| run.value).collect::<Vec<_>>(),
            [-1],
            "the first may be no change"
        );
        assert_eq!(Runs::new(&[2, 4, 2], 0).count(), 1);
        assert_eq!(Runs::new(&[0x80; 20], 0).count(), 0);
        assert_eq!(Runs::new(&[2, 4], u64::MAX).count(), 0);
    }
}
