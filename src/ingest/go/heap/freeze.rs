//! A process that is stopped for some milliseconds, so that what is read of its memory is of one moment.
//!
//! A thread is stopped by ptrace, which no other process can see, and goes on as if nothing had been: a system call that
//! waits is begun again by the kernel.

use std::time::{Duration, Instant};

use crate::ingest::stop::{Stop, detach, registers, seize, stop_of};
use crate::ingest::tasks;

/// A thread that does not stop within this time is in the kernel: then the process is let go.
const PATIENCE: Duration = Duration::from_millis(100);

/// Threads that were asked to stop and did not in time. They have to be let go when they do.
#[derive(Default)]
pub struct Late(Vec<libc::pid_t>);

/// A stopped process. Goes on when dropped.
pub struct Frozen<'a> {
    stopped: Vec<(libc::pid_t, i32)>,
    late: &'a mut Late,
}

impl Late {
    /// Stops a process; `None` where that is not allowed or takes too long. To be called by one and the same thread always.
    pub fn freeze(&mut self, pid: u32) -> Option<Frozen<'_>> {
        self.let_go();
        if !self.0.is_empty() {
            return None;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut frozen = Frozen { stopped: Vec::new(), late: self };
        // A thread that runs may make others meanwhile: until there is no new one.
        loop {
            let new: Vec<libc::pid_t> =
                tasks::living(pid).map(|tid| tid as libc::pid_t).filter(|tid| !frozen.has(*tid)).collect();
            if new.is_empty() {
                return Some(frozen);
            }
            for tid in new {
                if !seize(tid) {
                    // It has ended, or may not be traced: the list tells which.
                    if tasks::living(pid).any(|living| living as libc::pid_t == tid) {
                        return None;
                    }
                    continue;
                }
                frozen.late.0.push(tid);
            }
            while let Some(tid) = frozen.late.0.last().copied() {
                match stop_of(tid) {
                    Some(Stop::Stopped(signal)) => frozen.stopped.push((tid, signal)),
                    Some(Stop::Over) => {}
                    None if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_micros(50));
                        continue;
                    }
                    None => return None,
                }
                frozen.late.0.pop();
            }
        }
    }

    /// Lets threads go that have stopped meanwhile.
    pub fn let_go(&mut self) {
        self.0.retain(|tid| match stop_of(*tid) {
            Some(Stop::Stopped(signal)) => {
                detach(*tid, signal);
                false
            }
            Some(Stop::Over) => false,
            None => true,
        });
    }
}

impl Frozen<'_> {
    fn has(&self, tid: libc::pid_t) -> bool {
        self.stopped.iter().any(|(stopped, _)| *stopped == tid)
    }

    /// The registers of all its threads: the stack pointer, and all of them.
    pub fn registers(&self) -> Vec<(u64, [u64; 16])> {
        let of = |r: libc::user_regs_struct| {
            let all = [
                r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14,
                r.r15,
            ];
            (r.rsp, all)
        };
        self.stopped.iter().filter_map(|(tid, _)| registers(*tid).map(of)).collect()
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        for (tid, signal) in self.stopped.drain(..) {
            detach(tid, signal);
        }
        self.late.let_go();
    }
}
