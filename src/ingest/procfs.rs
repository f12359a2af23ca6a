//! Processes as `/proc` tells of them, and their numbers.
//!
//! A process has one number for each PID namespace that it can be seen from. Three of them matter here: the one by which
//! this process knows it (what `kill` takes), the one by which it knows itself, and the name of its folder in `/proc`, which
//! belongs to the namespace that this `/proc` was mounted in. They are the same nearly everywhere. Not in a container that
//! the program makes, and not for a `lockprof` in a namespace that kept the `/proc` of the one outside.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The folder of a process that this one knows by the number `pid`.
pub fn folder(pid: u32) -> PathBuf {
    // No process has the number 0.
    Path::new("/proc").join(entry(pid).unwrap_or(0).to_string())
}

/// A text of the kernel's about a process. Names in it are any bytes: the kernel cuts a program's name at 15, inside a
/// character, too.
///
/// # Errors
/// Where there is no such process, or it may not be looked at.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(path, 1 << 10)?).into_owned())
}

/// A value in a text of `status`. `name`: with its colon.
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Bytes of the kernel's, mostly fewer than `expected`. The size of such a file says nothing, and without a guess it is read
/// in small pieces.
///
/// # Errors
/// Where there is no such file, or it may not be looked at.
pub fn bytes(path: impl AsRef<Path>, expected: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected);
    fs::File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The name of that folder; `None` where the process is gone.
pub fn entry(pid: u32) -> Option<u32> {
    if depth() == 0 {
        return Some(pid);
    }
    let process = open(pid)?;
    let info = text(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

/// The folder of this process in `/proc`.
pub fn own_entry() -> u32 {
    let link = fs::read_link("/proc/self").ok();
    link.and_then(|link| link.to_str()?.parse().ok()).unwrap_or_else(std::process::id)
}

/// A descriptor of a process; `None` if it has ended already, or where there are no descriptors left.
pub fn open(pid: u32) -> Option<OwnedFd> {
    // SAFETY: `pidfd_open` takes a process id and flags.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the kernel gave us this descriptor.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// How many namespaces this process lies below the one of `/proc`.
fn depth() -> usize {
    static DEPTH: OnceLock<usize> = OnceLock::new();
    *DEPTH.get_or_init(|| {
        let status = text("/proc/self/status").unwrap_or_default();
        numbers(&status).map_or(0, |numbers| numbers.len().saturating_sub(1))
    })
}

/// The numbers of a process in a text of `/proc/PID/status`, from the namespace of `/proc` down to its own.
fn numbers(status: &str) -> Option<Vec<u32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().map(|word| word.parse().ok()).collect()
}

/// The numbers of a process or a thread that `path` tells of: by which this process knows it, and by which it knows
/// itself; `None` where it is gone or not below this process's namespace.
pub fn known_as(folder: &Path) -> Option<(u32, u32)> {
    let status = text(folder.join("status")).ok()?;
    match numbers(&status) {
        Some(numbers) => Some((*numbers.get(depth())?, *numbers.last()?)),
        // A kernel without namespaces.
        None => folder.file_name()?.to_str()?.parse().ok().map(|pid| (pid, pid)),
    }
}

/// The names of all folders of processes.
pub fn entries() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The number that the kernel gave to a process or thread last, in this process's PID namespace; `None` where it does not
/// say (`/proc/loadavg`; see `proc_loadavg(5)`).
pub fn newest_process() -> Option<u32> {
    let loads = text("/proc/loadavg").ok()?;
    loads.split_whitespace().last()?.parse().ok().filter(|newest| *newest > 0)
}

/// The number of a process's PID namespace; `None` where that may not be looked at.
pub fn namespace(folder: &Path) -> Option<u64> {
    let link = fs::read_link(folder.join("ns/pid")).ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// The number here of a process's parent; `None` where that one is not below this process's namespace.
pub fn parent(folder: &Path) -> Option<u32> {
    let stat = text(folder.join("stat")).ok()?;
    let entry: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    known_as(&Path::new("/proc").join(entry.to_string())).map(|(pid, _)| pid)
}

/// When a process was started, clock ticks since the machine's; `None` where it is gone.
pub fn started(folder: &Path) -> Option<u64> {
    start_time(&text(folder.join("stat")).ok()?)
}

/// The same, of the text of `/proc/PID/stat`.
pub fn start_time(stat: &str) -> Option<u64> {
    // The name may hold anything, parentheses too; behind it this is the 20th word.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The command line of a process.
pub fn command(pid: u32) -> Vec<String> {
    let bytes = fs::read(folder(pid).join("cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_status() {
        assert_eq!(numbers("Name:\tx\nNSpid:\t4711\t12\t1\nFoo:\t3"), Some(vec![4711, 12, 1]));
        assert_eq!(numbers("Name:\tx"), None);
    }

    #[test]
    fn this_process_knows_itself() {
        let own = folder(std::process::id());
        assert_eq!(own, Path::new("/proc").join(own_entry().to_string()));
        assert_eq!(known_as(&own), Some((std::process::id(), std::process::id())));
        assert!(started(&own).is_some() && entries().any(|entry| entry == own_entry()));
    }
}
