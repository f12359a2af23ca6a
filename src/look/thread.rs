//! What the kernel, or a core, says of one thread.

use super::registers::Registers;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, or is about to.
    Running,
    /// It sleeps.
    Blocked,
    /// Somebody stopped it.
    Stopped,
}

/// A system call that a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub number: libc::c_long,
    pub arguments: [u64; 6],
}

/// One thread.
#[derive(Clone, Debug)]
pub struct RawThread {
    /// Its number here.
    pub tid: u32,
    /// Its number in its own namespace, which locks name.
    pub own_tid: u32,
    pub name: String,
    pub state: State,
    /// `None` where it runs and could not be stopped.
    pub registers: Option<Registers>,
    /// Those that the kernel told without a stop.
    pub told: Option<Registers>,
    pub call: Option<Call>,
    /// How often it was taken off a processor: one that sleeps and has the same number later did not run.
    pub switches: u64,
}

impl Call {
    /// The call that registers (in the kernel's order) tell of, if any: it was interrupted, or is about to begin anew.
    /// `is_call`: whether a system call's instruction is before an address.
    pub fn of_registers(words: &[u64; 27], is_call: impl Fn(u64) -> bool) -> Option<Self> {
        /// `ERESTARTSYS` and its kin, and `EINTR`.
        const INTERRUPTED: [i64; 5] = [-512, -513, -514, -516, -4];
        let [r10, r9, r8, rax, rdx, rsi, rdi, number, rip] = [7, 8, 9, 10, 12, 13, 14, 15, 16].map(|at| words[at]);
        let is_one = (number as i64) >= 0 && INTERRUPTED.contains(&(rax as i64)) && is_call(rip);
        is_one.then_some(Self { number: number as libc::c_long, arguments: [rdi, rsi, rdx, r10, r8, r9] })
    }
}
