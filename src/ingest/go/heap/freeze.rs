//! A process that is stopped for some milliseconds, so that what is read of its memory is of one moment.
//!
//! A thread is stopped by ptrace, which no other process can see, and goes on as if nothing had been: a system call that
//! waits is begun again by the kernel.

use std::time::{Duration, Instant};

use crate::ingest::{procfs, tasks};

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
        self.stopped.iter().filter_map(|(tid, _)| registers(*tid)).collect()
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

enum Stop {
    /// With a signal that was about to be delivered, or 0.
    Stopped(i32),
    Over,
}

fn seize(tid: libc::pid_t) -> bool {
    // SAFETY: no memory of ours is touched.
    let is_ours = unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) } == 0;
    if is_ours {
        // SAFETY: as before. One that has ended in between is seen to be over.
        unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) };
    }
    is_ours
}

/// Whether a thread has stopped or ended. The end of our own child is left for whoever waits for it; others end for their
/// parents when it was taken note of here.
fn stop_of(tid: libc::pid_t) -> Option<Stop> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WSTOPPED | libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the kernel writes one structure of this kind there.
    if unsafe { libc::waitid(libc::P_PID, tid as libc::id_t, info.as_mut_ptr(), flags) } != 0 {
        return Some(Stop::Over);
    }
    // SAFETY: it was zeroed, and the kernel may have filled it in.
    let (code, who) = unsafe { (info.assume_init_ref().si_code, info.assume_init_ref().si_pid()) };
    if who == 0 {
        return None;
    }
    let is_over = !matches!(code, libc::CLD_STOPPED | libc::CLD_TRAPPED);
    if is_over && procfs::parent(&procfs::folder(tid as u32)) == Some(std::process::id()) && is_leader(tid) {
        return Some(Stop::Over);
    }
    let mut status = 0;
    // SAFETY: the kernel writes the status there.
    unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::WNOHANG) };
    if is_over {
        return Some(Stop::Over);
    }
    // Other stops than for a signal have something above it.
    Some(Stop::Stopped(if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 }))
}

/// Whether a thread's number is that of its process.
fn is_leader(tid: libc::pid_t) -> bool {
    let status = procfs::text(procfs::folder(tid as u32).join("status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.is_none_or(|group| group.trim() == tid.to_string())
}

fn detach(tid: libc::pid_t, signal: i32) {
    // SAFETY: no memory of ours is touched. A thread that was killed meanwhile is gone, which is as good.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, 0, signal) };
}

fn registers(tid: libc::pid_t) -> Option<(u64, [u64; 16])> {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
    // SAFETY: the kernel writes one structure of this kind there.
    if unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, 0, registers.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: it was zeroed, and any bits are registers.
    let r = unsafe { registers.assume_init() };
    let all =
        [r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15];
    Some((r.rsp, all))
}
