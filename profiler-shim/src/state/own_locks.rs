//! Locks that the program brings itself, as Rust's are: a recorder of their own is put into the program, and counts for each
//! thread what it holds. Calls that block are seen here, and handed on to that recorder.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lockprof_wire::OwnLocks;
use lockprof_wire::own_locks::{Joint, about};

/// Written from outside before the program runs, if at all.
static OWN_LOCKS: OwnLocks = OwnLocks { entry: AtomicU64::new(0), begins: AtomicU32::new(0), ends: AtomicU32::new(0) };

/// What the upper half of the thread's word is from the lower one, bytes.
const UPPER: i64 = 4;

/// Where it is to be written, and where threads are to count.
pub fn joint() -> Joint {
    Joint { at: core::ptr::from_ref(&OWN_LOCKS).addr() as u64, holds: offset() + UPPER }
}

/// Whether the thread holds such a lock, as far as its recorder knows.
pub fn holds_any() -> bool {
    let count: u32;
    // SAFETY: reads our own thread-local word.
    unsafe {
        asm!("mov {count:e}, dword ptr fs:[{at}]", at = in(reg) offset() + UPPER, count = out(reg) count,
            options(nostack, preserves_flags, readonly));
    }
    count != 0
}

/// A call with this number begins, at this stack.
pub fn begin_call(call: u32, stack: u32) {
    write(OWN_LOCKS.begins.load(Ordering::Relaxed), about(call, stack));
}

/// It is over.
pub fn end_call(call: u32, stack: u32) {
    write(OWN_LOCKS.ends.load(Ordering::Relaxed), about(call, stack));
}

fn write(event: u32, about: u64) {
    let entry = OWN_LOCKS.entry.load(Ordering::Relaxed);
    if entry == 0 {
        return;
    }
    // SAFETY: whoever wrote the entry put code there that takes these two, and keeps the rest.
    unsafe {
        asm!("call {entry}", entry = in(reg) entry, inout("rdi") about => _, inout("esi") event => _);
    }
}

/// From the address in `fs` to the thread's word.
fn offset() -> i64 {
    let offset: i64;
    // SAFETY: reads a constant of the loader's.
    unsafe {
        asm!("mov {offset}, qword ptr [rip + lockprof_holds@GOTTPOFF]", offset = out(reg) offset,
            options(nostack, preserves_flags, pure, nomem));
    }
    offset
}
