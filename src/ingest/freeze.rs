//! A process that is stopped for some milliseconds, so that what is read of its memory is of one moment.
//!
//! A thread is stopped by ptrace, which no other process can see, and goes on as if nothing had been: a system call that
//! waits is begun again by the kernel.

use std::time::{Duration, Instant};

use crate::ingest::stop::{Stop, detach, registers, seize, stop_of};
use crate::ingest::{procfs, tasks};

/// A thread that does not stop within this time is in the kernel: then the process is let go.
const PATIENCE: Duration = Duration::from_millis(100);

/// On a busy machine a thread needs its turn to stop: whoever cannot do without waits longer each time, up to this.
const LONGEST: Duration = Duration::from_millis(400);

/// Threads that were asked to stop and did not in time. They have to be let go when they do.
#[derive(Default)]
pub struct Late {
    threads: Vec<libc::pid_t>,
    /// How long [`Late::freeze_patiently`] waited last, if that was too short.
    waited: Option<Duration>,
    /// The thread that could not be stopped last, and the error, or 0 where that took too long.
    refused: Option<(libc::pid_t, i32)>,
}

/// A stopped process. Goes on when dropped.
pub struct Frozen<'a> {
    stopped: Vec<(libc::pid_t, i32)>,
    late: &'a mut Late,
}

impl Late {
    /// Stops a process; `None` where that is not allowed or takes too long. To be called by one and the same thread always.
    pub fn freeze(&mut self, pid: u32) -> Option<Frozen<'_>> {
        self.let_go();
        if !self.threads.is_empty() {
            return None;
        }
        self.freeze_within(pid, PATIENCE)
    }

    /// The same for what is tried again until it works: those that are late are waited for, and each time that it takes too
    /// long it may take longer.
    pub fn freeze_patiently(&mut self, pid: u32) -> Option<Frozen<'_>> {
        let patience = self.waited.map_or(PATIENCE, |waited| (2 * waited).min(LONGEST));
        let deadline = Instant::now() + patience;
        loop {
            self.let_go();
            if self.threads.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.waited = Some(patience);
        let frozen = self.freeze_within(pid, patience)?;
        frozen.late.waited = None;
        Some(frozen)
    }

    fn freeze_within(&mut self, pid: u32, patience: Duration) -> Option<Frozen<'_>> {
        let deadline = Instant::now() + patience;
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
                    let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
                    // It has ended, or may not be traced: the list tells which.
                    if tasks::living(pid).any(|living| living as libc::pid_t == tid) {
                        frozen.late.refused = Some((tid, error));
                        return None;
                    }
                    continue;
                }
                frozen.late.threads.push(tid);
            }
            while let Some(tid) = frozen.late.threads.last().copied() {
                match stop_of(tid) {
                    Some(Stop::Stopped(signal)) => frozen.stopped.push((tid, signal)),
                    Some(Stop::Over) => {}
                    None if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_micros(50));
                        continue;
                    }
                    None => {
                        frozen.late.refused = Some((tid, 0));
                        return None;
                    }
                }
                frozen.late.threads.pop();
            }
        }
    }

    /// Why the process could not be stopped, for the end of a sentence.
    pub fn why_not(&self, pid: u32) -> String {
        let Some((tid, error)) = self.refused else { return "one of its threads is in the kernel".to_owned() };
        let status = procfs::folder(pid).join("task").join(tid.to_string()).join("status");
        let status = procfs::text(status).unwrap_or_default();
        match procfs::field(&status, "TracerPid:").map(str::trim) {
            _ if error == 0 => format!("its thread {tid} is in the kernel, or has no turn on this busy machine"),
            Some(tracer) if tracer != "0" => format!("its thread {tid} is traced by process {tracer}"),
            _ => format!("its thread {tid} may not be traced ({})", std::io::Error::from_raw_os_error(error)),
        }
    }

    /// Lets threads go that have stopped meanwhile.
    pub fn let_go(&mut self) {
        self.threads.retain(|tid| match stop_of(*tid) {
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

    /// The kernel's numbers of its threads.
    pub fn threads(&self) -> impl Iterator<Item = libc::pid_t> + '_ {
        self.stopped.iter().map(|(tid, _)| *tid)
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
