//! Where things are in a segment, and its first page.
//!
//! Offsets count bytes from the segment's beginning. What lies inside the program's own locks is in
//! [`lock_layout`](crate::lock_layout).

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use crate::{LockInfo, ModuleInfo, NodeInfo, ThreadSlot};

/// Everything is placed at multiples of this.
pub const PAGE: u64 = 4096;

/// Offsets and capacities of a segment, all derived from its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the whole file.
    pub size: u64,
    /// Offset of the thread slots.
    pub threads: u64,
    /// Their number.
    pub thread_slots: u32,
    /// Offset of the lock table.
    pub locks: u64,
    /// Its rows.
    pub lock_slots: u32,
    /// Offset of the stack nodes.
    pub nodes: u64,
    /// Their number.
    pub node_slots: u32,
    /// Offset of the modules.
    pub modules: u64,
    /// Their number.
    pub module_slots: u32,
    /// Offset of the arena (rings, folds, names); it runs to the end.
    pub arena: u64,
}

/// The usual size of a segment: address space, not memory.
pub const SIZE_MAX: u64 = 4 << 30;
/// Beginning of the names of files that the collector makes for processes that may make none of this size.
pub const SPARE: &str = "spare.";
/// Their number: of children that come in a burst, no more find one before the collector has looked again.
pub const SPARES: u32 = 128;
/// Their size, where the collector itself may make files that large.
pub const SPARE_SIZE: u64 = 1 << 30;
/// The least that works.
pub const SIZE_MIN: u64 = 8 << 20;

const fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE) * PAGE
}

impl Layout {
    /// The layout of a segment of `size` bytes, which is rounded down to [`SIZE_MIN`] times a power of two.
    pub const fn for_size(size: u64) -> Self {
        let mut unit = SIZE_MIN;
        while unit * 2 <= size && unit < SIZE_MAX {
            unit *= 2;
        }
        let size = unit;
        // An eighth for thread slots, an eighth for locks and stacks together, the rest is arena.
        let thread_slots = (size / 8 / size_of::<ThreadSlot>() as u64) as u32;
        let lock_slots = (size / 32 / size_of::<LockInfo>() as u64) as u32;
        let node_slots = (size / 32 / size_of::<NodeInfo>() as u64) as u32;
        let module_slots = if size >= 64 << 20 { 2048 } else { 256 };
        let threads = pages(size_of::<Header>() as u64);
        let locks = threads + pages(thread_slots as u64 * size_of::<ThreadSlot>() as u64);
        let nodes = locks + pages(lock_slots as u64 * size_of::<LockInfo>() as u64);
        let modules = nodes + pages(node_slots as u64 * size_of::<NodeInfo>() as u64);
        let arena = modules + pages(module_slots as u64 * size_of::<ModuleInfo>() as u64);
        Self { size, threads, thread_slots, locks, lock_slots, nodes, node_slots, modules, module_slots, arena }
    }
}

/// Bits of [`Header::notes`]: things that a reader of the report has to know.
pub mod note {
    /// The memory file system, or the segment, had no room for more: rings, rows and slots that did not fit.
    pub const NO_MEMORY: u32 = 1;
    /// More locks than rows: the later ones are told apart by their kind only.
    pub const LOCKS_FULL: u32 = 2;
    /// More distinct stacks than nodes: the later ones are cut.
    pub const STACKS_FULL: u32 = 4;
    /// The time stamp counter is not invariant: `clock_gettime` is used.
    pub const NO_TSC: u32 = 8;
    /// More threads than slots.
    pub const THREADS_FULL: u32 = 16;
    /// The store of remembered stack shapes is full: further stacks are unwound each time.
    pub const SHAPES_FULL: u32 = 32;
    /// An internal lock of the recorder was not free in time: some stacks are missing.
    pub const GAVE_UP: u32 = 64;
    /// Something that the order of locks depends on could not be noted: a nested acquisition, the creation of
    /// a thread, the end of a join or of a barrier.
    pub const ORDER_CUT: u32 = 128;
    /// A system call filter forbade what the recorder needs for something new.
    pub const SANDBOX: u32 = 1 << 16;
    /// A child that this process forked behind such a filter was not recorded.
    pub const SANDBOXED_CHILD: u32 = 1 << 17;
    /// More loaded objects than rows: code in the later ones is unknown.
    pub const MODULES_FULL: u32 = 1 << 20;
    /// Libraries were opened in a namespace of their own, with another libc: what they lock is not seen.
    pub const NAMESPACE: u32 = 1 << 21;
    /// Libraries were opened that look into libc first, and not all functions can be seen there.
    pub const DEEPBIND: u32 = 1 << 22;
    /// Locks were given back by calls that were not seen: their holds end where that was noticed.
    pub const UNSEEN_RELEASE: u32 = 1 << 23;
    /// The limit of address space (`RLIMIT_AS`) left no room to grow.
    pub const ADDRESS_SPACE: u32 = 1 << 24;
    /// The limit of private data (`RLIMIT_DATA`) left none.
    pub const DATA_SIZE: u32 = 1 << 25;
    /// The limit of locked memory (`RLIMIT_MEMLOCK`) left none: the program locks all that is mapped later.
    pub const LOCKED_MEMORY: u32 = 1 << 26;
    /// The kernel, or a sandbox, gave no more memory for another reason.
    pub const REFUSED: u32 = 1 << 27;
}

/// What a process could not do that is not recorded.
pub mod unseen {
    /// Make or open the file.
    pub const OPEN: u32 = 1;
    /// Give it its size.
    pub const SIZE: u32 = 2;
    /// Map it.
    pub const MAP: u32 = 3;
    /// Get memory for its first pages.
    pub const ROOM: u32 = 4;
}

/// In [`Header::execs`] and [`Header::failed_execs`]: the count was read, and nobody reads it again.
pub const CLOSED: u32 = 1 << 31;

/// The first page of a segment. The shim writes it: most of it once, at the start; the counts of rows behind the rows
/// (Release), each by whoever makes one; notes and counters at any time. The collector reads.
#[repr(C, align(64))]
pub struct Header {
    /// [`crate::MAGIC`], written last: a segment without it is still being made.
    pub magic: AtomicU64,
    /// [`crate::VERSION`].
    pub version: AtomicU32,
    /// Process id.
    pub pid: AtomicU32,
    /// Parent's process id at the start.
    pub parent_pid: AtomicU32,
    /// 1 where the process was made by fork and goes on with the program of its parent.
    pub forked: AtomicU32,
    /// 1 where nothing is recorded, as whoever follows the programs that are started wants it.
    pub left_alone: AtomicU32,
    /// Size of the segment, bytes: gives the [`Layout`].
    pub size: AtomicU64,
    /// Ticks at the start.
    pub start_ticks: AtomicU64,
    /// `CLOCK_MONOTONIC` at the start, ns.
    pub start_mono_ns: AtomicU64,
    /// 1: ticks are the time stamp counter; 0: they are `CLOCK_MONOTONIC` ns.
    pub ticks_are_tsc: AtomicU32,
    /// Bits of [`note`].
    pub notes: AtomicU32,
    /// Thread slots ever carved.
    pub thread_count: AtomicU32,
    /// Lock rows in use; row 0 is not a lock.
    pub lock_count: AtomicU32,
    /// Stack nodes in use; node 0 is the unknown stack.
    pub node_count: AtomicU32,
    /// Modules in use; module 0 stands for "no module".
    pub module_count: AtomicU32,
    /// Acquisitions made where the recorder could not note them (thread without a slot, handler inside the recorder).
    pub unrecorded: AtomicU64,
    /// 256 + the code with which the process ended by itself; 0 while it has not.
    pub exit: AtomicU32,
    /// Children by fork that could not make a segment of their own.
    pub children_unseen: AtomicU32,
    /// Why the last of them could not: a number of [`unseen`] << 16 | the error number.
    pub children_unseen_why: AtomicU32,
    /// Families of functions that are not libc's in this process, and are not recorded:
    /// [`Family::bit`](crate::Family::bit).
    pub foreign: AtomicU32,
    /// Acquisitions of such children: they, too, write here.
    pub children_acquisitions: AtomicU64,
    /// Programs that the process started or was about to become, and its forked children that have no segment yet, by
    /// functions of libc; with [`CLOSED`].
    pub execs: AtomicU32,
    /// Those of them that could not be started; with [`CLOSED`].
    pub failed_execs: AtomicU32,
    /// Number of the process's PID namespace, as in the link `/proc/self/ns/pid`; 0 where it could not be read.
    pub pid_namespace: AtomicU64,
    /// `CLOCK_REALTIME` at the start, ns: unlike the other clock, it is the same in every time namespace.
    pub start_real_ns: AtomicU64,
    /// What the kernel called the process's first thread at the start (`/proc/PID/comm`).
    pub comm: [AtomicU8; 16],
    /// Remembered shapes that were checked against a full unwind and agreed (oracle builds only).
    pub oracle_checked: AtomicU64,
    /// ... and that did not.
    pub oracle_wrong: AtomicU64,
    /// Path of the executable, without a final NUL.
    pub exe: [AtomicU8; 1024],
}

const _: () = assert!(size_of::<Header>() <= PAGE as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_fit_their_size() {
        for shift in 23..36 {
            let layout = Layout::for_size(1 << shift);
            assert!(layout.arena + (layout.size / 2) <= layout.size, "{layout:?}");
            assert!(layout.thread_slots >= 64 && layout.lock_slots >= 1024);
            assert_eq!(layout, Layout::for_size(layout.size));
        }
    }
}
