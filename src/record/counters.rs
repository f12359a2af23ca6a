//! The kernel's counters for the whole process tree: task clock, context switches, cycles.
//!
//! Usually the kernel is asked at the end what the tree used (`getrusage`), which costs the program nothing. Cycles are
//! counted on request only: events that processes inherit slow each context switch of theirs.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use perf_event::events::{Event, Hardware, Software};
use perf_event::{Builder, Counter};

use crate::model::Counters;

/// Counters that run.
pub enum Running {
    /// What the processes that ended so far used before the program was started.
    Usage(Counters),
    /// Events.
    Events(Events),
}

/// Events of the kernel, inherited by whatever the thread starts that opened them.
pub struct Events {
    task_clock: Option<Counter>,
    context_switches: Option<Counter>,
    cycles: Option<Counter>,
}

impl Running {
    /// Starts to count what this thread starts from now on; `with_events`: by events of the kernel. What the kernel does
    /// not allow (`perf_event_paranoid`, no counters in a virtual machine) stays unknown.
    pub fn start(with_events: bool) -> Self {
        if with_events { Self::Events(Events::start()) } else { Self::Usage(used()) }
    }

    /// What was counted. Processes that still run are counted when they end and somebody has waited for them.
    pub fn read(&mut self) -> Counters {
        match self {
            Self::Usage(before) => {
                let now = used();
                let since = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
                Counters {
                    task_clock_ns: since(now.task_clock_ns, before.task_clock_ns),
                    context_switches: since(now.context_switches, before.context_switches),
                    cycles: None,
                }
            }
            Self::Events(events) => events.read(),
        }
    }
}

/// What the processes used that this one, or one of them, has waited for (`RUSAGE_CHILDREN`).
fn used() -> Counters {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel writes one `rusage`.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) != 0 {
            return Counters::default();
        }
        usage.assume_init()
    };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    Counters {
        task_clock_ns: Some(ns(usage.ru_utime) + ns(usage.ru_stime)),
        context_switches: Some((usage.ru_nvcsw + usage.ru_nivcsw) as u64),
        cycles: None,
    }
}

impl Events {
    fn start() -> Self {
        let task_clock = Event::Software(Software::TASK_CLOCK);
        let cycles = Event::Hardware(Hardware::CPU_CYCLES);
        Self {
            task_clock: open(task_clock.clone(), true).or_else(|| open(task_clock, false)),
            // Without the kernel's part no switch is ever seen: unknown is better than 0.
            context_switches: open(Event::Software(Software::CONTEXT_SWITCHES), true),
            cycles: open(cycles.clone(), true).or_else(|| open(cycles, false)),
        }
    }

    fn read(&mut self) -> Counters {
        let read = |counter: &mut Option<Counter>| counter.as_mut().and_then(|counter| counter.read().ok());
        Counters {
            task_clock_ns: read(&mut self.task_clock),
            context_switches: read(&mut self.context_switches),
            cycles: read(&mut self.cycles),
        }
    }
}

fn open(event: Event, with_kernel: bool) -> Option<Counter> {
    let mut builder = Builder::new().kind(event);
    builder.inherit(true).exclude_kernel(!with_kernel);
    let mut counter = builder.build().ok()?;
    // The crate opens descriptors that the program would inherit.
    // SAFETY: the descriptor is the counter's.
    unsafe { libc::fcntl(counter.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    counter.enable().ok()?;
    Some(counter)
}
