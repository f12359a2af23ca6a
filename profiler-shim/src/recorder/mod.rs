//! Writes down what the hooks saw: the list of held locks, the ring, the folds.
//!
//! Everything here may be interrupted by a signal handler that does the same: places are reserved before
//! they are filled (held entries), and what comes while a ring slot is being written is folded.

mod acquisition;
mod blocking;
mod cross_thread;
mod folds;
mod held;
mod nested;
mod release;
mod ring;
mod stack;
pub mod threads;
mod unseen;
pub mod waits;

use core::sync::atomic::Ordering;

use lockprof_wire::layout::note;
use lockprof_wire::{Flags, Op, Record, ThreadSlot};

pub use acquisition::{Wait, push, push_contended};
pub use blocking::{begin_call, call_left, end_call, holds_any};
pub use cross_thread::drop_cross_thread_releases;
pub use held::{DOOMED, Held, find_held, only_held};
pub use release::release;
pub use ring::{emit, emit_done, write_order_mark};
pub use stack::stack_of;
pub use unseen::{begin_release, drop_unseen, end_release};

use crate::state::attach::missed;
use crate::state::local::Local;
use crate::state::process::attached;
use crate::sys::clock;
use crate::sys::counters::add_here;

/// What was pushed last goes on with an earlier acquisition: it is not counted again.
pub fn not_an_acquisition(local: &Local) {
    add_here(&local.slot().acquisitions, 1u64.wrapping_neg());
}

/// An acquisition that could not be noted: it is counted.
#[cold]
pub fn unrecorded() {
    match attached() {
        Some(process) => drop(process.tables.header().unrecorded.fetch_add(1, Ordering::Relaxed)),
        None => missed(),
    }
}

/// The same for one that was already counted with its thread.
#[cold]
fn unrecorded_again(slot: &ThreadSlot) {
    add_here(&slot.acquisitions, 1u64.wrapping_neg());
    unrecorded();
}

/// Something that orders locks or threads could not be noted.
#[cold]
pub fn order_cut() {
    if let Some(process) = attached() {
        process.tables.note(note::ORDER_CUT);
    }
}

/// Begins a thread's part of its ring. `token`: of the `Created` record that announced it.
pub fn thread_started(local: &Local, tid: u32, token: u32) {
    let start = Record {
        ticks: clock::now(),
        lock: tid,
        stack: token,
        word: Record::pack(Op::ThreadStart, Flags::NONE, 0),
        extra: crate::sys::this_thread::pthread_self(),
    };
    if !ring::write_essential(local, &[start]) {
        order_cut();
    }
}

/// Ends a thread's part of its ring: what it still holds is reported.
pub fn thread_ended(local: &Local) {
    drop_cross_thread_releases(local);
    drop_unseen(local, local.slot().depth.load(Ordering::Relaxed), None);
    let now = clock::now();
    let depth = local.slot().depth.load(Ordering::Relaxed);
    for at in (0..depth).rev() {
        if let Some(entry) = held::entry_at(local, at).filter(|entry| held::live(entry)) {
            release(local, Held { at, entry }, now, Flags::UNRELEASED);
        }
    }
    local.set_depth(0);
    let end = Record { ticks: now, word: Record::pack(Op::ThreadEnd, Flags::NONE, 0), ..Record::default() };
    ring::write_essential(local, &[end]);
}
