//! Who does something, and where.

use crate::recorder;
use crate::recorder::stack_of;
use crate::recorder::threads::local_slowly;
use crate::state::local::{Local, local};

/// The stack pointer at the entry of a function that the program called: it points to the return address, and the
/// caller's rbp is stored in the word below.
pub type Entry = *const u64;

/// A thread that the recorder knows.
#[derive(Clone, Copy)]
pub struct Thread(pub(super) &'static Local);

impl Thread {
    /// Whether the time stamp counter may be read, and nothing has to be looked at before a record is written.
    #[inline(always)]
    pub fn is_hot(self) -> bool {
        self.0.is_hot()
    }
}

/// A thread, and the number of its call stack.
#[derive(Clone, Copy)]
pub struct Caller {
    pub thread: Thread,
    pub stack: u32,
}

/// The thread that runs, if nothing has to be looked at before a record is written; `None` otherwise.
#[inline(always)]
pub fn hot_thread() -> Option<Thread> {
    // A fork's child finds zeros there: it is not hot.
    local().filter(|local| local.is_hot()).map(Thread)
}

/// The same with its stack.
///
/// # Safety
/// The entry is that of the function that runs.
#[inline(always)]
pub unsafe fn hot_caller(entry: Entry) -> Option<Caller> {
    let thread = hot_thread()?;
    // SAFETY: the caller's contract.
    let stack = unsafe { stack_of(thread.0, entry as u64 + 8, *entry) };
    Some(Caller { thread, stack })
}

/// The thread that runs and its stack; attaches the thread where it is new. `None` if it is not recorded.
///
/// # Safety
/// As [`hot_caller`].
#[cold]
#[inline(never)]
pub unsafe fn caller(entry: Entry) -> Option<Caller> {
    let hot = local().filter(|local| local.is_hot());
    let local = hot.or_else(|| local_slowly(entry as u64 + 8))?;
    // SAFETY: the caller's contract.
    let stack = if local.is_free() { unsafe { stack_of(local, entry as u64 + 8, *entry) } } else { 0 };
    Some(Caller { thread: Thread(local), stack })
}

/// The thread that runs, if it is attached: for what needs no stack.
#[inline(always)]
pub fn thread() -> Option<Thread> {
    // A fork's child finds zeros there: it is not attached.
    local().filter(|local| local.is_attached()).map(Thread)
}

/// Something was acquired that cannot be recorded, since there is nothing to note it in: another thread attaches the
/// process just now, or there is no slot for this one. It is counted.
#[cold]
pub fn not_recorded() {
    recorder::unrecorded();
}
