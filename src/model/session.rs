//! A whole recording.

use super::hang::Hang;
use super::ids::{LockId, ProcessId, ThreadId};
use super::locks::Lock;
use super::order::Order;
use super::profile::Profile;
use super::stacks::Stacks;

/// How a process ended.
///
/// Ordered by how bad it is: a code before a signal, a lower number before a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What was run, when and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// The command with its arguments.
    pub command: Vec<String>,
    /// How the command ended; `None` while it runs or where it is unknown.
    pub exit: Option<Exit>,
    /// Wall clock at the start, ns since 1970.
    pub started_unix_ns: u64,
    /// From the start to the end, ns.
    pub duration_ns: u64,
    /// lockprof's version.
    pub version: String,
    /// Operating system and machine, for people: `Linux 6.1 x86_64, 2 cores`.
    pub host: String,
    /// The file was cut short: only a part of the recording could be read.
    pub cut: bool,
}

/// One process image (a pid that called exec is two).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// The parent's process id; 0 where unknown.
    pub parent_pid: u32,
    /// The executable's path.
    pub exe: String,
    /// How it ended, where it could be seen.
    pub exit: Option<Exit>,
    /// Threads that used a lock.
    pub threads: u32,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its process.
    pub process: ProcessId,
    /// Kernel thread id; of a goroutine its number.
    pub tid: u32,
    /// Its name (as in `/proc/PID/task/TID/comm`), where it could be read. Of a goroutine the function that it began with,
    /// once that is known; [`Self::GOROUTINE`] before, or [`Self::GOROUTINES`].
    pub name: String,
    /// First seen, ns since the start of the session.
    pub start_ns: u64,
    /// Last seen, ns since the start of the session; `None` where it outlived the recording.
    pub end_ns: Option<u64>,
}

impl Thread {
    /// The name of a goroutine as long as nothing better is known.
    pub const GOROUTINE: &str = "goroutine";
    /// The same of a row that stands for many goroutines that were begun at one place.
    pub const GOROUTINES: &str = "goroutines";
}

/// What was and what was not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Successful acquisitions that the program made (counted apart from the events).
    pub acquisitions: u64,
    /// Those with an event of their own.
    pub recorded: u64,
    /// Those counted exactly, without an event of their own.
    pub folded: u64,
    /// Those of which nothing is known; anything but 0 makes the recording incomplete.
    pub lost: u64,
    /// Stacks found by the remembered shapes.
    pub stack_hits: u64,
    /// Stacks that had to be unwound.
    pub stack_misses: u64,
    /// Acquisitions whose stack is cut short or unknown.
    pub stacks_truncated: u64,
    /// Only contended acquisitions are known, no others and no holds: the profile of another tool. A trace file does not
    /// keep this; the notes say it too.
    pub contended_only: bool,
    /// What a reader has to know about it, in whole sentences.
    pub notes: Vec<String>,
}

impl Coverage {
    /// Whether every acquisition of every process is accounted for.
    pub fn complete(&self) -> bool {
        self.lost == 0 && !self.contended_only && self.not_seen().next().is_none()
    }

    /// Notes of what was not seen, or only in part, begin with this: the recording is not complete.
    const IN_PART: &str = "recorded in part: ";

    /// A note of what was not seen, or only in part.
    pub fn in_part(what: &str) -> String {
        format!("{}{what}", Self::IN_PART)
    }

    /// What was not seen, or only in part.
    pub fn not_seen(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().filter_map(|note| note.strip_prefix(Self::IN_PART))
    }

    /// Notes that a recording without any acquisition begins with.
    pub const NOTHING_SEEN: &str = "no lock operation was seen: ";

    /// Why nothing was seen, as far as the notes say; for the end of a sentence, without its period.
    pub fn reasons(&self) -> String {
        let bare = |note: &String| {
            let text = note.strip_prefix(Self::NOTHING_SEEN).or_else(|| note.strip_prefix(Self::IN_PART));
            text.unwrap_or(note).trim_end_matches('.').to_owned()
        };
        self.notes.iter().map(bare).collect::<Vec<_>>().join("; ")
    }

    /// Adds another recording's. A note that both have is kept once.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.acquisitions, other.acquisitions),
            (&mut self.recorded, other.recorded),
            (&mut self.folded, other.folded),
            (&mut self.lost, other.lost),
            (&mut self.stack_hits, other.stack_hits),
            (&mut self.stack_misses, other.stack_misses),
            (&mut self.stacks_truncated, other.stacks_truncated),
        ] {
            *sum = sum.saturating_add(more);
        }
        for note in &other.notes {
            if !self.notes.contains(note) {
                self.notes.push(note.clone());
            }
        }
    }
}

/// What recording cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overhead {
    /// Estimated cost of one recorded lock and unlock, ns.
    pub ns_per_pair: f64,
    /// That times the pairs, as a share of the CPU time of the program.
    pub share_of_runtime: f64,
}

/// The kernel's counters for the process tree; `None` where the kernel did not let us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counters {
    pub task_clock_ns: Option<u64>,
    pub context_switches: Option<u64>,
    pub cycles: Option<u64>,
}

/// A whole recording, live or read from a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// What was run.
    pub meta: Meta,
    /// Process images.
    pub processes: Vec<Process>,
    /// The first process of each run that was added to the first one.
    pub later_runs: Vec<ProcessId>,
    /// Threads.
    pub threads: Vec<Thread>,
    /// Locks.
    pub locks: Vec<Lock>,
    /// Call stacks.
    pub stacks: Stacks,
    /// Counts.
    pub profile: Profile,
    /// In which order locks were taken.
    pub order: Order,
    /// What was seen.
    pub coverage: Coverage,
    /// What it cost.
    pub overhead: Overhead,
    /// The kernel's counters.
    pub counters: Counters,
    /// Deadlocks that happened, and who waited for what when the program was ended.
    pub hangs: Vec<Hang>,
}

impl Session {
    /// A lock.
    pub fn lock(&self, id: LockId) -> &Lock {
        &self.locks[id.index()]
    }

    /// How many threads there were: as their processes have counted them. Rows may be fewer, where many threads share one, and
    /// more, where a goroutine has one for its counts and one in the order of locks.
    pub fn thread_count(&self) -> u64 {
        let counted: u64 = self.processes.iter().map(|process| u64::from(process.threads)).sum();
        if counted == 0 { self.threads.len() as u64 } else { counted }
    }

    /// How long all threads lived together, ns.
    pub fn thread_time_ns(&self) -> u64 {
        let life = |thread: &Thread| thread.end_ns.unwrap_or(self.meta.duration_ns).saturating_sub(thread.start_ns);
        self.threads.iter().map(life).fold(0, u64::saturating_add)
    }

    /// A thread.
    pub fn thread(&self, id: ThreadId) -> &Thread {
        &self.threads[id.index()]
    }

    /// How many runs of a program it holds.
    pub fn runs(&self) -> usize {
        self.later_runs.len() + 1
    }

    /// The number of the run that a process belongs to, from 0.
    pub fn run_of(&self, id: ProcessId) -> usize {
        self.later_runs.partition_point(|first| *first <= id)
    }

    /// A process.
    pub fn process(&self, id: ProcessId) -> &Process {
        &self.processes[id.index()]
    }
}
