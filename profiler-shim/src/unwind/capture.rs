//! The stack of this acquisition: compared with what is remembered, walked only on a miss.
//!
//! Per thread: `head[hash(return address, stack pointer)]` is the shape used last. The stack pointer tells the callers
//! of a common wrapper apart, where their frames differ in size. If word *j* of it has another value,
//! the edge (beginning of length *j*, value found) leads to another shape with the same beginning; the
//! comparison goes on behind *j*. So the words are read in the unwinder's own order, and never one that
//! the unwinder would not have read: nothing can fault.

use super::shapes::{Shape, Word};
use crate::process::Process;
use crate::thread::Local;

/// First shapes kept per thread.
pub const HEADS: usize = 256;
/// Edges kept per thread.
pub const EDGES: usize = 512;
const PROBES: usize = 4;
/// Stands for the beginning of no words, before the return address itself.
const ROOT: u32 = u32::MAX >> 1;

/// From a beginning and the next word's value to a shape.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Edge {
    value: u64,
    shape: *const Shape,
    prefix: u32,
}

impl Edge {
    /// No edge.
    pub const NONE: Self = Self { value: 0, shape: core::ptr::null(), prefix: 0 };
}

/// Where a comparison failed.
struct Mismatch {
    prefix: u32,
    value: u64,
    /// Position of the word; the return address is before word 0.
    word: Option<usize>,
}

#[inline(always)]
fn slot(stack_pointer: u64, return_address: u64) -> usize {
    const _: () = assert!(HEADS == 1 << 8);
    ((return_address ^ stack_pointer.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize
}

/// Whether the stack that a shape speaks of is known to be readable.
#[inline(always)]
unsafe fn is_within(local: *mut Local, shape: *const Shape, stack_pointer: u64) -> bool {
    // SAFETY: the thread's own data; shapes live for ever.
    unsafe { stack_pointer >= (*local).stack_low && stack_pointer + u64::from((*shape).extent) <= (*local).stack_high }
}

/// The value in the stack that `word` speaks of, relative to the stack pointer if the word is.
#[inline(always)]
unsafe fn found(word: Word, stack_pointer: u64) -> u64 {
    // SAFETY: the caller knows all words before this one to be equal, so the unwinder would read it now.
    let value = unsafe { (stack_pointer.wrapping_add_signed(i64::from(word.offset)) as *const u64).read_volatile() };
    value.wrapping_sub(stack_pointer & word.relative_mask())
}

/// Position of the first word from `from` on that differs. Word after word, since a word may be looked at
/// only when those before it were equal: the stack may end before it.
#[inline(always)]
unsafe fn compare(shape: *const Shape, from: usize, stack_pointer: u64) -> Option<usize> {
    // SAFETY: words are within the shape; each is read only after those before it were equal.
    unsafe {
        (from..(*shape).len as usize)
            .find(|at| found(Shape::word(shape, *at), stack_pointer) != Shape::word(shape, *at).value)
    }
}

/// Whether all words are equal, two at a time.
///
/// # Safety
/// All of the stack that the shape speaks of may be read.
#[inline(always)]
unsafe fn equal(shape: *const Shape, stack_pointer: u64) -> bool {
    // SAFETY: the caller's contract; shapes are filled up to a multiple of two words.
    unsafe {
        let words = shape.add(1).cast::<Word>();
        let len = (*shape).len as usize;
        let at = |number: usize| words.add(number);
        let differs = |word: *const Word| {
            (stack_pointer.wrapping_add_signed(i64::from((*word).offset)) as *const u64).read_volatile() ^ (*word).value
        };
        let differs_relative = |word: *const Word| found(*word, stack_pointer) ^ (*word).value;
        let mut number = 0;
        if (*shape).any_relative == 0 {
            while number < len {
                if differs(at(number)) | differs(at(number + 1)) != 0 {
                    return false;
                }
                number += 2;
            }
        } else {
            while number < len {
                if differs_relative(at(number)) | differs_relative(at(number + 1)) != 0 {
                    return false;
                }
                number += 2;
            }
        }
        true
    }
}

/// The number of the caller's stack. `stack_pointer` is the caller's behind the return address.
///
/// # Safety
/// `local` is this thread's and ready; the two addresses are those of the hook that is running, whose
/// caller's rbp is stored at `stack_pointer - 16`.
#[inline(always)]
pub unsafe fn capture(local: *mut Local, stack_pointer: u64, return_address: u64) -> u32 {
    // SAFETY: the caller's contract.
    unsafe {
        let shape = *(*local).heads.as_ptr().add(slot(stack_pointer, return_address));
        if !shape.is_null() && (*shape).return_address == return_address {
            if is_within(local, shape, stack_pointer) && equal(shape, stack_pointer) {
                return checked(local, stack_pointer, return_address, (*shape).stack);
            }
            differing(local, stack_pointer, return_address, shape)
        } else {
            follow(local, stack_pointer, return_address, core::ptr::null(), None)
        }
    }
}

/// The shape used last is not this stack's, or the stack's end is too near to tell at once.
#[cold]
#[inline(never)]
unsafe fn differing(local: *mut Local, stack_pointer: u64, return_address: u64, shape: *const Shape) -> u32 {
    // SAFETY: as in `capture`.
    unsafe {
        match compare(shape, 0, stack_pointer) {
            None => {
                if stack_pointer < (*local).stack_low {
                    // Deeper than ever before: next time it is known to be readable.
                    Local::rarely(local, || {
                        (*local).scratch().readable(stack_pointer);
                        (*local).know_stack();
                    });
                }
                checked(local, stack_pointer, return_address, (*shape).stack)
            }
            Some(word) => follow(local, stack_pointer, return_address, shape, Some(word)),
        }
    }
}

#[inline(never)]
unsafe fn follow(
    local: *mut Local,
    stack_pointer: u64,
    return_address: u64,
    mut shape: *const Shape,
    mut word: Option<usize>,
) -> u32 {
    // SAFETY: as in `capture`; shapes live for ever.
    unsafe {
        loop {
            let mismatch = match word {
                None => Mismatch { prefix: ROOT, value: return_address, word },
                Some(at) => {
                    let differing = Shape::word(shape, at);
                    Mismatch {
                        prefix: differing.prefix_and_relative >> 1,
                        value: found(differing, stack_pointer),
                        word,
                    }
                }
            };
            let Some(next) = find_edge(local, &mismatch) else {
                let Mismatch { prefix, value, word } = mismatch;
                return miss(local, stack_pointer, return_address, prefix, value, word.unwrap_or(NO_WORD));
            };
            shape = next;
            // Mostly it is this one: all words at once are the quickest look.
            let differing = match is_within(local, shape, stack_pointer) && equal(shape, stack_pointer) {
                true => None,
                false => compare(shape, word.map_or(0, |at| at + 1), stack_pointer),
            };
            if differing.is_none() {
                (*local).heads[slot(stack_pointer, return_address)] = shape;
                return checked(local, stack_pointer, return_address, (*shape).stack);
            }
            word = differing;
        }
    }
}

fn edge_slot(prefix: u32, value: u64) -> usize {
    let mixed = u64::from(prefix).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % EDGES
}

unsafe fn find_edge(local: *mut Local, mismatch: &Mismatch) -> Option<*const Shape> {
    let start = edge_slot(mismatch.prefix, mismatch.value);
    for probe in 0..PROBES {
        // SAFETY: within the array.
        let edge = unsafe { (*local).edges[(start + probe) % EDGES] };
        if edge.prefix == mismatch.prefix && edge.value == mismatch.value && !edge.shape.is_null() {
            return Some(edge.shape);
        }
    }
    None
}

/// Stands for "before word 0" in a call.
const NO_WORD: usize = usize::MAX;

/// The mismatch is passed in parts, in registers: so the stack that `follow` used is free again.
#[cold]
#[inline(never)]
unsafe fn miss(
    local: *mut Local,
    stack_pointer: u64,
    return_address: u64,
    prefix: u32,
    value: u64,
    word: usize,
) -> u32 {
    // SAFETY: as in `capture`.
    unsafe {
        let learned = Local::rarely(local, move || {
            let mismatch = Mismatch { prefix, value, word: (word != NO_WORD).then_some(word) };
            let stack = learn(local, stack_pointer, return_address, &mismatch);
            (*local).know_stack();
            stack
        });
        let Some(stack) = learned else { return 0 };
        checked(local, stack_pointer, return_address, stack)
    }
}

unsafe fn learn(local: *mut Local, stack_pointer: u64, return_address: u64, mismatch: &Mismatch) -> u32 {
    let Some(process) = Process::attached() else { return 0 };
    // SAFETY: as in `capture`; `enter` keeps signal handlers out of the scratch room.
    unsafe {
        (*local).count_miss();
        let Some(guard) = process.making.lock() else {
            process.note(lockprof_wire::layout::note::GAVE_UP);
            return 0;
        };
        // What may go is not remembered while something goes: neither its rules nor its shapes.
        let closing = process.modules.is_closing();
        if closing {
            (*local).scratch().forget();
        }
        let walked = (*local).scratch().walk(process, stack_pointer, return_address);
        let (stack, stays) = (process.intern_stack(walked.frames), walked.stays);
        let Some(words) = walked.words.filter(|_| stays || !closing) else {
            if closing {
                (*local).scratch().forget();
            }
            return stack;
        };
        #[cfg(lockprof_oracle)]
        let words = super::oracle::seen(words);
        let Some(shape) = process.shapes.intern(process, return_address, words, stack) else {
            process.note(lockprof_wire::layout::note::SHAPES_FULL);
            return stack;
        };
        drop(guard);
        (*local).heads[slot(stack_pointer, return_address)] = shape;
        // The edge holds only if the shape really has this beginning and this value behind it: the stack
        // may have been read at another moment than the word that differed.
        let fits = match mismatch.word {
            None => true,
            Some(at) => {
                at < (*shape).len as usize && {
                    let word = Shape::word(shape, at);
                    word.prefix_and_relative >> 1 == mismatch.prefix && word.value == mismatch.value
                }
            }
        };
        if fits {
            insert_edge(local, mismatch, shape);
        }
        (*shape).stack
    }
}

unsafe fn insert_edge(local: *mut Local, mismatch: &Mismatch, shape: *const Shape) {
    let start = edge_slot(mismatch.prefix, mismatch.value);
    // SAFETY: within the array.
    unsafe {
        let free = (0..PROBES).find(|probe| {
            let edge = (*local).edges[(start + probe) % EDGES];
            edge.shape.is_null() || (edge.prefix == mismatch.prefix && edge.value == mismatch.value)
        });
        // All taken: an arbitrary one gives way.
        let at = (start + free.unwrap_or((*local).misses as usize % PROBES)) % EDGES;
        (*local).edges[at] = Edge { value: mismatch.value, shape, prefix: mismatch.prefix };
    }
}

/// In oracle builds, walks anew and compares; otherwise gives the answer back as it is.
#[inline(always)]
unsafe fn checked(local: *mut Local, stack_pointer: u64, return_address: u64, stack: u32) -> u32 {
    #[cfg(lockprof_oracle)]
    // SAFETY: as in `capture`.
    unsafe {
        super::oracle::check(local, stack_pointer, return_address, stack);
    }
    let _ = (local, stack_pointer, return_address);
    stack
}
