//! How a thread comes and goes.

use core::ffi::{c_uint, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::layout::note;
use lockprof_wire::thread::state;

use super::waits::leave_waits;
use crate::real;
use crate::state::attach;
use crate::state::local::{Local, local, set_local};
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
pub fn local_slowly(stack_pointer: u64) -> Option<&'static Local> {
    local_of_new(stack_pointer, 0)
}

/// The same for a thread that begins. `token`: of the `Created` record that announced it.
pub fn local_of_new(stack_pointer: u64, token: u32) -> Option<&'static Local> {
    if filters::is_blind() {
        return None;
    }
    let process = attach::get()?;
    // A fork's child finds zeros there: it is not attached.
    if let Some(known) = local().filter(|local| local.is_attached()) {
        if known.is_stale() {
            known.on_slow_path(|| known.refresh());
        }
        return Some(known);
    }
    attach_thread(process, stack_pointer, token)
}

/// Gives this thread a slot.
fn attach_thread(process: &'static Process, stack_pointer: u64, token: u32) -> Option<&'static Local> {
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
    local.first_part(signals, || begin(process, local, number, stack_pointer, token));
    let key = KEY.load(Ordering::Relaxed);
    if key != u32::MAX {
        // SAFETY: the key was made by `make_key`.
        unsafe { real::pthread_setspecific(key, core::ptr::from_ref(local).cast_mut().cast()) };
    }
    Some(local)
}

/// A slot's number that nobody has, and what belongs to it.
fn take_place(process: &'static Process) -> Option<(u32, &'static Local)> {
    let Some(_guard) = process.tables.allocating.lock() else {
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
fn begin(process: &'static Process, local: &'static Local, number: u32, stack_pointer: u64, token: u32) {
    let tid = thread_id();
    let slot = process.tables.segment.thread(number);
    local.clear();
    local.set_slot(number, slot);
    slot.tid.store(tid, Ordering::Relaxed);
    slot.serial.store(process.locals.next_serial(), Ordering::Relaxed);
    local.set_depth(0);
    slot.call.store(0, Ordering::Relaxed);
    slot.wait_lock.store(0, Ordering::Relaxed);
    // A thread that begins is on its own stack.
    let end = if token == 0 { stack_end(stack_pointer) } else { pthread_self() & !7 };
    // SAFETY: the slow path of a new thread: nobody else has it.
    unsafe { (*local.stacks()).begin(stack_pointer, end) };
    local.first_ring(&process.tables);
    process.tables.thread_ids.set(number, tid);
    // Release: the collector sees the fields.
    slot.state.store(state::ACTIVE, Ordering::Release);
    local.attach(&process.tables);
    set_local(Some(local));
    super::thread_started(local, tid, token);
    local.refresh();
}

/// Runs when a thread ends, as late as can be: other destructors may still lock.
unsafe extern "C" fn at_thread_end(at: *mut c_void) {
    /// glibc goes over the destructors that many times (`PTHREAD_DESTRUCTOR_ITERATIONS`).
    const ROUNDS: u32 = 4;
    let Some(local) = local().filter(|local| core::ptr::eq(*local, at.cast()) && local.is_attached()) else { return };
    local.rounds.set(local.rounds.get() + 1);
    if local.rounds.get() < ROUNDS {
        // SAFETY: the key was made by `make_key`.
        unsafe { real::pthread_setspecific(KEY.load(Ordering::Relaxed), at) };
        return;
    }
    end(local);
}

/// Gives the slot back.
fn end(local: &Local) {
    let Some(process) = attached() else { return };
    // Dropped last: a signal handler that found the inner lock taken by its own thread would wait for ever.
    let _undisturbed = sys::Undisturbed::now();
    leave_waits(local, 0);
    super::thread_ended(local);
    let (number, slot) = (local.number(), local.slot());
    process.tables.thread_ids.set(number, 0);
    local.detach();
    set_local(None);
    let dirty = slot.folds.load(Ordering::Relaxed) != 0;
    let Some(_guard) = process.tables.allocating.lock() else { return };
    process.locals.put_ended(number);
    // Release: the slot's next thread and the collector see all that was written.
    slot.state.store(if dirty { state::ENDED_DIRTY } else { state::ENDED }, Ordering::Release);
}
