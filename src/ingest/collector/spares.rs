//! Files for processes that may make none of a segment's size themselves (`RLIMIT_FSIZE`): they take one over by renaming
//! it. Many children may come in a short time, so that more are kept ready than a round of the collector sees.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use lockprof_wire::{Layout, layout};

/// The spare files of a session's folder.
pub struct Spares {
    folder: PathBuf,
    /// Bytes of each; `None` where not even this process may make one.
    size: Option<u64>,
    /// Makes those that were not made at once.
    rest: Option<JoinHandle<()>>,
}

impl Spares {
    /// Made before the program is started. A thread makes the others, which takes about as long as the program's start.
    const FIRST: u32 = 8;

    /// Makes them, as large as this process may.
    pub fn new(folder: &Path) -> Self {
        let largest = file_size_limit().min(layout::SPARE_SIZE);
        let size = (largest >= layout::SIZE_MIN).then(|| Layout::for_size(largest).size);
        let folder = folder.to_path_buf();
        make(&folder, size, Self::FIRST);
        let others = folder.clone();
        let work = move || {
            make(&others, size, layout::SPARES);
        };
        // Without such a thread they are missed in the first round.
        let rest = Builder::new().name("spares".to_owned()).spawn(work).ok();
        Self { folder, size, rest }
    }

    /// Makes those that are gone anew; their share of all.
    pub fn refill(&mut self) -> f64 {
        self.finish();
        // The first one is always the first that is taken, and the last one is missing where no thread has made it.
        let is_whole = path(&self.folder, 0).exists() && path(&self.folder, layout::SPARES - 1).exists();
        if is_whole {
            0.0
        } else {
            f64::from(make(&self.folder, self.size, layout::SPARES)) / f64::from(layout::SPARES)
        }
    }

    /// Waits until all were made.
    fn finish(&mut self) {
        if let Some(rest) = self.rest.take() {
            let _ = rest.join();
        }
    }

    /// Removes them.
    pub fn remove(&mut self) {
        self.finish();
        (0..layout::SPARES).for_each(|number| drop(fs::remove_file(path(&self.folder, number))));
    }
}

impl Drop for Spares {
    /// What a thread makes later would stay in the folder.
    fn drop(&mut self) {
        self.finish();
    }
}

/// Makes those of the first so many that are not there; how many were made.
fn make(folder: &Path, size: Option<u64>, count: u32) -> u32 {
    let Some(size) = size else { return 0 };
    // It has its size before it has its name: a process that takes it while it is empty could not use it. No process takes
    // one of this number.
    let new = path(folder, layout::SPARES);
    let mut made = 0;
    for path in (0..count).map(|number| path(folder, number)).filter(|path| !path.exists()) {
        // The folder may be another user's, who could put a link there: only a new file is changed.
        let _ = fs::remove_file(&new);
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&new);
        let done = file.and_then(|file| file.set_len(size)).and_then(|()| fs::rename(&new, &path));
        if done.is_err() {
            let _ = fs::remove_file(&new);
            return made;
        }
        made += 1;
    }
    made
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{}{number}", layout::SPARE))
}

/// The largest file that this process may make, bytes.
fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel writes an `rlimit`.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spares = Spares::new(folder.path());
        let count = || fs::read_dir(folder.path()).expect("the folder").count();
        assert!(count() >= Spares::FIRST as usize);
        spares.finish();
        assert_eq!(count(), layout::SPARES as usize);
        assert_eq!(spares.refill(), 0.0);
        for taken in 0..layout::SPARES / 2 {
            fs::rename(path(&spares.folder, taken), folder.path().join(format!("{taken}.seg"))).expect("a spare");
        }
        assert_eq!(spares.refill(), 0.5);
        assert_eq!(fs::metadata(path(&spares.folder, 0)).expect("the first").len(), layout::SPARE_SIZE);
        spares.remove();
        assert_eq!(count(), layout::SPARES as usize / 2);
    }
}
