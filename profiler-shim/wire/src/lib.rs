//! What the shim and the CLI say to each other through shared memory: layout and records, nothing else.
//!
//! One *segment* (a sparse file on a memory file system) belongs to one process image. The shim is the
//! only writer but for the rings' tails, the hand-back of ended thread slots and a mark on counts that were read; the CLI treats every
//! byte as hostile. No unsafe code, no dependencies: memory is cast to these types in one function on
//! each side, and every field that both sides touch is an atomic.

#![no_std]
// Tests run as ordinary programs.
#![cfg_attr(test, allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros))]
#![forbid(unsafe_code)]

pub mod blocking;
/// The folder of this crate; empty where it was not built by cargo.
pub const SOURCES: &str = match option_env!("CARGO_MANIFEST_DIR") {
    Some(folder) => folder,
    None => "",
};

pub mod bpf;
pub mod calls;
pub mod control;
pub mod fold;
pub mod functions;
pub mod kind;
pub mod layout;
pub mod lock;
pub mod lock_layout;
pub mod number;
pub mod own_locks;
pub mod record;
pub mod ring;
pub mod stack;
pub mod thread;

pub use control::Control;
pub use fold::FoldEntry;
pub use kind::{Family, Kind};
pub use layout::{Header, Layout};
pub use lock::LockInfo;
pub use own_locks::OwnLocks;
pub use record::{Flags, Op, Record};
pub use ring::RingHeader;
pub use stack::{ModuleInfo, NodeInfo};
pub use thread::{HeldEntry, ThreadSlot};

/// First word of a segment.
pub const MAGIC: u64 = u64::from_le_bytes(*b"lockprof");
/// Changes whenever any layout in this crate changes: shim and CLI are built together.
pub const VERSION: u32 = 15;
/// Names the session's folder to the shim.
pub const ENV_SESSION: &str = "LOCKPROF_SESSION";
/// The socket in the session's folder where it is announced that a program is about to be started: the program's path, as
/// it is given to the kernel or looked for. The answer, or the end of the connection, says that it may be. If there is no
/// exec after that, a byte says so.
///
/// A program that has the shim in it announces itself there, too, before its own first instruction, by [`STARTED`] and
/// where it has its [`OwnLocks`].
pub const FOLLOW: &str = "follow";
/// The announcement of a program that is about to run.
pub const STARTED: u8 = 0;
/// What a thread says there first that is about to start a program by `posix_spawn`: this byte, its number (little-endian, four
/// bytes), the program's path and a NUL. It waits for the answer; if the program was not started after that, it says so by a
/// byte, and waits for the end of the connection.
pub const SPAWNS: u8 = 1;
/// What an announcement begins with where the recorder is not in the program's `LD_PRELOAD`.
pub const WITHOUT: u8 = 2;
/// The answer that it is not to be recorded, and any other one that it may go on.
pub const LEFT_ALONE: u8 = b'l';
/// Options for the shim: letters, see [`option`].
pub const ENV_OPTIONS: &str = "LOCKPROF_SHIM_OPTIONS";

/// What system call filters forbid, in eight hexadecimal digits, for the shim alone: it changes them in place, so that
/// they reach the next program of the process.
pub const ENV_FORBIDS: &str = "LOCKPROF_SHIM_FORBIDS";
/// Its value where nothing is forbidden.
pub const FORBIDS_NOTHING: &str = "0000000000000000";

/// Letters in [`ENV_OPTIONS`].
pub mod option {
    /// Do not follow children: the shim takes itself out of the environment.
    pub const NO_FOLLOW: u8 = b'n';
    /// Never try first: call the real function at once and take the time around it.
    pub const EXACT: u8 = b'e';
}
