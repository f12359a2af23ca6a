//! What lies inside a lock in the program's own memory, library by library.
//!
//! Not to be mixed up with [`layout`](crate::layout), which is the layout of the segment. Nobody but the library writes
//! these words (the shim puts one tag where glibc looks at nothing). The shim reads them in place, the collector reads a
//! copy that it took out of the program. So the functions here take words of four bytes by their number, and any word may
//! change between two of them: an answer is a hint, unless the thread that asks has the lock or is about to release it.

pub mod cxx_guard;
pub mod glibc;

/// What a lock's own words say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// Nobody has it.
    Free,
    /// The thread with this kernel id has it, as the program's process-id namespace counts.
    HeldBy(u32),
    /// Somebody has it, and the words do not say who: a reader, or a lock that keeps no owner.
    Held,
    /// Nothing that can be relied on.
    Unclear,
}

impl LockState {
    /// The kernel id of the owner that it names.
    pub const fn owner(self) -> Option<u32> {
        match self {
            Self::HeldBy(owner) => Some(owner),
            _ => None,
        }
    }
}
