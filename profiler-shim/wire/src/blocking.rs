//! The functions of libc in which a thread may be blocked for long: those that the shim times while a lock is held.
//!
//! A call's number is its position here, in shared memory only: trace files have the names.

/// Hands the table to a macro: rows of `function as name`, where the name is what people know the function by.
#[macro_export]
macro_rules! blocking_calls {
    ($then:ident) => {
        $then! {
            // Files, pipes, sockets.
            read as read, __read_chk as read,
            pread as pread, pread64 as pread, __pread_chk as pread, __pread64_chk as pread,
            readv as readv, preadv as preadv, preadv64 as preadv,
            write as write, pwrite as pwrite, pwrite64 as pwrite,
            writev as writev, pwritev as pwritev, pwritev64 as pwritev,
            open as open, open64 as open, __open_2 as open, __open64_2 as open,
            openat as openat, openat64 as openat, __openat_2 as openat, __openat64_2 as openat,
            creat as creat, creat64 as creat, close as close,
            unlink as unlink, unlinkat as unlinkat, rename as rename, renameat as renameat,
            truncate as truncate, truncate64 as truncate, ftruncate as ftruncate, ftruncate64 as ftruncate,
            fallocate as fallocate, fallocate64 as fallocate,
            posix_fallocate as posix_fallocate, posix_fallocate64 as posix_fallocate,
            fsync as fsync, fdatasync as fdatasync, msync as msync, sync as sync, syncfs as syncfs,
            sync_file_range as sync_file_range,
            sendfile as sendfile, sendfile64 as sendfile, splice as splice, copy_file_range as copy_file_range,
            flock as flock, lockf as lockf, lockf64 as lockf, fcntl as fcntl, fcntl64 as fcntl,
            // Sockets.
            recv as recv, __recv_chk as recv, recvfrom as recvfrom, __recvfrom_chk as recvfrom,
            recvmsg as recvmsg, recvmmsg as recvmmsg,
            send as send, sendto as sendto, sendmsg as sendmsg, sendmmsg as sendmmsg,
            accept as accept, accept4 as accept4, connect as connect,
            getaddrinfo as getaddrinfo, getnameinfo as getnameinfo,
            gethostbyname as gethostbyname, gethostbyname_r as gethostbyname,
            gethostbyaddr as gethostbyaddr, gethostbyaddr_r as gethostbyaddr,
            // Waiting for something to do.
            poll as poll, __poll_chk as poll, ppoll as ppoll, __ppoll_chk as ppoll,
            select as select, pselect as pselect, epoll_wait as epoll_wait, epoll_pwait as epoll_pwait,
            // Sleep, signals.
            nanosleep as nanosleep, clock_nanosleep as clock_nanosleep, usleep as usleep, sleep as sleep,
            pause as pause, sigsuspend as sigsuspend,
            sigwait as sigwait, sigwaitinfo as sigwaitinfo, sigtimedwait as sigtimedwait,
            // Processes.
            fork as fork, wait as wait, waitpid as waitpid, wait3 as wait3, wait4 as wait4, waitid as waitid,
            pclose as pclose,
            semop as semop, semtimedop as semtimedop, msgsnd as msgsnd, msgrcv as msgrcv,
            // Streams. Their own calls inside libc come past every hook.
            fopen as fopen, fopen64 as fopen, fclose as fclose, fflush as fflush,
            fread as fread, __fread_chk as fread, fwrite as fwrite,
            fgets as fgets, __fgets_chk as fgets, fputs as fputs, puts as puts,
            getline as getline, getdelim as getdelim, __getdelim as getdelim,
        }
    };
}

macro_rules! names {
    ($($function:ident as $name:ident,)*) => {
        /// What people know each of them by; its number is the position.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}
blocking_calls!(names);

/// What a call with this number is known by.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.get(number as usize).copied()
}

/// Whether a thread in a call of this name waits for something to do, and not for the end of something.
pub fn waits_for_work(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept4"
            | "epoll_wait"
            | "epoll_pwait"
            | "sigwait"
            | "sigwaitinfo"
            | "sigtimedwait"
            | "sigsuspend"
            | "pause"
    ) || name.starts_with("net.(*") && name.ends_with("Listener).Accept")
}
