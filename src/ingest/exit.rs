//! How a process ended: from the kernel, or from what the process said itself.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::model::Exit;

/// The kernel's `struct pidfd_info` (Linux 6.13; the exit code since 6.15).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    users_and_groups: [u32; 8],
    exit_code: i32,
    core_dump: [u32; 2],
}

const EXIT: u64 = 1 << 3;

/// `_IOWR(0xFF, 11, struct pidfd_info)` with the first published size, 64 bytes.
const fn request() -> libc::c_ulong {
    const SIZE: libc::c_ulong = 64;
    3 << 30 | SIZE << 16 | 0xff << 8 | 11
}

/// What the kernel says of an ended process; `None` where it does not tell strangers.
pub fn of(process: &OwnedFd) -> Option<Exit> {
    let mut info = PidfdInfo { mask: EXIT, ..PidfdInfo::default() };
    // SAFETY: `info` is at least as large as the request says.
    let answer = unsafe { libc::ioctl(process.as_raw_fd(), request(), &raw mut info) };
    if answer != 0 || info.mask & EXIT == 0 {
        return None;
    }
    let status = info.exit_code;
    Some(match status & 0x7f {
        0 => Exit::Code(status >> 8 & 0xff),
        signal => Exit::Signal(signal),
    })
}

/// What the process left in its segment: 256 + its code.
pub fn said(word: u32) -> Option<Exit> {
    (word & 256 != 0).then_some(Exit::Code((word & 255) as i32))
}

const _: () = assert!(size_of::<PidfdInfo>() == 72);
