//! Asks the kernel and the lock itself whether a ring that the shared memory shows is one.
//!
//! The shared memory says what threads were about to do, and can be out of date: a handler jumped out of a wait, another
//! thread gave the lock back, the process went on with another program. So before anybody is alarmed, each thread must be
//! asleep in the very word of memory that it is said to wait for, and no lock may name another owner or none. What cannot
//! be read (hardened kernels, programs that gave up their rights) proves nothing in either direction.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use lockprof_wire::lock::kind;

use super::look::Seen;
use crate::ingest::procfs;
use crate::ingest::tasks;

/// Bytes of what a thread may sleep in, by kind: glibc's public sizes; of a join, the thread's control block.
fn extent(kind: u8) -> u64 {
    match kind {
        kind::MUTEX => 40,
        kind::RWLOCK => 56,
        kind::SEMAPHORE => 32,
        kind::JOIN => 4096,
        _ => 4,
    }
}

/// Whether the process still has this segment mapped: a program that called exec has not.
pub fn is_mapped(pid: u32, segment: &Path) -> bool {
    let folder = procfs::folder(pid);
    procfs::has_mapped(&folder, segment).unwrap_or_else(|| folder.exists())
}

/// Whether the ring can be one: each thread is asleep for its lock, and the next one has it. `tid`: the kernel's id of a
/// thread by the one that the program knows it by.
pub fn stands(pid: u32, ring: &[Seen], tid: &dyn Fn(u32) -> u32) -> bool {
    ring.iter().enumerate().all(|(at, waiter)| {
        let next = &ring[(at + 1) % ring.len()];
        sleeps(pid, tid(waiter.tid), waiter) && is_held(tid(waiter.tid), waiter, next)
    })
}

/// Whether a thread sleeps in what it waits for. A spin lock's waiter never sleeps: it has to be there only.
fn sleeps(pid: u32, tid: u32, waiter: &Seen) -> bool {
    let task = procfs::folder(pid).join(format!("task/{tid}"));
    if waiter.kind == kind::SPINLOCK {
        return task.exists();
    }
    match fs::read_to_string(task.join("syscall")) {
        Ok(call) => is_sleep_in(&call, waiter.address, extent(waiter.kind)),
        Err(error) if is_gone(&error) => false,
        Err(_) => match fs::read_to_string(task.join("stat")) {
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
fn is_held(tid: u32, waiter: &Seen, next: &Seen) -> bool {
    let Some(grip) = next.grip_of(waiter.lock) else {
        // A join, or a writer that readers queue behind.
        return true;
    };
    match read_words(tid, waiter.address, extent(waiter.kind)) {
        Some(words) => may_hold(waiter.kind, &words, next.tid, grip.shared),
        None => true,
    }
}

/// glibc's layout, which is public ABI, as words of four bytes.
fn may_hold(of: u8, words: &[u32], tid: u32, shared: bool) -> bool {
    let word = |at: usize| words.get(at).copied().unwrap_or(0);
    match of {
        // __lock, then (behind __count) __owner, which elided locks leave at 0.
        kind::MUTEX => word(0) != 0 && (word(2) == 0 || word(2) == tid),
        // __readers: the number of readers from bit 3 on, bit 1 for a writer; __cur_writer.
        kind::RWLOCK if shared => word(0) >> 3 != 0,
        kind::RWLOCK => word(0) & 2 != 0 && (word(6) == 0 || word(6) == tid),
        // 1 is free.
        kind::SPINLOCK => word(0) != 1,
        // The value comes first.
        kind::SEMAPHORE => word(0) == 0,
        _ => true,
    }
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
    fn locks_name_their_owner() {
        assert!(may_hold(kind::MUTEX, &[2, 0, 7], 7, false));
        assert!(!may_hold(kind::MUTEX, &[2, 0, 8], 7, false), "another's");
        assert!(!may_hold(kind::MUTEX, &[0, 0, 0], 7, false), "free");
        assert!(may_hold(kind::RWLOCK, &[1 << 3], 7, true) && !may_hold(kind::RWLOCK, &[2], 7, true));
        assert!(may_hold(kind::RWLOCK, &[3, 0, 0, 0, 0, 0, 7], 7, false));
        assert!(!may_hold(kind::RWLOCK, &[3, 0, 0, 0, 0, 0, 8], 7, false));
        assert!(!may_hold(kind::SPINLOCK, &[1], 7, false) && !may_hold(kind::SEMAPHORE, &[1, 0], 7, false));
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
