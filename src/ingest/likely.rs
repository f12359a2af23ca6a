//! What of a segment can be believed, and what its process says that it could not do.

use std::io;
use std::sync::atomic::Ordering;

use lockprof_wire::layout::unseen;
use lockprof_wire::{Record, RingHeader};

use super::image::Image;
use crate::model::Coverage;

impl Image {
    /// Longest time that anything in this process can have taken, ticks, and latest time that it can have written down.
    fn bounds(&self) -> (u64, u64) {
        /// Clocks of two processors may differ, but not by that much (about five seconds).
        const ROOM: u64 = 1 << 34;
        let now = self.ticks.now();
        (now.saturating_sub(self.born).saturating_add(ROOM), now.saturating_add(ROOM))
    }

    /// Takes out what no shim writes: what took longer than the process lives, what is in the future.
    pub fn keep_likely(&self, records: &mut Vec<Record>) {
        let (longest, latest) = self.bounds();
        let is_likely = |record: &Record| record.payload() <= longest && record.ticks <= latest;
        if !records.iter().all(is_likely) {
            self.segment.damaged("its records tell of times that cannot be");
            records.retain(is_likely);
        }
    }

    /// What a fold says, if it can be.
    pub fn is_likely(&self, count: u64, sum: u64, min: u64, max: u64) -> bool {
        /// Locks that are held at one time add up.
        const AT_ONCE: u64 = 1 << 16;
        let (longest, _) = self.bounds();
        let is = min <= max
            && max <= longest
            && count <= longest
            && sum <= longest.saturating_mul(AT_ONCE)
            && sum <= max.saturating_mul(count);
        if !is {
            self.segment.damaged("its sums cannot be");
        }
        is
    }

    /// A count of things that take some time each; 0 where it cannot be.
    pub fn believe(&self, count: u64) -> u64 {
        if count <= self.bounds().0 {
            return count;
        }
        self.segment.damaged("its counters cannot be");
        0
    }

    /// Of a ring from which nothing was read: whether it is only empty. A broken one begins anew.
    pub fn mend(&self, ring: &RingHeader, capacity: usize) {
        let head = ring.head.load(Ordering::Acquire);
        if head.wrapping_sub(ring.tail.load(Ordering::Relaxed)) > capacity as u64 {
            self.segment.damaged("a ring's ends do not fit together");
            ring.tail.store(head, Ordering::Release);
        }
    }

    /// What of the process and its children was not seen, in whole sentences.
    pub fn unseen(&self) -> Vec<String> {
        /// The kernel numbers no more.
        const MOST_PROCESSES: u32 = 1 << 22;
        let header = self.segment.header();
        let mut said = Vec::new();
        let pid = self.owner.pid;
        let children = header.children_unseen.load(Ordering::Relaxed);
        let why = header.children_unseen_why.load(Ordering::Relaxed);
        if children > MOST_PROCESSES || why >> 16 > unseen::ROOM {
            self.segment.damaged("its counters cannot be");
        } else if children > 0 {
            let why = why_unseen(why);
            let count = self.believe(header.children_acquisitions.load(Ordering::Relaxed));
            let (children, it, took) = match children {
                1 => ("1 child by fork was".to_owned(), "it", "it"),
                many => (format!("{many} children by fork were"), "they", "them"),
            };
            said.push(Coverage::in_part(&format!(
                "process {pid}: {children} not recorded, since {it} {why}; {count} acquisitions of {took} were only counted"
            )));
        }
        if let Some(what) = self.segment.damage() {
            said.push(Coverage::in_part(&format!(
                "process {pid}: its shared memory was damaged ({what}): the program wrote over it, or somebody else did; not all that it did is known"
            )));
        }
        said
    }
}

/// What a process that is not recorded could not do, for the end of a sentence.
fn why_unseen(word: u32) -> String {
    let could = match word >> 16 {
        unseen::OPEN => "could not make a file in the recording's folder",
        unseen::SIZE => "could not give its shared memory a size",
        unseen::MAP => "could not map its shared memory",
        unseen::ROOM => "had no room for its shared memory",
        _ => "could not begin to record",
    };
    let number = (word & 0xffff) as i32;
    let because = match number {
        libc::EACCES | libc::EPERM => ": it had given up its user's rights, or a sandbox forbids it",
        libc::ENOENT | libc::ENOTDIR => ": it does not see that folder any more (chroot, or another mount namespace)",
        libc::EMFILE | libc::ENFILE => ": it had no descriptors left",
        libc::ENOSPC | libc::EDQUOT => ": the memory file system is full",
        libc::ENOMEM => ": its memory is limited",
        libc::EROFS => ": the file system is read-only for it",
        0 => return could.to_owned(),
        _ => "",
    };
    format!(
        "{could} ({}{because})",
        io::Error::from_raw_os_error(number).to_string().split(" (os").next().unwrap_or_default()
    )
}
