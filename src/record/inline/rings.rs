//! The rings that a patched program writes, read from outside. What stands in them is hostile input.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use crate::sites::go::recorder::{RING_HEADER, Record, RingHead};

/// Bytes of one ring's records.
pub const CAPACITY: usize = 1 << 24;
/// Behind the records: what the last of them may reach into.
const SLACK: usize = 4096;
/// Bytes from one ring to the next.
pub const STRIDE: usize = RING_HEADER + CAPACITY + SLACK;
/// How many there are.
pub const COUNT: usize = 96;
/// The greatest number of return addresses in a record.
pub const DEPTH: usize = 64;

const LONGEST: usize = size_of::<Record>() + 4 * DEPTH + 8;

/// A ring with more than this in it has no room for the longest record.
pub const ROOM: usize = CAPACITY - LONGEST;

const _: () = assert!(LONGEST <= SLACK && CAPACITY.is_power_of_two());

/// All rings of a program.
pub struct Rings {
    file: File,
    map: MmapRaw,
    tails: Vec<u64>,
}

impl Rings {
    /// Makes them: memory that is taken as it is used.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the name is a text with an end.
        let descriptor = unsafe { libc::memfd_create(c"lockprof".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened, and nobody else has it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        file.set_len(Self::bytes())?;
        let map = MmapRaw::map_raw(&file)?;
        Ok(Self { file, map, tails: vec![0; COUNT] })
    }

    /// Bytes of all.
    pub fn bytes() -> u64 {
        (STRIDE * COUNT) as u64
    }

    /// The memory's descriptor here.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Reads all that was written since the last time: the ring's number, the record, its return addresses (the low halves).
    /// `false` where there was nothing.
    pub fn drain(&mut self, mut take: impl FnMut(usize, Record, &[u32])) -> bool {
        let mut any = false;
        for ring in 0..COUNT {
            // Pairs with the plain store of the recorder, which is a Release on this architecture.
            let head = self.word(ring, std::mem::offset_of!(RingHead, head)).load(Ordering::Acquire);
            let mut tail = self.tails[ring];
            // A head of the future is damage: nothing of this ring is believed any more.
            if head == tail || head.wrapping_sub(tail) > CAPACITY as u64 {
                continue;
            }
            any = true;
            while tail < head {
                let Some((record, stack, length)) = self.record(ring, tail) else {
                    tail = head;
                    break;
                };
                take(ring, record, &stack);
                tail += length;
            }
            self.tails[ring] = tail;
            // The room may be written again only when it has been read.
            self.word(ring, std::mem::offset_of!(RingHead, tail)).store(tail, Ordering::Release);
        }
        any
    }

    /// Events for which there was no room.
    pub fn lost(&self) -> u64 {
        let lost = |ring| self.word(ring, std::mem::offset_of!(RingHead, lost)).load(Ordering::Relaxed);
        (0..COUNT).map(lost).fold(0, u64::saturating_add)
    }

    /// A record with its return addresses and its length; `None` where that makes no sense.
    fn record(&self, ring: usize, at: u64) -> Option<(Record, Vec<u32>, u64)> {
        let start = ring * STRIDE + RING_HEADER + (at as usize & (CAPACITY - 1));
        let word = |offset: usize| self.at(start + offset).load(Ordering::Relaxed);
        let last = word(24);
        let record = Record {
            ticks: word(0),
            address: word(8),
            goroutine: word(16),
            info: last as u32,
            stack: (last >> 32) as u32,
        };
        let frames = record.stack as usize / 4;
        if frames > DEPTH {
            return None;
        }
        let half = |frame: usize| (word(32 + (frame & !1) * 4) >> (32 * (frame & 1))) as u32;
        let length = (size_of::<Record>() + 4 * frames).next_multiple_of(8) as u64;
        Some((record, (0..frames).map(half).collect(), length))
    }

    fn word(&self, ring: usize, offset: usize) -> &AtomicU64 {
        self.at(ring * STRIDE + offset)
    }

    fn at(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.map.len());
        // SAFETY: within the mapping and aligned, as just checked; the mapping lives as long as `self`; the program on the
        // other side writes words of this size.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(offset).cast()) }
    }
}
