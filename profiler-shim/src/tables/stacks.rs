//! Numbers for call stacks: nodes of a tree in shared memory, with a private index.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::note;
use lockprof_wire::stack::TRUNCATED;

use crate::sys::backoff::Backoff;
use crate::tables::Tables;

/// One return address of a stack that was just unwound.
#[derive(Clone, Copy, Default)]
pub struct Frame {
    /// Return address, less the bias of its module.
    pub address: u64,
    /// Row of the module, and [`TRUNCATED`].
    pub module: u32,
}

/// Open addressing over node numbers, used under the inner lock only. Valid when zero: then it has no room.
#[repr(C)]
pub struct StackIndex {
    entries: AtomicPtr<AtomicU32>,
    /// Their number, a power of two.
    len: AtomicU64,
    used: AtomicU64,
    backoff: Backoff,
}

const FIRST: u64 = 1 << 12;
const LARGEST: u64 = 1 << 20;
const GROWTH: u64 = 4;

impl StackIndex {
    /// Where the search for a frame begins.
    fn start(caller: u32, module: u32, address: u64) -> u64 {
        let key = address ^ u64::from(caller) << 40 ^ u64::from(caller) >> 8 ^ u64::from(module) << 48;
        key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
    }

    /// The entry that `is` finds right, or the empty one where it would be. There is one.
    fn search(&self, start: u64, is: impl Fn(u32) -> bool) -> (&AtomicU32, u32) {
        let (entries, mask) = (self.entries.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed) - 1);
        let mut at = start & mask;
        loop {
            // SAFETY: `at` is within the mask.
            let entry = unsafe { &*entries.add(at as usize) };
            let number = entry.load(Ordering::Relaxed);
            if number == 0 || is(number) {
                return (entry, number);
            }
            at = (at + 1) & mask;
        }
    }

    fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.len.load(Ordering::Relaxed) / 4 * 3
    }

    /// Makes room for so many new nodes. Call under the inner lock.
    pub fn make_ready(&self, tables: &Tables, nodes: u32) {
        let room = || self.len.load(Ordering::Relaxed) / 4 * 3;
        while self.used.load(Ordering::Relaxed) + u64::from(nodes) > room() && self.grow(tables).is_some() {}
    }

    /// Moves on to a larger index. The old one stays: memory is never given back, and it is a third of all at most.
    fn grow(&self, tables: &Tables) -> Option<()> {
        let (old, old_len) = (self.entries.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        let len = (old_len * GROWTH).max(FIRST);
        if len > LARGEST {
            return None;
        }
        let new = tables.take(len as usize * size_of::<AtomicU32>())?;
        self.entries.store(new.cast(), Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        for at in 0..old_len {
            // SAFETY: within the old index.
            let number = unsafe { &*old.add(at as usize) }.load(Ordering::Relaxed);
            if number != 0 {
                let node = tables.segment.node(number);
                let (caller, module) = (node.caller.load(Ordering::Relaxed), node.module.load(Ordering::Relaxed));
                let start = Self::start(caller, module, node.address.load(Ordering::Relaxed));
                self.search(start, |_| false).0.store(number, Ordering::Relaxed);
            }
        }
        Some(())
    }
}

impl Tables {
    /// The number of a stack (innermost frame first). Call under the inner lock.
    pub fn intern_stack(&self, frames: &[Frame]) -> u32 {
        let mut node = 0;
        for frame in frames.iter().rev() {
            match self.intern_node(node, *frame) {
                Some(next) => node = next,
                None => {
                    self.note(note::STACKS_FULL);
                    return 0;
                }
            }
        }
        node
    }

    fn intern_node(&self, caller: u32, frame: Frame) -> Option<u32> {
        let index = &self.stacks;
        if index.len.load(Ordering::Relaxed) == 0 {
            index.backoff.attempt(|| index.grow(self))?;
        }
        let start = StackIndex::start(caller, frame.module, frame.address);
        let (mut entry, known) = index.search(start, |number| {
            let node = self.segment.node(number);
            node.caller.load(Ordering::Relaxed) == caller
                && node.address.load(Ordering::Relaxed) == frame.address
                && node.module.load(Ordering::Relaxed) == frame.module
        });
        if known != 0 {
            return Some(known);
        }
        if index.is_full() {
            index.backoff.attempt(|| index.grow(self))?;
            entry = index.search(start, |_| false).0;
        }
        let truncated = frame.module & TRUNCATED != 0;
        let made = self.segment.new_node(caller, frame.module & !TRUNCATED, truncated, frame.address)?;
        index.used.store(index.used.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        entry.store(made, Ordering::Relaxed);
        Some(made)
    }
}
