//! Stops single threads of other processes by ptrace, which no other process can see, and lets them go on as if nothing had been.
//!
//! A system call that waits is begun again by the kernel, but for a few that say `EINTR` for no signal at all. Those are begun
//! again here, before the thread goes on. A time limit begins anew then, so nobody is to be stopped often.

use super::procfs;

/// Calls that answer `EINTR` to a mere stop (signal(7), "Interruption of system calls … by stop signals"; and by trying).
const TELLING: [libc::c_long; 15] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_read,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_uring_enter,
];

/// What became of a thread that was asked to stop.
pub enum Stop {
    /// With a signal that was about to be delivered, or 0.
    Stopped(i32),
    /// It has ended.
    Over,
}

/// Asks a thread to stop; whether it may be traced.
pub fn seize(tid: libc::pid_t) -> bool {
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
pub fn stop_of(tid: libc::pid_t) -> Option<Stop> {
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
    procfs::field(&status, "Tgid:").is_none_or(|group| group == tid.to_string())
}

/// Lets a thread go on, with the signal that it was stopped for.
pub fn detach(tid: libc::pid_t, signal: i32) {
    if signal == 0 {
        hide(tid);
    }
    // SAFETY: no memory of ours is touched. A thread that was killed meanwhile is gone, which is as good.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, 0, signal) };
}

/// All registers of a thread that is stopped.
pub fn registers(tid: libc::pid_t) -> Option<libc::user_regs_struct> {
    let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
    // SAFETY: the kernel writes one structure of this kind there.
    if unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, 0, registers.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: it was zeroed, and any bits are registers.
    Some(unsafe { registers.assume_init() })
}

/// A call that would say `EINTR` because of the stop is begun again, unless a signal is on its way, which is to be seen.
fn hide(tid: libc::pid_t) {
    let Some(mut now) = registers(tid) else { return };
    let is_interrupted = now.rax as i64 == -i64::from(libc::EINTR) && TELLING.contains(&(now.orig_rax as i64));
    let has_mask = [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2].contains(&(now.orig_rax as i64));
    if !is_interrupted || has_signal(tid, has_mask) {
        return;
    }
    now.rax = now.orig_rax;
    // `syscall` is two bytes long.
    now.rip = now.rip.wrapping_sub(2);
    // SAFETY: the kernel reads one structure of this kind there; it checks what may be set.
    unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, 0, &raw const now) };
}

/// Whether a signal is on its way to a thread which it does not block. A call with a mask of its own (`any`) has another one
/// while it waits: then any signal counts.
fn has_signal(tid: libc::pid_t, any: bool) -> bool {
    let status = procfs::text(procfs::folder(tid as u32).join("status")).unwrap_or_default();
    let mask = |name: &str| u64::from_str_radix(procfs::field(&status, name)?, 16).ok();
    let (Some(own), Some(shared), Some(blocked)) = (mask("SigPnd:"), mask("ShdPnd:"), mask("SigBlk:")) else {
        return true;
    };
    (own | shared) & if any { u64::MAX } else { !blocked } != 0
}

/// Gives a thread that is stopped other registers; false where it is gone.
pub fn set_registers(tid: libc::pid_t, registers: &libc::user_regs_struct) -> bool {
    // SAFETY: the kernel reads one structure of this kind there; it checks what may be set.
    unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, 0, &raw const *registers) == 0 }
}

/// Whether a thread that is stopped is in a sequence that the kernel would have it begin anew (`rseq`, rseq(2)). One of which
/// that cannot be told counts as being in one.
pub fn is_in_sequence(tid: libc::pid_t) -> bool {
    /// `PTRACE_GET_RSEQ_CONFIGURATION`, and its answer: an address, a length, a signature, flags, padding.
    const GET: libc::c_uint = 0x420f;
    let mut configuration = [0u64; 3];
    let size = size_of_val(&configuration);
    // SAFETY: the kernel writes at most that many bytes there.
    let answer = unsafe { libc::ptrace(GET, tid, size, configuration.as_mut_ptr()) };
    if answer < 0 {
        return true;
    }
    let Some(sequence) = configuration[0].checked_add(8).filter(|_| configuration[0] != 0) else { return false };
    // SAFETY: reads memory of another process; where there is none it says so.
    let word = unsafe {
        *libc::__errno_location() = 0;
        libc::ptrace(libc::PTRACE_PEEKDATA, tid, sequence, 0)
    };
    // SAFETY: this thread's own.
    word != 0 || unsafe { *libc::__errno_location() } != 0
}
