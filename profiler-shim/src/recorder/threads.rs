//! How a thread comes and goes.

use core::ffi::{c_uint, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::layout::note;
use lockprof_wire::thread::state;

use super::waits::leave_waits;
use crate::real;
use crate::state::attach;
use crate::state::local::{CHECKED_PAIRS, Local, local, set_local};
use crate::state::process::{Process, attached};
use crate::sys;
use crate::sys::filters;
use crate::sys::this_thread::{pthread_self, stack_end, thread_id};

static KEY: AtomicU32 = AtomicU32::new(u32::MAX);

/// Makes the key whose destructor tells that a thread ends. Called once, before threads record.
pub fn make_key() {
    let mut key: c_uint = 0;
    // SAFETY: the destructor is a function of this library, which is never unloaded.
    if unsafe { real::pthread_key_create(&raw mut key, at_thread_end as *mut c_void) } == 0 {
        KEY.store(key, Ordering::Relaxed);
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
    if filters::is_blind() {
        return None;
    }
    let process = attach::get()?;
    let at = local();
    if !at.is_null() {
        // SAFETY: a thread's pointer stays valid; after a fork it points to zeros.
        let known = unsafe { &mut *at };
        if known.is_attached() {
            if known.is_stale() {
                // SAFETY: the pointer is this thread's.
                unsafe { Local::rarely(at, || known.refresh()) };
            }
            return Some(at);
        }
    }
    attach_thread(process, stack_pointer, token)
}

/// Gives this thread a slot.
fn attach_thread(process: &'static Process, stack_pointer: u64, token: u32) -> Option<*mut Local> {
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
        Local::first_part(local, signals, || begin(process, local, number, stack_pointer, token));
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
    let Some(_guard) = process.tables.making.lock() else {
        process.tables.note(note::GAVE_UP);
        return None;
    };
    let taken = process.locals.take(&process.tables);
    if taken.is_none() {
        process.tables.note(note::THREADS_FULL);
    }
    taken
}

/// Fills a slot and its `Local`.
fn begin(process: &'static Process, local: *mut Local, number: u32, stack_pointer: u64, token: u32) {
    let tid = thread_id();
    // SAFETY: the number is this thread's alone.
    let this = unsafe { &mut *local };
    let slot = process.tables.segment.thread(number);
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
    this.stacks.begin(stack_pointer, end);
    if this.ring.is_null() {
        this.first_ring(&process.tables);
    }
    process.tables.thread_ids.set(number, tid);
    // Release: the collector sees the fields.
    slot.state.store(state::ACTIVE, Ordering::Release);
    this.attach(&process.tables);
    set_local(local);
    // SAFETY: `local` is this thread's, and its ring is there.
    unsafe { super::thread_started(local, tid, token) };
    this.refresh();
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
        if !(*this).is_attached() {
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
    let Some(process) = attached() else { return };
    // SAFETY: the caller's pointer is this thread's.
    let this = unsafe { &mut *local };
    // Dropped last: a signal handler that found the inner lock taken by its own thread would wait for ever.
    let _undisturbed = sys::Undisturbed::now();
    // SAFETY: `local` is this thread's, and what it waited for in frames that are gone is over.
    unsafe {
        leave_waits(local, 0);
        super::thread_ended(local);
    }
    let slot = this.slot();
    process.tables.thread_ids.set(this.number, 0);
    this.detach();
    set_local(core::ptr::null_mut());
    let dirty = slot.folds.load(Ordering::Relaxed) != 0;
    let Some(_guard) = process.tables.making.lock() else { return };
    process.locals.put_ended(this.number);
    // Release: the slot's next thread and the collector see all that was written.
    slot.state.store(if dirty { state::ENDED_DIRTY } else { state::ENDED }, Ordering::Release);
}
