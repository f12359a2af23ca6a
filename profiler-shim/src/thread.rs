//! A thread's private part, and how a thread comes and goes.
//!
//! The pointer to it is the shim's only thread-local variable (initial-exec: a preloaded library has
//! little static room, and `__tls_get_addr` would cost more than the rest of a hook).
//!
//! Signal handlers interrupt anywhere and may call hooks. What the hot path does is safe against that by
//! itself (see `recorder`); what it does rarely is between [`Local::enter`] and [`Local::leave`], with
//! signals blocked.

use core::ffi::{c_uint, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence};

use lockprof_wire::layout::note;
use lockprof_wire::ring::{self, RESERVE, RingHeader};
use lockprof_wire::thread::state;
use lockprof_wire::{FoldEntry, ThreadSlot, record};

use crate::locks::AddressEntry;
use crate::own_stack::Stack;
use crate::patience::Patience;
use crate::process::Process;
use crate::unwind::capture::{EDGES, Edge, HEADS};
use crate::unwind::shapes::Shape;
use crate::unwind::walk::Scratch;
use crate::{real, sandbox, sys};

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
    pub patience: AtomicU32,
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
    rounds: u32,
    pub misses: u32,
    /// What of the thread's own stack is known to be mapped.
    pub stack_low: u64,
    pub stack_high: u64,
    pub pending: PendingWait,
    /// Waits that began and did not end, and what they are for: rows of locks, the innermost one last.
    pub waits: AtomicU32,
    pub waited_for: [AtomicU32; WAITS],
    pub heads: [*const Shape; HEADS],
    pub locks: [CachedLock; CACHED_LOCKS],
    pub edges: [Edge; EDGES],
    pub folds: [*const FoldEntry; CACHED_FOLDS],
    /// See `recorder::drop_unseen`.
    pub checked_pairs: [u64; CHECKED_PAIRS],
    scratch: Scratch,
    stack: Stack,
}

/// All `Local`s of the process: number n belongs to slot n. Valid when zero.
#[repr(C)]
pub struct Locals {
    chunks: [AtomicPtr<Chunk>; CHUNKS],
    ended_count: AtomicU32,
    serials: AtomicU32,
    patience: Patience,
}

/// What belongs to some slots, and as many places of the list of ended ones.
#[repr(C)]
struct Chunk {
    locals: [AtomicPtr<Local>; CHUNK],
    /// Kernel thread ids by slot, to find who holds a mutex.
    tids: [AtomicU32; CHUNK],
    /// Slots whose thread ended: a stack, whose depth is `ended_count`.
    ended: [AtomicU32; CHUNK],
}

const CHUNK: usize = 256;
const CHUNKS: usize = 512;

/// What [`Local::leave`] makes `ready`: 1, or 0 in a process that the hot path is not for.
static HOT: AtomicU32 = AtomicU32::new(1);

/// Sends every hook of this process the slow way.
pub fn never_hot() {
    HOT.store(0, Ordering::Relaxed);
}

static KEY: AtomicU32 = AtomicU32::new(u32::MAX);

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

/// Adds to a word that only this thread changes, in one instruction: whole for signal handlers, but
/// without the price of a locked one.
#[inline(always)]
pub fn add_here(word: &AtomicU64, by: u64) {
    // SAFETY: the word is a valid one.
    unsafe {
        core::arch::asm!("add qword ptr [{word}], {by}", word = in(reg) word.as_ptr(), by = in(reg) by,
            options(nostack));
    }
}

/// Adds one, as [`add_here`].
#[inline(always)]
pub fn count_here(word: &AtomicU64) {
    // SAFETY: the word is a valid one.
    unsafe { core::arch::asm!("inc qword ptr [{word}]", word = in(reg) word.as_ptr(), options(nostack)) };
}

/// The same for a word of four bytes.
#[inline(always)]
pub fn count_here_32(word: &AtomicU32) {
    // SAFETY: the word is a valid one.
    unsafe { core::arch::asm!("inc dword ptr [{word}]", word = in(reg) word.as_ptr(), options(nostack)) };
}

/// Makes the key whose destructor tells that a thread ends. Called once, before threads record.
pub fn make_key() {
    let mut key: c_uint = 0;
    // SAFETY: the destructor is a function of this library, which is never unloaded.
    if unsafe { real::pthread_key_create(&raw mut key, at_thread_end as *mut c_void) } == 0 {
        KEY.store(key, Ordering::Relaxed);
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

    /// The room for unwinding. Only between `enter` and `leave`.
    pub fn scratch(&mut self) -> &mut Scratch {
        &mut self.scratch
    }

    /// The slot in shared memory.
    #[inline(always)]
    pub fn slot(&self) -> &'static ThreadSlot {
        // SAFETY: set by `attach` before `ready`, and slots are never given back.
        unsafe { &*self.slot }
    }

    /// Takes over what the unwinder found out about the thread's own stack.
    pub fn know_stack(&mut self) {
        (self.stack_low, self.stack_high) = self.scratch.stack();
    }

    /// Counts a stack that had to be walked.
    pub fn count_miss(&mut self) {
        self.misses = self.misses.wrapping_add(1);
        count_here(&self.slot().stack_misses);
    }

    /// Forgets shapes and rules if code went away. Only between `enter` and `leave`.
    fn refresh(&mut self) {
        if self.stale.swap(0, Ordering::SeqCst) != 0 {
            self.heads = [core::ptr::null(); HEADS];
            self.edges = [Edge::NONE; EDGES];
            self.scratch.forget();
        }
    }
}

/// This thread's `Local` where the hot path cannot run: attaches the thread, or tells what a signal
/// handler inside the recorder has to do without.
#[cold]
pub fn local_slowly(stack_pointer: u64) -> Option<*mut Local> {
    local_of_new(stack_pointer, 0)
}

/// The same for a thread that begins. `token`: of the `Created` record that announced it.
pub fn local_of_new(stack_pointer: u64, token: u32) -> Option<*mut Local> {
    if sandbox::is_blind() {
        return None;
    }
    let process = Process::get()?;
    let at = local();
    if !at.is_null() {
        // SAFETY: a thread's pointer stays valid; after a fork it points to zeros.
        let known = unsafe { &mut *at };
        if known.attached.load(Ordering::Relaxed) != 0 {
            if known.stale.load(Ordering::Relaxed) != 0 {
                // SAFETY: the pointer is this thread's.
                unsafe { Local::rarely(at, || known.refresh()) };
            }
            return Some(at);
        }
    }
    attach(process, stack_pointer, token)
}

/// Gives this thread a slot.
fn attach(process: &'static Process, stack_pointer: u64, token: u32) -> Option<*mut Local> {
    if !process.locals.may_have_room() {
        return None;
    }
    // A handler in between would attach the thread a second time.
    let signals = sys::block_signals();
    // The program's stack may be small.
    let Some((number, local)) = process.spare.run(|| take_place(process)) else {
        sys::restore_signals(signals);
        return None;
    };
    // SAFETY: the number is this thread's alone now.
    unsafe {
        (*local).keep_signals(signals);
        (*local).inside.store(1, Ordering::Relaxed);
        Local::apart(local, || begin(process, local, number, stack_pointer, token));
        (*local).leave();
    }
    let key = KEY.load(Ordering::Relaxed);
    if key != u32::MAX {
        // SAFETY: the key was made by `make_key`.
        unsafe { real::pthread_setspecific(key, local.cast()) };
    }
    Some(local)
}

/// A slot's number that nobody has, and what belongs to it.
fn take_place(process: &'static Process) -> Option<(u32, *mut Local)> {
    let Some(_guard) = process.making.lock() else {
        process.note(note::GAVE_UP);
        return None;
    };
    let taken = process.locals.take(process);
    if taken.is_none() {
        process.note(note::THREADS_FULL);
    }
    taken
}

/// Fills a slot and its `Local`.
fn begin(process: &'static Process, local: *mut Local, number: u32, stack_pointer: u64, token: u32) {
    let tid = thread_id();
    // SAFETY: the number is this thread's alone.
    let this = unsafe { &mut *local };
    let slot = process.segment.thread(number);
    this.number = number;
    this.slot = slot;
    this.serial = process.locals.serials.fetch_add(1, Ordering::Relaxed) + 1;
    this.rounds = 0;
    this.pending.mutex = 0;
    this.checked_pairs = [0; CHECKED_PAIRS];
    this.releasing.store(0, Ordering::Relaxed);
    let counters =
        [&this.telling, &this.restart, &this.order_marks, &this.folded_mark, &this.fold_segments, &this.waits];
    for left_over in counters {
        left_over.store(0, Ordering::Relaxed);
    }
    slot.tid.store(tid, Ordering::Relaxed);
    slot.serial.store(this.serial, Ordering::Relaxed);
    slot.depth.store(0, Ordering::Relaxed);
    slot.wait_lock.store(0, Ordering::Relaxed);
    // A thread that begins is on its own stack.
    let end = if token == 0 { stack_end(stack_pointer) } else { pthread_self() & !7 };
    this.scratch.set_stack(stack_pointer, end);
    this.know_stack();
    if this.ring.is_null() {
        this.first_ring(process);
    }
    process.locals.set_tid(number, tid);
    // Release: the collector sees the fields.
    slot.state.store(state::ACTIVE, Ordering::Release);
    this.attached.store(1, Ordering::Relaxed);
    set_local(local);
    // SAFETY: `local` is this thread's, and its ring is there.
    unsafe { crate::recorder::thread_started(local, tid, token) };
    this.refresh();
}

impl Local {
    fn first_ring(&mut self, process: &Process) {
        let carved =
            process.making.lock().and_then(|_guard| process.segment.carve(RingHeader::bytes(ring::FIRST_CAPACITY)));
        let Some(at) = carved else { return };
        self.use_ring(process, at, ring::FIRST_CAPACITY);
        // Release: pairs with the collector's Acquire load.
        self.slot().ring.store(at, Ordering::Release);
    }

    /// Goes on in the ring at this offset.
    pub fn use_ring(&mut self, process: &Process, at: u64, capacity: u32) {
        // SAFETY: the room was carved for a ring of this capacity.
        let header: &'static RingHeader = unsafe { process.segment.at(at) };
        header.capacity.store(capacity, Ordering::Relaxed);
        self.ring = header;
        // SAFETY: the slots follow the header.
        self.ring_slots = unsafe { core::ptr::from_ref(header).add(1).cast() };
        self.ring_mask = u64::from(capacity) - 1;
        self.soft_limit.store(u64::from(capacity - RESERVE), Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
    }
}

/// This thread's `pthread_t`: the address of its control block.
pub fn pthread_self() -> u64 {
    let control: u64;
    // SAFETY: on x86-64 Linux the first word of the control block is its own address.
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) control, options(nostack, preserves_flags, readonly));
    }
    control
}

/// Whether glibc notes each thread's id where [`noted_tid`] looks.
static TID_IS_NOTED: AtomicU32 = AtomicU32::new(0);

/// glibc's `tid` in a thread's control block. No public layout: so it is compared with what the kernel says.
fn noted_tid() -> u32 {
    let tid: u32;
    // SAFETY: glibc's control block is larger.
    unsafe {
        core::arch::asm!("mov {:e}, dword ptr fs:[0x2d0]", out(reg) tid, options(nostack, preserves_flags, readonly));
    }
    tid
}

/// Looks whether new threads' ids are known without a call.
pub fn learn_tids() {
    let tid = sys::gettid();
    if tid != 0 {
        TID_IS_NOTED.store(u32::from(tid == noted_tid()), Ordering::Relaxed);
    }
}

/// This thread's id; 0 if it cannot be known.
pub fn thread_id() -> u32 {
    if TID_IS_NOTED.load(Ordering::Relaxed) != 0 { noted_tid() } else { sys::gettid() }
}

/// Where this thread's stack ends: glibc puts a thread's control block at the end of its stack; the main
/// thread's is where `__libc_stack_end` says. A guess only: what lies beyond is asked of the kernel.
fn stack_end(stack_pointer: u64) -> u64 {
    const NEAR: u64 = 256 << 20;
    let control = pthread_self();
    let page = (stack_pointer & !4095) + 4096;
    let on_thread_stack = control > stack_pointer
        && control - stack_pointer < NEAR
        && sys::is_readable(stack_pointer & !4095, (control & !4095) - (stack_pointer & !4095));
    if on_thread_stack { control & !7 } else { page }
}

impl Locals {
    fn chunk(&self, number: u32) -> Option<&'static Chunk> {
        // Acquire: pairs with the Release store in `make`.
        let at = self.chunks.get(number as usize / CHUNK)?.load(Ordering::Acquire);
        // SAFETY: chunks are never given back, and zeros are a valid one.
        unsafe { at.as_ref() }
    }

    /// Makes what so many new threads need. Call under the inner lock.
    pub fn make_ready(&self, process: &Process, threads: u32) {
        let next = process.header().thread_count.load(Ordering::Relaxed);
        (next..next + threads).all(|number| self.make(process, number).is_some());
    }

    /// The `Local` of a slot, made where it is new. Call under the inner lock.
    fn make(&self, process: &Process, number: u32) -> Option<*mut Local> {
        let chunk = self.chunk(number).or_else(|| {
            let at = process.take(size_of::<Chunk>())?;
            // Release: who finds the chunk sees zeros.
            self.chunks.get(number as usize / CHUNK)?.store(at.cast(), Ordering::Release);
            self.chunk(number)
        })?;
        let local = &chunk.locals[number as usize % CHUNK];
        if local.load(Ordering::Relaxed).is_null() {
            local.store(process.take(size_of::<Local>())?.cast(), Ordering::Release);
        }
        Some(local.load(Ordering::Relaxed))
    }

    /// The `Local` of a slot, if it was ever used.
    fn made(&self, number: u32) -> Option<&'static Local> {
        let at = self.chunk(number)?.locals[number as usize % CHUNK].load(Ordering::Acquire);
        // SAFETY: never given back; only the atomic fields are touched by others than the owner.
        unsafe { at.as_ref() }
    }

    /// Whether it is worth the trouble to ask for a slot: where there was none, a thread would ask at each lock.
    fn may_have_room(&self) -> bool {
        self.ended_count.load(Ordering::Relaxed) > 0 || self.patience.is_over()
    }

    /// A slot for a new thread, with its `Local`: that of one that ended, or a new one. Call under the inner lock.
    fn take(&self, process: &Process) -> Option<(u32, *mut Local)> {
        if let Some(number) = self.take_ended(process) {
            return Some((number, self.make(process, number)?));
        }
        // The private part first: a slot in the segment cannot be given back.
        let next = process.header().thread_count.load(Ordering::Relaxed);
        self.patience.attempt(|| {
            let local = self.make(process, next)?;
            Some((process.segment.carve_thread()?, local))
        })
    }

    /// The thread's number in the process's list of thread ids.
    fn set_tid(&self, number: u32, tid: u32) {
        if let Some(chunk) = self.chunk(number) {
            chunk.tids[number as usize % CHUNK].store(tid, Ordering::Relaxed);
        }
    }

    /// A place in the list of ended slots.
    fn ended(&self, place: u32) -> Option<&'static AtomicU32> {
        Some(&self.chunk(place)?.ended[place as usize % CHUNK])
    }

    /// The thread of a slot has ended. Call under the inner lock.
    fn put_ended(&self, number: u32) {
        let count = self.ended_count.load(Ordering::Relaxed);
        if let Some(place) = self.ended(count) {
            place.store(number, Ordering::Relaxed);
            self.ended_count.store(count + 1, Ordering::Relaxed);
        }
    }

    /// A slot whose thread ended. Call under the inner lock.
    fn take_ended(&self, process: &Process) -> Option<u32> {
        const LOOKS: u32 = 8;
        let count = self.ended_count.load(Ordering::Relaxed);
        for back in 1..=count.min(LOOKS) {
            let place = self.ended(count - back)?;
            let number = place.load(Ordering::Relaxed);
            // Acquire: what the slot's last thread wrote is seen.
            if process.segment.thread(number).state.load(Ordering::Acquire) == state::ENDED {
                place.store(self.ended(count - 1)?.load(Ordering::Relaxed), Ordering::Relaxed);
                self.ended_count.store(count - 1, Ordering::Relaxed);
                return Some(number);
            }
        }
        None
    }

    /// The slot of the thread with this kernel id.
    pub fn slot_of(&self, process: &Process, tid: u32) -> Option<u32> {
        let count = process.header().thread_count.load(Ordering::Relaxed);
        (0..count).step_by(CHUNK).find_map(|first| {
            let tids = &self.chunk(first)?.tids[..(count - first).min(CHUNK as u32) as usize];
            let at = tids.iter().position(|known| known.load(Ordering::Relaxed) == tid)?;
            Some(first + at as u32)
        })
    }
}

/// Runs when a thread ends, as late as can be: other destructors may still lock.
unsafe extern "C" fn at_thread_end(at: *mut c_void) {
    /// glibc goes over the destructors that many times (`PTHREAD_DESTRUCTOR_ITERATIONS`).
    const ROUNDS: u32 = 4;
    let this = local();
    if this.is_null() || !core::ptr::eq(this, at.cast()) {
        return;
    }
    // SAFETY: the pointer is this thread's.
    unsafe {
        if (*this).attached.load(Ordering::Relaxed) == 0 {
            return;
        }
        (*this).rounds += 1;
        if (*this).rounds < ROUNDS {
            real::pthread_setspecific(KEY.load(Ordering::Relaxed), at);
            return;
        }
        end(this);
    }
}

/// Gives the slot back.
unsafe fn end(local: *mut Local) {
    let Some(process) = Process::attached() else { return };
    // SAFETY: the caller's pointer is this thread's.
    let this = unsafe { &mut *local };
    // Dropped last: a signal handler that found the inner lock taken by its own thread would wait for ever.
    let _undisturbed = sys::Undisturbed::now();
    // SAFETY: `local` is this thread's, and what it waited for in frames that are gone is over.
    unsafe {
        crate::hooks::wait::leave_waits(local, 0);
        crate::recorder::thread_ended(local);
    }
    let slot = this.slot();
    process.locals.set_tid(this.number, 0);
    this.ready.store(0, Ordering::Relaxed);
    this.attached.store(0, Ordering::Relaxed);
    set_local(core::ptr::null_mut());
    let dirty = slot.folds.load(Ordering::Relaxed) != 0;
    let Some(_guard) = process.making.lock() else { return };
    process.locals.put_ended(this.number);
    // Release: the slot's next thread and the collector see all that was written.
    slot.state.store(if dirty { state::ENDED_DIRTY } else { state::ENDED }, Ordering::Release);
}

/// Code went away: sends every thread through the rare part once, where it forgets what it remembered.
pub fn forget_code(process: &Process) {
    for number in 0..process.header().thread_count.load(Ordering::Acquire) {
        if let Some(local) = process.locals.made(number) {
            local.stale.store(1, Ordering::SeqCst);
            local.ready.store(0, Ordering::SeqCst);
        }
    }
}
