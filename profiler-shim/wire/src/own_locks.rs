//! What joins the shim and a recorder that was put into a program whose locks are inlined: calls that block are seen by the
//! one, and locks by the other.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::STARTED;

/// Stands in the shim, in the program's memory; whoever patches the program writes it before the program goes on.
#[repr(C)]
#[derive(Debug)]
pub struct OwnLocks {
    /// The recorder's entry; 0 where there is none. It takes what an event is about (`rdi`) and the word of the event (`esi`),
    /// changes nothing but these two and the flags, and needs about a hundred bytes of stack.
    pub entry: AtomicU64,
    /// The word of the event that a call begins. It is about [`about`] the call.
    pub begins: AtomicU32,
    /// The word of its end.
    pub ends: AtomicU32,
}

/// Bytes of an [`OwnLocks`].
pub const BYTES: usize = size_of::<OwnLocks>();

/// What the event of a call is about: the call's number and the node of its stack in the shim's segment.
pub const fn about(call: u32, stack: u32) -> u64 {
    call as u64 | (stack as u64) << 32
}

/// The opposite of [`about`].
pub const fn of(about: u64) -> (u32, u32) {
    (about as u32, (about >> 32) as u32)
}

/// Where a program has what joins the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    /// The address of its [`OwnLocks`].
    pub at: u64,
    /// Where each thread counts the locks of that recorder that it holds, in four bytes: from the address in `fs`.
    pub holds: i64,
}

/// Bytes of an announcement.
pub const ANNOUNCEMENT: usize = 17;

impl Joint {
    /// The announcement of a program that is about to run.
    pub fn announcement(self) -> [u8; ANNOUNCEMENT] {
        let mut bytes = [STARTED; ANNOUNCEMENT];
        bytes[1..9].copy_from_slice(&self.at.to_le_bytes());
        bytes[9..].copy_from_slice(&self.holds.to_le_bytes());
        bytes
    }

    /// What an announcement says; `None` where it is none.
    pub fn of(announcement: &[u8]) -> Option<Self> {
        let (&[STARTED, ref rest @ ..], ANNOUNCEMENT) = (announcement, announcement.len()) else { return None };
        let (at, holds) = rest.split_first_chunk()?;
        Some(Self { at: u64::from_le_bytes(*at), holds: i64::from_le_bytes(*holds.first_chunk()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_as_it_was_written() {
        let joint = Joint { at: 0x7f12_3456_7890, holds: -24 };
        assert_eq!(Joint::of(&joint.announcement()), Some(joint));
        assert_eq!(Joint::of(&joint.announcement()[..16]), None);
        assert_eq!(Joint::of(b"/bin/sh and more."), None);
        assert_eq!(of(about(7, 9)), (7, 9));
    }
}
