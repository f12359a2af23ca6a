//! The stack of an event: what is remembered of it, or a walk in the slow path.

use crate::state::local::Local;
use crate::sys::counters::count_here;
use crate::unwind::capture::{Found, Mismatch, at_once, learn, search};

/// The number of the stack of a hook's caller; 0 if there is none. `stack_pointer` is the caller's behind the return
/// address.
///
/// # Safety
/// `local` is this thread's and ready; the two addresses are those of the hook that is running, whose
/// caller's rbp is stored at `stack_pointer - 16`.
#[inline(always)]
pub unsafe fn stack_of(local: &Local, stack_pointer: u64, return_address: u64) -> u32 {
    // SAFETY: the caller's contract.
    match unsafe { at_once(local.stacks(), stack_pointer, return_address) } {
        // SAFETY: the caller's contract.
        Some(stack) => unsafe { checked(local, stack_pointer, return_address, stack) },
        // SAFETY: the caller's contract.
        None => unsafe { stack_slowly(local, stack_pointer, return_address) },
    }
}

/// # Safety
/// As [`stack_of`].
#[inline(never)]
unsafe fn stack_slowly(local: &Local, stack_pointer: u64, return_address: u64) -> u32 {
    // SAFETY: as in `stack_of`; in the slow path nobody else has the memory.
    unsafe {
        match search(local.stacks(), stack_pointer, return_address) {
            Found::Known(stack) => checked(local, stack_pointer, return_address, stack),
            Found::Deeper(stack) => {
                local.on_slow_path(|| (*local.stacks()).reach(stack_pointer));
                checked(local, stack_pointer, return_address, stack)
            }
            Found::New(Mismatch { prefix, value, word }) => {
                new_stack(local, stack_pointer, return_address, prefix, value, word)
            }
        }
    }
}

/// The mismatch is passed in parts, in registers: so the stack that the search used is free again.
///
/// # Safety
/// As [`stack_of`].
#[cold]
#[inline(never)]
unsafe fn new_stack(
    local: &Local,
    stack_pointer: u64,
    return_address: u64,
    prefix: u32,
    value: u64,
    word: usize,
) -> u32 {
    let learned = local.on_slow_path(move || {
        let Some(tables) = local.tables() else { return 0 };
        count_here(&local.slot().stack_misses);
        let mismatch = Mismatch { prefix, value, word };
        // SAFETY: as in `stack_of`; in the slow path nobody else has the memory.
        unsafe { learn(&mut *local.stacks(), tables, stack_pointer, return_address, &mismatch) }
    });
    match learned {
        // SAFETY: as in `stack_of`.
        Some(stack) => unsafe { checked(local, stack_pointer, return_address, stack) },
        None => 0,
    }
}

/// In oracle builds, walks anew and compares; otherwise gives the answer back as it is.
///
/// # Safety
/// As [`stack_of`].
#[inline(always)]
unsafe fn checked(local: &Local, stack_pointer: u64, return_address: u64, stack: u32) -> u32 {
    #[cfg(lockprof_oracle)]
    if let Some(tables) = local.tables().filter(|_| stack != 0)
        && local.enter_slow()
    {
        // SAFETY: in the slow path nobody else has it; as in `stack_of`.
        let right = unsafe {
            let scratch = (*local.stacks()).scratch();
            crate::unwind::oracle::is_right(scratch, tables, stack_pointer, return_address, stack)
        };
        let counter = if right { &tables.header().oracle_checked } else { &tables.header().oracle_wrong };
        counter.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        local.exit_slow();
    }
    let _ = (local, stack_pointer, return_address);
    stack
}
