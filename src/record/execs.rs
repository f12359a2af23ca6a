//! The kernel's list of the programs that a command's processes became, however short they lived.
//!
//! Each `fork` and each `exec` on the machine leaves a record in a ring of the kernel's, one ring a processor; those of the
//! command's descendants are kept. The events belong to processors, not to the program's threads: events that threads
//! inherit would make each of their context switches slower by a quarter. The kernel allows it to root and to those with
//! `CAP_PERFMON`; for others, and on very large machines, the list is empty, and only looks at `/proc` tell.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages of a ring, beside the first one: room for some thousand records.
const PAGES: usize = 32;
const PAGE: usize = 4096;
/// Programs that are kept.
const MOST: usize = 1 << 16;
/// A descriptor and a ring for each: with more of them, it is not worth it.
const PROCESSORS: libc::c_long = 256;

/// Whether the kernel shows it to us.
pub fn is_allowed() -> bool {
    !Execs::watch().rings.is_empty()
}

/// See the module.
#[derive(Default)]
pub struct Execs {
    rings: Vec<Ring>,
    /// The command's process.
    command: u32,
    /// It and those that it forked.
    kin: BTreeSet<u32>,
    /// Records of processes that were not known as kin when the records were read: the fork may be in a ring that was read
    /// just before it happened.
    unknown: Vec<Seen>,
    seen: Vec<(u32, String)>,
}

/// A record of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Nanoseconds of a clock that all processors share.
    time: u64,
    pid: u32,
    what: What,
}

/// What a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// It was forked by this one.
    Forked(u32),
    /// It became this program.
    Became(String),
}

/// The ring of one processor.
struct Ring {
    map: *mut u8,
    _event: OwnedFd,
}

// SAFETY: the mapping is the ring's alone, and the kernel does not care which thread reads it.
unsafe impl Send for Ring {}

impl Execs {
    /// Watches from now on.
    pub fn watch() -> Self {
        // SAFETY: asks for a number.
        let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
        if !(1..=PROCESSORS).contains(&processors) {
            return Self::default();
        }
        let rings: Option<Vec<Ring>> = (0..processors as i32).map(Ring::open).collect();
        Self { rings: rings.unwrap_or_default(), ..Self::default() }
    }

    /// Keeps what this process became, and its descendants.
    pub fn follow(&mut self, pid: u32) {
        self.command = pid;
        self.kin.insert(pid);
    }

    /// Reads what the kernel has written; whether the command's processes may have changed since the last time. To be
    /// called often: a ring holds some thousand records.
    pub fn read(&mut self) -> bool {
        let (programs, processes) = (self.seen.len(), self.kin.len());
        let mut new = Vec::new();
        self.rings.iter().for_each(|ring| ring.read(|seen| new.push(seen)));
        if !new.is_empty() || !self.unknown.is_empty() {
            self.sort_out(new);
        }
        self.rings.is_empty() || (programs, processes) != (self.seen.len(), self.kin.len())
    }

    fn sort_out(&mut self, new: Vec<Seen>) {
        let carried = self.unknown.len();
        let mut all: Vec<(bool, Seen)> =
            self.unknown.drain(..).chain(new).enumerate().map(|(at, seen)| (at >= carried, seen)).collect();
        all.sort_by_key(|(_, seen)| seen.time);
        for (is_new, seen) in all {
            let is_kin = self.kin.contains(&seen.pid);
            match &seen.what {
                What::Forked(parent) if self.kin.contains(parent) => drop(self.kin.insert(seen.pid)),
                // The number is somebody else's now.
                What::Forked(_) if is_kin && is_new && seen.pid != self.command => drop(self.kin.remove(&seen.pid)),
                What::Became(_) if is_kin && self.seen.len() >= MOST => {}
                What::Became(name) if is_kin => self.seen.push((seen.pid, name.clone())),
                _ if is_new => self.unknown.push(seen),
                _ => {}
            }
        }
    }

    /// Process ids and what the kernel calls the programs, in no certain order.
    pub fn seen(&self) -> &[(u32, String)] {
        &self.seen
    }
}

impl Ring {
    fn open(processor: i32) -> Option<Self> {
        const SOFTWARE: u64 = 1;
        const DUMMY: u64 = 9;
        const SIZE: u64 = 112;
        const SAMPLE_TIME: u64 = 1 << 2;
        const EXCLUDE_KERNEL: u64 = 1 << 5;
        const COMM: u64 = 1 << 9;
        const TASK: u64 = 1 << 13;
        const SAMPLE_ID_ALL: u64 = 1 << 18;
        const COMM_EXEC: u64 = 1 << 24;
        const CLOSE_ON_EXEC: libc::c_ulong = 8;
        // `struct perf_event_attr` in its fifth published size.
        let mut attributes = [0u64; SIZE as usize / 8];
        attributes[0] = SOFTWARE | SIZE << 32;
        attributes[1] = DUMMY;
        attributes[3] = SAMPLE_TIME;
        attributes[5] = EXCLUDE_KERNEL | COMM | TASK | SAMPLE_ID_ALL | COMM_EXEC;
        // SAFETY: the attributes are as long as they say; -1 is every process, and no group.
        let fd =
            unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), -1, processor, -1, CLOSE_ON_EXEC) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the kernel gave us this descriptor.
        let event = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let (len, rights) = ((1 + PAGES) * PAGE, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), len, rights, libc::MAP_SHARED, event.as_raw_fd(), 0) };
        (map != libc::MAP_FAILED).then(|| Self { map: map.cast(), _event: event })
    }

    /// A word of `struct perf_event_mmap_page`.
    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: within the first page of the mapping, and aligned.
        unsafe { &*self.map.add(offset).cast() }
    }

    fn read(&self, mut each: impl FnMut(Seen)) {
        const HEAD: usize = 1024;
        const TAIL: usize = 1032;
        /// A record has a name of at most 16 bytes.
        const LONGEST: usize = 64;
        // Acquire: what the kernel wrote before is there.
        let head = self.word(HEAD).load(Ordering::Acquire);
        let mut tail = self.word(TAIL).load(Ordering::Relaxed);
        while tail < head {
            let record = self.copy::<LONGEST>(tail);
            let size = usize::from(u16::from_le_bytes([record[6], record[7]]));
            if size < 8 {
                break;
            }
            record.get(..size).and_then(Seen::parse).into_iter().for_each(&mut each);
            tail += size as u64;
        }
        // Release: the kernel may overwrite what was read above.
        self.word(TAIL).store(head, Ordering::Release);
    }

    /// Bytes of the ring, which may go round its end.
    fn copy<const N: usize>(&self, at: u64) -> [u8; N] {
        std::array::from_fn(|number| {
            let place = (at as usize + number) % (PAGES * PAGE);
            // SAFETY: within the mapping, behind its first page.
            unsafe { self.map.add(PAGE + place).read_volatile() }
        })
    }
}

impl Seen {
    /// A record of `perf_event_open(2)`: header, body, the time at the end. `None` for those of other kinds.
    fn parse(record: &[u8]) -> Option<Self> {
        const COMM: u32 = 3;
        const FORK: u32 = 7;
        const BY_EXEC: u16 = 1 << 13;
        let number = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
        let misc = u16::from_le_bytes(record.get(4..6)?.try_into().ok()?);
        let end = record.len().checked_sub(8)?;
        let time = u64::from_le_bytes(record[end..].try_into().ok()?);
        let pid = number(8)?;
        let what = match number(0)? {
            // Process, thread, name.
            COMM if misc & BY_EXEC != 0 => {
                let name = record.get(16..end)?.split(|byte| *byte == 0).next().unwrap_or_default();
                What::Became(String::from_utf8_lossy(name).into_owned())
            }
            // Process, its parent; a thread's are the same.
            FORK if number(12)? != pid => What::Forked(number(12)?),
            _ => return None,
        };
        Some(Self { time, pid, what })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody reads it any more.
        unsafe { libc::munmap(self.map.cast(), (1 + PAGES) * PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_a_moment_are_seen() {
        let mut execs = Execs::watch();
        let refused = execs.rings.is_empty();
        execs.follow(std::process::id());
        let status = std::process::Command::new("/bin/sh").args(["-c", "/bin/true; exec /bin/true"]).status();
        assert!(status.is_ok_and(|status| status.success()));
        execs.read();
        let named = |name: &str| execs.seen().iter().filter(|(_, seen)| seen == name).count();
        if refused {
            eprintln!("SKIP: the kernel does not let this user see what processes become");
        } else {
            assert_eq!((named("sh"), named("true")), (1, 2), "{:?}", execs.seen());
        }
    }

    #[test]
    fn who_is_kin() {
        let forked = |time, pid, parent| Seen { time, pid, what: What::Forked(parent) };
        let became = |time, pid, name: &str| Seen { time, pid, what: What::Became(name.to_owned()) };
        let mut execs = Execs::default();
        execs.follow(7);
        // A child's program before its fork, which is in a ring that was read earlier; a stranger's.
        execs.sort_out(vec![became(3, 8, "child"), became(4, 9, "stranger")]);
        execs.sort_out(vec![forked(2, 8, 7), forked(5, 10, 8), became(6, 10, "grandchild")]);
        // The number goes to a stranger.
        execs.sort_out(vec![forked(7, 10, 1), became(8, 10, "stranger")]);
        execs.sort_out(Vec::new());
        let seen: Vec<_> = execs.seen().iter().map(|(pid, name)| (*pid, name.as_str())).collect();
        assert_eq!(seen, [(8, "child"), (10, "grandchild")]);
        assert!(execs.unknown.is_empty());
    }
}
