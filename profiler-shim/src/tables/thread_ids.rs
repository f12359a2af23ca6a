//! The kernel's ids of threads by slot, to find the slot of the thread that a lock's own words name.

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::tables::Tables;

/// See the module. Valid when zero: then no slot has an id.
#[repr(C)]
pub struct ThreadIds {
    chunks: [AtomicPtr<Chunk>; CHUNKS],
}

/// Ids of neighbouring slots; 0 where no thread runs.
type Chunk = [AtomicU32; CHUNK];

/// Slots of one chunk.
pub const CHUNK: usize = 256;
/// Chunks of a process: one for each [`CHUNK`] threads that it may have.
pub const CHUNKS: usize = 512;

impl ThreadIds {
    fn chunk(&self, number: u32) -> Option<&'static Chunk> {
        // Acquire: pairs with the Release store in `make`.
        let at = self.chunks.get(number as usize / CHUNK)?.load(Ordering::Acquire);
        // SAFETY: chunks are never given back, and zeros are a valid one.
        unsafe { at.as_ref() }
    }

    /// Makes sure that a slot can have an id. Call under the inner lock.
    pub fn make(&self, tables: &Tables, number: u32) -> Option<()> {
        if self.chunk(number).is_none() {
            let at = tables.take(size_of::<Chunk>())?;
            // Release: who finds the chunk sees zeros.
            self.chunks.get(number as usize / CHUNK)?.store(at.cast(), Ordering::Release);
        }
        Some(())
    }

    /// Makes sure that all slots below `threads` can have one. Call under the inner lock.
    pub fn make_ready(&self, tables: &Tables, threads: u32) {
        (0..threads).step_by(CHUNK).all(|number| self.make(tables, number).is_some());
    }

    /// Writes the id of the slot's thread; 0: it ended.
    pub fn set(&self, number: u32, tid: u32) {
        if let Some(chunk) = self.chunk(number) {
            chunk[number as usize % CHUNK].store(tid, Ordering::Relaxed);
        }
    }

    /// The slot of the thread with this id, among the first `count`.
    pub fn slot_of(&self, count: u32, tid: u32) -> Option<u32> {
        (0..count).step_by(CHUNK).find_map(|first| {
            let ids = &self.chunk(first)?[..(count - first).min(CHUNK as u32) as usize];
            let at = ids.iter().position(|known| known.load(Ordering::Relaxed) == tid)?;
            Some(first + at as u32)
        })
    }
}

impl Tables {
    /// The slot of the thread with this kernel id.
    pub fn slot_of(&self, tid: u32) -> Option<u32> {
        self.thread_ids.slot_of(self.header().thread_count.load(Ordering::Relaxed), tid)
    }
}
