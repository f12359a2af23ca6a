//! The page by which a program that carries the shim without a session is woken and put to sleep again.
//!
//! The shim maps it from a file named [`FILE`] in a private folder of the process (`PREFIX` process id `-` file number of its
//! process-id namespace `SUFFIX`), over a page of its own data. Segments are made in the same folder.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Beginning of the folder's name, followed by the process id and its namespace.
pub const PREFIX: &str = "lockprof-";
/// End of the folder's name.
pub const SUFFIX: &str = "-asleep";
/// The page's file.
pub const FILE: &str = "control";
/// First word of the page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"lpcontrl");

/// The page.
#[repr(C, align(4096))]
pub struct Control {
    /// 0: every hook records. Otherwise hooks hand their calls on and do nothing else. Written by the collector once it is
    /// attached; before, and in a child by fork, by the shim. Every hook reads it.
    pub asleep: AtomicU32,
    /// [`crate::VERSION`]. Written by the shim.
    pub version: AtomicU32,
    /// [`MAGIC`]. Written by the shim, last (Release).
    pub magic: AtomicU64,
    /// How often it was woken. Counted by the collector.
    pub wakes: AtomicU32,
    _pad: [AtomicU32; 1019],
}

const _: () = assert!(size_of::<Control>() == 4096);

impl Control {
    /// The page of a process that records from its start.
    pub const fn awake() -> Self {
        Self {
            asleep: AtomicU32::new(0),
            version: AtomicU32::new(crate::VERSION),
            magic: AtomicU64::new(MAGIC),
            wakes: AtomicU32::new(0),
            _pad: [const { AtomicU32::new(0) }; 1019],
        }
    }
}
