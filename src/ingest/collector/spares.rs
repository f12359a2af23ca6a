//! Files for processes that may make none of a segment's size themselves (`RLIMIT_FSIZE`): they take one over by renaming
//! it. Many children may come in a short time, so that more are kept ready than a round of the collector sees.

use std::fs;
use std::path::{Path, PathBuf};

use lockprof_wire::{Layout, layout};

/// The spare files of a session's folder.
pub struct Spares {
    folder: PathBuf,
    /// Bytes of each; `None` where not even this process may make one.
    size: Option<u64>,
    /// So many of them are kept ready.
    count: u32,
}

impl Spares {
    /// Enough for what a program starts before the first round of the collector, which makes the others: the program's start
    /// does not wait for them.
    const FIRST: u32 = 8;

    /// Makes the first ones, as large as this process may.
    pub fn new(folder: &Path) -> Self {
        let largest = file_size_limit().min(layout::SPARE_SIZE);
        let size = (largest >= layout::SIZE_MIN).then(|| Layout::for_size(largest).size);
        let spares = Self { folder: folder.to_path_buf(), size, count: Self::FIRST };
        spares.make();
        spares
    }

    /// Makes those that are gone anew; their share of all.
    pub fn refill(&mut self) -> f64 {
        // The first one is always the first that is taken.
        let is_taken = !self.path(0).exists();
        let ready = std::mem::replace(&mut self.count, layout::SPARES);
        let made = if is_taken || ready < self.count { self.make() } else { 0 };
        f64::from(made.saturating_sub(self.count - ready)) / f64::from(layout::SPARES)
    }

    /// Removes them.
    pub fn remove(&self) {
        (0..layout::SPARES).for_each(|number| drop(fs::remove_file(self.path(number))));
    }

    /// How many were made.
    fn make(&self) -> u32 {
        let Some(size) = self.size else { return 0 };
        let mut made = 0;
        for number in 0..self.count {
            let Ok(file) = fs::File::create_new(self.path(number)) else { continue };
            if file.set_len(size).is_err() {
                // Nobody could use it.
                let _ = fs::remove_file(self.path(number));
                return made;
            }
            made += 1;
        }
        made
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{}{number}", layout::SPARE))
    }
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
        assert_eq!(count(), Spares::FIRST as usize);
        assert_eq!(spares.refill(), 0.0);
        assert_eq!(count(), layout::SPARES as usize);
        assert_eq!(spares.refill(), 0.0);
        for taken in 0..layout::SPARES / 2 {
            fs::rename(spares.path(taken), folder.path().join(format!("{taken}.seg"))).expect("a spare");
        }
        assert_eq!(spares.refill(), 0.5);
        assert_eq!(fs::metadata(spares.path(0)).expect("the first").len(), layout::SPARE_SIZE);
        spares.remove();
        assert_eq!(count(), layout::SPARES as usize / 2);
    }
}
