//! Files of the recorder.

use core::ffi::CStr;

use super::call::call;
use super::file_size_limit;
use lockprof_wire::number::*;

/// Opens a file for reading; its descriptor.
pub fn open_read(path: &CStr) -> Option<isize> {
    // SAFETY: `path` ends with a NUL.
    let fd = unsafe { call!(OPENAT, AT_FDCWD, path.as_ptr(), O_CLOEXEC, 0) };
    (fd >= 0).then_some(fd)
}

/// Makes a new file that only its owner can read and write; its descriptor, or the error number.
pub fn create(path: &CStr) -> Result<isize, u32> {
    // SAFETY: `path` ends with a NUL.
    let fd = unsafe { call!(OPENAT, AT_FDCWD, path.as_ptr(), O_NEW, 0o600) };
    if fd >= 0 { Ok(fd) } else { Err(-fd as u32) }
}

/// Opens a file of ours for reading and writing; its descriptor.
pub fn open_write(path: &CStr) -> Option<isize> {
    // SAFETY: `path` ends with a NUL.
    let fd = unsafe { call!(OPENAT, AT_FDCWD, path.as_ptr(), O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0) };
    (fd >= 0).then_some(fd)
}

/// Closes a descriptor of ours.
pub fn close(fd: isize) {
    // SAFETY: `fd` is ours.
    unsafe { call!(CLOSE, fd) };
}

/// Sets a file's length. Not beyond the limit of a file's size: that would be a signal for the program.
pub fn ftruncate(fd: isize, len: u64) -> bool {
    // SAFETY: no memory is involved.
    len <= file_size_limit() && unsafe { call!(FTRUNCATE, fd, len) == 0 }
}

/// A file's length, bytes; 0 if it is unknown.
pub fn file_len(fd: isize) -> u64 {
    // `struct stat` of x86-64: the length at byte 48, 144 bytes in all.
    let mut stat = [0u64; 18];
    // SAFETY: the kernel writes 144 bytes.
    if unsafe { call!(FSTAT, fd, stat.as_mut_ptr()) } == 0 { stat[6] } else { 0 }
}

/// Reserves room in a file.
pub fn fallocate(fd: isize, offset: u64, len: u64) -> bool {
    // SAFETY: no memory is involved.
    unsafe { call!(FALLOCATE, fd, 0, offset, len) == 0 }
}

/// Reads from a descriptor; number of bytes, negative on error.
pub fn read(fd: isize, into: &mut [u8]) -> isize {
    // SAFETY: the kernel writes at most `into.len()` bytes.
    unsafe { call!(READ, fd, into.as_mut_ptr(), into.len()) }
}

/// Where a symbolic link points; number of bytes, negative on error.
pub fn readlink(path: &CStr, into: &mut [u8]) -> isize {
    // SAFETY: `path` ends with a NUL, the kernel writes at most `into.len()` bytes.
    unsafe { call!(READLINK, path.as_ptr(), into.as_mut_ptr(), into.len()) }
}

/// Makes a folder that only its owner can use; true as well if there is such a one of ours.
pub fn private_folder(path: &CStr) -> bool {
    const EXISTS: isize = -17;
    const KIND_AND_RIGHTS: u32 = 0o170_777;
    const PRIVATE_FOLDER: u32 = 0o040_700;
    // SAFETY: `path` ends with a NUL.
    match unsafe { call!(MKDIR, path.as_ptr(), 0o700) } {
        0 => true,
        EXISTS => {
            // `struct stat` of x86-64: the mode at byte 24, the owner at byte 28, 144 bytes in all.
            let mut stat = [0u32; 36];
            // SAFETY: the path ends with a NUL, the kernel writes 144 bytes.
            let known =
                unsafe { call!(NEWFSTATAT, AT_FDCWD, path.as_ptr(), stat.as_mut_ptr(), AT_SYMLINK_NOFOLLOW) == 0 };
            // SAFETY: always allowed.
            known && stat[6] & KIND_AND_RIGHTS == PRIVATE_FOLDER && stat[7] == unsafe { call!(GETEUID) } as u32
        }
        _ => false,
    }
}

/// Removes a file of ours.
pub fn unlink(file: &CStr) {
    // SAFETY: the name ends with a NUL.
    unsafe { call!(UNLINK, file.as_ptr()) };
}

/// Removes a folder of ours, if it is empty.
pub fn rmdir(folder: &CStr) {
    // SAFETY: the name ends with a NUL.
    unsafe { call!(RMDIR, folder.as_ptr()) };
}

/// Takes the lock of an open file, if nobody else has it.
pub fn try_flock(fd: isize) -> bool {
    const EXCLUSIVE_NOW: usize = 2 | 4;
    // SAFETY: no memory is involved.
    unsafe { call!(FLOCK, fd, EXCLUSIVE_NOW) == 0 }
}

/// Gives the lock of an open file back. Closing it does not, if a mapping keeps it open.
pub fn release_flock(fd: isize) {
    const UNLOCK: usize = 8;
    // SAFETY: no memory is involved.
    unsafe { call!(FLOCK, fd, UNLOCK) };
}

/// Renames a file of ours.
pub fn rename(from: &CStr, to: &CStr) -> bool {
    // SAFETY: both names end with a NUL.
    unsafe { call!(RENAME, from.as_ptr(), to.as_ptr()) == 0 }
}
