//! The stack of this acquisition: compared with what is remembered, walked only on a miss.
//!
//! Per thread: `recent[hash(return address, stack pointer)]` is the signature used last. The stack pointer tells the callers
//! of a common wrapper apart, where their frames differ in size; where it is the same as last time, it is known that the
//! stack may be read as far as the signature goes. If word *j* of it has another value,
//! the edge (beginning of length *j*, value found) leads to another signature with the same beginning; the
//! comparison goes on behind *j*. So the words are read in the unwinder's own order, and never one that
//! the unwinder would not have read: nothing can fault.

use core::sync::atomic::{Ordering, compiler_fence};

use lockprof_wire::layout::note;

use super::walk::Scratch;
use crate::tables::Tables;
use crate::tables::signatures::{GROUP, Signature, Word};

/// First signatures kept per thread.
pub const RECENT: usize = 256;
/// Edges kept per thread.
pub const EDGES: usize = 512;
const PROBES: usize = 4;
/// Stands for the beginning of no words, before the return address itself.
const ROOT: u32 = u32::MAX >> 1;

/// From a beginning and the next word's value to a signature.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Edge {
    value: u64,
    signature: *const Signature,
    prefix: u32,
}

impl Edge {
    /// No edge.
    pub const NONE: Self = Self { value: 0, signature: core::ptr::null(), prefix: 0 };
}

/// A call from one place in the code at one depth of the stack, and the signature that it had last. Half a cache line, with
/// all that the comparison needs beside the words.
#[repr(C, align(32))]
struct Recent {
    return_address: u64,
    /// 0: it is not known that the stack may be read as far as the signature goes.
    stack_pointer: u64,
    signature: *const Signature,
    /// Of the signature.
    stack: u32,
    /// Words to compare, two at a time, << 1 | whether any is relative to the stack pointer.
    words: u32,
}

impl Recent {
    const NONE: Self = Self { return_address: 0, stack_pointer: 0, signature: core::ptr::null(), stack: 0, words: 0 };

    /// Makes it this. A signal handler in between finds nothing: the stack pointer is written last.
    ///
    /// # Safety
    /// It is this thread's; `signature` is one that [`learn`] made, with this return address.
    unsafe fn set(this: *mut Self, stack_pointer: u64, signature: *const Signature) {
        // SAFETY: the caller's contract.
        unsafe {
            (&raw mut (*this).stack_pointer).write_volatile(0);
            compiler_fence(Ordering::SeqCst);
            (*this).return_address = (*signature).return_address;
            (*this).signature = signature;
            (*this).stack = (*signature).stack;
            let words = u32::from((*signature).len).next_multiple_of(GROUP as u32);
            (*this).words = words << 1 | u32::from((*signature).any_relative != 0);
            compiler_fence(Ordering::SeqCst);
            (&raw mut (*this).stack_pointer).write_volatile(stack_pointer);
        }
    }
}

/// What a thread remembers of its stacks, and the room to walk them. Valid when zero.
#[repr(C)]
pub struct StackMemory {
    /// What of the thread's own stack is known to be mapped.
    low: u64,
    high: u64,
    /// Stacks that had to be walked.
    misses: u32,
    recent: [Recent; RECENT],
    edges: [Edge; EDGES],
    scratch: Scratch,
}

impl StackMemory {
    /// Begins for a thread whose own stack is at `stack_pointer` and ends at `end`, as far as is known.
    pub fn begin(&mut self, stack_pointer: u64, end: u64) {
        self.scratch.set_stack(stack_pointer, end);
        self.know_stack();
        if self.misses != 0 {
            // Of a thread before, whose stack may have been a larger one at this place.
            self.recent.iter_mut().for_each(|recent| recent.stack_pointer = 0);
        }
    }

    /// Forgets signatures and rules: code went away.
    pub fn forget(&mut self) {
        self.recent = [Recent::NONE; RECENT];
        self.edges = [Edge::NONE; EDGES];
        self.scratch.forget();
    }

    /// The stack is deeper than ever before: next time it is known to be readable.
    pub fn reach(&mut self, stack_pointer: u64) {
        self.scratch.readable(stack_pointer);
        self.know_stack();
    }

    /// Takes over what the unwinder found out about the thread's own stack.
    fn know_stack(&mut self) {
        (self.low, self.high) = self.scratch.stack();
    }

    /// The room for walking.
    #[cfg(lockprof_oracle)]
    pub fn scratch(&mut self) -> &mut Scratch {
        &mut self.scratch
    }
}

/// What is remembered of a stack.
pub enum Found {
    /// Its number.
    Known(u32),
    /// Its number; it lies deeper than the thread was ever seen ([`StackMemory::reach`]).
    Deeper(u32),
    /// Nothing: it has to be walked ([`learn`]).
    New(Mismatch),
}

/// Where the comparison with what is remembered failed.
#[derive(Clone, Copy)]
pub struct Mismatch {
    pub prefix: u32,
    pub value: u64,
    /// Position of the word; [`NO_WORD`]: the return address, which is before word 0.
    pub word: usize,
}

/// Stands for "before word 0".
const NO_WORD: usize = usize::MAX;

#[inline(always)]
fn slot(stack_pointer: u64, return_address: u64) -> usize {
    const _: () = assert!(RECENT == 1 << 8);
    ((return_address ^ stack_pointer.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize
}

/// Whether the stack that a signature speaks of is known to be readable.
///
/// # Safety
/// `memory` is this thread's; `signature` is one that [`learn`] made.
#[inline(always)]
unsafe fn is_within(memory: *const StackMemory, signature: *const Signature, stack_pointer: u64) -> bool {
    // SAFETY: the thread's own data; signatures live for ever.
    unsafe { stack_pointer >= (*memory).low && stack_pointer + u64::from((*signature).extent) <= (*memory).high }
}

/// The value in the stack that `word` speaks of, relative to the stack pointer if the word is.
///
/// # Safety
/// The unwinder would read the word now: all words before it were found equal.
#[inline(always)]
unsafe fn found(word: Word, stack_pointer: u64) -> u64 {
    // SAFETY: the caller knows all words before this one to be equal, so the unwinder would read it now.
    let value = unsafe { (stack_pointer.wrapping_add_signed(i64::from(word.offset)) as *const u64).read_volatile() };
    value.wrapping_sub(stack_pointer & word.relative_mask())
}

/// Position of the first word from `from` on that differs. Word after word, since a word may be looked at
/// only when those before it were equal: the stack may end before it.
///
/// # Safety
/// `signature` is one that [`learn`] made, for the return address that is in the stack now.
#[inline(always)]
unsafe fn compare(signature: *const Signature, from: usize, stack_pointer: u64) -> Option<usize> {
    // SAFETY: words are within the signature; each is read only after those before it were equal.
    unsafe {
        (from..(*signature).len as usize)
            .find(|at| found(Signature::word(signature, *at), stack_pointer) != Signature::word(signature, *at).value)
    }
}

/// Whether so many words of a signature are equal, two at a time.
///
/// # Safety
/// All of the stack that the signature speaks of may be read.
#[inline(always)]
unsafe fn equal(signature: *const Signature, words: usize, any_relative: bool, stack_pointer: u64) -> bool {
    // SAFETY: the caller's contract; signatures are filled up to a multiple of two words.
    unsafe {
        let mut word = signature.add(1).cast::<Word>();
        let end = word.add(words);
        let differs = |word: *const Word| {
            (stack_pointer.wrapping_add_signed(i64::from((*word).offset)) as *const u64).read_volatile() ^ (*word).value
        };
        let differs_relative = |word: *const Word| found(*word, stack_pointer) ^ (*word).value;
        if any_relative {
            while word != end {
                if differs_relative(word) | differs_relative(word.add(1)) != 0 {
                    return false;
                }
                word = word.add(GROUP);
            }
        } else {
            while word != end {
                if differs(word) | differs(word.add(1)) != 0 {
                    return false;
                }
                word = word.add(GROUP);
            }
        }
        true
    }
}

/// The number of the caller's stack, if it is the one that was met last here. `stack_pointer` is the caller's behind the
/// return address.
///
/// # Safety
/// `memory` is this thread's, and nobody changes it meanwhile; the two addresses are those of the hook that is running,
/// whose caller's rbp is stored at `stack_pointer - 16`.
#[inline(always)]
pub unsafe fn at_once(memory: *const StackMemory, stack_pointer: u64, return_address: u64) -> Option<u32> {
    // SAFETY: the caller's contract; signatures live for ever.
    unsafe {
        let recent = (&raw const (*memory).recent).cast::<Recent>().add(slot(stack_pointer, return_address));
        let (signature, stack, words) = ((*recent).signature, (*recent).stack, (*recent).words);
        // A signal handler may write another one there, of its own depth: looked at last, so all of them are this one's.
        compiler_fence(Ordering::SeqCst);
        let same = (*recent).return_address == return_address
            && (*recent).stack_pointer == stack_pointer
            && equal(signature, words as usize >> 1, words & 1 != 0, stack_pointer);
        if same { Some(stack) } else { None }
    }
}

/// The same among all stacks that this thread remembers.
///
/// # Safety
/// As [`at_once`].
#[inline(always)]
pub unsafe fn search(memory: *mut StackMemory, stack_pointer: u64, return_address: u64) -> Found {
    // SAFETY: the caller's contract; signatures live for ever.
    unsafe {
        let recent = (&raw mut (*memory).recent).cast::<Recent>().add(slot(stack_pointer, return_address));
        let mut signature = (*recent).signature;
        let mut word = NO_WORD;
        if !signature.is_null() && (*signature).return_address == return_address {
            match compare(signature, 0, stack_pointer) {
                // The end of the stack was too near to tell at once.
                None if stack_pointer < (*memory).low => return Found::Deeper((*signature).stack),
                None => {
                    remember(memory, stack_pointer, signature);
                    return Found::Known((*signature).stack);
                }
                Some(differing) => word = differing,
            }
        }
        loop {
            let mismatch = if word == NO_WORD {
                Mismatch { prefix: ROOT, value: return_address, word }
            } else {
                let differing = Signature::word(signature, word);
                let prefix = differing.prefix_and_relative >> 1;
                Mismatch { prefix, value: found(differing, stack_pointer), word }
            };
            let Some(next) = find_edge(memory, &mismatch) else { return Found::New(mismatch) };
            signature = next;
            // Mostly it is this one: all words at once are the quickest look.
            let words = usize::from((*signature).len).next_multiple_of(GROUP);
            let any_relative = (*signature).any_relative != 0;
            let same =
                is_within(memory, signature, stack_pointer) && equal(signature, words, any_relative, stack_pointer);
            let differing = if same { None } else { compare(signature, word.wrapping_add(1), stack_pointer) };
            let Some(differing) = differing else {
                remember(memory, stack_pointer, signature);
                return Found::Known((*signature).stack);
            };
            word = differing;
        }
    }
}

/// This is the signature that was met last here.
///
/// # Safety
/// As [`at_once`]; `signature` is one that [`learn`] made for this return address.
unsafe fn remember(memory: *mut StackMemory, stack_pointer: u64, signature: *const Signature) {
    // SAFETY: the caller's contract; the slot is within the array.
    unsafe {
        let known = if is_within(memory, signature, stack_pointer) { stack_pointer } else { 0 };
        let recent = (&raw mut (*memory).recent).cast::<Recent>();
        Recent::set(recent.add(slot(stack_pointer, (*signature).return_address)), known, signature);
    }
}

fn edge_slot(prefix: u32, value: u64) -> usize {
    let mixed = u64::from(prefix).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % EDGES
}

/// # Safety
/// `memory` is this thread's.
unsafe fn find_edge(memory: *const StackMemory, mismatch: &Mismatch) -> Option<*const Signature> {
    let start = edge_slot(mismatch.prefix, mismatch.value);
    for probe in 0..PROBES {
        // SAFETY: within the array.
        let edge = unsafe { (*memory).edges[(start + probe) % EDGES] };
        if edge.prefix == mismatch.prefix && edge.value == mismatch.value && !edge.signature.is_null() {
            return Some(edge.signature);
        }
    }
    None
}

/// Walks a stack of which nothing is remembered, remembers it, and gives its number; 0 if it has none.
///
/// # Safety
/// As [`at_once`]; signal handlers are kept out.
pub unsafe fn learn(
    memory: &mut StackMemory,
    tables: &Tables,
    stack_pointer: u64,
    return_address: u64,
    mismatch: &Mismatch,
) -> u32 {
    memory.misses = memory.misses.wrapping_add(1);
    let Some(guard) = tables.allocating.lock() else {
        tables.note(note::GAVE_UP);
        return 0;
    };
    // What may go is not remembered while something goes: neither its rules nor its signatures.
    let closing = tables.modules.is_closing();
    if closing {
        memory.scratch.forget();
    }
    let walked = memory.scratch.walk(tables, stack_pointer, return_address);
    let (stack, stays) = (tables.intern_stack(walked.frames), walked.stays);
    let words = walked.words.filter(|_| stays || !closing);
    #[cfg(lockprof_oracle)]
    let words = words.map(super::oracle::seen);
    let signature = match words {
        None => None,
        Some(words) => {
            let signature = tables.signatures.intern(tables, return_address, words, stack);
            if signature.is_none() {
                tables.note(note::SHAPES_FULL);
            }
            signature
        }
    };
    drop(guard);
    let Some(signature) = signature else {
        if closing {
            memory.scratch.forget();
        }
        memory.know_stack();
        return stack;
    };
    // SAFETY: signatures live for ever.
    unsafe {
        memory.know_stack();
        remember(memory, stack_pointer, signature);
        // The edge holds only if the signature really has this beginning and this value behind it: the stack
        // may have been read at another moment than the word that differed.
        let fits = mismatch.word == NO_WORD
            || mismatch.word < (*signature).len as usize && {
                let word = Signature::word(signature, mismatch.word);
                word.prefix_and_relative >> 1 == mismatch.prefix && word.value == mismatch.value
            };
        if fits {
            memory.insert_edge(mismatch, signature);
        }
        (*signature).stack
    }
}

impl StackMemory {
    fn insert_edge(&mut self, mismatch: &Mismatch, signature: *const Signature) {
        let start = edge_slot(mismatch.prefix, mismatch.value);
        let free = (0..PROBES).find(|probe| {
            let edge = self.edges[(start + probe) % EDGES];
            edge.signature.is_null() || (edge.prefix == mismatch.prefix && edge.value == mismatch.value)
        });
        // All taken: an arbitrary one gives way.
        let at = (start + free.unwrap_or(self.misses as usize % PROBES)) % EDGES;
        self.edges[at] = Edge { value: mismatch.value, signature, prefix: mismatch.prefix };
    }
}
