//! Programs that the process starts or becomes are counted, so that one which the recorder is not in is missed at the end.
//!
//! The count is in shared memory: an exec leaves it where it is, and the child of a fork or a vfork, which is what mostly
//! calls exec, counts in its parent's header. Nothing here takes a lock, needs memory or makes a system call, but where the
//! parent has ended.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicU32, Ordering};

use lockprof_wire::layout::CLOSED;
use lockprof_wire::{Header, SPAWNS, WITHOUT};

use crate::state::attach;
use crate::state::follower;
use crate::sys;
use crate::sys::{environment, socket, this_thread};

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

/// Becomes a program with this environment by the real call, which is announced: if it is a Go program, its locks are found
/// at its start.
///
/// # Safety
/// `file` ends with a NUL, and `environment` is a list of such texts that ends with a null pointer. Both may be null.
pub unsafe fn followed(file: *const c_char, environment: *const *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: as the caller says.
    let connection = unsafe {
        announce(file, |connection, file| {
            (environment::names_own(environment) || socket::send(connection, &[WITHOUT]))
                && socket::send_text(connection, file)
        })
    };
    let answer = counted(real, |_| true);
    if let Some(connection) = connection {
        // There was no exec.
        socket::send(connection, b"f");
        sys::close(connection);
    }
    answer
}

/// Tells whoever follows of a program by `say`, and waits for the answer.
///
/// # Safety
/// As for [`followed`].
unsafe fn announce(file: *const c_char, say: impl FnOnce(isize, &CStr) -> bool) -> Option<isize> {
    if file.is_null() || attach::nearest_header().is_none() {
        return None;
    }
    let connection = follower::connect()?;
    // SAFETY: as the caller says.
    if !say(connection, unsafe { CStr::from_ptr(file) }) {
        sys::close(connection);
        return None;
    }
    socket::wait(connection);
    Some(connection)
}

/// Starts a program by the real call, which gives an error or 0. It is announced, as with [`followed`].
///
/// # Safety
/// `file` ends with a NUL, or is null.
pub unsafe fn spawned(file: *const c_char, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: as the caller says.
    let connection = unsafe { announce(file, say_child) };
    let answer = counted(real, |error| *error != 0);
    if let Some(connection) = connection {
        if answer != 0 && socket::send(connection, b"f") {
            // This thread may be traced until then.
            socket::wait(connection);
        }
        sys::close(connection);
    }
    answer
}

/// Says of a program that this thread is about to start it ([`SPAWNS`]).
fn say_child(connection: isize, file: &CStr) -> bool {
    let [a, b, c, d] = this_thread::thread_id().to_le_bytes();
    socket::send(connection, &[SPAWNS, a, b, c, d])
        && socket::send_text(connection, file)
        && socket::send(connection, &[0])
}

fn count(which: fn(&Header) -> &AtomicU32) {
    let Some(header) = attach::nearest_header() else { return };
    let is_read = |before: u32| before & CLOSED != 0;
    // The child of a process that has ended needs a header of its own. So does the one that vforked this one, if it is that
    // child: both have one memory, and what is made here stays with the one who goes on.
    if is_read(which(header).fetch_add(1, Ordering::Relaxed))
        && let Some(process) = attach::get_behind_vfork()
    {
        which(process.tables.header()).fetch_add(1, Ordering::Relaxed);
    }
}
