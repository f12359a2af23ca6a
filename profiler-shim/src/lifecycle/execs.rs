//! Programs that the process starts or becomes are counted, so that one which the recorder is not in is missed at the end.
//!
//! The count is in shared memory: an exec leaves it where it is, and the child of a fork or a vfork, which is what mostly
//! calls exec, counts in its parent's header. Nothing here takes a lock, needs memory or makes a system call, but where the
//! parent has ended.

use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::Header;
use lockprof_wire::layout::CLOSED;

use crate::state::attach;

/// Starts a program by the real call, or becomes it. `has_failed` says so of an answer.
pub fn counted<T>(real: impl FnOnce() -> T, has_failed: impl FnOnce(&T) -> bool) -> T {
    // An exec that works has no time behind it.
    count(|header| &header.execs);
    let answer = real();
    if has_failed(&answer) {
        count(|header| &header.failed_execs);
    }
    answer
}

fn count(which: fn(&Header) -> &AtomicU32) {
    let Some(header) = attach::nearest_header() else { return };
    let is_read = |before: u32| before & CLOSED != 0;
    // The child of a process that has ended needs a header of its own.
    if is_read(which(header).fetch_add(1, Ordering::Relaxed))
        && let Some(process) = attach::get()
    {
        which(process.tables.header()).fetch_add(1, Ordering::Relaxed);
    }
}
