//! A thread's private part.
//!
//! The pointer to it is one of the shim's two thread-local variables (initial-exec: a preloaded library has
//! little static room, and `__tls_get_addr` would cost more than the rest of a hook). The other one is how many locks the
//! thread holds, once more: calls that may block look at it, and have no time to find it in the slot. Its upper half is for
//! locks that the shim does not see ([`own_locks`](super::own_locks)).
//!
//! Signal handlers interrupt anywhere and may call hooks. What the hot path does is safe against that by
//! itself (see `recorder`); what it does rarely is between [`Local::enter_slow`] and [`Local::exit_slow`], with
//! signals blocked.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};

use lockprof_wire::ring::{self, RingHeader};
use lockprof_wire::{FoldEntry, HeldEntry, ThreadSlot, record};

use crate::sys;
use crate::sys::own_stack::Stack;
use crate::tables::Tables;
use crate::tables::locks::AddressEntry;
use crate::tables::object_marker::Key;
use crate::unwind::capture::StackMemory;

core::arch::global_asm!(
    ".section .tbss.lockprof_local,\"awT\",@nobits",
    ".balign 8",
    ".hidden lockprof_local",
    ".globl lockprof_local",
    ".type lockprof_local,@object",
    ".size lockprof_local,8",
    "lockprof_local: .zero 8",
    ".hidden lockprof_holds",
    ".globl lockprof_holds",
    ".type lockprof_holds,@object",
    ".size lockprof_holds,8",
    "lockprof_holds: .zero 8",
    ".previous",
);

/// Entries of the private lock cache.
pub const CACHED_LOCKS: usize = 256;
/// Waits of one thread inside each other that are kept: in signal handlers, in the routine of a `call_once`.
pub const WAITS: usize = 8;
/// Pairs of locks of which the outer one was seen to be held.
pub const CHECKED_PAIRS: usize = 64;
/// Entries of the private index of folds.
pub const CACHED_FOLDS: usize = 128;

/// A lock that this thread met.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CachedLock {
    pub address: u64,
    pub entry: *const AddressEntry,
}

/// What is being waited for, for the case that the wait never returns to the hook (cancellation).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PendingWait {
    /// The mutex of a condition wait; 0 while there is none.
    pub mutex: u64,
    pub mutex_lock: u32,
    pub stack: u32,
}

impl PendingWait {
    /// No wait.
    pub const NONE: Self = Self { mutex: 0, mutex_lock: 0, stack: 0 };
}

/// What other threads change of a thread: they send it through its slow path. Valid when zero.
#[repr(C)]
pub struct Visible {
    /// 1: the hot path may run. 0: not attached, wiped by a fork, inside the slow path, or code went away;
    /// or the hot path is not for this process (`--exact`, no invariant time stamp counter).
    ready: AtomicU32,
    /// Code went away: what is remembered is void.
    stale: AtomicU32,
}

impl Visible {
    /// Code went away: sends the thread through the slow path once.
    pub fn make_stale(&self) {
        self.stale.store(1, Ordering::SeqCst);
        self.ready.store(0, Ordering::SeqCst);
    }
}

/// See the module. Valid when zero: then it is not ready.
///
/// References to it exist in its own thread only, and are shared ones: a signal handler has one beside the code that it
/// interrupts. What changes is atomic where a handler may change it in between, else a cell. Other threads see
/// [`Visible`] alone.
#[repr(C)]
pub struct Local {
    pub(super) visible: Visible,
    /// The slow path is under way.
    inside: AtomicU32,
    /// It is done with signals blocked, ...
    blocked: AtomicU32,
    /// ... and this was the mask before.
    signals: AtomicU64,
    /// 1 since it was attached to a slot, until its thread ends.
    attached: AtomicU32,
    number: Cell<u32>,
    /// The process's: what makes its tags its own.
    pub key: Cell<Key>,
    /// The process's tables; null: not attached, or wiped by a fork.
    tables: Cell<*const Tables>,
    slot: Cell<*const ThreadSlot>,
    ring: Cell<*const RingHeader>,
    ring_slots: Cell<*const record::Slot>,
    ring_mask: Cell<u64>,
    /// Its side of the ring.
    pub writer: ring::Writer,
    /// A record is being written: a signal handler that finds it so folds its own.
    pub writing: AtomicU32,
    /// The ticks of the acquisition that is being given back; see `recorder::begin_release`.
    pub releasing: AtomicU64,
    /// Records to fold before the ring is looked at again.
    pub backoff: AtomicU32,
    /// `EarlyAcquire` records are being written: a signal handler that finds it so folds its own.
    pub publishing: AtomicU32,
    /// What the collector has as open is not to be relied on.
    pub restart: AtomicU32,
    /// Records written that order this thread and others for certain.
    pub order_marks: AtomicU32,
    /// Their number when an `EarlyAcquire` was folded last, and how many numbers there were.
    pub folded_mark: AtomicU32,
    pub fold_segments: AtomicU32,
    /// Held entries beyond those of the slot, and how many there is room for.
    pub overflow: Cell<*const HeldEntry>,
    pub overflow_len: Cell<u32>,
    /// Rounds of destructors that went by at the thread's end.
    pub rounds: Cell<u32>,
    pub pending: Cell<PendingWait>,
    /// Waits that began and did not end, and what they are for: rows of locks, the innermost one last.
    pub waits: AtomicU32,
    pub waited_for: [AtomicU32; WAITS],
    stacks: UnsafeCell<StackMemory>,
    pub locks: [Cell<CachedLock>; CACHED_LOCKS],
    pub folds: [Cell<*const FoldEntry>; CACHED_FOLDS],
    /// See `recorder::drop_unseen`.
    pub checked_pairs: [Cell<u64>; CHECKED_PAIRS],
    stack: UnsafeCell<Stack>,
}

/// What [`Local::exit_slow`] makes `ready`: 1, or 0 in a process that the hot path is not for.
static HOT: AtomicU32 = AtomicU32::new(1);

/// Sends every hook of this process the slow way.
pub fn never_hot() {
    HOT.store(0, Ordering::Relaxed);
}

/// This thread's `Local`, if it has one.
#[inline(always)]
pub fn local() -> Option<&'static Local> {
    let at: *const Local;
    // SAFETY: reads our own thread-local word.
    unsafe {
        core::arch::asm!("mov {at}, qword ptr [rip + lockprof_local@GOTTPOFF]", "mov {at}, fs:[{at}]", at = out(reg) at,
            options(nostack, preserves_flags, readonly, pure));
        // SAFETY: `set_local` stored a valid one or null, and they are never given back; after a fork it is zeros.
        at.as_ref()
    }
}

/// Makes it this thread's, or takes it away.
pub fn set_local(local: Option<&'static Local>) {
    let at = local.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: writes our own thread-local word.
    unsafe {
        core::arch::asm!("mov {t}, qword ptr [rip + lockprof_local@GOTTPOFF]", "mov fs:[{t}], {at}", t = out(reg) _,
            at = in(reg) at, options(nostack, preserves_flags));
    }
}

impl Local {
    /// Whether the hot path may run.
    #[inline(always)]
    pub fn is_hot(&self) -> bool {
        self.visible.ready.load(Ordering::Relaxed) != 0
    }

    /// Whether the slow path may run: this is no signal handler inside it.
    pub fn is_free(&self) -> bool {
        self.inside.load(Ordering::Relaxed) == 0
    }

    /// Whether the thread has a slot: then a signal handler inside the slow path may at least give locks back.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Relaxed) != 0
    }

    /// Does the slow path: no signal interrupts it, and it has a stack of its own. `None` if it is under way already (a
    /// fault in it).
    pub fn on_slow_path<R>(&self, part: impl FnOnce() -> R) -> Option<R> {
        if !self.enter_slow() {
            return None;
        }
        let done = self.apart(part);
        self.exit_slow();
        Some(done)
    }

    /// Does a part of the slow path on the thread's own stack: where signals are blocked, since their handlers would run
    /// on it.
    fn apart<R>(&self, part: impl FnOnce() -> R) -> R {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            // SAFETY: the slow path is not entered twice, so nobody is on this stack, and no handler comes in between.
            unsafe { Stack::run(self.stack.get(), part) }
        } else {
            part()
        }
    }

    fn keep_signals(&self, signals: Option<u64>) {
        self.blocked.store(u32::from(signals.is_some()), Ordering::Relaxed);
        self.signals.store(signals.unwrap_or_default(), Ordering::Relaxed);
    }

    /// Begins the slow path without a stack of its own; false if it is under way already.
    pub fn enter_slow(&self) -> bool {
        if self.inside.load(Ordering::Relaxed) != 0 {
            return false;
        }
        self.keep_signals(sys::block_signals());
        self.inside.store(1, Ordering::Relaxed);
        self.visible.ready.store(0, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// Ends the slow path.
    pub fn exit_slow(&self) {
        compiler_fence(Ordering::SeqCst);
        self.inside.store(0, Ordering::Relaxed);
        self.visible.ready.store(HOT.load(Ordering::Relaxed), Ordering::SeqCst);
        // SeqCst on both sides: either `forget_code` sees this thread ready and stops it, or this sees the mark.
        if self.visible.stale.load(Ordering::SeqCst) != 0 {
            self.visible.ready.store(0, Ordering::Relaxed);
        }
        let blocked = self.blocked.load(Ordering::Relaxed) != 0;
        sys::restore_signals(blocked.then(|| self.signals.load(Ordering::Relaxed)));
    }

    /// The process's tables; `None` where this thread is not attached.
    #[inline(always)]
    pub fn tables(&self) -> Option<&'static Tables> {
        // SAFETY: set by `attach`; the mapping is never given back.
        unsafe { self.tables.get().as_ref() }
    }

    /// Number of its slot.
    pub fn number(&self) -> u32 {
        self.number.get()
    }

    /// What is remembered of the thread's stacks. May be changed in the slow path only, but for what
    /// `unwind::capture::search` does.
    #[inline(always)]
    pub fn stacks(&self) -> *mut StackMemory {
        self.stacks.get()
    }

    /// Whether the thread still has to forget code that went away ([`Self::refresh`]).
    pub fn is_stale(&self) -> bool {
        self.visible.stale.load(Ordering::Relaxed) != 0
    }

    /// Begins the first slow path of a new thread, which does `part`. `signals`: the mask to be set behind it, if
    /// signals are blocked now.
    pub fn first_part(&self, signals: Option<u64>, part: impl FnOnce()) {
        self.keep_signals(signals);
        self.inside.store(1, Ordering::Relaxed);
        self.apart(part);
        self.exit_slow();
    }

    /// What a thread before left behind does not hold for the next one.
    pub fn clear(&self) {
        self.rounds.set(0);
        self.pending.set(PendingWait::NONE);
        self.checked_pairs.iter().for_each(|pair| pair.set(0));
        self.releasing.store(0, Ordering::Relaxed);
        let counters =
            [&self.publishing, &self.restart, &self.order_marks, &self.folded_mark, &self.fold_segments, &self.waits];
        for left_over in counters {
            left_over.store(0, Ordering::Relaxed);
        }
    }

    /// Gives the thread this slot.
    pub fn set_slot(&self, number: u32, slot: &'static ThreadSlot) {
        self.number.set(number);
        self.slot.set(slot);
    }

    /// The thread is recorded from now on.
    pub fn attach(&self, tables: &'static Tables) {
        self.tables.set(tables);
        self.key.set(tables.key.get());
        self.attached.store(1, Ordering::Relaxed);
    }

    /// The thread has no slot any more.
    pub fn detach(&self) {
        self.visible.ready.store(0, Ordering::Relaxed);
        self.attached.store(0, Ordering::Relaxed);
    }

    /// The slot in shared memory.
    #[inline(always)]
    pub fn slot(&self) -> &'static ThreadSlot {
        // SAFETY: `set_slot` comes before everything else, and slots are never given back.
        unsafe { &*self.slot.get() }
    }

    /// Says how many entries of the list of held locks are in use. By the thread itself. The child of a fork begins with its
    /// parent's copy of the number, and without a list: whoever reads it looks further.
    #[inline(always)]
    pub fn set_depth(&self, depth: u32) {
        self.slot().depth.store(depth, Ordering::Relaxed);
        // SAFETY: writes our own thread-local word.
        unsafe {
            core::arch::asm!("mov {t}, qword ptr [rip + lockprof_holds@GOTTPOFF]", "mov dword ptr fs:[{t}], {depth:e}",
                t = out(reg) _, depth = in(reg) depth, options(nostack, preserves_flags));
        }
    }

    /// Forgets signatures and rules if code went away. Only in the slow path.
    pub fn refresh(&self) {
        if self.visible.stale.swap(0, Ordering::SeqCst) != 0 {
            // SAFETY: in the slow path nobody else has it.
            unsafe { (*self.stacks.get()).forget() };
        }
    }

    /// The ring; `None` while there is none.
    #[inline(always)]
    pub fn ring(&self) -> Option<&'static RingHeader> {
        // SAFETY: set by `use_ring`; rings are never given back.
        unsafe { self.ring.get().as_ref() }
    }

    /// The ring's slots, and the mask of their numbers.
    #[inline(always)]
    pub fn ring_slots(&self) -> (*const record::Slot, u64) {
        (self.ring_slots.get(), self.ring_mask.get())
    }

    /// Makes the thread's first ring, unless it has one.
    pub fn first_ring(&self, tables: &Tables) {
        if self.ring().is_some() {
            return;
        }
        let carved =
            tables.allocating.lock().and_then(|_guard| tables.segment.carve(RingHeader::bytes(ring::FIRST_CAPACITY)));
        let Some(at) = carved else { return };
        self.use_ring(tables, at, ring::FIRST_CAPACITY);
        // Release: pairs with the collector's Acquire load.
        self.slot().ring.store(at, Ordering::Release);
    }

    /// Goes on in the ring at this offset.
    pub fn use_ring(&self, tables: &Tables, at: u64, capacity: u32) {
        // SAFETY: the room was carved for a ring of this capacity.
        let header: &'static RingHeader = unsafe { tables.segment.at(at) };
        header.capacity.store(capacity, Ordering::Relaxed);
        self.ring.set(header);
        // SAFETY: the slots follow the header.
        self.ring_slots.set(unsafe { core::ptr::from_ref(header).add(1).cast() });
        self.ring_mask.set(u64::from(capacity) - 1);
        self.writer.begin(capacity);
    }
}
