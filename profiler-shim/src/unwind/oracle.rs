//! The oracle build's check: every remembered stack is walked anew, without any memory, and compared;
//! where a second unwinder is loaded (`lockprof_oracle_backtrace`), with its answer as well.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use lockprof_wire::stack::TRUNCATED;

use crate::sys::objects;
use crate::tables::signatures::Word;
use crate::tables::stacks::Frame;

use super::walk::Scratch;
use crate::tables::Tables;

type Backtrace = unsafe extern "C" fn(*mut u64, usize) -> usize;

static OTHER: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static LOOKED: AtomicU32 = AtomicU32::new(0);

const DEPTH: usize = 256;

/// What is done wrong on purpose, to show that the check notices: nothing, or one of the following.
static BLIND: AtomicU32 = AtomicU32::new(0);
/// The marks leave out all words but the first three.
const WORDS: u32 = 1;
/// The marks leave out all words that hold a saved register.
const REGISTERS: u32 = 2;
/// The second unwinder's answer lacks a frame.
const FRAME: u32 = 3;

/// Takes the kind of blindness from the environment.
pub fn be_blind(kind: &[u8]) {
    let kind = match kind {
        b"words" => WORDS,
        b"registers" => REGISTERS,
        b"frame" => FRAME,
        _ => 0,
    };
    BLIND.store(kind, Ordering::Relaxed);
}

/// The words that are remembered.
pub fn seen(words: &mut [Word]) -> &mut [Word] {
    let mut kept = 0;
    for at in 0..words.len() {
        let word = words[at];
        let keep = match BLIND.load(Ordering::Relaxed) {
            WORDS => at < 3,
            // The other words that are kept relative to the stack pointer are those of signal frames.
            REGISTERS => word.prefix_and_relative & 1 == 0,
            _ => true,
        };
        if keep {
            words[kept] = word;
            kept += 1;
        }
    }
    &mut words[..kept]
}

/// Whether a remembered stack is the one that a new walk finds.
///
/// # Safety
/// As [`super::capture::learn`].
pub unsafe fn is_right(
    scratch: &mut Scratch,
    tables: &Tables,
    stack_pointer: u64,
    return_address: u64,
    stack: u32,
) -> bool {
    match same_walk(scratch, tables, stack_pointer, return_address, stack) {
        // SAFETY: the caller's contract.
        Walk::Same => unsafe { same_backtrace(tables, return_address, stack) },
        Walk::SameButLost => true,
        Walk::Other => false,
    }
}

fn remembered(tables: &Tables, stack: u32) -> impl Iterator<Item = Frame> + '_ {
    let mut at = stack;
    core::iter::from_fn(move || {
        (at != 0).then(|| {
            let node = tables.segment.node(at);
            at = node.caller.load(Ordering::Relaxed);
            Frame { address: node.address.load(Ordering::Relaxed), module: node.module.load(Ordering::Relaxed) }
        })
    })
}

/// How a remembered stack compares with a new walk.
enum Walk {
    Same,
    /// The same, but it ends where wrong tables led. The second unwinder cannot be asked: libgcc reads at any address
    /// that the tables give, and the program would crash.
    SameButLost,
    Other,
}

fn same_walk(scratch: &mut Scratch, tables: &Tables, stack_pointer: u64, return_address: u64, stack: u32) -> Walk {
    let Some(_guard) = tables.allocating.lock() else { return Walk::Same };
    scratch.forget();
    let walked = scratch.walk(tables, stack_pointer, return_address);
    let found = walked.frames.iter().map(|f| (f.address, f.module));
    if !found.eq(remembered(tables, stack).map(|f| (f.address, f.module))) {
        Walk::Other
    } else if walked.lost_after_signal {
        Walk::SameButLost
    } else {
        Walk::Same
    }
}

/// # Safety
/// Called on the stack of the hook that is running.
unsafe fn same_backtrace(tables: &Tables, return_address: u64, stack: u32) -> bool {
    if LOOKED.swap(1, Ordering::Relaxed) == 0 {
        OTHER.store(objects::find_function(c"lockprof_oracle_backtrace"), Ordering::Relaxed);
    }
    let other = OTHER.load(Ordering::Relaxed);
    if other.is_null() {
        return true;
    }
    let mut addresses = [0u64; DEPTH];
    // SAFETY: the symbol of this name has this signature; it writes at most `DEPTH` words.
    let len = unsafe {
        let backtrace: Backtrace = core::mem::transmute(other);
        backtrace(addresses.as_mut_ptr(), DEPTH)
    };
    let Some(start) = addresses[..len].iter().position(|address| *address == return_address) else { return false };
    let full = len == DEPTH;
    // The recorder's own frames (under a callback, a signal handler, a thread's start) are none of ours.
    let foreign = |address: &u64| *address != 0 && !tables.modules.is_own(*address - 1);
    let mut theirs = addresses[start..len].iter().copied().filter(foreign);
    if BLIND.load(Ordering::Relaxed) == FRAME {
        theirs.next();
    }
    for frame in remembered(tables, stack) {
        let truncated = frame.module & TRUNCATED != 0;
        let bias = tables.segment.module(frame.module & !TRUNCATED).bias.load(Ordering::Relaxed);
        let bias = if frame.module & !TRUNCATED == 0 { 0 } else { bias };
        let ours = frame.address.wrapping_add(bias);
        let interrupted = match theirs.next() {
            // Where a signal interrupted, ours is one further.
            Some(address) if address == ours => false,
            Some(address) if address + 1 == ours => true,
            None if full => return true,
            _ => return false,
        };
        if truncated {
            // Code without tables: the other must not know better. But it knows more registers, and in the middle
            // of a prologue, or of `swapcontext`, the tables may speak of those.
            return full || interrupted || theirs.next().is_none();
        }
    }
    full || theirs.next().is_none()
}
