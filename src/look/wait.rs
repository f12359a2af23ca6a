//! A wait, as what is seen of it says.

use super::thread::Call;
use crate::model::{Kind, Mode};

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawWait {
    pub kind: Kind,
    /// What its library calls it; empty where the kind says enough.
    pub noun: &'static str,
    /// Of the lock; of a join that of the thread's control block's word.
    pub address: u64,
    pub mode: Mode,
    pub timed: bool,
    /// Who has it, as it says itself, by numbers of the program's own namespace.
    pub state: RawState,
}

impl RawWait {
    /// The word by which the lock is given back.
    pub fn word(&self) -> u64 {
        // Go's read-write lock counts its readers, and that its writer is done, behind its mutex.
        if self.noun == "sync.RWMutex" { self.address.wrapping_add(16) } else { self.address }
    }
}

/// What a lock says of who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawState {
    Thread(u32),
    Readers(u32),
    NotRecorded,
    Free,
    Nobody,
}

/// A call that waits at a word of memory.
#[derive(Clone, Copy, Debug)]
pub struct FutexWait {
    pub address: u64,
    pub operation: i32,
    pub timed: bool,
}

impl FutexWait {
    /// The wait that a call is.
    pub fn of(call: &Call) -> Option<Self> {
        if call.number != libc::SYS_futex {
            return None;
        }
        let operation = call.arguments[1] as i32 & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
        const LOCK_PI2: i32 = 13;
        let waits =
            [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET, libc::FUTEX_LOCK_PI, libc::FUTEX_WAIT_REQUEUE_PI, LOCK_PI2];
        let timed = call.arguments[3] != 0;
        waits.contains(&operation).then_some(Self { address: call.arguments[0], operation, timed })
    }
}
