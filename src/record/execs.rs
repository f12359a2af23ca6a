//! The kernel's list of the programs that a command's processes became, however short they lived.
//!
//! Each `exec` of a thread that this one starts leaves a record in a ring of the kernel's. Where it does not allow that
//! (`perf_event_paranoid`, a container), and on large machines, the list is empty, and only looks at `/proc` tell.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages of a ring, beside the first one. The kernel lets everybody have this many.
const PAGES: usize = 8;
const PAGE: usize = 4096;
/// Programs that are kept.
const MOST: usize = 1 << 16;
/// Each new thread of the program takes over one event for each processor: with more of them, that would cost it too much.
const PROCESSORS: libc::c_long = 16;

/// See the module.
#[derive(Default)]
pub struct Execs {
    rings: Vec<Ring>,
    seen: Vec<(u32, String)>,
}

/// The ring of one processor.
struct Ring {
    map: *mut u8,
    _event: OwnedFd,
}

// SAFETY: the mapping is the ring's alone, and the kernel does not care which thread reads it.
unsafe impl Send for Ring {}

impl Execs {
    /// Watches what the calling thread starts from now on.
    pub fn watch() -> Self {
        // SAFETY: asks for a number.
        let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
        if !(1..=PROCESSORS).contains(&processors) {
            return Self::default();
        }
        let rings: Option<Vec<Ring>> = (0..processors as i32).map(Ring::open).collect();
        Self { rings: rings.unwrap_or_default(), seen: Vec::new() }
    }

    /// Reads what the kernel has written. To be called often: a ring holds some hundred records.
    pub fn read(&mut self) {
        for ring in &self.rings {
            ring.read(|pid, name| {
                if self.seen.len() < MOST {
                    self.seen.push((pid, name));
                }
            });
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
        const INHERIT: u64 = 1 << 1;
        const EXCLUDE_KERNEL: u64 = 1 << 5;
        const COMM: u64 = 1 << 9;
        const COMM_EXEC: u64 = 1 << 24;
        const CLOSE_ON_EXEC: libc::c_ulong = 8;
        // `struct perf_event_attr` in its fifth published size.
        let mut attributes = [0u64; SIZE as usize / 8];
        attributes[0] = SOFTWARE | SIZE << 32;
        attributes[1] = DUMMY;
        attributes[5] = INHERIT | EXCLUDE_KERNEL | COMM | COMM_EXEC;
        // SAFETY: the attributes are as long as they say; 0 is the calling thread, -1 no group.
        let fd =
            unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, processor, -1, CLOSE_ON_EXEC) };
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

    fn read(&self, mut each: impl FnMut(u32, String)) {
        const HEAD: usize = 1024;
        const TAIL: usize = 1032;
        const COMM: u32 = 3;
        const BY_EXEC: u16 = 1 << 13;
        // Acquire: what the kernel wrote before is there.
        let head = self.word(HEAD).load(Ordering::Acquire);
        let mut tail = self.word(TAIL).load(Ordering::Relaxed);
        while tail < head {
            let header = self.copy::<8>(tail);
            let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let misc = u16::from_le_bytes([header[4], header[5]]);
            let size = u64::from(u16::from_le_bytes([header[6], header[7]]));
            if size < 8 {
                break;
            }
            if kind == COMM && misc & BY_EXEC != 0 && size >= 24 {
                // Process, thread, name; a short name ends with the record.
                let body = self.copy::<24>(tail + 8);
                let pid = u32::from_le_bytes([body[0], body[1], body[2], body[3]]);
                let name = body[8..(size as usize - 8).min(24)].split(|byte| *byte == 0).next().unwrap_or_default();
                each(pid, String::from_utf8_lossy(name).into_owned());
            }
            tail += size;
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
        let status = std::process::Command::new("/bin/sh").args(["-c", "/bin/true; exec /bin/true"]).status();
        assert!(status.is_ok_and(|status| status.success()));
        execs.read();
        let named = |name: &str| execs.seen().iter().filter(|(_, seen)| seen == name).count();
        if refused {
            eprintln!("SKIP: the kernel does not let this user see what its own processes become");
        } else {
            assert_eq!((named("sh"), named("true")), (1, 2), "{:?}", execs.seen());
        }
    }
}
