//! The shared memory: one sparse file, mapped whole and unlocked piece by piece.
//!
//! Pages are inaccessible until they are needed. A piece is made writable and populated at once
//! (`MADV_POPULATE_WRITE`), so that a full memory file system is an answer here and not a SIGBUS in the
//! program later; and a program that locks all its memory does not get the whole file.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::{PAGE, unseen};
use lockprof_wire::stack::TRUNCATED;
use lockprof_wire::{Header, Layout, LockInfo, MAGIC, ModuleInfo, NodeInfo, ThreadSlot, VERSION};

use crate::process::PATH_MAX;
use crate::{clock, sys};

/// See the module. Valid when zero: then there is no memory.
#[repr(C)]
pub struct Segment {
    base: AtomicPtr<u8>,
    size: AtomicU64,
    /// Bytes from the start of each table that are writable, in the order of [`Table`].
    ready: [AtomicU64; 5],
    path: [AtomicU32; PATH_MAX / 4],
}

/// The tables that grow.
#[derive(Clone, Copy)]
enum Table {
    Locks,
    Nodes,
    Modules,
    Arena,
    Threads,
}

/// How much of a table is made writable at a time, bytes.
const STEP: u64 = 64 << 10;

const EINVAL: isize = -22;

impl Segment {
    /// Makes the file (`made`: it is there already) and maps it; else what could not be done, as in
    /// [`Header::children_unseen_why`].
    pub fn create(&self, path: &[u8; PATH_MAX], size: u64, made: bool, tsc: bool) -> Result<(), u32> {
        let name = CStr::from_bytes_until_nul(path).map_err(|_| unseen::OPEN << 16)?;
        let opened = if made { sys::open_write(name).ok_or(0) } else { sys::create(name) };
        let fd = opened.map_err(|errno| unseen::OPEN << 16 | errno)?;
        for (word, chunk) in self.path.iter().zip(path.as_chunks::<4>().0) {
            word.store(u32::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        let mut size = Layout::for_size(if made { sys::file_len(fd) } else { size }).size;
        let mapped = loop {
            let sized = made || sys::ftruncate(fd, size);
            if sized && let Some(at) = sys::mmap(size as usize, sys::PROT_NONE, sys::MAP_SHARED, fd) {
                break Ok(at);
            }
            if made || size <= lockprof_wire::layout::SIZE_MIN {
                break Err(if sized { unseen::MAP << 16 } else { unseen::SIZE << 16 });
            }
            size = Layout::for_size(size / 2).size;
        };
        sys::close(fd);
        let base = mapped?;
        self.base.store(base, Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
        // SAFETY: the mapping is ours and new.
        unsafe { sys::madvise(base, size as usize, sys::MADV_DONTDUMP) };
        let layout = self.layout();
        if !self.unlock(0, PAGE) {
            return Err(unseen::ROOM << 16);
        }
        let header = self.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.pid.store(sys::getpid(), Ordering::Relaxed);
        header.parent_pid.store(sys::getppid(), Ordering::Relaxed);
        header.size.store(size, Ordering::Relaxed);
        header.ticks_are_tsc.store(u32::from(tsc), Ordering::Relaxed);
        header.start_mono_ns.store(sys::monotonic_ns(), Ordering::Relaxed);
        header.start_ticks.store(clock::now(), Ordering::Relaxed);
        header.start_real_ns.store(sys::real_ns(), Ordering::Relaxed);
        header.pid_namespace.store(sys::pid_namespace(), Ordering::Relaxed);
        header.lock_count.store(1, Ordering::Relaxed);
        header.node_count.store(1, Ordering::Relaxed);
        header.module_count.store(1, Ordering::Relaxed);
        header.arena_next.store(layout.arena, Ordering::Relaxed);
        if !tsc {
            header.notes.store(lockprof_wire::layout::note::NO_TSC, Ordering::Relaxed);
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
        if !self.grow(Table::Locks, layout.locks, 1)
            || !self.grow(Table::Nodes, layout.nodes, 1)
            || !self.grow(Table::Modules, layout.modules, 1)
        {
            return Err(unseen::ROOM << 16);
        }
        // Release: pairs with the collector's Acquire load; the header is complete.
        header.magic.store(MAGIC, Ordering::Release);
        Ok(())
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

    /// Memory at an offset, as a `T`.
    ///
    /// # Safety
    /// The offset is that of a `T` in a part that was unlocked.
    #[inline(always)]
    pub unsafe fn at<T>(&self, offset: u64) -> &'static T {
        // SAFETY: the mapping is never given back while the process lives; the caller vouches for the rest.
        // All types of the wire consist of atomics, so any bytes are valid and others may write.
        unsafe { &*self.base.load(Ordering::Relaxed).add(offset as usize).cast::<T>() }
    }

    /// The offset of something in the mapping.
    pub fn offset_of<T>(&self, thing: &'static T) -> u64 {
        core::ptr::from_ref(thing) as u64 - self.base.load(Ordering::Relaxed) as u64
    }

    /// The header.
    pub fn header(&self) -> &'static Header {
        // SAFETY: the first page is unlocked by `create` before anything else.
        unsafe { self.at(0) }
    }

    /// A thread slot that was carved.
    pub fn thread(&self, number: u32) -> &'static ThreadSlot {
        // SAFETY: the caller has the number from `carve_thread`, which unlocked the slot.
        unsafe { self.at(self.layout().threads + u64::from(number) * size_of::<ThreadSlot>() as u64) }
    }

    /// A lock row that was made.
    #[inline(always)]
    pub fn lock(&self, number: u32) -> &'static LockInfo {
        // SAFETY: numbers come from `new_lock`, which unlocked the row.
        unsafe { self.at(self.layout().locks + u64::from(number) * size_of::<LockInfo>() as u64) }
    }

    /// A stack node that was made.
    pub fn node(&self, number: u32) -> &'static NodeInfo {
        // SAFETY: numbers come from `new_node`, which unlocked the node.
        unsafe { self.at(self.layout().nodes + u64::from(number) * size_of::<NodeInfo>() as u64) }
    }

    /// A module row that was made.
    pub fn module(&self, number: u32) -> &'static ModuleInfo {
        // SAFETY: numbers come from `new_module`, which unlocked the row.
        unsafe { self.at(self.layout().modules + u64::from(number) * size_of::<ModuleInfo>() as u64) }
    }

    /// A new lock row; `fill` completes it before it can be seen. Call under the inner lock.
    pub fn new_lock(&self, fill: impl FnOnce(&LockInfo)) -> Option<u32> {
        let count = &self.header().lock_count;
        let (number, layout) = (count.load(Ordering::Relaxed), self.layout());
        if number >= layout.lock_slots || !self.grow(Table::Locks, layout.locks, row_end::<LockInfo>(number)) {
            return None;
        }
        fill(self.lock(number));
        // Release: pairs with the collector's Acquire load of the count.
        count.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// A new stack node. Call under the inner lock.
    pub fn new_node(&self, caller: u32, module: u32, truncated: bool, address: u64) -> Option<u32> {
        let count = &self.header().node_count;
        let (number, layout) = (count.load(Ordering::Relaxed), self.layout());
        if number >= layout.node_slots || !self.grow(Table::Nodes, layout.nodes, row_end::<NodeInfo>(number)) {
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
        if number >= layout.module_slots || !self.grow(Table::Modules, layout.modules, row_end::<ModuleInfo>(number)) {
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
        if number >= layout.thread_slots || !self.grow(Table::Threads, layout.threads, row_end::<ThreadSlot>(number)) {
            return None;
        }
        // Release: pairs with the collector's Acquire load of the count.
        count.store(number + 1, Ordering::Release);
        Some(number)
    }

    /// Room in the arena; its offset. Call under the inner lock.
    pub fn carve(&self, bytes: u64) -> Option<u64> {
        let next = &self.header().arena_next;
        let at = next.load(Ordering::Relaxed);
        let bytes = bytes.div_ceil(64) * 64;
        let layout = self.layout();
        if at + bytes > layout.size || !self.grow(Table::Arena, layout.arena, at + bytes - layout.arena) {
            return None;
        }
        next.store(at + bytes, Ordering::Relaxed);
        Some(at)
    }

    /// Room in the first half of the arena: larger rings must not take what folds will need.
    pub fn carve_from_half(&self, bytes: u64) -> Option<u64> {
        let layout = self.layout();
        let half = layout.arena + (layout.size - layout.arena) / 2;
        (self.header().arena_next.load(Ordering::Relaxed) + bytes <= half).then(|| self.carve(bytes)).flatten()
    }

    /// Sees to it that the first `bytes` of a table are writable.
    fn grow(&self, table: Table, start: u64, bytes: u64) -> bool {
        let ready = &self.ready[table as usize];
        let have = ready.load(Ordering::Relaxed);
        if bytes <= have {
            return true;
        }
        let step = if matches!(table, Table::Arena | Table::Threads) { PAGE } else { STEP };
        let want = bytes.div_ceil(step) * step;
        let end = (start + want).min(self.size.load(Ordering::Relaxed));
        let ok = self.unlock(start + have, end - start - have);
        if ok {
            ready.store(end - start, Ordering::Relaxed);
        }
        ok
    }

    /// Makes room for what comes in the near future, as far as there is any: later it may be forbidden. Call under the
    /// inner lock.
    pub fn grow_ahead(&self) {
        const THREADS: u32 = 16;
        const LOCKS: u32 = 1024;
        const NODES: u32 = 8192;
        const MODULES: u32 = 8;
        const ARENA: u64 = 1 << 20;
        let (header, layout) = (self.header(), self.layout());
        let beyond = |count: &AtomicU32, more: u32, slots: u32| (count.load(Ordering::Relaxed) + more).min(slots) - 1;
        let threads = beyond(&header.thread_count, THREADS, layout.thread_slots);
        let locks = beyond(&header.lock_count, LOCKS, layout.lock_slots);
        let nodes = beyond(&header.node_count, NODES, layout.node_slots);
        let modules = beyond(&header.module_count, MODULES, layout.module_slots);
        let arena = (header.arena_next.load(Ordering::Relaxed) + ARENA).min(layout.size);
        self.grow(Table::Threads, layout.threads, row_end::<ThreadSlot>(threads));
        self.grow(Table::Locks, layout.locks, row_end::<LockInfo>(locks));
        self.grow(Table::Nodes, layout.nodes, row_end::<NodeInfo>(nodes));
        self.grow(Table::Modules, layout.modules, row_end::<ModuleInfo>(modules));
        self.grow(Table::Arena, layout.arena, arena - layout.arena);
    }

    /// Makes pages accessible and makes sure of the memory behind them.
    fn unlock(&self, offset: u64, bytes: u64) -> bool {
        let base = self.base.load(Ordering::Relaxed);
        // SAFETY: callers stay inside the mapping.
        unsafe {
            let at = base.add(offset as usize);
            if !sys::unlock_pages(at, bytes as usize) {
                return false;
            }
            match sys::madvise(at, bytes as usize, sys::MADV_POPULATE_WRITE) {
                0 => true,
                // A kernel before 5.14: the file itself is asked.
                EINVAL => self.reserve_by_file(offset, bytes),
                _ => false,
            }
        }
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

const fn row_end<T>(number: u32) -> u64 {
    (number as u64 + 1) * size_of::<T>() as u64
}
