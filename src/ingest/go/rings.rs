//! The rings that a patched program writes, read from outside. What stands in them is hostile input.
//!
//! They are one anonymous file: its memory is no part of a file system that could be full, which would be a SIGBUS in the
//! program. A head ([`Common`]) comes first, then the rings, one for each of the runtime's threads.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;
use rustc_hash::FxHashMap;

use crate::sites::layout::{COMMON_BYTES, Common, FOLDS, FOLDS_AT, FoldEntry, RING_HEADER, Record, RingHead};

/// How many rings a program has at most, and how large they are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Their number.
    pub count: usize,
    /// Bytes of one ring's records, a power of two.
    pub capacity: usize,
}

impl Shape {
    /// Of a Go program: Go makes few Ms, each for many goroutines.
    pub const GO: Self = Self { count: 192, capacity: 1 << 23 };
    /// Of a Rust program: each of its threads has one.
    pub const RUST: Self = Self { count: 1024, capacity: 1 << 21 };

    /// Bytes from one ring to the next.
    pub fn stride(&self) -> usize {
        RING_HEADER + self.capacity + SLACK
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        (COMMON_BYTES + self.stride() * self.count) as u64
    }

    /// A ring with more than this in it has no room for the longest record.
    pub fn room(&self) -> usize {
        self.capacity - LONGEST
    }
}

/// Behind the records: what the last of them may reach into.
const SLACK: usize = 4096;
/// The greatest number of return addresses in a record.
pub const DEPTH: usize = 64;

const LONGEST: usize = size_of::<Record>() + 4 * DEPTH + 8;

const _: () = assert!(LONGEST <= SLACK);

/// All rings of a program.
pub struct Rings {
    file: File,
    map: MmapRaw,
    shape: Shape,
    tails: Vec<u64>,
    /// Events that were folded, as far as they were told: by ring and entry.
    folded: FxHashMap<(usize, usize), u64>,
}

/// Records that were read, with their return addresses behind each other.
#[derive(Default)]
pub struct Batch {
    /// The records, and where in [`Self::stacks`] their return addresses begin.
    pub records: Vec<(Record, u32)>,
    /// The low halves of return addresses.
    pub stacks: Vec<u32>,
}

impl Batch {
    /// The return addresses of a record: the low halves.
    pub fn stack(&self, record: &Record, start: u32) -> &[u32] {
        let start = start as usize;
        self.stacks.get(start..start + record.stack as usize / 4).unwrap_or_default()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.records.clear();
        self.stacks.clear();
    }
}

/// Events of one kind and object that were counted where a ring had no room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// What they were about.
    pub address: u64,
    /// As in a record.
    pub info: u32,
    /// How many since the last time.
    pub count: u64,
}

impl Rings {
    /// Makes them: memory that is taken as it is used. There is at least one.
    ///
    /// # Errors
    /// Where the kernel has no memory or no descriptor for it.
    pub fn new(shape: Shape) -> io::Result<Self> {
        let shape = Shape { count: shape.count.max(1), ..shape };
        // SAFETY: the name is a text with an end.
        let descriptor = unsafe { libc::memfd_create(c"lockprof".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened, and nobody else has it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        file.set_len(shape.bytes())?;
        Self::of(file, shape)
    }

    /// Those in a file that is long enough.
    ///
    /// # Errors
    /// Where it cannot be mapped.
    pub fn of(file: File, shape: Shape) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        Ok(Self { file, map, shape, tails: vec![0; shape.count], folded: FxHashMap::default() })
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// How many there are, and how large.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The memory's descriptor here.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Adds what was written since the last time and not after this time stamp. How full the fullest ring was, as a share.
    ///
    /// What one goroutine did is complete up to a time that was before this call: when it goes on in another ring, what it
    /// wrote into the first is there already.
    pub fn read(&mut self, until: u64, batch: &mut Batch) -> f64 {
        let mut fullest = 0.0f64;
        for ring in 0..self.claimed() {
            // Pairs with the plain store of the recorder, which is a Release on this architecture.
            let head = self.word(ring, std::mem::offset_of!(RingHead, head)).load(Ordering::Acquire);
            let mut tail = self.tails[ring];
            // A head of the future is damage: nothing of this ring is believed any more.
            if head == tail || head.wrapping_sub(tail) > self.shape.capacity as u64 {
                continue;
            }
            fullest = fullest.max((head - tail) as f64 / self.shape.capacity as f64);
            while tail < head {
                let Some((record, length)) = self.record(ring, tail) else {
                    tail = head;
                    break;
                };
                if record.ticks > until {
                    break;
                }
                self.take(ring, tail, record, batch);
                tail += length;
            }
            self.tails[ring] = tail;
            // The room may be written again only when it has been read.
            self.word(ring, std::mem::offset_of!(RingHead, tail)).store(tail, Ordering::Release);
        }
        fullest
    }

    /// Rings that an M writes, or may write: they are taken in order, and named a moment later.
    fn claimed(&self) -> usize {
        (self.common(std::mem::offset_of!(Common, claimed)).load(Ordering::Acquire) as usize).min(self.shape.count)
    }

    /// Whether more Ms asked for a ring than there are.
    pub fn lacks_rings(&self) -> bool {
        self.common(std::mem::offset_of!(Common, claimed)).load(Ordering::Acquire) > self.shape.count as u64
    }

    /// What was folded since the last time.
    pub fn folded(&mut self) -> Vec<Folded> {
        let mut found = Vec::new();
        for ring in 0..self.claimed() {
            let count = self.word(ring, std::mem::offset_of!(RingHead, folded)).load(Ordering::Acquire);
            if self.folded.get(&(ring, usize::MAX)).copied().unwrap_or(0) == count {
                continue;
            }
            self.folded.insert((ring, usize::MAX), count);
            for entry in 0..2 * FOLDS {
                let at = FOLDS_AT + entry * size_of::<FoldEntry>();
                let word = |offset: usize| self.word(ring, at + offset).load(Ordering::Relaxed);
                let count = word(std::mem::offset_of!(FoldEntry, count));
                let before = self.folded.get(&(ring, entry)).copied().unwrap_or(0);
                if count > before {
                    let (address, info) = (word(0), word(std::mem::offset_of!(FoldEntry, info)) as u32);
                    found.push(Folded { address, info, count: count - before });
                    self.folded.insert((ring, entry), count);
                }
            }
        }
        found
    }

    /// Events of which nothing is known.
    pub fn lost(&self) -> u64 {
        let lost = |ring| self.word(ring, std::mem::offset_of!(RingHead, lost)).load(Ordering::Relaxed);
        let homeless = self.common(std::mem::offset_of!(Common, lost)).load(Ordering::Relaxed);
        (0..self.claimed()).map(lost).fold(homeless, u64::saturating_add)
    }

    /// A record and its length; `None` where that makes no sense.
    fn record(&self, ring: usize, at: u64) -> Option<(Record, u64)> {
        let words = self.data(ring, at, 0, size_of::<Record>() / 8);
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        let last = word(3);
        let record = Record {
            ticks: word(0),
            address: word(1),
            goroutine: word(2),
            info: last as u32,
            stack: (last >> 32) as u32,
        };
        let frames = record.stack as usize / 4;
        (frames <= DEPTH).then(|| (record, (size_of::<Record>() + 4 * frames).next_multiple_of(8) as u64))
    }

    fn take(&self, ring: usize, at: u64, record: Record, batch: &mut Batch) {
        let start = batch.stacks.len() as u32;
        let frames = record.stack as usize / 4;
        let words = self.data(ring, at, size_of::<Record>(), frames.div_ceil(2));
        batch.stacks.extend(words.iter().flat_map(|word| {
            let word = word.load(Ordering::Relaxed);
            [word as u32, (word >> 32) as u32]
        }));
        batch.stacks.truncate(start as usize + frames);
        batch.records.push((record, start));
    }

    /// Words of a record, so many behind its first bytes.
    fn data(&self, ring: usize, at: u64, offset: usize, count: usize) -> &[AtomicU64] {
        let in_ring = RING_HEADER + (at as usize & (self.shape.capacity - 1)) + offset;
        self.at(COMMON_BYTES + ring * self.shape.stride() + in_ring, count)
    }

    fn word(&self, ring: usize, offset: usize) -> &AtomicU64 {
        &self.at(COMMON_BYTES + ring * self.shape.stride() + offset, 1)[0]
    }

    fn common(&self, offset: usize) -> &AtomicU64 {
        &self.at(offset, 1)[0]
    }

    fn at(&self, offset: usize, count: usize) -> &[AtomicU64] {
        assert!(offset.is_multiple_of(8) && offset + 8 * count <= self.map.len());
        // SAFETY: within the mapping and aligned, as just checked; the mapping lives as long as `self`; the program on the
        // other side writes words of this size.
        unsafe { std::slice::from_raw_parts(self.map.as_mut_ptr().add(offset).cast(), count) }
    }
}
