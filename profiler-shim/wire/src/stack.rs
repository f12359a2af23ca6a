//! Call stacks and modules in shared memory.
//!
//! The shim writes a row once, before the header's count says that it is there; nobody changes it afterwards. The collector
//! reads.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// A stack: its innermost return address and its caller's stack.
#[repr(C)]
pub struct NodeInfo {
    /// The caller's node; always less than the node's own number. 0 ends the stack.
    pub caller: AtomicU32,
    /// Row of the module that the address is in, 0 for none, and [`TRUNCATED`].
    pub module: AtomicU32,
    /// The return address, less the module's load bias.
    pub address: AtomicU64,
}

/// Bit of [`NodeInfo::module`]: the unwinder could not go on from this frame.
pub const TRUNCATED: u32 = 1 << 31;

const _: () = assert!(size_of::<NodeInfo>() == 16);

/// A loaded file with code.
#[repr(C, align(64))]
pub struct ModuleInfo {
    /// What is added to the file's virtual addresses, bytes.
    pub bias: AtomicU64,
    /// Lowest mapped address in the program.
    pub start: AtomicU64,
    /// Behind the highest mapped address.
    pub end: AtomicU64,
    /// Bytes of `build_id` in use.
    pub build_id_len: AtomicU32,
    /// Bytes of `path` in use.
    pub path_len: AtomicU32,
    /// GNU build-id.
    pub build_id: [AtomicU8; 32],
    /// Path as the loader has it.
    pub path: [AtomicU8; 960],
}

const _: () = assert!(size_of::<ModuleInfo>() == 1024);
