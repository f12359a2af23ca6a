//! The system calls that the recorder makes in a program: what a filter of the program's (seccomp) has to let pass.

use crate::bpf::{self, Data, Instruction};
use crate::number;

/// A call as the recorder makes it: what a filter is asked about. Addresses are 0 here.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number.
    pub number: usize,
    /// Its arguments.
    pub arguments: [u64; 6],
}

impl Call {
    /// Whether a filter lets it pass that is made from this address.
    pub fn is_allowed(&self, filter: &[Instruction], from: u64) -> bool {
        const ALLOW: u32 = 0x7fff_0000;
        const ACTION: u32 = 0xffff_0000;
        let data = Data::new(self.number as u32, from, self.arguments);
        bpf::run(filter, &data).is_some_and(|answer| answer & ACTION == ALLOW)
    }
}

/// A call with these arguments.
pub const fn call(number: usize, arguments: [u64; 6]) -> Call {
    Call { number, arguments }
}

const ANY_DESCRIPTOR: u64 = 3;
const HERE: u64 = number::AT_FDCWD as u64;
const LEN: u64 = 4096;
/// All of them; those of one number stand together.
pub const CALLS: [Call; 48] = [
    call(number::OPENAT, [HERE, 0, number::O_CLOEXEC as u64, 0, 0, 0]),
    call(
        number::OPENAT,
        [HERE, 0, number::O_RDWR as u64 | number::O_CLOEXEC as u64 | number::O_NOFOLLOW as u64, 0, 0, 0],
    ),
    call(number::OPENAT, [HERE, 0, number::O_NEW as u64, 0o600, 0, 0]),
    call(number::CLOSE, [ANY_DESCRIPTOR, 0, 0, 0, 0, 0]),
    call(number::FSTAT, [ANY_DESCRIPTOR, 0, 0, 0, 0, 0]),
    call(number::NEWFSTATAT, [HERE, 0, 0, number::AT_SYMLINK_NOFOLLOW as u64, 0, 0]),
    call(number::MMAP, [0, LEN, number::PROT_RW as u64, number::MAP_ANONYMOUS as u64, u64::MAX, 0]),
    call(number::MMAP, [0, LEN, number::PROT_RW as u64, number::MAP_SHARED as u64, ANY_DESCRIPTOR, 0]),
    call(number::MMAP, [0, LEN, number::PROT_RW as u64, number::MAP_SHARED as u64 | 0x10, ANY_DESCRIPTOR, 0]),
    call(number::MPROTECT, [0, LEN, number::PROT_RW as u64, 0, 0, 0]),
    call(number::MPROTECT, [0, LEN, number::PROT_READ as u64, 0, 0, 0]),
    call(number::MUNMAP, [0, LEN, 0, 0, 0, 0]),
    call(number::MREMAP, [0, 0, 2 * LEN, number::MAY_MOVE as u64, 0, 0]),
    call(number::MUNLOCK, [0, LEN, 0, 0, 0, 0]),
    call(number::RT_SIGPROCMASK, [number::SIG_SETMASK as u64, 0, 0, 8, 0, 0]),
    call(number::RT_SIGPROCMASK, [number::NO_SUCH_ACTION as u64, 0, 0, 8, 0, 0]),
    call(number::SCHED_YIELD, [0; 6]),
    call(number::MINCORE, [0, LEN, 0, 0, 0, 0]),
    call(number::MADVISE, [0, LEN, number::MADV_WIPEONFORK as u64, 0, 0, 0]),
    call(number::MADVISE, [0, LEN, number::MADV_DONTDUMP as u64, 0, 0, 0]),
    call(number::MADVISE, [0, LEN, number::MADV_POPULATE_WRITE as u64, 0, 0, 0]),
    call(number::GETPID, [0; 6]),
    call(number::KILL, [0; 6]),
    call(number::FLOCK, [ANY_DESCRIPTOR, 2 | 4, 0, 0, 0, 0]),
    call(number::FLOCK, [ANY_DESCRIPTOR, 8, 0, 0, 0, 0]),
    call(number::FTRUNCATE, [ANY_DESCRIPTOR, LEN, 0, 0, 0, 0]),
    call(number::RENAME, [0; 6]),
    call(number::MKDIR, [0, 0o700, 0, 0, 0, 0]),
    call(number::RMDIR, [0; 6]),
    call(number::UNLINK, [0; 6]),
    call(number::READLINK, [0, 0, LEN, 0, 0, 0]),
    call(number::GETEUID, [0; 6]),
    call(number::GETPPID, [0; 6]),
    call(number::GETTID, [0; 6]),
    call(number::CLOCK_GETTIME, [0, 0, 0, 0, 0, 0]),
    call(number::CLOCK_GETTIME, [1, 0, 0, 0, 0, 0]),
    call(number::FALLOCATE, [ANY_DESCRIPTOR, 0, 0, LEN, 0, 0]),
    call(number::PRLIMIT64, [0, 9, 0, 0, 0, 0]),
    call(number::PRLIMIT64, [0, 2, 0, 0, 0, 0]),
    call(number::PRLIMIT64, [0, 1, 0, 0, 0, 0]),
    call(number::PRCTL, [number::GET_SECCOMP as u64, 0, 0, 0, 0, 0]),
    call(number::FUTEX, [0; 6]),
    call(number::FUTEX, [0, 1, i32::MAX as u64, 0, 0, 0]),
    call(number::PROCESS_VM_READV, [0, 0, 1, 0, 1, 0]),
    call(number::READ, [ANY_DESCRIPTOR, 0, LEN, 0, 0, 0]),
    call(number::SOCKET, [number::AF_UNIX as u64, number::STREAM as u64, 0, 0, 0, 0]),
    call(number::CONNECT, [ANY_DESCRIPTOR, 0, 16, 0, 0, 0]),
    call(number::SENDTO, [ANY_DESCRIPTOR, 0, LEN, number::NO_SIGNAL as u64, 0, 0]),
];
