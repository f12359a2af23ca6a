//! A copy of a program's private, writable memory: what may hold its pointers. Pages that were never touched hold none.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::ingest::tasks;

const PAGE: u64 = 4096;
const WORD: u64 = 8;

/// A stretch of memory that was mapped as one: addresses.
type Mapping = Range<u64>;

/// The copy. Words that were not there are zero.
pub struct Memory {
    /// Stretches of pages that were there, by address: where they are, and their first word in [`Self::words`].
    runs: Vec<(Range<u64>, usize)>,
    words: Vec<u64>,
    mappings: Vec<Mapping>,
}

impl Memory {
    /// Copies it while the program runs, or while it is stopped: then it is of one moment. `most`: bytes.
    ///
    /// # Errors
    /// Where it may not be read, or is too large.
    pub fn copy(pid: u32, most: u64) -> io::Result<Self> {
        let folder = tasks::folder(pid);
        let maps = tasks::maps(&folder)?;
        let pages = File::open(folder.join("pagemap"))?;
        let mut memory = Self { runs: Vec::new(), words: Vec::new(), mappings: Vec::new() };
        let mut bytes = 0;
        for line in maps.split(|byte| *byte == b'\n') {
            let Some(mapping) = std::str::from_utf8(line).ok().and_then(private_and_writable) else { continue };
            memory.find_pages(&mapping, &pages)?;
            memory.mappings.push(mapping);
            bytes = memory.runs.last().map_or(0, |(run, at)| *at as u64 * WORD + (run.end - run.start));
            if bytes > most {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
        }
        memory.words = vec![0; (bytes / WORD) as usize];
        memory.fill(pid)?;
        Ok(memory)
    }

    /// Notes the stretches of a mapping that are in memory, or were put aside.
    fn find_pages(&mut self, mapping: &Mapping, pages: &File) -> io::Result<()> {
        /// Bits of an entry: swapped out, present.
        const THERE: u64 = 1 << 62 | 1 << 63;
        const AT_ONCE: usize = 1 << 15;
        let mut entries = vec![0u8; AT_ONCE * WORD as usize];
        let mut at = mapping.start;
        while at < mapping.end {
            let count = (((mapping.end - at) / PAGE) as usize).min(AT_ONCE);
            let entries = &mut entries[..count * WORD as usize];
            pages.read_exact_at(entries, at / PAGE * WORD)?;
            for entry in entries.chunks_exact(WORD as usize) {
                let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                if entry & THERE != 0 {
                    self.add_page(at);
                }
                at += PAGE;
            }
        }
        Ok(())
    }

    fn add_page(&mut self, address: u64) {
        if let Some((run, _)) = self.runs.last_mut()
            && run.end == address
        {
            run.end += PAGE;
            return;
        }
        let first = self.runs.last().map_or(0, |(run, first)| first + ((run.end - run.start) / WORD) as usize);
        self.runs.push((address..address + PAGE, first));
    }

    /// Reads all stretches. What has gone meanwhile stays zero.
    fn fill(&mut self, pid: u32) -> io::Result<()> {
        const AT_ONCE: usize = 512;
        let target = self.words.as_mut_ptr();
        for runs in self.runs.chunks(AT_ONCE) {
            let mut rest = runs;
            while !rest.is_empty() {
                let vector = |address: *mut libc::c_void, run: &Range<u64>| libc::iovec {
                    iov_base: address,
                    iov_len: (run.end - run.start) as usize,
                };
                // SAFETY: each run has its own part of the vector of words, which is as long as all of them.
                let local: Vec<_> =
                    rest.iter().map(|(run, at)| vector(unsafe { target.add(*at) }.cast(), run)).collect();
                let remote: Vec<_> = rest.iter().map(|(run, _)| vector(run.start as *mut libc::c_void, run)).collect();
                let (here, there) = (local.as_ptr(), remote.as_ptr());
                let (pid, count) = (pid as libc::pid_t, rest.len() as libc::c_ulong);
                // SAFETY: both lists are as long as is said; the local buffers are exclusively ours, the remote addresses are
                // checked by the kernel.
                let read = unsafe { libc::process_vm_readv(pid, here, count, there, count, 0) };
                if read < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EFAULT) {
                    return Err(io::Error::last_os_error());
                }
                // It stops at the first page that has gone: that stretch is left, and the next one begun with.
                let mut read = read.max(0) as u64;
                let whole = rest.iter().take_while(|(run, _)| {
                    let is_whole = read >= run.end - run.start;
                    read = read.saturating_sub(run.end - run.start);
                    is_whole
                });
                rest = rest.get(whole.count() + 1..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// A word.
    pub fn word(&self, address: u64) -> Option<u64> {
        let run = self.runs.partition_point(|(run, _)| run.end <= address);
        let (run, first) = self.runs.get(run).filter(|(run, _)| run.start <= address)?;
        (address.is_multiple_of(WORD)).then(|| self.words[first + ((address - run.start) / WORD) as usize])
    }

    /// The word that is so far behind an address, which may be any number.
    pub fn field(&self, address: u64, offset: u64) -> Option<u64> {
        self.word(address.checked_add(offset)?)
    }

    /// The words between two addresses, as far as they are there; the range is widened to whole words.
    pub fn words(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.places(range).map(|(_, word)| word)
    }

    /// The same, with their addresses.
    pub fn places(&self, range: Range<u64>) -> impl Iterator<Item = (u64, u64)> + '_ {
        let start = range.start & !(WORD - 1);
        let end = range.end.checked_next_multiple_of(WORD).unwrap_or(range.end).max(start);
        let from = self.runs.partition_point(|(run, _)| run.end <= start);
        let runs = self.runs[from..].iter().take_while(move |(run, _)| run.start < end);
        runs.flat_map(move |(run, first)| {
            let part = run.start.max(start)..run.end.min(end);
            let at = first + ((part.start - run.start) / WORD) as usize;
            let words = &self.words[at..at + ((part.end - part.start) / WORD) as usize];
            words.iter().enumerate().map(move |(at, word)| (part.start + at as u64 * WORD, *word))
        })
    }

    /// What is mapped.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// The mapping of an address.
    pub fn mapping(&self, address: u64) -> Option<&Mapping> {
        let at = self.mappings.partition_point(|mapping| mapping.end <= address);
        self.mappings.get(at).filter(|mapping| mapping.start <= address)
    }
}

/// The addresses of a line of `/proc/PID/maps`, if it is private memory that can be written.
fn private_and_writable(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    (rest.starts_with("rw") && rest.as_bytes().get(3) == Some(&b'p') && range.start < range.end).then_some(range)
}

#[cfg(test)]
impl Memory {
    /// A piece of memory, as of a program that has nothing else.
    pub fn of(start: u64, words: Vec<u64>) -> Self {
        let range = start..start + WORD * words.len() as u64;
        Self { runs: vec![(range.clone(), 0)], words, mappings: vec![range] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory() {
        let pages = 40;
        let mut data = vec![0u64; pages * 512];
        data.iter_mut().zip(1..).for_each(|(word, number)| *word = number << 20 | 0xabc);
        let start = data.as_ptr() as u64;
        let memory = Memory::copy(std::process::id(), u64::MAX).expect("our own memory");
        assert_eq!(memory.word(start), Some(1 << 20 | 0xabc));
        assert_eq!(memory.word(start + 8 * 5000), Some(5001 << 20 | 0xabc));
        assert!(memory.words(start..start + 8 * data.len() as u64).eq(data.iter().copied()));
        assert!(memory.mapping(start).is_some() && memory.mapping(8).is_none() && memory.word(8).is_none());
    }

    #[test]
    fn lines_of_mappings() {
        let range = private_and_writable("c000000000-c000400000 rw-p 00000000 00:00 0 [anon: Go: heap]");
        assert_eq!(range, Some(0xc0_0000_0000..0xc0_0040_0000));
        for line in ["00400000-00452000 r-xp 0 08:02 1 /x", "7f00-7f01 rw-s 0 00:01 9 /memfd:x", "", "x", "2-1 rw-p"] {
            assert_eq!(private_and_writable(line), None, "{line}");
        }
    }
}
