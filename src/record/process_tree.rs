//! Which processes belong to a session: those that the command started, and those that have its memory.

use std::fs;
use std::path::Path;

use crate::ingest::procfs;
use crate::ingest::tasks;

/// Number of processes that have a segment of this session mapped (they were forked from a recorded one) or
/// its folder in their environment (they are about to attach).
pub fn members(folder: &Path) -> usize {
    // What was there before this process began is none of them, and need not be looked into.
    let began = own_start();
    let living: Vec<ProcStat> = living().into_iter().filter(|process| process.started >= began).collect();
    mapping(folder, &living).len()
}

/// When this process was started, in the kernel's ticks; 0 where that cannot be read.
fn own_start() -> u64 {
    procfs::started(Path::new("/proc/self")).unwrap_or(0)
}

/// A process, as the kernel tells of it: the numbers are names of folders in `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProcStat {
    entry: u32,
    parent: u32,
    /// In the kernel's ticks.
    started: u64,
}

/// Every process but this one that is not over.
fn living() -> Vec<ProcStat> {
    let own = procfs::own_entry();
    procfs::entries().filter(|entry| *entry != own).filter_map(living_process).collect()
}

/// Whether there is such a process, and it is not over.
pub fn is_alive(pid: u32) -> bool {
    procfs::entry(pid).is_some_and(|entry| living_process(entry).is_some())
}

/// A process that is not over.
fn living_process(entry: u32) -> Option<ProcStat> {
    let folder = Path::new("/proc").join(entry.to_string());
    let stat = procfs::text(folder.join("stat")).ok()?;
    proc_stat(entry, &stat, || tasks::living_in(&folder).next().is_some())
}

/// What a line of `/proc/PID/stat` says; `None` where the process is over. Where only its first thread is, the process
/// lives as long as another one does: `others_live` tells.
fn proc_stat(entry: u32, stat: &str, others_live: impl FnOnce() -> bool) -> Option<ProcStat> {
    let state = tasks::state(stat)?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    let started = procfs::start_time(stat).unwrap_or(u64::MAX);
    (!tasks::is_over(state) || others_live()).then_some(ProcStat { entry, parent, started })
}

fn mapping(folder: &Path, living: &[ProcStat]) -> Vec<u32> {
    let Some(folder) = folder.to_str() else { return Vec::new() };
    let is_there = |bytes: Vec<u8>| bytes.windows(folder.len()).any(|part| part == folder.as_bytes());
    let has = |entry: &u32| {
        let process = Path::new("/proc").join(entry.to_string());
        let environment = fs::read(tasks::memory_of(&process).join("environ"));
        environment.is_ok_and(is_there) || tasks::maps(&process).is_ok_and(is_there)
    };
    living.iter().map(|process| process.entry).filter(has).collect()
}

/// The descendants of a process, `except` those and theirs.
fn descendants(of: u32, living: &[ProcStat], except: &[u32]) -> Vec<u32> {
    let mut found = vec![of];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        at += 1;
        let children = living.iter().filter(|process| process.parent == parent).map(|process| process.entry);
        let new: Vec<u32> = children.filter(|pid| !found.contains(pid) && !except.contains(pid)).collect();
        found.extend(new);
    }
    found.split_off(1)
}

/// Everything that a session started, whoever its parent is now.
pub struct ProcessTree<'a> {
    folder: &'a Path,
    /// Children that this process had before: a shell that calls `exec lockprof` leaves its own to it.
    strangers: Vec<u32>,
}

impl<'a> ProcessTree<'a> {
    /// The processes of the program that is about to be started.
    pub fn new(folder: &'a Path) -> Self {
        let strangers = if has_children() { descendants(procfs::own_entry(), &living(), &[]) } else { Vec::new() };
        Self { folder, strangers }
    }

    /// Its living processes. Those that lost their parent are found as long as [`adopt_orphans`] holds, or by the
    /// session's memory.
    pub fn living(&self) -> Vec<u32> {
        let living = living();
        let mut found = descendants(procfs::own_entry(), &living, &self.strangers);
        found.extend(mapping(self.folder, &living));
        found.sort_unstable();
        found.dedup();
        let number = |entry: u32| procfs::known_as(&Path::new("/proc").join(entry.to_string()));
        found.into_iter().filter_map(number).map(|(pid, _)| pid).collect()
    }
}

/// Whether this process has any child.
fn has_children() -> bool {
    // SAFETY: no result is asked for, and nothing is taken off the kernel's list.
    let answer = unsafe {
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), flags)
    };
    answer == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ECHILD)
}

/// Makes this process the parent of descendants that lose theirs.
pub fn adopt_orphans() {
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Takes adopted processes that ended off the kernel's list; `child` is somebody else's to wait for.
pub fn bury_orphans(child: u32) {
    while let Some(pid) = exited(libc::P_ALL, 0).filter(|pid| *pid != child) {
        // SAFETY: a null pointer for the status is allowed.
        unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Whether a child has ended. It can be waited for as before.
pub fn has_exited(child: u32) -> bool {
    exited(libc::P_PID, child).is_some()
}

/// A child that has ended. Those that are traced while they become other programs are seen by the same call, and their stops
/// are somebody else's.
fn exited(which: libc::idtype_t, id: u32) -> Option<u32> {
    // SAFETY: zeros are a valid `siginfo_t` to write to.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is valid; nothing is taken yet.
    let answer = unsafe { libc::waitid(which, id, &raw mut info, flags) };
    // SAFETY: `waitid` filled it in, or it is zero.
    let pid = unsafe { info.si_pid() };
    let has_ended = matches!(info.si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
    (answer == 0 && pid > 0 && has_ended).then_some(pid as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let lives = Some(ProcStat { entry: 7, parent: 3, started: u64::MAX });
        assert_eq!(proc_stat(7, "7 (a) Z (b) S 3 7 7 0", || false), lives);
        assert_eq!(proc_stat(7, "7 (gone) Z 3 7 7 0", || false), None);
        assert_eq!(proc_stat(7, "7 (first thread gone) Z 3 7 7 0", || true), lives);
        assert_eq!(proc_stat(7, "7 (x", || true), None);
        let line = "7 (a) S 3 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10";
        assert_eq!(proc_stat(7, line, || true), Some(ProcStat { entry: 7, parent: 3, started: 4711 }));
    }

    #[test]
    fn a_child_is_a_child_until_it_was_waited_for() {
        assert!((1..=procfs::started(Path::new("/proc/thread-self")).unwrap()).contains(&own_start()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        assert!(has_children());
        child.wait().unwrap();
    }

    #[test]
    fn descendants_of_descendants() {
        let process = |entry, parent| ProcStat { entry, parent, started: 0 };
        let living = [
            process(5, 4),
            process(2, 1),
            process(3, 2),
            process(4, 2),
            process(9, 8),
            process(6, 1),
            process(7, 6),
            process(1, 1),
        ];
        assert_eq!(descendants(1, &living, &[6]), [2, 3, 4, 5]);
        assert_eq!(descendants(8, &living, &[]), [9]);
    }
}
