//! What a process says that it could not do, and what of it was not seen, in whole sentences.

use std::io;
use std::sync::atomic::Ordering;

use lockprof_wire::Family;
use lockprof_wire::layout::{CLOSED, note, unseen};

use super::image::Image;
use crate::model::Coverage;

/// The kernel numbers no more.
const MOST_PROCESSES: u32 = 1 << 22;
/// No process lives long enough to start more.
const MOST_PROGRAMS: u32 = 1 << 30;

impl Image {
    /// What the shim could not do, in whole sentences.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.segment.header().notes.load(Ordering::Relaxed);
        let mut said = Vec::new();
        let mut say = |bit: u32, text: &str| {
            if notes & bit != 0 {
                said.push(format!("process {}: {text}", self.owner.pid));
            }
        };
        say(
            note::NO_MEMORY,
            "no room for all rings in the memory file system: more was aggregated than need be (set LOCKPROF_SHM to a larger one)",
        );
        say(
            note::ADDRESS_SPACE,
            "the limit of its address space (RLIMIT_AS, ulimit -v) left the recorder no room: more was aggregated or counted together than need be",
        );
        say(
            note::DATA_SIZE,
            "the limit of its data (RLIMIT_DATA, ulimit -d) left the recorder no room: more was aggregated or counted together than need be",
        );
        say(
            note::LOCKED_MEMORY,
            "it locks its memory, and the limit of that (RLIMIT_MEMLOCK, ulimit -l) left the recorder no room: more was aggregated or counted together than need be",
        );
        say(
            note::REFUSED,
            "the kernel or a sandbox gave the recorder no more memory: more was aggregated or counted together than need be",
        );
        say(note::STACKS_FULL, "more distinct call stacks than there is room for: some are unknown");
        say(note::NO_TSC, "the processor's time stamp counter is not invariant: slower clock readings were used");
        say(note::SHAPES_FULL, "more distinct stack shapes than can be remembered: later ones were unwound each time");
        say(
            note::ORDER_CUT,
            "no room to note every nested acquisition, or every thread's beginning and end: the order of locks is not complete",
        );
        say(
            note::SANDBOX,
            "a sandbox (system call filter) forbids what the recorder needs: threads, locks and call stacks that were new behind it may not be told apart",
        );
        say(
            note::SANDBOXED_CHILD,
            "a child that was forked behind a sandbox (system call filter) was not recorded: the filter forbids its memory to be made",
        );
        say(
            note::MODULES_FULL,
            "more libraries were opened than there is room for: call stacks in the later ones are unknown",
        );
        say(note::GAVE_UP, "the recorder's inner lock was not free in time: some stacks are unknown");
        self.part_notes(&mut said);
        said
    }

    /// Acquisitions of which neither lock nor call stack is known.
    pub fn unrecorded(&self) -> u64 {
        self.plausible_count(self.segment.header().unrecorded.load(Ordering::Relaxed))
    }

    /// What makes the recording one in part: what was only counted, and what went past the shim.
    fn part_notes(&self, said: &mut Vec<String>) {
        let unrecorded = self.unrecorded();
        if unrecorded > 0 {
            let text = format!(
                "{unrecorded} acquisitions are counted without lock and call stack (made while the recorder was being set \
                 up, by threads or in signal handlers in which it could not work)"
            );
            said.push(Coverage::in_part(&format!("process {}: {text}", self.owner.pid)));
        }
        let header = self.segment.header();
        let notes = header.notes.load(Ordering::Relaxed);
        let mut say = |bit: u32, text: &str| {
            if notes & bit != 0 {
                said.push(Coverage::in_part(&format!("process {}: {text}", self.owner.pid)));
            }
        };
        say(note::LOCKS_FULL, "more locks than can be told apart: the later ones are counted together by kind");
        say(
            note::THREADS_FULL,
            "more threads than there is room for: what the others took is counted, but not told apart",
        );
        say(
            note::NAMESPACE,
            "libraries were opened in a namespace of their own (dlmopen), with a libc of their own: what they lock is not seen",
        );
        say(
            note::DEEPBIND,
            "libraries were opened with RTLD_DEEPBIND, past another library that stands before libc's lock functions: \
             what they lock is not seen",
        );
        say(
            note::UNSEEN_RELEASE,
            "locks were given back by calls that are not seen (inlined, or of another libc): their holds end where that was noticed",
        );
        let families = header.foreign.load(Ordering::Relaxed);
        let is_foreign = |family: &&Family| family.has_locks() && families & family.bit() != 0;
        let names: Vec<&str> = Family::ALL.iter().filter(is_foreign).map(|family| family.functions()).collect();
        if !names.is_empty() {
            let reserved = names.iter().any(|name| name.starts_with("pthread_") || name.starts_with("sem_"));
            let note = format!(
                "process {}: {} are functions of another library than libc: its locks are not recorded",
                self.owner.pid,
                names.join(", ")
            );
            // Those names are libc's by right, so calls may end there all the same.
            said.push(if reserved { Coverage::in_part(&note) } else { note });
        }
    }

    /// Programs that the process and its children without a segment started, less those that did not start. `is_over`:
    /// children that go on without it count elsewhere from now on.
    pub fn started(&self, is_over: bool) -> i64 {
        let header = self.segment.header();
        let mark = if is_over { CLOSED } else { 0 };
        let [all, failed] = [&header.execs, &header.failed_execs].map(|count| {
            let count = count.fetch_or(mark, Ordering::Relaxed) & !CLOSED;
            if count > MOST_PROGRAMS {
                self.segment.damaged("its counters cannot be");
                return 0;
            }
            i64::from(count)
        });
        all - failed
    }

    /// What of the process and its children was not seen, in whole sentences.
    pub fn unseen(&self) -> Vec<String> {
        let header = self.segment.header();
        let mut said = Vec::new();
        let pid = self.owner.pid;
        let children = header.children_unseen.load(Ordering::Relaxed);
        let why = header.children_unseen_why.load(Ordering::Relaxed);
        if children > MOST_PROCESSES || why >> 16 > unseen::ROOM {
            self.segment.damaged("its counters cannot be");
        } else if children > 0 {
            let why = why_unseen(why);
            let count = self.plausible_count(header.children_acquisitions.load(Ordering::Relaxed));
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
