//! A program's system call filters (seccomp), read from outside: whether they let pass what the recorder calls in it.

use std::fs;
use std::io;

use anyhow::bail;
use lockprof_wire::bpf::Instruction;
use lockprof_wire::calls::{CALLS, Call, call};

use crate::ingest::{procfs, tasks};

/// `PTRACE_SECCOMP_GET_FILTER`.
const GET_FILTER: libc::c_uint = 0x420c;

/// What opening the library takes, beyond what the recorder does.
const OF_OPENING: [Call; 7] = [
    call(libc::SYS_mmap as usize, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as u64, 0x104022, u64::MAX, 0]),
    call(libc::SYS_mmap as usize, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as u64, 0x12, 3, 0]),
    call(libc::SYS_mmap as usize, [0, 4096, libc::PROT_READ as u64, 0x2, 3, 0]),
    call(libc::SYS_pread64 as usize, [3, 0, 4096, 0, 0, 0]),
    call(libc::SYS_memfd_create as usize, [0, 1, 0, 0, 0, 0]),
    call(libc::SYS_mprotect as usize, [0, 4096, libc::PROT_READ as u64, 0, 0, 0]),
    call(libc::SYS_restart_syscall as usize, [0; 6]),
];

/// What is called where memory alone is brought in, and by the recorder of a program's own locks.
pub const OF_MEMORY: [Call; 9] = [
    call(libc::SYS_mmap as usize, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as u64, 0x104022, u64::MAX, 0]),
    call(libc::SYS_mmap as usize, [0, 4096, (libc::PROT_READ | libc::PROT_WRITE) as u64, 0x4001, 3, 0]),
    call(libc::SYS_mprotect as usize, [0, 4096, (libc::PROT_READ | libc::PROT_WRITE) as u64, 0, 0, 0]),
    call(libc::SYS_madvise as usize, [0, 4096, libc::MADV_WIPEONFORK as u64, 0, 0, 0]),
    call(libc::SYS_munmap as usize, [0, 4096, 0, 0, 0, 0]),
    call(libc::SYS_memfd_create as usize, [0, 1, 0, 0, 0, 0]),
    call(libc::SYS_nanosleep as usize, [0; 6]),
    call(libc::SYS_close as usize, [3, 0, 0, 0, 0, 0]),
    call(libc::SYS_gettid as usize, [0; 6]),
];

/// All calls where the library is opened.
pub fn of_opening() -> Vec<Call> {
    CALLS.iter().chain(&OF_OPENING).copied().collect()
}

/// Refuses a program whose filters do not let pass these calls. `tid`: a thread of it that this one has stopped.
///
/// # Errors
/// With the calls that are forbidden, or the reason why the filters cannot be read.
pub fn check(pid: u32, tid: libc::pid_t, calls: &[Call]) -> anyhow::Result<()> {
    if count(pid) == Some(0) {
        return Ok(());
    }
    match filters(tid) {
        Ok(filters) => {
            let is_forbidden = |call: &&Call| filters.iter().any(|filter| !call.is_allowed(filter, 0));
            let mut forbidden: Vec<usize> = calls.iter().filter(is_forbidden).map(|call| call.number).collect();
            forbidden.dedup();
            if forbidden.is_empty() {
                return Ok(());
            }
            let numbers: Vec<String> = forbidden.iter().map(ToString::to_string).collect();
            bail!(
                "process {pid} has a system call filter (seccomp) that forbids what the recorder calls in it (the calls number \
                 {}): start it by `lockprof run`, which does without where it can",
                numbers.join(", ")
            )
        }
        // In one container all have the container's.
        Err(_) if is_as_ours(pid) => Ok(()),
        Err(error) => bail!(
            "process {pid} has a system call filter (seccomp), which may end it for what the recorder calls in it, and the \
             filter cannot be read ({error}): root can, or start the program by `lockprof run`"
        ),
    }
}

/// How many filters a process has; `None` where the kernel does not say.
fn count(pid: u32) -> Option<u32> {
    let status = procfs::text(tasks::folder(pid).join("status")).ok()?;
    let field = |name: &str| procfs::field(&status, name)?.parse().ok();
    match field("Seccomp:") {
        Some(0) => Some(0),
        // The strict mode, which no thread that waits in a call has.
        Some(1) => None,
        _ => field("Seccomp_filters:"),
    }
}

/// Whether a process is in this one's container, and has no filter beyond those that this one has.
fn is_as_ours(pid: u32) -> bool {
    let own = std::process::id();
    let place = |pid: u32, kind: &str| fs::read_link(tasks::folder(pid).join("ns").join(kind)).ok();
    let is_same = |kind: &str| place(pid, kind).is_some_and(|there| Some(there) == place(own, kind));
    count(pid).is_some_and(|theirs| count(own) == Some(theirs)) && is_same("pid") && is_same("mnt")
}

fn filters(tid: libc::pid_t) -> io::Result<Vec<Vec<Instruction>>> {
    let mut found = Vec::new();
    loop {
        let get = |to: *mut Instruction| {
            // SAFETY: with a null pointer the kernel only counts; else it writes as many instructions as it counted.
            let answer = unsafe { libc::ptrace(GET_FILTER, tid, found.len(), to) };
            if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as usize) }
        };
        let count = match get(std::ptr::null_mut()) {
            Ok(count) => count,
            // There are no more.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error),
        };
        let mut filter = vec![Instruction { code: 0, if_true: 0, if_false: 0, k: 0 }; count];
        get(filter.as_mut_ptr())?;
        found.push(filter);
    }
}
