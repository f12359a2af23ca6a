//! A segment of shared memory, mapped: the one place of the CLI where its bytes become types.
//!
//! The program under test writes here, so nothing is believed: offsets are checked against the size,
//! numbers against the tables. Parts that the shim has not announced are never touched (reading a hole of
//! a memory file would allocate it), nor those that it has announced and that are holes all the same.

use std::cell::{Cell, RefCell};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use lockprof_wire::fold::FoldTable;
use lockprof_wire::record::Slot;
use lockprof_wire::{
    FoldEntry, Header, HeldEntry, Layout, LockInfo, MAGIC, ModuleInfo, NodeInfo, RingHeader, ThreadSlot,
};
use lockprof_wire::{VERSION, fold, layout, ring};

use super::mapping::Mapping;

/// A mapped segment.
pub struct Segment {
    map: Mapping,
    layout: Layout,
    /// Where the file is.
    pub path: PathBuf,
    /// Rows of threads, locks, nodes and modules that are known to be there.
    known: [Cell<Rows>; 4],
    damage: RefCell<Option<&'static str>>,
}

/// How many rows a table has.
#[derive(Clone, Copy, Default)]
struct Rows {
    /// As the header said last.
    said: u32,
    /// As the file has.
    there: u32,
}

/// The tables of rows.
#[derive(Clone, Copy)]
enum Table {
    Threads,
    Locks,
    Nodes,
    Modules,
}

/// Longest text that is believed, bytes.
const LONGEST_TEXT: u64 = 64 << 10;
/// Pieces of a table between holes that are looked for.
const PIECES: usize = 1024;

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
        // Whoever may write to the folder could put a link or a pipe there.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let size = file.metadata()?.len();
        if size < layout::SIZE_MIN {
            return Ok(None);
        }
        let segment = Self {
            map: Mapping::new(&file, size)?,
            layout: Layout::for_size(size),
            path: path.to_path_buf(),
            known: Default::default(),
            damage: RefCell::default(),
        };
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

    /// What of it cannot be as the shim left it; `None` where nothing was met.
    pub fn damage(&self) -> Option<&'static str> {
        if self.map.was_cut() { Some("the file was cut short") } else { *self.damage.borrow() }
    }

    /// Something was read that the shim does not write.
    #[cold]
    pub fn damaged(&self, what: &'static str) {
        self.damage.borrow_mut().get_or_insert(what);
    }

    /// How many rows of a table can be read.
    fn rows(&self, table: Table) -> u32 {
        let header = self.header();
        let layout = &self.layout;
        let (count, start, row, most) = match table {
            Table::Threads => (&header.thread_count, layout.threads, size_of::<ThreadSlot>(), layout.thread_slots),
            Table::Locks => (&header.lock_count, layout.locks, size_of::<LockInfo>(), layout.lock_slots),
            Table::Nodes => (&header.node_count, layout.nodes, size_of::<NodeInfo>(), layout.node_slots),
            Table::Modules => (&header.module_count, layout.modules, size_of::<ModuleInfo>(), layout.module_slots),
        };
        // Acquire: pairs with the shim's Release store; the rows are there.
        let said = count.load(Ordering::Acquire);
        let known = &self.known[table as usize];
        let mut rows = known.get();
        if rows.said != said {
            if said > most {
                self.damaged("a count of rows is too large");
            }
            let want = said.min(most);
            rows.said = said;
            if want > rows.there {
                let bytes = u64::from(want) * row as u64;
                rows.there = want.min((self.data(start, bytes) / row as u64) as u32);
            }
            known.set(rows);
        }
        rows.there.min(said)
    }

    /// Asks anew which of the announced rows are there.
    pub fn look_again(&self) {
        for rows in &self.known {
            rows.set(Rows { said: 0, ..rows.get() });
        }
        for (table, count) in [
            (Table::Threads, &self.header().thread_count),
            (Table::Locks, &self.header().lock_count),
            (Table::Nodes, &self.header().node_count),
            (Table::Modules, &self.header().module_count),
        ] {
            if self.rows(table) < count.load(Ordering::Relaxed) {
                self.damaged("rows were announced that are not there");
            }
        }
    }

    /// How many bytes of a part of the file can be read, up to the last that holds anything.
    fn data(&self, start: u64, bytes: u64) -> u64 {
        // A file without a name any more is believed.
        let Ok(file) = File::open(&self.path) else { return bytes };
        let end = start + bytes;
        let mut at = start;
        for _ in 0..PIECES {
            // What cannot be asked has no holes.
            let Some(hole) = seek(&file, at, libc::SEEK_HOLE) else { return bytes };
            if hole >= end {
                return bytes;
            }
            match seek(&file, hole, libc::SEEK_DATA) {
                Some(data) if data < end => at = data,
                _ => return hole - start,
            }
        }
        at - start
    }

    /// How much memory the file takes.
    pub fn bytes_in_memory(&self) -> u64 {
        // A file without a name any more is believed.
        fs::metadata(&self.path).map_or(self.layout.size, |file| file.blocks() * 512)
    }

    /// Number of thread slots.
    pub fn thread_count(&self) -> u32 {
        self.rows(Table::Threads)
    }

    /// A thread slot.
    pub fn thread(&self, number: u32) -> Option<&ThreadSlot> {
        self.row(self.layout.threads, self.thread_count(), number)
    }

    /// Number of lock rows, the one that is no lock among them.
    pub fn lock_count(&self) -> u32 {
        self.rows(Table::Locks)
    }

    /// A lock row; row 0 is none.
    pub fn lock(&self, number: u32) -> Option<&LockInfo> {
        if number == 0 { None } else { self.row(self.layout.locks, self.lock_count(), number) }
    }

    /// A stack node; node 0 is none.
    pub fn node(&self, number: u32) -> Option<&NodeInfo> {
        if number == 0 { None } else { self.row(self.layout.nodes, self.rows(Table::Nodes), number) }
    }

    /// A module row; row 0 is none.
    pub fn module(&self, number: u32) -> Option<&ModuleInfo> {
        if number == 0 { None } else { self.row(self.layout.modules, self.rows(Table::Modules), number) }
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
        if offset < self.layout.arena {
            return None;
        }
        let table: &FoldTable = self.one(offset)?;
        let capacity = table.capacity.load(Ordering::Relaxed);
        if capacity > fold::MOST_ENTRIES {
            self.damaged("a table of sums is too large");
            return None;
        }
        Some((table, self.slice(offset + size_of::<FoldTable>() as u64, capacity)?))
    }

    /// What a thread holds, as far as it says.
    pub fn held<'a>(&'a self, slot: &'a ThreadSlot) -> impl Iterator<Item = &'a HeldEntry> {
        let depth = slot.depth.load(Ordering::Acquire) as usize;
        let len = slot.held_overflow_len.load(Ordering::Acquire);
        let offset = slot.held_overflow.load(Ordering::Acquire);
        let beyond = len.min(depth.saturating_sub(slot.held.len()) as u64);
        let more: &[HeldEntry] = if beyond == 0 || offset < self.layout.arena {
            &[]
        } else {
            let entries = self.slice(offset, beyond).unwrap_or(&[]);
            &entries[..self.data(offset, size_of_val(entries) as u64) as usize / size_of::<HeldEntry>()]
        };
        slot.held.iter().chain(more).take(depth)
    }

    /// Text in the arena.
    pub fn text(&self, offset: u64, len: u64) -> Option<String> {
        if offset < self.layout.arena || len > LONGEST_TEXT {
            return None;
        }
        Some(text(self.slice(offset, len)?))
    }
}

/// Where the next data or the next hole of a file is; `None` where that cannot be told.
fn seek(file: &File, from: u64, what: libc::c_int) -> Option<u64> {
    // SAFETY: moves the position of a file of ours that nobody reads from.
    let answer = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, what) };
    let behind_all = || io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO);
    if answer >= 0 { Some(answer as u64) } else { (what == libc::SEEK_HOLE && behind_all()).then_some(from) }
}

/// Bytes as text; what is not UTF-8 is replaced.
pub fn text(bytes: &[AtomicU8]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
