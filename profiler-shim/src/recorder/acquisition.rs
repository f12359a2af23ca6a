//! The beginning of an acquisition: its place in the held list, and what is published of it at once.

use core::sync::atomic::{Ordering, compiler_fence};

use lockprof_wire::Flags;

use super::held::{fill, reserve};
use super::{nested, unrecorded};
use crate::state::local::Local;
use crate::sys::counters::count_here;

/// A wait, as it is kept with the acquisition that ended it.
#[derive(Clone, Copy)]
pub struct Wait {
    /// Ticks.
    pub duration: u64,
    /// As `extra` of a `Waited` record.
    pub holder: u64,
}

/// Notes that this thread has the lock now.
#[inline(always)]
pub fn push(local: &Local, address: u64, lock: u32, stack: u32, flags: Flags, ticks: u64) {
    let slot = local.slot();
    if slot.depth.load(Ordering::Relaxed) != 0 {
        return push_above(local, address, lock, stack, flags, ticks);
    }
    local.set_depth(1);
    // Reserved before it is filled: a signal handler in between takes the next one.
    compiler_fence(Ordering::SeqCst);
    fill(&slot.held[0], address, lock, stack, flags, ticks);
    count_here(&slot.acquisitions);
}

/// The same where something is held already.
#[inline(never)]
fn push_above(local: &Local, address: u64, lock: u32, stack: u32, flags: Flags, ticks: u64) {
    let Some((at, entry)) = reserve(local) else { return unrecorded() };
    fill(entry, address, lock, stack, flags, ticks);
    count_here(&local.slot().acquisitions);
    nested::publish(local, at);
}

/// Notes that this thread has the lock after waiting for it.
pub fn push_contended(local: &Local, address: u64, lock: u32, stack: u32, flags: Flags, ticks: u64, wait: Wait) {
    let Some((at, entry)) = reserve(local) else { return unrecorded() };
    entry.wait.store(wait.duration, Ordering::Relaxed);
    entry.holder.store(wait.holder, Ordering::Relaxed);
    fill(entry, address, lock, stack, flags.with(Flags::CONTENDED), ticks);
    count_here(&local.slot().acquisitions);
    if at > 0 {
        nested::publish(local, at);
    }
}
