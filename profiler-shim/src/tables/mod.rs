//! What of a process is recorded in tables: the segment, and the private indexes into it.
//!
//! Everything here is found by whoever has a reference to [`Tables`]; nothing asks which process it is.

pub mod cross_thread_release;
pub mod lock_word;
pub mod locks;
pub mod modules;
pub mod object_marker;
mod pieces;
pub mod segment;
pub mod signatures;
pub mod stacks;
#[cfg(test)]
pub mod tests;
pub mod thread_ids;

use core::sync::atomic::Ordering;

use lockprof_wire::Header;

use self::cross_thread_release::CrossThreadReleases;
use self::locks::AddressTable;
use self::modules::Modules;
use self::segment::Segment;
use self::signatures::Signatures;
use self::stacks::StackIndex;
use self::thread_ids::ThreadIds;
use crate::sys::private::Memory;
use crate::sys::spin::Spin;

/// See the module. All fields are valid when zero.
#[repr(C)]
pub struct Tables {
    /// Guards everything that is made rarely: rows, nodes, signatures, modules, room. The inner lock.
    pub allocating: Spin,
    pub segment: Segment,
    pub memory: Memory,
    pub modules: Modules,
    pub addresses: AddressTable,
    /// Of the tags that this process writes into locks.
    pub key: object_marker::SharedKey,
    pub stacks: StackIndex,
    pub signatures: Signatures,
    pub thread_ids: ThreadIds,
    pub cross_thread_releases: CrossThreadReleases,
}

impl Tables {
    /// The segment's header.
    pub fn header(&self) -> &'static Header {
        self.segment.header()
    }

    /// Leaves a word for the report.
    pub fn note(&self, bits: u32) {
        self.segment.note(bits);
    }

    /// Private memory, zeros; the report says why where there is none. Call under the inner lock.
    pub fn take(&self, bytes: usize) -> Option<*mut u8> {
        self.memory.take(bytes).map_err(|why| self.note(why)).ok()
    }

    /// A filter is about to forbid calls: makes room for what comes. Call under the inner lock.
    pub fn make_ready(&self) {
        self.segment.grow_ahead();
        self.addresses.make_ready(self, segment::AHEAD_LOCKS);
        self.stacks.make_ready(self, segment::AHEAD_NODES);
        self.signatures.make_ready(self, segment::AHEAD_NODES);
        let threads = self.header().thread_count.load(Ordering::Relaxed);
        self.thread_ids.make_ready(self, threads + segment::AHEAD_THREADS);
    }
}
