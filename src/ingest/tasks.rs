//! The threads of a process, as the kernel lists them, and the memory that they share.
//!
//! A process whose first thread has ended by `pthread_exit` goes on: the kernel shows that thread as a zombie, and so the
//! process in `/proc/PID/stat`, and the memory of a zombie cannot be read. Whoever asks about a process asks one of its
//! living threads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::procfs;

/// The state in the `stat` of a process or a thread. It stands behind the name, which may hold anything, parentheses too
/// (proc(5)).
pub fn state(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().next()
}

/// Whether a state says that the thread is over.
pub fn is_over(state: &str) -> bool {
    matches!(state, "Z" | "X" | "x")
}

/// Kernel ids of the threads of a process that are not over; none where there is no such process.
pub fn living(pid: u32) -> impl Iterator<Item = u32> {
    living_in(&procfs::folder(pid))
}

/// The same of a process by its folder in `/proc`.
pub fn living_in(folder: &Path) -> impl Iterator<Item = u32> + use<> {
    let tasks = folder.join("task");
    let entries = fs::read_dir(&tasks).into_iter().flatten().flatten();
    let tids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    tids.filter(move |tid| {
        let stat = procfs::text(tasks.join(format!("{tid}/stat")));
        stat.is_ok_and(|stat| state(&stat).is_some_and(|state| !is_over(state)))
    })
}

/// The folder in `/proc` that shows the process's memory and environment: its own, or that of another thread where the
/// first one has ended and the process goes on.
pub fn folder(pid: u32) -> PathBuf {
    memory_of(&procfs::folder(pid))
}

/// The same of a process by its own folder.
pub fn memory_of(folder: &Path) -> PathBuf {
    let stat = procfs::text(folder.join("stat")).unwrap_or_default();
    let other = || living_in(folder).next().map(|tid| folder.join(format!("task/{tid}")));
    state(&stat).filter(|state| is_over(state)).and_then(|_| other()).unwrap_or_else(|| folder.to_path_buf())
}

/// What a process has mapped, by its own folder.
///
/// # Errors
/// Where there is no such process, or it may not be looked at.
pub fn maps(folder: &Path) -> io::Result<Vec<u8>> {
    /// Threads may end one after the other while they are asked.
    const TRIES: usize = 8;
    let mut shown = memory_of(folder);
    for _ in 0..TRIES {
        let maps = procfs::bytes(shown.join("maps"), 1 << 14);
        if maps.as_ref().is_ok_and(|maps| !maps.is_empty()) {
            return maps;
        }
        // A thread that ended in between shows no memory: the others of its process do.
        let now = memory_of(folder);
        if now == shown {
            return maps;
        }
        shown = now;
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Whether a process has a file mapped, told by its name and its folder's, which are the same from everywhere; `None` where
/// that may not be looked at.
pub fn has_mapped(folder: &Path, file: &Path) -> Option<bool> {
    let mut parts = file.components().rev().map(|part| part.as_os_str().as_encoded_bytes());
    let (name, parent) = (parts.next()?, parts.next().unwrap_or_default());
    let needle = [b"/", parent, b"/", name].concat();
    Some(maps(folder).ok()?.windows(needle.len()).any(|part| part == needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_stand_behind_names_of_all_sorts() {
        assert_eq!(state("42 (a) Z (b) S 1 2"), Some("S"));
        assert_eq!(state("42 (gone) Z 1 2"), Some("Z"));
        assert_eq!(state("42 (x"), None);
        assert!(is_over("Z") && !is_over("D"));
    }

    #[test]
    fn the_threads_of_this_process() {
        assert!(living(std::process::id()).count() > 0);
        assert_eq!(folder(std::process::id()), PathBuf::from(format!("/proc/{}", std::process::id())));
        assert_eq!(living(0).count(), 0);
    }
    #[test]
    fn what_this_process_has_mapped() {
        let own = procfs::folder(std::process::id());
        let program = std::env::current_exe().expect("the test's own path");
        assert_eq!(has_mapped(&own, &program), Some(true));
        assert_eq!(has_mapped(&own, Path::new("/dev/shm/lockprof-0-none/1.2.seg")), Some(false));
        assert_eq!(has_mapped(Path::new("/proc/0"), &program), None);
    }
}
