//! The shared memory: one sparse file, mapped piece by piece as it is used.
//!
//! A piece is populated before it is written to (`MADV_POPULATE_WRITE`), so that a full memory file system is an answer
//! here and not a SIGBUS in the program later.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::{PAGE, note, unseen};
use lockprof_wire::stack::TRUNCATED;
use lockprof_wire::{Header, Layout, LockInfo, MAGIC, ModuleInfo, NodeInfo, ThreadSlot, VERSION};

use crate::sys::{self, Ids, clock};
use crate::tables::pieces::{ARENA_PIECE, Arena, Pages, Rows, UNIT};

/// See the module. Valid when zero: then there is no memory.
#[repr(C)]
pub struct Segment {
    header: AtomicPtr<Header>,
    size: AtomicU64,
    threads: Rows,
    locks: Rows,
    nodes: Rows,
    modules: Rows,
    arena: Arena,
    path: [AtomicU32; PATH_MAX / 4],
}

/// How much of a table is made ready at a time, bytes.
const STEP: u64 = 64 << 10;

/// For how many threads, locks and stack nodes room is made where a filter may forbid it later.
pub const AHEAD_THREADS: u32 = 16;
pub const AHEAD_LOCKS: u32 = 1024;
pub const AHEAD_NODES: u32 = 8192;

/// Longest path of a segment, bytes.
pub const PATH_MAX: usize = 576;

const EINVAL: isize = -22;

impl Segment {
    /// Makes the file (`made`: it is there already) and maps it; else what could not be done, as in
    /// [`Header::children_unseen_why`]. `of`: whose it is.
    pub fn create(&self, path: &[u8; PATH_MAX], of: Ids, size: u64, made: bool, tsc: bool) -> Result<(), u32> {
        let name = CStr::from_bytes_until_nul(path).map_err(|_| unseen::OPEN << 16)?;
        let opened = if made { sys::open_write(name).ok_or(0) } else { sys::create(name) };
        let fd = opened.map_err(|errno| unseen::OPEN << 16 | errno)?;
        for (word, chunk) in self.path.iter().zip(path.as_chunks::<4>().0) {
            word.store(u32::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        let mut size = Layout::for_size(if made { sys::file_len(fd) } else { size }).size;
        let sized = loop {
            if made || sys::ftruncate(fd, size) {
                break true;
            }
            if size <= lockprof_wire::layout::SIZE_MIN {
                break false;
            }
            size = Layout::for_size(size / 2).size;
        };
        self.size.store(size, Ordering::Relaxed);
        let layout = self.layout();
        let mapped = sized && self.map(fd, &layout);
        sys::close(fd);
        if !mapped {
            return Err(if sized { unseen::MAP << 16 } else { unseen::SIZE << 16 });
        }
        if self.populate(self.header.load(Ordering::Relaxed).cast(), 0, PAGE).is_err() {
            return Err(unseen::ROOM << 16);
        }
        let header = self.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.pid.store(of.process, Ordering::Relaxed);
        header.parent_pid.store(of.parent, Ordering::Relaxed);
        header.size.store(size, Ordering::Relaxed);
        header.ticks_are_tsc.store(u32::from(tsc), Ordering::Relaxed);
        header.start_mono_ns.store(sys::monotonic_ns(), Ordering::Relaxed);
        header.start_ticks.store(clock::now(), Ordering::Relaxed);
        header.start_real_ns.store(sys::real_ns(), Ordering::Relaxed);
        header.pid_namespace.store(sys::pid_namespace(), Ordering::Relaxed);
        header.lock_count.store(1, Ordering::Relaxed);
        header.node_count.store(1, Ordering::Relaxed);
        header.module_count.store(1, Ordering::Relaxed);
        if !tsc {
            header.notes.store(note::NO_TSC, Ordering::Relaxed);
        }
        for (to, from) in header.comm.iter().zip(sys::comm()) {
            to.store(from, Ordering::Relaxed);
        }
        let mut exe = [0u8; 1024];
        let len = sys::readlink(c"/proc/self/exe", &mut exe);
        for (to, from) in header.exe.iter().zip(&exe[..len.max(0) as usize]) {
            to.store(*from, Ordering::Relaxed);
        }
        // Row 0 of each table stands for "none".
        if !self.has_locks(&layout, 0) || !self.has_nodes(&layout, 0) || !self.has_modules(&layout, 0) {
            return Err(unseen::ROOM << 16);
        }
        // Release: pairs with the collector's Acquire load; the header is complete.
        header.magic.store(MAGIC, Ordering::Release);
        Ok(())
    }

    /// Maps the header and the first piece of each table.
    fn map(&self, fd: isize, layout: &Layout) -> bool {
        let map = |offset: u64, bytes: u64| {
            let at = sys::mmap(bytes as usize, sys::MAP_SHARED, fd, offset).ok()?;
            // SAFETY: the mapping is ours and new.
            unsafe { sys::madvise(at, bytes as usize, sys::MADV_DONTDUMP) };
            Some(at)
        };
        // The thread slots follow the header.
        let pieces = || {
            let header = map(0, layout.threads + UNIT)?;
            self.header.store(header.cast(), Ordering::Relaxed);
            self.threads.begin(header.wrapping_add(layout.threads as usize));
            self.locks.begin(map(layout.locks, UNIT)?);
            self.nodes.begin(map(layout.nodes, UNIT)?);
            self.modules.begin(map(layout.modules, UNIT)?);
            self.arena.begin(map(layout.arena, ARENA_PIECE)?, layout.arena);
            Some(())
        };
        pieces().is_some()
    }

    /// Leaves a word for the report.
    pub fn note(&self, bits: u32) {
        let notes = &self.header().notes;
        if notes.load(Ordering::Relaxed) & bits != bits {
            notes.fetch_or(bits, Ordering::Relaxed);
        }
    }

    fn path(&self) -> [u8; PATH_MAX] {
        let mut path = [0u8; PATH_MAX];
        for (chunk, word) in path.as_chunks_mut::<4>().0.iter_mut().zip(&self.path) {
            *chunk = word.load(Ordering::Relaxed).to_le_bytes();
        }
        path
    }

    /// Takes the file's name away: nobody will look for it.
    pub fn remove_file(&self) {
        if let Ok(path) = CStr::from_bytes_until_nul(&self.path()) {
            sys::unlink(path);
        }
    }

    /// The layout that follows from the size.
    pub fn layout(&self) -> Layout {
        Layout::for_size(self.size.load(Ordering::Relaxed))
    }

    /// Memory at an offset in the arena, as a `T`.
    ///
    /// # Safety
    /// The offset is that of a `T` in something that was carved.
    pub unsafe fn at<T>(&self, offset: u64) -> &'static T {
        // SAFETY: pieces are never given back while the process lives; the caller vouches for the rest.
        // All types of the wire consist of atomics, so any bytes are valid and others may write.
        unsafe { &*(self.arena.address(offset) as *const T) }
    }

    /// Row `number` of a table.
    ///
    /// # Safety
    /// The row was made, and rows of this table are `T`s.
    #[inline(always)]
    unsafe fn row<T>(table: &Rows, number: u32) -> &'static T {
        // SAFETY: as in `at`.
        unsafe { &*(table.address(u64::from(number) * size_of::<T>() as u64) as *const T) }
    }

    /// The header.
    pub fn header(&self) -> &'static Header {
        // SAFETY: the first page is mapped and populated by `create` before anything else.
        unsafe { &*self.header.load(Ordering::Relaxed) }
    }

    /// A thread slot that was carved.
    pub fn thread(&self, number: u32) -> &'static ThreadSlot {
        // SAFETY: the caller has the number from `carve_thread`.
        unsafe { Self::row(&self.threads, number) }
    }

    /// A lock row that was made.
    #[inline(always)]
    ///
    /// Numbers may come out of memory of the program ([`super::object_marker`]): for one that no row has, row 0 is given,
    /// which is nobody's.
    pub fn lock(&self, number: u32) -> &'static LockInfo {
        let made = number < self.header().lock_count.load(Ordering::Relaxed);
        // SAFETY: the row was made.
        unsafe { Self::row(&self.locks, if made { number } else { 0 }) }
    }

    /// A stack node that was made.
    pub fn node(&self, number: u32) -> &'static NodeInfo {
        // SAFETY: numbers come from `new_node`.
        unsafe { Self::row(&self.nodes, number) }
    }

    /// A module row that was made.
    pub fn module(&self, number: u32) -> &'static ModuleInfo {
        // SAFETY: numbers come from `new_module`.
        unsafe { Self::row(&self.modules, number) }
    }

    fn has_locks(&self, layout: &Layout, number: u32) -> bool {
        let end = table_bytes::<LockInfo>(layout.lock_slots);
        self.has_room(self.locks.grow(self, layout.locks, end, row_end::<LockInfo>(number), STEP))
    }

    fn has_nodes(&self, layout: &Layout, number: u32) -> bool {
        let end = table_bytes::<NodeInfo>(layout.node_slots);
        self.has_room(self.nodes.grow(self, layout.nodes, end, row_end::<NodeInfo>(number), STEP))
    }

    fn has_modules(&self, layout: &Layout, number: u32) -> bool {
        let end = table_bytes::<ModuleInfo>(layout.module_slots);
        self.has_room(self.modules.grow(self, layout.modules, end, row_end::<ModuleInfo>(number), STEP))
    }

    fn has_threads(&self, layout: &Layout, number: u32) -> bool {
        let end = table_bytes::<ThreadSlot>(layout.thread_slots);
        self.has_room(self.threads.grow(self, layout.threads, end, row_end::<ThreadSlot>(number), PAGE))
    }

    /// Makes room for what comes in the near future, as far as there is any: later it may be forbidden. Call under the
    /// inner lock.
    pub fn grow_ahead(&self) {
        const MODULES: u32 = 8;
        const ARENA: u64 = 1 << 20;
        // Of each table, bytes: address space only.
        const MAPPED: u64 = 16 << 20;
        let (header, layout) = (self.header(), self.layout());
        let beyond = |count: &AtomicU32, more: u32, slots: u32| (count.load(Ordering::Relaxed) + more).min(slots) - 1;
        self.has_threads(&layout, beyond(&header.thread_count, AHEAD_THREADS, layout.thread_slots));
        self.has_locks(&layout, beyond(&header.lock_count, AHEAD_LOCKS, layout.lock_slots));
        self.has_nodes(&layout, beyond(&header.node_count, AHEAD_NODES, layout.node_slots));
        self.has_modules(&layout, beyond(&header.module_count, MODULES, layout.module_slots));
        self.threads.map_ahead(table_bytes::<ThreadSlot>(layout.thread_slots), MAPPED);
        self.locks.map_ahead(table_bytes::<LockInfo>(layout.lock_slots), MAPPED);
        self.nodes.map_ahead(table_bytes::<NodeInfo>(layout.node_slots), MAPPED);
        self.modules.map_ahead(table_bytes::<ModuleInfo>(layout.module_slots), MAPPED);
        self.has_room(self.arena.make_ready(self, layout.size, ARENA));
    }

    /// Why there is no room becomes a word for the report.
    fn has_room<T>(&self, room: Result<T, u32>) -> bool {
        room.map_err(|why| self.note(why)).is_ok()
    }

    /// A new lock row; `fill` completes it before it can be seen. Call under the inner lock.
    pub fn new_lock(&self, fill: impl FnOnce(&LockInfo)) -> Option<u32> {
        let count = &self.header().lock_count;
        let (number, layout) = (count.load(Ordering::Relaxed), self.layout());
        if number >= layout.lock_slots || !self.has_locks(&layout, number) {
            return None;
        }
        // SAFETY: `has_locks` made room for it.
        fill(unsafe { Self::row(&self.locks, number) });
        // Release: pairs with the collector's Acquire load of the count.
        count.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// A new stack node. Call under the inner lock.
    pub fn new_node(&self, caller: u32, module: u32, truncated: bool, address: u64) -> Option<u32> {
        let count = &self.header().node_count;
        let (number, layout) = (count.load(Ordering::Relaxed), self.layout());
        if number >= layout.node_slots || !self.has_nodes(&layout, number) {
            return None;
        }
        let node = self.node(number);
        node.caller.store(caller, Ordering::Relaxed);
        node.module.store(module | if truncated { TRUNCATED } else { 0 }, Ordering::Relaxed);
        node.address.store(address, Ordering::Relaxed);
        // Release: pairs with the collector's Acquire load of the count.
        count.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// A new module row. Call under the inner lock, or before other threads record.
    pub fn new_module(&self, fill: impl FnOnce(&ModuleInfo)) -> Option<u32> {
        let count = &self.header().module_count;
        let (number, layout) = (count.load(Ordering::Relaxed), self.layout());
        if number >= layout.module_slots || !self.has_modules(&layout, number) {
            return None;
        }
        fill(self.module(number));
        // Release: pairs with the collector's Acquire load of the count.
        count.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// A new thread slot. Call under the inner lock.
    pub fn carve_thread(&self) -> Option<u32> {
        let count = &self.header().thread_count;
        let (number, layout) = (count.load(Ordering::Relaxed), self.layout());
        if number >= layout.thread_slots || !self.has_threads(&layout, number) {
            return None;
        }
        // Release: pairs with the collector's Acquire load of the count.
        count.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// Room in the arena; its offset. Call under the inner lock.
    pub fn carve(&self, bytes: u64) -> Option<u64> {
        let carved = self.arena.carve(self, self.size.load(Ordering::Relaxed), bytes.next_multiple_of(64));
        carved.map_err(|why| self.note(why)).ok()
    }

    /// Whether [`Self::carve`] would ask for the room; a refusal is remembered. May be asked without the inner lock.
    pub fn may_carve(&self, bytes: u64) -> bool {
        self.arena.may_carve(bytes.next_multiple_of(64))
    }

    /// Room in the first half of the arena: larger rings must not take what folds will need.
    pub fn carve_from_half(&self, bytes: u64) -> Option<u64> {
        let layout = self.layout();
        let half = layout.arena + (layout.size - layout.arena) / 2;
        if self.arena.next() + bytes > half {
            self.note(note::NO_MEMORY);
            return None;
        }
        self.carve(bytes)
    }

    /// Asks the file system for the room, where the kernel cannot populate a mapping.
    fn reserve_by_file(&self, offset: u64, bytes: u64) -> bool {
        let path = self.path();
        let Ok(path) = CStr::from_bytes_until_nul(&path) else { return false };
        let Some(fd) = sys::open_write(path) else { return false };
        let ok = sys::fallocate(fd, offset, bytes);
        sys::close(fd);
        ok
    }
}

impl Pages for Segment {
    fn populate(&self, at: *mut u8, offset: u64, bytes: u64) -> Result<(), u32> {
        // SAFETY: callers have mapped it.
        let room = match unsafe { sys::madvise(at, bytes as usize, sys::MADV_POPULATE_WRITE) } {
            0 => true,
            // A kernel before 5.14: the file itself is asked.
            EINVAL => self.reserve_by_file(offset, bytes),
            _ => false,
        };
        if room { Ok(()) } else { Err(note::NO_MEMORY) }
    }
}

const fn table_bytes<T>(rows: u32) -> u64 {
    rows as u64 * size_of::<T>() as u64
}

const fn row_end<T>(number: u32) -> u64 {
    (number as u64 + 1) * size_of::<T>() as u64
}
