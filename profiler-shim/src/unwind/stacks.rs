//! Numbers for call stacks: nodes of a tree in shared memory, with a private index.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::note;
use lockprof_wire::stack::TRUNCATED;

use crate::process::Process;

/// One return address of a stack that was just unwound.
#[derive(Clone, Copy, Default)]
pub struct Frame {
    /// Return address, less the bias of its module.
    pub address: u64,
    /// Row of the module, and [`TRUNCATED`].
    pub module: u32,
}

/// Open addressing over node numbers. Valid when zero: then it has no room.
#[repr(C)]
pub struct StackIndex {
    entries: AtomicPtr<AtomicU32>,
    mask: AtomicU64,
    used: AtomicU64,
}

impl StackIndex {
    pub const fn bytes(entries: usize) -> usize {
        entries * size_of::<AtomicU32>()
    }

    pub fn place(&self, at: *mut u8, entries: usize) {
        self.entries.store(at.cast(), Ordering::Relaxed);
        self.mask.store(entries as u64 - 1, Ordering::Relaxed);
    }
}

impl Process {
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
        let (entries, mask) = (index.entries.load(Ordering::Relaxed), index.mask.load(Ordering::Relaxed));
        let key = frame.address ^ u64::from(caller) << 40 ^ u64::from(caller) >> 8 ^ u64::from(frame.module) << 48;
        let mut at = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 & mask;
        loop {
            // SAFETY: `at` is within the mask.
            let entry = unsafe { &*entries.add(at as usize) };
            let number = entry.load(Ordering::Relaxed);
            if number == 0 {
                let used = index.used.load(Ordering::Relaxed);
                if used >= mask / 4 * 3 {
                    return None;
                }
                let truncated = frame.module & TRUNCATED != 0;
                let made = self.segment.new_node(caller, frame.module & !TRUNCATED, truncated, frame.address)?;
                index.used.store(used + 1, Ordering::Relaxed);
                entry.store(made, Ordering::Relaxed);
                return Some(made);
            }
            let node = self.segment.node(number);
            if node.caller.load(Ordering::Relaxed) == caller
                && node.address.load(Ordering::Relaxed) == frame.address
                && node.module.load(Ordering::Relaxed) == frame.module
            {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }
}
