//! A segment of shared memory, mapped: the one place of the CLI where its bytes become types.
//!
//! The program under test writes here, so nothing is believed: offsets are checked against the size,
//! numbers against the tables. Parts that the shim has not announced are never touched (reading a hole of
//! a memory file would allocate it).

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use lockprof_wire::fold::FoldTable;
use lockprof_wire::record::Slot;
use lockprof_wire::{
    FoldEntry, Header, HeldEntry, Layout, LockInfo, MAGIC, ModuleInfo, NodeInfo, RingHeader, ThreadSlot,
};
use lockprof_wire::{VERSION, layout, ring};
use memmap2::{MmapOptions, MmapRaw};

/// A mapped segment.
pub struct Segment {
    map: MmapRaw,
    layout: Layout,
    /// Where the file is.
    pub path: PathBuf,
}

/// Types that consist of atomics (and padding) only: any bytes are valid, and others may write meanwhile.
trait Shared {}

impl Shared for Header {}
impl Shared for ThreadSlot {}
impl Shared for HeldEntry {}
impl Shared for LockInfo {}
impl Shared for NodeInfo {}
impl Shared for ModuleInfo {}
impl Shared for RingHeader {}
impl Shared for Slot {}
impl Shared for FoldTable {}
impl Shared for FoldEntry {}
impl Shared for AtomicU8 {}
impl Shared for AtomicU64 {}

impl Segment {
    /// Maps a segment; `Ok(None)` while the shim is still making it.
    ///
    /// # Errors
    /// Where the file cannot be opened or mapped, or is no segment of this version.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        if size < layout::SIZE_MIN {
            return Ok(None);
        }
        let map = MmapOptions::new().len(size as usize).map_raw(&file)?;
        let segment = Self { map, layout: Layout::for_size(size), path: path.to_path_buf() };
        let header = segment.header();
        // Acquire: pairs with the shim's Release store, which completes the header.
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Ok(None);
        }
        if header.version.load(Ordering::Relaxed) != VERSION || segment.layout.size != size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the shim is of another version than this lockprof",
            ));
        }
        Ok(Some(segment))
    }

    fn slice<T: Shared>(&self, offset: u64, count: u64) -> Option<&[T]> {
        let bytes = count.checked_mul(size_of::<T>() as u64)?;
        let end = offset.checked_add(bytes)?;
        if end > self.layout.size || !offset.is_multiple_of(align_of::<T>() as u64) {
            return None;
        }
        // SAFETY: within the mapping, which lives as long as `self`, and aligned; `Shared` types allow any
        // bytes and concurrent writes.
        Some(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset as usize).cast(), count as usize) })
    }

    fn one<T: Shared>(&self, offset: u64) -> Option<&T> {
        self.slice(offset, 1).and_then(<[T]>::first)
    }

    fn row<T: Shared>(&self, table: u64, count: u32, number: u32) -> Option<&T> {
        if number >= count { None } else { self.one(table + u64::from(number) * size_of::<T>() as u64) }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        self.one(0).expect("a segment is larger than its header")
    }

    /// Number of thread slots.
    pub fn thread_count(&self) -> u32 {
        // Acquire: pairs with the shim's Release store; the slots are there.
        self.header().thread_count.load(Ordering::Acquire).min(self.layout.thread_slots)
    }

    /// A thread slot.
    pub fn thread(&self, number: u32) -> Option<&ThreadSlot> {
        self.row(self.layout.threads, self.thread_count(), number)
    }

    /// A lock row; row 0 is none.
    pub fn lock(&self, number: u32) -> Option<&LockInfo> {
        // Acquire: as for threads.
        let count = self.header().lock_count.load(Ordering::Acquire).min(self.layout.lock_slots);
        if number == 0 { None } else { self.row(self.layout.locks, count, number) }
    }

    /// A stack node; node 0 is none.
    pub fn node(&self, number: u32) -> Option<&NodeInfo> {
        // Acquire: as for threads.
        let count = self.header().node_count.load(Ordering::Acquire).min(self.layout.node_slots);
        if number == 0 { None } else { self.row(self.layout.nodes, count, number) }
    }

    /// A module row; row 0 is none.
    pub fn module(&self, number: u32) -> Option<&ModuleInfo> {
        // Acquire: as for threads.
        let count = self.header().module_count.load(Ordering::Acquire).min(self.layout.module_slots);
        if number == 0 { None } else { self.row(self.layout.modules, count, number) }
    }

    /// The ring at an offset of the arena, with its slots.
    pub fn ring(&self, offset: u64) -> Option<(&RingHeader, &[Slot])> {
        if offset < self.layout.arena {
            return None;
        }
        let header: &RingHeader = self.one(offset)?;
        let capacity = header.capacity.load(Ordering::Relaxed);
        if !capacity.is_power_of_two() || capacity > ring::MAX_CAPACITY {
            return None;
        }
        Some((header, self.slice(offset + size_of::<RingHeader>() as u64, u64::from(capacity))?))
    }

    /// The fold table at an offset of the arena, with its entries.
    pub fn folds(&self, offset: u64) -> Option<(&FoldTable, &[FoldEntry])> {
        const MOST: u64 = 1 << 20;
        if offset < self.layout.arena {
            return None;
        }
        let table: &FoldTable = self.one(offset)?;
        let capacity = table.capacity.load(Ordering::Relaxed);
        if capacity > MOST {
            return None;
        }
        Some((table, self.slice(offset + size_of::<FoldTable>() as u64, capacity)?))
    }

    /// What a thread holds, as far as it says.
    pub fn held<'a>(&'a self, slot: &'a ThreadSlot) -> impl Iterator<Item = &'a HeldEntry> {
        let depth = slot.depth.load(Ordering::Acquire) as usize;
        let len = slot.held_overflow_len.load(Ordering::Acquire);
        let offset = slot.held_overflow.load(Ordering::Acquire);
        let more: &[HeldEntry] =
            if len == 0 || offset < self.layout.arena { &[] } else { self.slice(offset, len).unwrap_or(&[]) };
        slot.held.iter().chain(more).take(depth)
    }

    /// Text in the arena.
    pub fn text(&self, offset: u64, len: u64) -> Option<String> {
        if offset < self.layout.arena {
            return None;
        }
        Some(text(self.slice(offset, len)?))
    }
}

/// Bytes as text; what is not UTF-8 is replaced.
pub fn text(bytes: &[AtomicU8]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
