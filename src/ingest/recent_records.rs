//! The records read last, as they were read: single sections are made of them when a process is over.
//!
//! Most holds are sections (nothing else is held beside them). They matter for witnesses only, so nothing is done
//! for them while the program runs but to keep the memory that they were read into.
//!
//! In a process that never nests two locks there is nothing to witness. As long as no nested acquisition was read,
//! little more than the last two rounds is kept. What is dropped then does not matter later, either: whoever reads the first
//! one in this round did not find it in the round before, so everything read up to the round before that one had
//! been released before the first nested acquisition was published. Such sections are whole and depend on no nested
//! acquisition, so a schedule may begin with all of them.

use std::collections::VecDeque;

use lockprof_wire::Record;

use crate::model::ThreadId;

/// Records of one ring, read at one time.
#[derive(Debug)]
struct Batch {
    records: Vec<Record>,
    /// Who wrote them, from which position on.
    threads: Vec<(u32, ThreadId)>,
    /// When it was read, ticks: nothing in it is later.
    read_at: u64,
    round: u64,
}

/// The records of one process that were read last. See the module.
#[derive(Debug, Default)]
pub struct RecentRecords {
    batches: VecDeque<Batch>,
    /// Memory to read into.
    spare: Vec<Vec<Record>>,
    kept: usize,
    round: u64,
    nested: bool,
    /// Something was dropped that may matter, up to this time, ticks.
    dropped_until: u64,
}

impl RecentRecords {
    /// Records that are kept of one process, as long as they are of more than one batch: 8 MiB.
    pub const MOST: usize = 1 << 18;
    /// Records and batches that are kept beside the last two rounds while nothing is nested: all of a small program's.
    const FIRST: usize = 1 << 14;
    const FIRST_BATCHES: usize = 1 << 12;
    /// Empty memory that is kept.
    const MOST_SPARE: usize = 64;

    /// Memory to read into.
    pub fn blank(&mut self) -> Vec<Record> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes back memory that holds nothing of interest.
    pub fn recycle(&mut self, mut records: Vec<Record>) {
        if self.spare.len() < Self::MOST_SPARE {
            records.clear();
            self.spare.push(records);
        }
    }

    /// Keeps what was read from one ring. `threads`: who wrote it, from which position on; `now`: ticks.
    pub fn keep(&mut self, mut records: Vec<Record>, threads: Vec<(u32, ThreadId)>, now: u64) {
        // A few records must not keep the memory of many.
        const WORTH_IT: usize = 64;
        if !self.nested && records.capacity() > WORTH_IT.max(4 * records.len()) {
            records.shrink_to_fit();
        }
        self.kept += records.len();
        self.batches.push_back(Batch { records, threads, read_at: now, round: self.round });
        while self.kept > Self::MOST && self.batches.len() > 1 {
            if let Some(read_at) = self.drop_oldest() {
                self.dropped_until = read_at;
            }
        }
    }

    /// All rings were read once.
    pub fn end_round(&mut self) {
        self.round += 1;
        let few = |recent: &Self| recent.kept <= Self::FIRST && recent.batches.len() <= Self::FIRST_BATCHES;
        while !self.nested && !few(self) && self.batches.front().is_some_and(|oldest| oldest.round + 2 <= self.round) {
            self.drop_oldest();
        }
    }

    /// A nested acquisition was read.
    pub fn nested(&mut self) {
        self.nested = true;
    }

    fn drop_oldest(&mut self) -> Option<u64> {
        let oldest = self.batches.pop_front()?;
        self.kept -= oldest.records.len();
        self.recycle(oldest.records);
        Some(oldest.read_at)
    }

    /// What was read up to this time, ticks, may be missing; `None` where nothing is nested, so that nobody needs it.
    pub fn missing_until(&self) -> Option<u64> {
        self.nested.then_some(self.dropped_until)
    }

    /// The records, ring by ring in the order in which they were read, and who wrote them.
    pub fn into_records(self) -> impl Iterator<Item = (ThreadId, Record)> {
        self.batches.into_iter().flat_map(|batch| {
            let mut threads = batch.threads.into_iter().peekable();
            let mut thread = None;
            batch.records.into_iter().zip(0u32..).filter_map(move |(record, at)| {
                while let Some((_, next)) = threads.next_if(|(from, _)| *from <= at) {
                    thread = Some(next);
                }
                Some((thread?, record))
            })
        })
    }
}
