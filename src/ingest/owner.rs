//! Whose segment it is, and whether that process has ended.
//!
//! The number in a segment is the one by which its process knows itself. In a PID namespace of its own that is another's
//! number here, and two such processes have the same. So a segment belongs to the process that has it mapped. Children by
//! fork have their parent's mapped as well, under other numbers or in younger namespaces.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{procfs, tasks};

/// The process of a segment.
pub struct Owner {
    /// The number by which this process knows it. Of one that ended unseen, the number by which it knew itself.
    pub pid: u32,
    /// The number is certainly a number here, of the one process that has the segment.
    pub is_certain: bool,
    /// It counts its threads in a namespace of its own.
    pub is_apart: bool,
    /// To see it end by.
    pub liveness: Liveness,
}

/// What tells whether a process has ended.
pub enum Liveness {
    /// A descriptor.
    Descriptor(OwnedFd),
    /// Where there are too few descriptors: its folder, and when it was started.
    Folder(PathBuf, u64),
    /// It has ended.
    Over,
}

impl Liveness {
    /// Whether it has.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Descriptor(process) => {
                let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one `pollfd` is passed.
                unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
            }
            Self::Folder(folder, start) => {
                procfs::started(folder).is_none_or(|now| now != *start) || tasks::living_in(folder).next().is_none()
            }
            Self::Over => true,
        }
    }

    /// Sees a process by its number here. Descriptors are not used up: the last ones are for other things.
    pub fn of(pid: u32) -> Self {
        const SPARED: u64 = 48;
        match procfs::open(pid) {
            Some(process) if (process.as_raw_fd() as u64) + SPARED < descriptors() => Self::Descriptor(process),
            found => {
                let may_live = found.is_some() || last_error() != libc::ESRCH;
                let folder = procfs::folder(pid);
                match procfs::started(&folder) {
                    Some(start) if may_live => Self::Folder(folder, start),
                    _ => Self::Over,
                }
            }
        }
    }
}

fn last_error() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// How many descriptors this process may have.
fn descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur
}

/// The process that has this segment mapped. `said`: the number by which it knows itself; `namespace`: the number of its
/// PID namespace, 0 where it could not tell.
pub fn find(segment: &Path, said: u32, namespace: u64) -> Owner {
    // The folder may be known by a descriptor only.
    let segment = &std::fs::canonicalize(segment).unwrap_or_else(|_| segment.to_owned());
    let own = procfs::namespace(Path::new("/proc/self"));
    let is_here = own.is_some_and(|own| own == namespace);
    let owner = |pid, is_certain, is_apart, liveness| Owner { pid, is_certain, is_apart, liveness };
    if is_here || namespace == 0 {
        let liveness = Liveness::of(said);
        match tasks::has_mapped(&procfs::folder(said), segment) {
            Some(true) => return owner(said, true, false, liveness),
            // Its memory may not be looked at, but there is only one of this number here.
            None if is_here => return owner(said, true, false, liveness),
            // It went on with another program, or it ended and another one has the number.
            Some(false) if is_here => return owner(said, true, false, Liveness::Over),
            _ => {}
        }
    }
    let candidates = procfs::entries().filter_map(|entry| {
        let folder = Path::new("/proc").join(entry.to_string());
        let (pid, own) = procfs::known_as(&folder)?;
        let there = procfs::namespace(&folder);
        let fits = own == said && (namespace == 0 || there.is_none_or(|there| there == namespace));
        // Where its memory may not be looked at, its namespace has to be the right one.
        let is_it = fits && tasks::has_mapped(&folder, segment).unwrap_or(there == Some(namespace));
        is_it.then(|| (procfs::started(&folder).unwrap_or(u64::MAX), pid, own != pid))
    });
    // A child that has the same number in a namespace below is younger.
    match candidates.min() {
        Some((_, pid, is_apart)) => owner(pid, true, is_apart, Liveness::of(pid)),
        None => owner(said, false, !is_here, Liveness::Over),
    }
}
