//! A folder by its descriptor: whatever becomes of its name meanwhile, what is done in it is done in this one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// See the module.
pub(super) struct Directory(File);

impl Directory {
    /// Opens a folder; the last part of its path is no link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        OpenOptions::new().read(true).custom_flags(flags).open(path).map(Self)
    }

    /// A path that leads here as long as this is open.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Its owner, its rights.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Whether nobody but `user` (and root) can look into it or change it.
    pub fn is_private_of(&self, user: u32) -> bool {
        self.metadata().is_ok_and(|meta| meta.uid() == user && meta.mode() & 0o7777 == 0o700)
    }

    /// Gives it to somebody else.
    pub fn give_to(&self, user: u32, group: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.0, Some(user), Some(group))
    }

    /// A plain file in it, for reading and writing: no link, no pipe, no device, and with this name only.
    pub fn file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let path = self.path().join(name.as_ref());
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let meta = file.metadata()?;
        if meta.is_file() && meta.nlink() == 1 { Ok(file) } else { Err(io::Error::other("it is not a plain file")) }
    }

    /// A plain file in it that is this user's.
    pub fn own_file(&self, name: impl AsRef<OsStr>, user: u32) -> Option<File> {
        self.file(name).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.uid() == user))
    }

    /// The names in it.
    pub fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.path());
        entries.into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
    }

    /// Removes a file from it.
    pub fn remove(&self, name: impl AsRef<OsStr>) {
        let _ = fs::remove_file(self.path().join(name.as_ref()));
    }
}

/// Takes the lock of an open file (`flock`), if nobody else has it. The kernel gives it back when the file is closed,
/// so it tells who lives across all namespaces.
pub(super) fn try_lock(file: &File) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}
