//! A thread on which code of ours can run: one that waits in the kernel, where it holds no lock of libc's or the loader's. For
//! calls of the kernel alone, any will do.

use std::path::Path;

use crate::ingest::stop::{self, Stop};
use crate::ingest::{procfs, tasks};

/// `FUTEX_WAIT_BITSET`: conditions, semaphores, joins and read-write locks wait by it. What waits by `FUTEX_WAIT` may be in
/// malloc or the loader.
const WAIT_BITSET: u64 = 9;
const FUTEX_COMMAND: u64 = 0x7f;

/// Calls in which no lock of libc's is held.
const HARMLESS: [libc::c_long; 21] = [
    // A sleep, a poll or a wait with an end that was interrupted before, as by a debugger, or by a look at the program.
    libc::SYS_restart_syscall,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_pause,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_read,
];

/// The kernel's answers that it turns into a call begun anew (`ERESTARTSYS` and its like), and `EINTR`.
const BEGUN_ANEW: [i64; 5] = [-512, -513, -514, RESTART_BLOCK, -4];
/// `ERESTART_RESTARTBLOCK`: goes on by `restart_syscall`, with the time that is left.
const RESTART_BLOCK: i64 = -516;

/// What is to run on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The loader and libc: no lock of theirs may be held.
    Loader,
    /// Calls of the kernel.
    Calls,
}

/// A thread that is stopped in its wait.
pub struct Waiting {
    tid: libc::pid_t,
    registers: libc::user_regs_struct,
}

impl Waiting {
    /// Finds one and stops it; `None` where all threads are somewhere else right now. `purpose`: what is to run on it.
    pub fn find(pid: u32, purpose: Purpose) -> Option<Self> {
        let folder = procfs::folder(pid);
        let waits = |tid: &u32| waits(&folder.join(format!("task/{tid}")), purpose);
        tasks::living(pid).filter(waits).find_map(|tid| Self::stop(tid as _, Self::is_in_a_call))
    }

    /// Stops a thread that runs code of the program's, at any place: for what needs nothing of the thread's.
    pub fn anywhere(pid: u32) -> Option<Self> {
        tasks::living(pid).find_map(|tid| Self::stop(tid as _, Self::is_in_code))
    }

    /// It goes back into its call.
    fn is_in_a_call(&self) -> bool {
        self.registers.orig_rax as i64 >= 0 && BEGUN_ANEW.contains(&(self.registers.rax as i64))
    }

    /// It is between two instructions, and in nothing that the kernel would have it begin anew (`rseq`).
    fn is_in_code(&self) -> bool {
        (self.registers.orig_rax as i64) < 0 && !stop::is_in_sequence(self.tid)
    }

    fn stop(tid: libc::pid_t, is_good: fn(&Self) -> bool) -> Option<Self> {
        const TRIES: u32 = 2000;
        if !stop::seize(tid) {
            return None;
        }
        let stopped = (0..TRIES).find_map(|_| {
            let stopped = stop::stop_of(tid);
            if stopped.is_none() {
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            stopped
        });
        // One that does not stop in this time ends with its tracer, which lets it go.
        let Some(Stop::Stopped(signal)) = stopped else { return None };
        let found = stop::registers(tid).map(|registers| Self { tid, registers });
        match found {
            Some(found) if signal == 0 && is_good(&found) => Some(found),
            _ => {
                stop::detach(tid, signal);
                None
            }
        }
    }

    /// The kernel's number of it.
    pub fn thread(&self) -> libc::pid_t {
        self.tid
    }

    /// Where it goes on: at its `syscall` instruction, if it is in a call.
    pub fn back(&self) -> u64 {
        let is_in_a_call = self.registers.orig_rax as i64 >= 0;
        // It is two bytes long.
        if is_in_a_call { self.registers.rip.wrapping_sub(2) } else { self.registers.rip }
    }

    /// All its registers, `rax` as it has to be where it goes on.
    pub fn registers(&self) -> libc::user_regs_struct {
        libc::user_regs_struct { rax: self.call(), ..self.registers }
    }

    /// The number by which its call is begun again; what it has in `rax` where it is in none.
    pub fn call(&self) -> u64 {
        if (self.registers.orig_rax as i64) < 0 {
            self.registers.rax
        } else if self.registers.rax as i64 == RESTART_BLOCK {
            libc::SYS_restart_syscall as u64
        } else {
            self.registers.orig_rax
        }
    }

    /// Sends it to code that leads it back by itself; false where it is gone.
    pub fn send(self, to: u64) -> bool {
        let mut registers = self.registers;
        registers.rip = to;
        // The kernel is not to begin the call again: the code does.
        registers.orig_rax = u64::MAX;
        let sent = stop::set_registers(self.tid, &registers);
        stop::detach(self.tid, 0);
        sent
    }

    /// Lets it go on as it was.
    pub fn let_go(self) {
        stop::detach(self.tid, 0);
    }
}

/// Whether a thread waits in a harmless call (`/proc/PID/task/TID/syscall`: its number and arguments, as hex).
fn waits(task: &Path, purpose: Purpose) -> bool {
    let text = procfs::text(task.join("syscall")).unwrap_or_default();
    let mut words = text.split_whitespace();
    let Some(number) = words.next().and_then(|word| word.parse::<libc::c_long>().ok()) else { return false };
    let operation = words.nth(1).and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    HARMLESS.contains(&number)
        || number == libc::SYS_futex
            && (purpose == Purpose::Calls
                || operation.is_some_and(|operation| operation & FUTEX_COMMAND == WAIT_BITSET))
}
