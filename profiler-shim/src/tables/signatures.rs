//! The store of remembered signatures.
//!
//! A signature is the ordered list of stack words that an unwinder's answer depended on: offset from the stack
//! pointer and value (values that are stack addresses themselves are kept relative to the stack pointer). It
//! holds for every thread and every depth. Equal beginnings of signatures have equal numbers (`prefix`): the
//! edges of the decision tree in `capture` go from them.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::sys::backoff::Backoff;
use crate::tables::Tables;

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

/// A remembered signature; `len` words follow it, then copies of the last one up to a multiple of two.
#[repr(C, align(16))]
pub struct Signature {
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
pub const GROUP: usize = 2;

impl Signature {
    /// Word `number`, which is less than `len`.
    ///
    /// # Safety
    /// `signature` is one that [`Signatures`] made.
    #[inline(always)]
    pub unsafe fn word(signature: *const Self, number: usize) -> Word {
        // SAFETY: the words follow the signature.
        unsafe { *signature.add(1).cast::<Word>().add(number) }
    }
}

/// Most words of a remembered signature.
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
    signature: AtomicPtr<Signature>,
}

/// See the module. Valid when zero: then it has no room.
#[repr(C)]
pub struct Signatures {
    trie: AtomicPtr<Prefix>,
    /// Number of its entries, a power of two.
    len: AtomicU64,
    used: AtomicU32,
    /// Where signatures are: the last piece, from which the others can be reached, and the bytes of all.
    pieces: AtomicPtr<Piece>,
    bytes: AtomicU64,
    trie_backoff: Backoff,
    piece_backoff: Backoff,
}

/// Room for signatures, which follow.
#[repr(C, align(16))]
struct Piece {
    before: *const Piece,
    /// Bytes behind this header, and those in use.
    len: u64,
    used: AtomicU64,
}

const FIRST: u64 = 1 << 9;
const LARGEST: u64 = 1 << 19;
const GROWTH: u64 = 4;
/// Bytes of the first piece of signatures, of the largest one, and of all.
const FIRST_PIECE: u64 = 32 << 10;
const LARGEST_PIECE: u64 = 1 << 20;
const MOST_BYTES: u64 = 64 << 20;

impl Signatures {
    /// Makes room for so many new beginnings, and the signatures that they lead to. Call under the inner lock.
    pub fn make_ready(&self, tables: &Tables, prefixes: u32) {
        let room = || self.len.load(Ordering::Relaxed) / 4 * 3;
        let wanted = u64::from(self.used.load(Ordering::Relaxed)) + u64::from(prefixes);
        while wanted > room() && self.grow(tables).is_some() {}
        let bytes = u64::from(prefixes) * size_of::<Word>() as u64;
        if !self.has_room(bytes) {
            self.add_piece(tables, bytes);
        }
    }

    /// Moves on to a larger trie. The old one stays: memory is never given back, and it is a third of all at most.
    fn grow(&self, tables: &Tables) -> Option<()> {
        let (old, old_len) = (self.trie.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        let len = (old_len * GROWTH).max(FIRST);
        if len > LARGEST {
            return None;
        }
        let new = tables.take(len as usize * size_of::<Prefix>())?;
        self.trie.store(new.cast(), Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        for at in 0..old_len {
            // SAFETY: within the old trie; the inner lock makes these the only references.
            unsafe {
                let prefix = old.add(at as usize);
                if (*prefix).relative != 0 {
                    let at = self.search((*prefix).parent, (*prefix).offset, (*prefix).relative, (*prefix).value);
                    at.copy_from_nonoverlapping(prefix, 1);
                }
            }
        }
        Some(())
    }

    /// Where the beginning `parent` with one word more is, or would be. `relative`: as in [`Prefix`].
    fn search(&self, parent: u32, offset: i32, relative: u32, value: u64) -> *mut Prefix {
        let (trie, mask) = (self.trie.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed) - 1);
        let mut hash = u64::from(parent).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ value.wrapping_mul(0xff51_afd7_ed55_8ccd)
            ^ u64::from(offset as u32).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 31;
        let mut at = hash & mask;
        loop {
            // SAFETY: `at` is within the mask, and the trie is never full.
            unsafe {
                let prefix = trie.add(at as usize);
                let is = (*prefix).parent == parent && (*prefix).offset == offset && (*prefix).value == value;
                if (*prefix).relative == 0 || is && (*prefix).relative == relative {
                    return prefix;
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// The beginning `parent` with one word more, if it is known. Call under the inner lock.
    fn find(&self, parent: u32, offset: i32, relative: bool, value: u64) -> Option<*mut Prefix> {
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let prefix = self.search(parent, offset, 1 + u32::from(relative), value);
        // SAFETY: it is in the trie.
        (unsafe { (*prefix).relative } != 0).then_some(prefix)
    }

    /// The same, made where it is new. Call under the inner lock.
    #[allow(clippy::mut_from_ref, reason = "the inner lock makes it the only reference")]
    fn extend(&self, tables: &Tables, parent: u32, offset: i32, relative: bool, value: u64) -> Option<&mut Prefix> {
        if let Some(known) = self.find(parent, offset, relative, value) {
            // SAFETY: the inner lock makes it the only reference.
            return Some(unsafe { &mut *known });
        }
        let used = self.used.load(Ordering::Relaxed);
        if u64::from(used) >= self.len.load(Ordering::Relaxed) / 4 * 3 {
            self.trie_backoff.attempt(|| self.grow(tables))?;
        }
        self.used.store(used + 1, Ordering::Relaxed);
        // SAFETY: as above.
        let prefix = unsafe { &mut *self.search(parent, offset, 1 + u32::from(relative), value) };
        (prefix.parent, prefix.offset, prefix.value) = (parent, offset, value);
        prefix.relative = 1 + u32::from(relative);
        prefix.number = used + 1;
        Some(prefix)
    }

    /// Whether the last piece has room for so many bytes.
    fn has_room(&self, bytes: u64) -> bool {
        // SAFETY: pieces are never given back.
        let last = unsafe { self.pieces.load(Ordering::Relaxed).as_ref() };
        last.is_some_and(|last| last.used.load(Ordering::Relaxed) + bytes <= last.len)
    }

    /// Room for a signature.
    fn room(&self, tables: &Tables, bytes: u64) -> Option<*mut Signature> {
        let piece = if self.has_room(bytes) {
            self.pieces.load(Ordering::Relaxed)
        } else {
            self.piece_backoff.attempt(|| self.add_piece(tables, bytes))?
        };
        // SAFETY: pieces are never given back; the room was looked at.
        unsafe {
            let used = (*piece).used.fetch_add(bytes, Ordering::Relaxed);
            Some(piece.add(1).cast::<u8>().add(used as usize).cast())
        }
    }

    fn add_piece(&self, tables: &Tables, bytes: u64) -> Option<*mut Piece> {
        let all = self.bytes.load(Ordering::Relaxed);
        let header = size_of::<Piece>() as u64;
        let size = (all / 2).clamp(FIRST_PIECE, LARGEST_PIECE).max(header + bytes);
        if all + size > MOST_BYTES {
            return None;
        }
        let piece: *mut Piece = tables.take(size as usize)?.cast();
        let before = self.pieces.load(Ordering::Relaxed);
        // SAFETY: the memory is new, ours and aligned.
        unsafe { piece.write(Piece { before, len: size - header, used: AtomicU64::new(0) }) };
        self.bytes.store(all + size, Ordering::Relaxed);
        self.pieces.store(piece, Ordering::Relaxed);
        Some(piece)
    }

    /// The signature of these words, made where it is new; `None` once the store is full. The words get their
    /// prefix numbers. Call under the inner lock.
    pub fn intern(
        &self,
        tables: &Tables,
        return_address: u64,
        words: &mut [Word],
        stack: u32,
    ) -> Option<*const Signature> {
        let mut prefix = self.extend(tables, 0, i32::MIN, false, return_address)?;
        for word in words.iter_mut() {
            let relative = word.prefix_and_relative & 1;
            word.prefix_and_relative = prefix.number << 1 | relative;
            prefix = self.extend(tables, prefix.number, word.offset, relative != 0, word.value)?;
        }
        let known = prefix.signature.load(Ordering::Relaxed);
        // SAFETY: signatures live for ever.
        if unsafe { known.as_ref() }.is_some_and(|known| known.stack == stack) {
            return Some(known);
        }
        // New, or the code that was there is gone and other code stands in its place.
        let room = words.len().next_multiple_of(GROUP);
        let bytes = (size_of::<Signature>() + room * size_of::<Word>()) as u64;
        let signature = self.room(tables, bytes)?;
        // The word below the hook's return address (the caller's rbp) may always be read.
        let extent =
            words.iter().map(|word| if word.offset < -16 { u32::MAX } else { (word.offset.max(0) + 8) as u32 }).max();
        let any_relative = words.iter().any(|word| word.prefix_and_relative & 1 != 0);
        // SAFETY: there is room, and sizes are multiples of 16 like a piece's start.
        unsafe {
            signature.write(Signature {
                return_address,
                stack,
                extent: extent.unwrap_or(0),
                len: words.len() as u16,
                any_relative: u16::from(any_relative),
            });
            let to = signature.add(1).cast::<Word>();
            to.copy_from_nonoverlapping(words.as_ptr(), words.len());
            for number in words.len()..room {
                to.add(number).write(words[words.len() - 1]);
            }
            prefix.signature.store(signature, Ordering::Relaxed);
            Some(signature)
        }
    }
}
