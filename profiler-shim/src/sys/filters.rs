//! System call filters (seccomp): which of the recorder's calls a thread may make.
//!
//! A filter may end the program for a call that the program itself never makes. So the functions that install filters
//! are hooked (`interpose::filter`), the filter is asked about each of the recorder's calls, and one that it does not allow
//! is not made: it fails as if the kernel had refused it.

use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use lockprof_wire::FORBIDS_NOTHING;
use lockprof_wire::bpf::Instruction;
use lockprof_wire::calls::{CALLS, Call};

use super::environment::leave_environment;
use lockprof_wire::number;

use super::raw;

core::arch::global_asm!(
    ".section .tbss.lockprof_forbidden,\"awT\",@nobits",
    ".balign 8",
    ".hidden lockprof_forbidden",
    ".globl lockprof_forbidden",
    ".type lockprof_forbidden,@object",
    ".size lockprof_forbidden,8",
    "lockprof_forbidden: .zero 8",
    ".previous",
);

/// `struct sock_fprog`.
#[repr(C)]
pub struct Program {
    len: u16,
    first: *const Instruction,
}

impl Program {
    /// The instructions.
    ///
    /// # Safety
    /// It is a program that the kernel took.
    pub unsafe fn instructions(&self) -> &[Instruction] {
        // SAFETY: the caller's contract.
        unsafe { core::slice::from_raw_parts(self.first, usize::from(self.len)) }
    }
}

/// What every thread may not do, as bits of [`bit`].
static FORBIDDEN_TO_ALL: AtomicU64 = AtomicU64::new(0);
/// Where the environment says what filters forbid, for the program that this one may go over into (exec).
static HANDED_ON: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
const DIGITS: usize = FORBIDS_NOTHING.len();
/// All calls.
pub const ALL: u64 = BLIND - 1;
/// Bit of a thread that may not read the time stamp counter: the strict mode forbids that too.
pub const BLIND: u64 = 1 << 63;

/// The bit of a call: how many other calls come before it in the list.
pub const fn bit(number: usize) -> u64 {
    let (mut at, mut place, mut last) = (0, 0, CALLS[0].number);
    while at < CALLS.len() {
        if CALLS[at].number != last {
            place += 1;
            last = CALLS[at].number;
        }
        if CALLS[at].number == number {
            return 1 << place;
        }
        at += 1;
    }
    panic!("a call that no filter is asked about");
}

/// What this thread may not do.
#[inline(always)]
pub fn forbidden() -> u64 {
    let own: u64;
    // SAFETY: reads our own thread-local word.
    unsafe {
        asm!("mov {at}, qword ptr [rip + lockprof_forbidden@GOTTPOFF]", "mov {own}, qword ptr fs:[{at}]",
            at = out(reg) _, own = out(reg) own, options(nostack, preserves_flags, readonly));
    }
    own | FORBIDDEN_TO_ALL.load(Ordering::Relaxed)
}

pub fn forbid(calls: u64) {
    // SAFETY: writes our own thread-local word.
    unsafe {
        asm!("mov {at}, qword ptr [rip + lockprof_forbidden@GOTTPOFF]", "mov qword ptr fs:[{at}], {calls}",
            at = out(reg) _, calls = in(reg) calls, options(nostack, preserves_flags));
    }
}

/// Whether this thread may not make a call, as [`bit`] has it.
#[inline(always)]
pub fn forbids(bit: u64) -> bool {
    forbidden() & bit != 0
}

/// Whether this thread cannot make a segment.
pub fn forbids_segments() -> bool {
    const NEEDED: u64 = bit(number::OPENAT) | bit(number::FTRUNCATE) | bit(number::MMAP) | bit(number::MADVISE);
    forbids(NEEDED)
}

/// Called when room for something new was refused; null until [`report_refusals`].
static REPORT_REFUSAL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// From now on `report` is called when a filter forbids what makes room.
pub fn report_refusals(report: fn()) {
    REPORT_REFUSAL.store(report as *mut c_void, Ordering::Relaxed);
}

/// A call was not made: what it answers. The report says so where something is missing for it.
#[cold]
#[inline(never)]
pub fn refuse(what: u64) -> isize {
    const EPERM: isize = -1;
    // Room for what is new; whether a deeper part of the stack may be read.
    const ROOM: u64 = bit(number::MMAP) | bit(number::MREMAP) | bit(number::MADVISE) | bit(number::RT_SIGPROCMASK);
    let report = REPORT_REFUSAL.load(Ordering::Relaxed);
    if what & ROOM != 0 && !report.is_null() {
        // SAFETY: `report_refusals` stored a function of this type.
        unsafe { core::mem::transmute::<*mut c_void, fn()>(report)() };
    }
    EPERM
}

/// Takes over what the program before this one was forbidden: the text is in the environment that the kernel gave.
pub fn begin(text: &'static [u8]) {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let Some(calls) = text.iter().try_fold(0u64, |calls, byte| Some(calls << 4 | u64::from(digit(byte)?))) else {
        return;
    };
    if text.len() == DIGITS {
        FORBIDDEN_TO_ALL.fetch_or(calls & ALL, Ordering::Relaxed);
        HANDED_ON.store(text.as_ptr().cast_mut(), Ordering::Relaxed);
    }
}

/// Writes it down for the next program.
pub fn hand_on(calls: u64) {
    let at = HANDED_ON.load(Ordering::Relaxed);
    if at.is_null() && is_alone() {
        // A shim without a session has no place for it: the next program goes without.
        // SAFETY: this is the only thread.
        unsafe { leave_environment() };
    }
    for place in (0..DIGITS).filter(|_| !at.is_null()) {
        let digit = calls >> (4 * (DIGITS - 1 - place)) & 15;
        // SAFETY: the text is in the process's first stack, and has that many digits.
        unsafe { at.add(place).write_volatile(b"0123456789abcdef"[digit as usize]) };
    }
}

/// Whether the process has one thread, as far as libc knows for certain.
pub fn is_alone() -> bool {
    let at: *const u8;
    // SAFETY: reads our own offset table, and libc's variable where it has one (glibc 2.32).
    unsafe {
        asm!(".weak __libc_single_threaded", "mov {}, qword ptr [rip + __libc_single_threaded@GOTPCREL]", out(reg) at,
            options(nostack, preserves_flags, readonly));
        !at.is_null() && at.read_volatile() != 0
    }
}

/// What no thread may do.
pub fn forbidden_to_all() -> u64 {
    FORBIDDEN_TO_ALL.load(Ordering::Relaxed)
}

/// Forbids these calls to all threads, and allows all others that only one thread may not make.
pub fn forbid_to_all(calls: u64) {
    FORBIDDEN_TO_ALL.store(calls, Ordering::Relaxed);
}

/// What a new thread inherits.
pub fn inherited() -> u64 {
    forbidden()
}

/// Begins a thread that was created by one that may not make these calls.
pub fn inherit(calls: u64) {
    if calls != 0 {
        forbid(forbidden() | calls);
    }
}

/// Makes what holds for this thread hold for all: threads that it makes are not told.
pub fn share() {
    FORBIDDEN_TO_ALL.fetch_or(forbidden() & ALL, Ordering::Relaxed);
}

/// Whether this thread can read no clock, and so can record nothing.
#[inline(always)]
pub fn is_blind() -> bool {
    forbidden() & BLIND != 0
}

/// The calls that a filter does not allow, whatever else it would do with them.
pub fn not_allowed(filter: &[Instruction]) -> u64 {
    let here = raw::call6 as *const () as u64;
    let allows = |call: &&Call| call.is_allowed(filter, here);
    CALLS.iter().filter(|call| !allows(call)).fold(0, |all, call| all | bit(call.number))
}
