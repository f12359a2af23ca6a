//! Asks the kernel and the lock itself whether a hang that the shared memory shows is one.
//!
//! The shared memory says what threads were about to do, and can be out of date: a handler jumped out of a wait, another
//! thread gave the lock back, the process went on with another program. So before anybody is alarmed, each thread must be
//! asleep in the very word of memory that it is said to wait for, and no lock may name another owner or none. What cannot
//! be read (hardened kernels, programs that gave up their rights) proves nothing in either direction.

use std::io::{Error, ErrorKind};
use std::path::Path;

use lockprof_wire::Kind;
use lockprof_wire::lock_layout::glibc;

use super::look::WaitSample;
use crate::ingest::procfs;
use crate::ingest::tasks;

/// Whether the process still has this segment mapped: a program that called exec has not.
pub fn is_mapped(pid: u32, segment: &Path) -> bool {
    let folder = procfs::folder(pid);
    tasks::has_mapped(&folder, segment).unwrap_or_else(|| folder.exists())
}

/// Whether the ring can be one: each thread is asleep for its lock, and the next one has it. `tid`: the kernel's id of a
/// thread by the one that the program knows it by.
pub fn stands(pid: u32, ring: &[WaitSample], tid: &dyn Fn(u32) -> u32) -> bool {
    ring.iter().enumerate().all(|(at, waiter)| {
        let next = &ring[(at + 1) % ring.len()];
        sleeps(pid, tid(waiter.tid), waiter) && is_held(tid(waiter.tid), waiter, next)
    })
}

/// The kernel id of the thread that a lock names as its owner, where no such thread lives in the process any more; `None`
/// where one does, or the lock does not say, or processes share it. `tid`: as in [`stands`].
pub fn gone_owner(pid: u32, waiter: &WaitSample, tid: &dyn Fn(u32) -> u32) -> Option<u32> {
    let waits_as = tid(waiter.tid);
    let words = read_words(waits_as, waiter.address, glibc::size(waiter.kind))?;
    let owner = glibc::state(waiter.kind, word_of(&words)).owner()?;
    let lives = || tasks::living(pid).any(|tid| tid == owner);
    let proven = sleeps(pid, waits_as, waiter) && !lives() && has_our_ids(pid) && are_private(pid, &[waiter.address]);
    proven.then_some(owner)
}

/// Whether these threads are all of the process, each sleeps without a limit for what it is said to wait for, and
/// nothing from outside can wake one: no handler of a signal, no memory that another process has as well, no debugger.
/// `tid`: as in [`stands`].
pub fn nobody_is_left(pid: u32, segment: &Path, all: &[WaitSample], tid: &dyn Fn(u32) -> u32) -> bool {
    let are_all = || {
        let mut living: Vec<u32> = tasks::living(pid).collect();
        let mut seen: Vec<u32> = all.iter().map(|seen| tid(seen.tid)).collect();
        living.sort_unstable();
        seen.sort_unstable();
        living == seen
    };
    let addresses: Vec<u64> = all.iter().map(|seen| seen.address).collect();
    are_all()
        && is_left_alone(&status(pid))
        && is_mapped(pid, segment)
        && are_private(pid, &addresses)
        && !is_shared_with_a_child(pid, segment)
        && all.iter().all(|seen| sleeps_permanently(pid, tid(seen.tid), seen))
        && are_all()
}

fn status(pid: u32) -> String {
    procfs::text(tasks::folder(pid).join("status")).unwrap_or_default()
}

/// Whether thread ids mean the same to the program and to us: it is in no process-id namespace of its own. There the id of
/// an ended thread tells nothing.
fn has_our_ids(pid: u32) -> bool {
    let status = status(pid);
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    // Kernels before 4.1 do not tell, and few make such namespaces.
    ids.is_none_or(|ids| ids.split_whitespace().count() == 1)
}

/// Whether a `status` says that no handler can run (beside those for faults of the running code, and libc's own) and
/// nobody debugs the process.
pub fn is_left_alone(status: &str) -> bool {
    const OF_FAULTS: [i32; 7] =
        [libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
    // glibc's for cancellation and for changes of the user: only other threads send them.
    const OF_LIBC: [i32; 2] = [32, 33];
    let word = |name: &str| procfs::field(status, name);
    let harmless = OF_FAULTS.iter().chain(&OF_LIBC).fold(0u64, |mask, signal| mask | 1 << (signal - 1));
    let caught = word("SigCgt:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    word("TracerPid:") == Some("0") && caught.is_some_and(|caught| caught & !harmless == 0)
}

/// Whether all these addresses lie in memory that the process has for itself.
fn are_private(pid: u32, addresses: &[u64]) -> bool {
    let Ok(maps) = procfs::text(tasks::folder(pid).join("maps")) else { return false };
    addresses.iter().all(|address| is_private(&maps, *address))
}

/// The same of one address and a text of `maps`: `start-end rwxp …`, `s` for shared.
fn is_private(maps: &str, address: u64) -> bool {
    let has = |line: &&str| {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let range = range.and_then(|(start, end)| Some(number(start)?..number(end)?));
        range.is_some_and(|range| range.contains(&address))
    };
    let line = maps.lines().find(has).unwrap_or_default();
    line.split_whitespace().nth(1).is_some_and(|rights| rights.ends_with('p'))
}

/// Whether a child runs in the process's memory or in a copy of it that it has not left yet: the shared segment tells.
fn is_shared_with_a_child(pid: u32, segment: &Path) -> bool {
    tasks::living(pid).any(|tid| {
        let children = procfs::text(procfs::folder(pid).join(format!("task/{tid}/children"))).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).any(|child| is_mapped(child, segment))
    })
}

/// Whether a thread sleeps without a limit of time in what it waits for, as the kernel tells. Inside a condition wait that may
/// be the mutex as well. A spin lock's waiter never sleeps, and does nothing else.
fn sleeps_permanently(pid: u32, tid: u32, waiter: &WaitSample) -> bool {
    if waiter.kind.spins() {
        return sleeps(pid, tid, waiter);
    }
    let call = procfs::folder(pid).join(format!("task/{tid}/syscall"));
    let Ok(call) = procfs::text(call) else { return false };
    let inside = waiter.kind == Kind::Condvar || is_sleep_in(&call, waiter.address, glibc::size(waiter.kind));
    // A semaphore that can be had is about to be.
    let posted = || {
        let words = read_words(tid, waiter.address, glibc::size(waiter.kind));
        words.is_none_or(|words| glibc::semaphore_value(word_of(&words)) != 0)
    };
    inside && waiter.address != 0 && is_endless(&call) && !(waiter.kind == Kind::Semaphore && posted())
}

/// Whether a line of `syscall` is a futex call that waits without a limit of time.
fn is_endless(call: &str) -> bool {
    const OPERATION: u64 = 127;
    let mut words = call.split_whitespace();
    let number = words.next().and_then(|word| word.parse::<libc::c_long>().ok());
    let mut arguments = words.map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let (operation, limit) = (arguments.nth(1).flatten(), arguments.nth(1).flatten());
    let waits = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET, libc::FUTEX_LOCK_PI];
    let waits = operation.is_some_and(|operation| waits.iter().any(|wait| *wait as u64 == operation & OPERATION));
    number == Some(libc::SYS_futex) && waits && limit == Some(0)
}

/// Whether a thread sleeps in what it waits for. A spin lock's waiter never sleeps: it has to be there only.
fn sleeps(pid: u32, tid: u32, waiter: &WaitSample) -> bool {
    let task = procfs::folder(pid).join(format!("task/{tid}"));
    if waiter.kind.spins() {
        return task.exists();
    }
    match procfs::text(task.join("syscall")) {
        Ok(call) => is_sleep_in(&call, waiter.address, glibc::size(waiter.kind)),
        Err(error) if is_gone(&error) => false,
        Err(_) => match procfs::text(task.join("stat")) {
            Ok(stat) => matches!(tasks::state(&stat), Some("S" | "D")),
            Err(error) => !is_gone(&error),
        },
    }
}

fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether a line of `/proc/PID/task/TID/syscall` (number and arguments; `running`) is a futex call within the object.
fn is_sleep_in(call: &str, address: u64, extent: u64) -> bool {
    let mut words = call.split_whitespace();
    let number = words.next().and_then(|word| word.parse::<libc::c_long>().ok());
    let word = words.next().and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    number == Some(libc::SYS_futex) && word.is_some_and(|word| word.wrapping_sub(address) < extent)
}

/// Whether the lock's own words let the next thread of the ring be what the waiter waits for.
fn is_held(tid: u32, waiter: &WaitSample, next: &WaitSample) -> bool {
    let Some(grip) = next.grip_of(waiter.lock) else {
        // A join, or a writer that readers queue behind.
        return true;
    };
    match read_words(tid, waiter.address, glibc::size(waiter.kind)) {
        Some(words) => glibc::may_be_held_by(next.tid, waiter.kind, grip.shared, word_of(&words)),
        None => true,
    }
}

/// A word by its number, as the layouts of locks take them.
fn word_of(words: &[u32]) -> impl Fn(usize) -> u32 {
    |number| words.get(number).copied().unwrap_or(0)
}

/// Words of a living program's memory, all of them or none. `tid`: one of its living threads, as its first one may be over.
fn read_words(tid: u32, address: u64, bytes: u64) -> Option<Vec<u32>> {
    let mut words = vec![0u32; bytes as usize / size_of::<u32>()];
    let local = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: bytes as usize };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes as usize };
    // SAFETY: `local` describes the buffer, which is as long as it says; `remote` is in the other process and checked by
    // the kernel.
    let read = unsafe { libc::process_vm_readv(tid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    (read == bytes as isize).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_told_by_the_address() {
        let call = "202 0x7f00001040 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f11\n";
        assert!(is_sleep_in(call, 0x7f_0000_1040, 40) && is_sleep_in(call, 0x7f_0000_1030, 40));
        for (call, address) in
            [(call, 0x7f_0000_1044), (call, 0x7f_0000_1018), ("running\n", 0), ("", 0), ("0 0x3 0x7f", 3)]
        {
            assert!(!is_sleep_in(call, address, 40), "{call} {address:x}");
        }
    }

    #[test]
    fn sleeps_without_a_limit() {
        let call = |operation: &str, limit: &str| {
            format!("202 0x7f00001040 {operation} 0x2 {limit} 0x0 0xffffffff 0x7ffd 0x7f11")
        };
        assert!(is_endless(&call("0x80", "0x0")) && is_endless(&call("0x189", "0x0")));
        for call in [call("0x80", "0x7ffd0010"), call("0x81", "0x0"), "running".into(), "230 0x0 0x0 0x0 0x0".into()] {
            assert!(!is_endless(&call), "{call}");
        }
    }

    #[test]
    fn who_could_wake_from_outside() {
        let status = |tracer: &str, caught: &str| format!("Name:\tx\nTracerPid:\t{tracer}\nSigCgt:\t{caught}\n");
        // Nothing; those for faults; libc's own.
        for caught in ["0000000000000000", "0000000000000440", "0000000180000000"] {
            assert!(is_left_alone(&status("0", caught)), "{caught}");
        }
        // SIGINT, SIGUSR1, a real-time signal; a debugger.
        for caught in ["0000000000000002", "0000000000000200", "0000000400000000"] {
            assert!(!is_left_alone(&status("0", caught)), "{caught}");
        }
        assert!(!is_left_alone(&status("77", "0000000000000000")) && !is_left_alone(""));
    }

    #[test]
    fn shared_memory_is_told() {
        let maps = "1000-2000 rw-p 00000000 00:00 0 [heap]\n2000-3000 rw-s 00000000 00:01 5 /dev/shm/x\n";
        assert!(is_private(maps, 0x1fff) && !is_private(maps, 0x2000) && !is_private(maps, 0x3000));
    }

    #[test]
    fn memory_of_a_process_is_read() {
        let words: [u32; 4] = [5, 6, 7, 8];
        let read = read_words(std::process::id(), words.as_ptr() as u64, 16);
        assert!(read.is_none_or(|read| read == words), "refused or right");
        assert_eq!(read_words(std::process::id(), 8, 16), None);
        assert!(!is_mapped(std::process::id(), Path::new("/dev/shm/lockprof-0-none/1-2.seg")));
    }
}
