//! Who does something with a lock.

use crate::model::ThreadId;

/// Who uses a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Where it is counted.
    pub thread: ThreadId,
    /// Tells those apart that are counted in one row.
    pub number: u32,
}

impl Who {
    /// A thread that has a row of its own.
    pub fn thread(thread: ThreadId) -> Self {
        Self { thread, number: thread.0 }
    }
}
