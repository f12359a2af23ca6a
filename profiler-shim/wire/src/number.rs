//! Numbers of the system calls that the recorder makes, and of their options (x86-64).

#![allow(missing_docs, reason = "they are called what the kernel calls them")]

pub const READ: usize = 0;
pub const CLOSE: usize = 3;
pub const FSTAT: usize = 5;
pub const MMAP: usize = 9;
pub const MPROTECT: usize = 10;
pub const MUNMAP: usize = 11;
pub const RT_SIGPROCMASK: usize = 14;
pub const SCHED_YIELD: usize = 24;
pub const MREMAP: usize = 25;
pub const MINCORE: usize = 27;
pub const MADVISE: usize = 28;
pub const GETPID: usize = 39;
pub const SOCKET: usize = 41;
pub const CONNECT: usize = 42;
pub const SENDTO: usize = 44;
pub const KILL: usize = 62;
pub const FLOCK: usize = 73;
pub const FTRUNCATE: usize = 77;
pub const RENAME: usize = 82;
pub const MKDIR: usize = 83;
pub const RMDIR: usize = 84;
pub const UNLINK: usize = 87;
pub const READLINK: usize = 89;
pub const GETEUID: usize = 107;
pub const GETPPID: usize = 110;
pub const MUNLOCK: usize = 150;
pub const PRCTL: usize = 157;
pub const GETTID: usize = 186;
pub const FUTEX: usize = 202;
pub const CLOCK_GETTIME: usize = 228;
pub const OPENAT: usize = 257;
pub const NEWFSTATAT: usize = 262;
pub const FALLOCATE: usize = 285;
pub const PRLIMIT64: usize = 302;
pub const PROCESS_VM_READV: usize = 310;

/// Paths are relative to the working directory.
pub const AT_FDCWD: isize = -100;
pub const AT_SYMLINK_NOFOLLOW: usize = 0x100;
pub const SIG_SETMASK: usize = 2;
/// `PR_GET_SECCOMP`.
pub const GET_SECCOMP: usize = 21;
/// What `rt_sigprocmask` refuses, behind having read the mask.
pub const NO_SUCH_ACTION: usize = 99;

/// `AF_UNIX`.
pub const AF_UNIX: usize = 1;
/// `SOCK_STREAM | SOCK_CLOEXEC`.
pub const STREAM: usize = 1 | O_CLOEXEC;
/// `MSG_NOSIGNAL`.
pub const NO_SIGNAL: usize = 0x4000;

/// `PROT_READ`.
pub const PROT_READ: usize = 1;
/// `PROT_READ | PROT_WRITE`.
pub const PROT_RW: usize = 3;
/// `MAP_SHARED`.
pub const MAP_SHARED: usize = 1;
/// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE`.
pub const MAP_ANONYMOUS: usize = 0x2 | 0x20 | 0x4000;
/// `MREMAP_MAYMOVE`.
pub const MAY_MOVE: usize = 1;
/// `MADV_WIPEONFORK`.
pub const MADV_WIPEONFORK: usize = 18;
/// `MADV_DONTDUMP`.
pub const MADV_DONTDUMP: usize = 16;
/// `MADV_POPULATE_WRITE`.
pub const MADV_POPULATE_WRITE: usize = 23;
pub const O_RDWR: usize = 2;
pub const O_CLOEXEC: usize = 0o2_000_000;
pub const O_NOFOLLOW: usize = 0o400_000;
const O_CREAT: usize = 0o100;
const O_EXCL: usize = 0o200;
/// How a new file is opened.
pub const O_NEW: usize = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
