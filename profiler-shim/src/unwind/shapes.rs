//! The store of remembered shapes.
//!
//! A shape is the ordered list of stack words that an unwinder's answer depended on: offset from the stack
//! pointer and value (values that are stack addresses themselves are kept relative to the stack pointer). It
//! holds for every thread and every depth. Equal beginnings of shapes have equal numbers (`prefix`): the
//! edges of the decision tree in `capture` go from them.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// A word that the answer depends on.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub struct Word {
    /// Its value, less the stack pointer if `relative`.
    pub value: u64,
    /// Where it is, from the stack pointer.
    pub offset: i32,
    /// Number of the beginning before this word << 1 | relative.
    pub prefix_and_relative: u32,
}

impl Word {
    /// All ones if the value is relative to the stack pointer, else 0.
    #[inline(always)]
    pub fn relative_mask(self) -> u64 {
        u64::from(self.prefix_and_relative & 1).wrapping_neg()
    }
}

/// A remembered shape; `len` words follow it, then copies of the last one up to a multiple of two.
#[repr(C, align(16))]
pub struct Shape {
    /// The return address of the hook.
    pub return_address: u64,
    /// The stack that it stands for.
    pub stack: u32,
    /// How far up from the stack pointer its words lie, bytes; `u32::MAX` if one lies below it.
    pub extent: u32,
    pub len: u16,
    /// Whether any word is relative to the stack pointer.
    pub any_relative: u16,
}

/// Words are compared in groups of this many.
const GROUP: usize = 2;

impl Shape {
    /// Word `number`, which is less than `len`.
    ///
    /// # Safety
    /// `shape` is one that [`Shapes`] made.
    #[inline(always)]
    pub unsafe fn word(shape: *const Self, number: usize) -> Word {
        // SAFETY: the words follow the shape.
        unsafe { *shape.add(1).cast::<Word>().add(number) }
    }
}

/// Most words of a remembered shape.
pub const MAX_WORDS: usize = 1024;

#[repr(C)]
struct Prefix {
    parent: u32,
    offset: i32,
    value: u64,
    /// 1 + relative; 0: empty.
    relative: u32,
    /// The number of the beginning that ends here.
    number: u32,
    shape: AtomicPtr<Shape>,
}

/// See the module. Valid when zero: then it has no room.
#[repr(C)]
pub struct Shapes {
    trie: AtomicPtr<Prefix>,
    mask: AtomicU64,
    used: AtomicU32,
    arena: AtomicPtr<u8>,
    arena_len: AtomicU64,
    arena_used: AtomicU64,
}

impl Shapes {
    pub const fn trie_bytes(entries: usize) -> usize {
        entries * size_of::<Prefix>()
    }

    pub fn place(&self, trie: *mut u8, entries: usize, arena: *mut u8, bytes: usize) {
        self.trie.store(trie.cast(), Ordering::Relaxed);
        self.mask.store(entries as u64 - 1, Ordering::Relaxed);
        self.arena.store(arena, Ordering::Relaxed);
        self.arena_len.store(bytes as u64, Ordering::Relaxed);
    }

    /// The beginning `parent` with one word more. Call under the inner lock.
    #[allow(clippy::mut_from_ref, reason = "the inner lock makes it the only reference")]
    fn extend(&self, parent: u32, offset: i32, relative: bool, value: u64) -> Option<&mut Prefix> {
        let (trie, mask) = (self.trie.load(Ordering::Relaxed), self.mask.load(Ordering::Relaxed));
        let mut hash = u64::from(parent).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ value.wrapping_mul(0xff51_afd7_ed55_8ccd)
            ^ u64::from(offset as u32).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 31;
        let mut at = hash & mask;
        loop {
            // SAFETY: `at` is within the mask, and the inner lock makes this the only reference.
            let prefix = unsafe { &mut *trie.add(at as usize) };
            if prefix.relative == 0 {
                let used = self.used.load(Ordering::Relaxed);
                if u64::from(used) >= mask / 4 * 3 {
                    return None;
                }
                self.used.store(used + 1, Ordering::Relaxed);
                (prefix.parent, prefix.offset, prefix.value) = (parent, offset, value);
                prefix.relative = 1 + u32::from(relative);
                prefix.number = used + 1;
                return Some(prefix);
            }
            if prefix.parent == parent
                && prefix.offset == offset
                && prefix.value == value
                && prefix.relative == 1 + u32::from(relative)
            {
                return Some(prefix);
            }
            at = (at + 1) & mask;
        }
    }

    /// The shape of these words, made where it is new; `None` once the store is full. The words get their
    /// prefix numbers. Call under the inner lock.
    pub fn intern(&self, return_address: u64, words: &mut [Word], stack: u32) -> Option<*const Shape> {
        let mut prefix = self.extend(0, i32::MIN, false, return_address)?;
        for word in words.iter_mut() {
            let relative = word.prefix_and_relative & 1;
            word.prefix_and_relative = prefix.number << 1 | relative;
            prefix = self.extend(prefix.number, word.offset, relative != 0, word.value)?;
        }
        let known = prefix.shape.load(Ordering::Relaxed);
        // SAFETY: shapes live for ever.
        if unsafe { known.as_ref() }.is_some_and(|known| known.stack == stack) {
            return Some(known);
        }
        // New, or the code that was there is gone and other code stands in its place.
        let room = words.len().next_multiple_of(GROUP);
        let bytes = (size_of::<Shape>() + room * size_of::<Word>()) as u64;
        let used = self.arena_used.load(Ordering::Relaxed);
        if used + bytes > self.arena_len.load(Ordering::Relaxed) {
            return None;
        }
        self.arena_used.store(used + bytes, Ordering::Relaxed);
        // The word below the hook's return address (the caller's rbp) may always be read.
        let extent =
            words.iter().map(|word| if word.offset < -16 { u32::MAX } else { (word.offset.max(0) + 8) as u32 }).max();
        let any_relative = words.iter().any(|word| word.prefix_and_relative & 1 != 0);
        // SAFETY: the arena has the room, and sizes are multiples of 16 like its start.
        unsafe {
            let shape = self.arena.load(Ordering::Relaxed).add(used as usize).cast::<Shape>();
            shape.write(Shape {
                return_address,
                stack,
                extent: extent.unwrap_or(0),
                len: words.len() as u16,
                any_relative: u16::from(any_relative),
            });
            let to = shape.add(1).cast::<Word>();
            to.copy_from_nonoverlapping(words.as_ptr(), words.len());
            for number in words.len()..room {
                to.add(number).write(words[words.len() - 1]);
            }
            prefix.shape.store(shape, Ordering::Relaxed);
            Some(shape)
        }
    }
}
