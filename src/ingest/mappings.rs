//! What a process has mapped, as the kernel lists it (`/proc/PID/maps`, proc_pid_maps(5)), and the files behind it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::tasks;

/// A stretch of memory and what backs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its addresses.
    pub range: Range<u64>,
    /// Where in the file it begins.
    pub offset: u64,
    /// Whether its code can be run.
    pub executable: bool,
    /// Whether it can be written to.
    pub writable: bool,
    /// Whether other processes may have it too.
    pub shared: bool,
    /// The file's path, a name in brackets, or empty.
    pub path: String,
}

impl Mapping {
    /// The file's name without its folders.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Where its file may be opened, the surest first. `process`: the folder in `/proc` that shows the process's memory.
    ///
    /// The first is right whatever became of the path, and needs a right.
    pub fn places(&self, process: &Path) -> [PathBuf; 2] {
        let Range { start, end } = self.range;
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(&self.path);
        [process.join(format!("map_files/{start:x}-{end:x}")), within(process, path)]
    }
}

/// What a process calls by this path, as seen from here. `process`: as for [`Mapping::places`].
pub fn within(process: &Path, path: &str) -> PathBuf {
    process.join("root").join(path.trim_start_matches('/'))
}

/// What a process has mapped, by address. `folder`: its own folder in `/proc`.
///
/// # Errors
/// Where there is no such process, or it may not be looked at.
pub fn of(folder: &Path) -> io::Result<Vec<Mapping>> {
    let maps = tasks::maps(folder)?;
    Ok(String::from_utf8_lossy(&maps).lines().filter_map(mapping).collect())
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let rights = words.next()?.as_bytes();
    let offset = number(words.next()?)?;
    Some(Mapping {
        range: number(start)?..number(end)?,
        offset,
        executable: rights.get(2) == Some(&b'x'),
        writable: rights.get(1) == Some(&b'w'),
        shared: rights.get(3) == Some(&b's'),
        path: words.nth(2).unwrap_or_default().trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let found =
            mapping("7f00-8f00 r-xp 00002000 08:01 42                         /lib/a b.so (deleted)").expect("one");
        assert_eq!((&found.range, found.offset, found.executable), (&(0x7f00..0x8f00), 0x2000, true));
        assert_eq!((found.path.as_str(), found.writable, found.shared), ("/lib/a b.so (deleted)", false, false));
        assert_eq!(found.places(Path::new("/proc/7"))[1], Path::new("/proc/7/root/lib/a b.so"));
        assert_eq!(mapping("1-2 rw-s 0 0:0 0").expect("one").path, "");
    }
}
