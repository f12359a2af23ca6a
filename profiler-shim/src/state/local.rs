//! A thread's private part.
//!
//! The pointer to it is the shim's only thread-local variable (initial-exec: a preloaded library has
//! little static room, and `__tls_get_addr` would cost more than the rest of a hook).
//!
//! Signal handlers interrupt anywhere and may call hooks. What the hot path does is safe against that by
//! itself (see `recorder`); what it does rarely is between [`Local::enter`] and [`Local::leave`], with
//! signals blocked.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};

use lockprof_wire::ring::{self, RESERVE, RingHeader};
use lockprof_wire::{FoldEntry, ThreadSlot, record};

use crate::sys;
use crate::sys::own_stack::Stack;
use crate::tables::Tables;
use crate::tables::locks::AddressEntry;
use crate::unwind::capture::StackMemory;

core::arch::global_asm!(
    ".section .tbss.lockprof_local,\"awT\",@nobits",
    ".balign 8",
    ".hidden lockprof_local",
    ".globl lockprof_local",
    ".type lockprof_local,@object",
    ".size lockprof_local,8",
    "lockprof_local: .zero 8",
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

/// See the module. Valid when zero: then it is not ready.
#[repr(C)]
pub struct Local {
    /// 1: the hot path may run. 0: not attached, wiped by a fork, inside the rare part, or code went away;
    /// or the hot path is not for this process (`--exact`, no invariant time stamp counter).
    ready: AtomicU32,
    /// The rare part is under way.
    inside: AtomicU32,
    /// It is done with signals blocked, ...
    blocked: AtomicU32,
    /// ... and this was the mask before.
    signals: AtomicU64,
    /// Code went away: what is remembered is void.
    stale: AtomicU32,
    /// 1 since it was attached to a slot, until its thread ends.
    attached: AtomicU32,
    pub number: u32,
    /// The process's tables; null: not attached, or wiped by a fork.
    tables: *const Tables,
    pub slot: *const ThreadSlot,
    pub ring: *const RingHeader,
    pub ring_slots: *const record::Slot,
    pub ring_mask: u64,
    /// Records written and published.
    pub head: AtomicU64,
    /// Where `head` has to look at the ring's tail again.
    pub soft_limit: AtomicU64,
    /// A record is being written: a signal handler that finds it so folds its own.
    pub writing: AtomicU32,
    /// The ticks of the acquisition that is being given back; see `recorder::begin_release`.
    pub releasing: AtomicU64,
    /// Records to fold before the ring is looked at again.
    pub backoff: AtomicU32,
    /// `Open` records are being written: a signal handler that finds it so folds its own.
    pub telling: AtomicU32,
    /// What the collector has as open is not to be relied on.
    pub restart: AtomicU32,
    /// Records written that order this thread and others for certain.
    pub order_marks: AtomicU32,
    /// Their number when an `Open` was folded last, and how many numbers there were.
    pub folded_mark: AtomicU32,
    pub fold_segments: AtomicU32,
    pub overflow: *const lockprof_wire::HeldEntry,
    pub overflow_len: u32,
    pub serial: u32,
    /// Rounds of destructors that went by at the thread's end.
    pub rounds: u32,
    pub pending: PendingWait,
    /// Waits that began and did not end, and what they are for: rows of locks, the innermost one last.
    pub waits: AtomicU32,
    pub waited_for: [AtomicU32; WAITS],
    pub stacks: StackMemory,
    pub locks: [CachedLock; CACHED_LOCKS],
    pub folds: [*const FoldEntry; CACHED_FOLDS],
    /// See `recorder::drop_unseen`.
    pub checked_pairs: [u64; CHECKED_PAIRS],
    stack: Stack,
}

/// What [`Local::leave`] makes `ready`: 1, or 0 in a process that the hot path is not for.
static HOT: AtomicU32 = AtomicU32::new(1);

/// Sends every hook of this process the slow way.
pub fn never_hot() {
    HOT.store(0, Ordering::Relaxed);
}

/// This thread's `Local`; null if it has none.
#[inline(always)]
pub fn local() -> *mut Local {
    let at: *mut Local;
    // SAFETY: reads our own thread-local word.
    unsafe {
        core::arch::asm!("mov {at}, qword ptr [rip + lockprof_local@GOTTPOFF]", "mov {at}, fs:[{at}]", at = out(reg) at,
            options(nostack, preserves_flags, readonly, pure));
    }
    at
}

/// Makes it this thread's.
pub fn set_local(at: *mut Local) {
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
        self.ready.load(Ordering::Relaxed) != 0
    }

    /// Whether the rare part may run: this is no signal handler inside it.
    pub fn is_free(&self) -> bool {
        self.inside.load(Ordering::Relaxed) == 0
    }

    /// Whether the thread has a slot: then a signal handler inside the rare part may at least give locks back.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Relaxed) != 0
    }

    /// Does the rare part: no signal interrupts it, and it has a stack of its own. `None` if it is under way already (a
    /// fault in it).
    ///
    /// # Safety
    /// `local` is this thread's.
    pub unsafe fn rarely<R>(local: *mut Self, part: impl FnOnce() -> R) -> Option<R> {
        // SAFETY: the caller's contract; the stack is this thread's alone.
        unsafe {
            if !(*local).enter() {
                return None;
            }
            let done = Self::apart(local, part);
            (*local).leave();
            Some(done)
        }
    }

    /// Does a part of the rare part on the thread's own stack: where signals are blocked, since their handlers would run
    /// on it.
    unsafe fn apart<R>(local: *mut Self, part: impl FnOnce() -> R) -> R {
        // SAFETY: the caller is between `enter` and `leave`.
        unsafe {
            if (*local).blocked.load(Ordering::Relaxed) != 0 {
                Stack::run(&raw mut (*local).stack, part)
            } else {
                part()
            }
        }
    }

    fn keep_signals(&self, signals: Option<u64>) {
        self.blocked.store(u32::from(signals.is_some()), Ordering::Relaxed);
        self.signals.store(signals.unwrap_or_default(), Ordering::Relaxed);
    }

    /// Begins the rare part without a stack of its own; false if it is under way already.
    pub fn enter(&self) -> bool {
        if self.inside.load(Ordering::Relaxed) != 0 {
            return false;
        }
        self.keep_signals(sys::block_signals());
        self.inside.store(1, Ordering::Relaxed);
        self.ready.store(0, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// Ends the rare part.
    pub fn leave(&self) {
        compiler_fence(Ordering::SeqCst);
        self.inside.store(0, Ordering::Relaxed);
        self.ready.store(HOT.load(Ordering::Relaxed), Ordering::SeqCst);
        // SeqCst on both sides: either `forget_code` sees this thread ready and stops it, or this sees the mark.
        if self.stale.load(Ordering::SeqCst) != 0 {
            self.ready.store(0, Ordering::Relaxed);
        }
        let blocked = self.blocked.load(Ordering::Relaxed) != 0;
        sys::restore_signals(blocked.then(|| self.signals.load(Ordering::Relaxed)));
    }

    /// The process's tables; `None` where this thread is not attached.
    #[inline(always)]
    pub fn tables(&self) -> Option<&'static Tables> {
        // SAFETY: set by `attach`; the mapping is never given back.
        unsafe { self.tables.as_ref() }
    }

    /// Whether the thread still has to forget code that went away ([`Self::refresh`]).
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed) != 0
    }

    /// Code went away: sends the thread through the rare part once.
    pub fn make_stale(&self) {
        self.stale.store(1, Ordering::SeqCst);
        self.ready.store(0, Ordering::SeqCst);
    }

    /// Begins the first rare part of a new thread, which does `part`. `signals`: the mask to be set behind it.
    ///
    /// # Safety
    /// `local` is this thread's, and signals are blocked if `signals` says so.
    pub unsafe fn first_part(local: *mut Self, signals: Option<u64>, part: impl FnOnce()) {
        // SAFETY: the caller's contract.
        unsafe {
            (*local).keep_signals(signals);
            (*local).inside.store(1, Ordering::Relaxed);
            Self::apart(local, part);
            (*local).leave();
        }
    }

    /// The thread has a slot from now on.
    pub fn attach(&mut self, tables: &'static Tables) {
        self.tables = tables;
        self.attached.store(1, Ordering::Relaxed);
    }

    /// The thread has no slot any more.
    pub fn detach(&self) {
        self.ready.store(0, Ordering::Relaxed);
        self.attached.store(0, Ordering::Relaxed);
    }

    /// The slot in shared memory.
    #[inline(always)]
    pub fn slot(&self) -> &'static ThreadSlot {
        // SAFETY: set by `attach` before `ready`, and slots are never given back.
        unsafe { &*self.slot }
    }

    /// Forgets shapes and rules if code went away. Only between `enter` and `leave`.
    pub fn refresh(&mut self) {
        if self.stale.swap(0, Ordering::SeqCst) != 0 {
            self.stacks.forget();
        }
    }
}

impl Local {
    /// Makes the thread's first ring.
    pub fn first_ring(&mut self, tables: &Tables) {
        let carved =
            tables.making.lock().and_then(|_guard| tables.segment.carve(RingHeader::bytes(ring::FIRST_CAPACITY)));
        let Some(at) = carved else { return };
        self.use_ring(tables, at, ring::FIRST_CAPACITY);
        // Release: pairs with the collector's Acquire load.
        self.slot().ring.store(at, Ordering::Release);
    }

    /// Goes on in the ring at this offset.
    pub fn use_ring(&mut self, tables: &Tables, at: u64, capacity: u32) {
        // SAFETY: the room was carved for a ring of this capacity.
        let header: &'static RingHeader = unsafe { tables.segment.at(at) };
        header.capacity.store(capacity, Ordering::Relaxed);
        self.ring = header;
        // SAFETY: the slots follow the header.
        self.ring_slots = unsafe { core::ptr::from_ref(header).add(1).cast() };
        self.ring_mask = u64::from(capacity) - 1;
        self.soft_limit.store(u64::from(capacity - RESERVE), Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
    }
}
