//! What all threads of the process share inside the shim.
//!
//! Everything is in one private mapping that the kernel empties in the child of a fork
//! (`MADV_WIPEONFORK`): the child finds zeros, takes them for "not attached yet" and attaches itself to a
//! segment of its own, however it was forked, and without a lock. Only what stays true in a child is in
//! statics: where the mapping is, the session's folder, the key.

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::locals::Locals;
use super::starts::{STARTS, Start};
use crate::sys;
use crate::sys::own_stack::Spare;
use crate::tables::{Tables, segment};

/// See the module. All fields are valid when zero.
#[repr(C)]
pub struct Process {
    pub(super) state: AtomicU32,
    pub spare: Spare,
    /// How often it was tried to attach, and how often hooks asked since.
    pub(super) tries: AtomicU32,
    pub(super) asked: AtomicU32,
    /// What is recorded in: locks, stacks, modules, room.
    pub tables: Tables,
    pub locals: Locals,
    /// Threads that are being started.
    pub starts: [Start; STARTS],
    /// The last token given to a `Created` record.
    pub tokens: AtomicU32,
}

pub(super) const NEW: u32 = 0;
pub(super) const ATTACHING: u32 = 1;
pub(super) const RECORDING: u32 = 2;
pub(super) const OFF: u32 = 3;
/// It could not be attached for a reason that may pass.
pub(super) const LATER: u32 = 4;

/// The mapping; null until the first hook runs.
pub(super) static PROCESS: AtomicPtr<Process> = AtomicPtr::new(core::ptr::null_mut());

/// The process, if it is known to be recorded: never attaches.
pub fn attached() -> Option<&'static Process> {
    let at = PROCESS.load(Ordering::Acquire);
    // SAFETY: the mapping is never given back, and zeros are a valid `Process`.
    let process = unsafe { at.as_ref() }?;
    // SeqCst: as in `attach`.
    (process.state.load(Ordering::SeqCst) == RECORDING).then_some(process)
}

/// The same, but not for the child of a vfork, which has its parent's memory.
pub fn of_this_process() -> Option<&'static Process> {
    let pid = sys::getpid();
    attached().filter(|process| pid == 0 || process.tables.header().pid.load(Ordering::Relaxed) == pid)
}

/// Runs `part` on a stack of the recorder's own, once there is one.
pub fn apart<R>(part: impl FnOnce() -> R) -> R {
    let at = PROCESS.load(Ordering::Acquire);
    // SAFETY: as in `attached`.
    if at.is_null() { part() } else { unsafe { &*at }.spare.run(part) }
}

impl Process {
    /// A filter is about to forbid calls: makes room for what comes.
    pub fn make_ready(&'static self) {
        self.spare.run(|| {
            if let Some(_guard) = self.tables.allocating.lock() {
                self.tables.make_ready();
                self.locals.make_ready(&self.tables, segment::AHEAD_THREADS);
            }
        });
    }
}
