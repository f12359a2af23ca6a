//! The kernel's counters for the whole process tree: task clock, context switches, cycles.
//!
//! They are opened in the thread that starts the program and inherited by it; what that thread does
//! itself is next to nothing.

use std::os::fd::AsRawFd;

use perf_event::events::{Event, Hardware, Software};
use perf_event::{Builder, Counter};

use crate::model::Counters;

/// Counters that run.
pub struct Running {
    task_clock: Option<Counter>,
    context_switches: Option<Counter>,
    cycles: Option<Counter>,
}

impl Running {
    /// Starts to count this thread and everything that it starts from now on. What the kernel does not
    /// allow (`perf_event_paranoid`, no counters in a virtual machine) stays unknown.
    pub fn start() -> Self {
        let task_clock = Event::Software(Software::TASK_CLOCK);
        let cycles = Event::Hardware(Hardware::CPU_CYCLES);
        Self {
            task_clock: open(task_clock.clone(), true).or_else(|| open(task_clock, false)),
            // Without the kernel's part no switch is ever seen: unknown is better than 0.
            context_switches: open(Event::Software(Software::CONTEXT_SWITCHES), true),
            cycles: open(cycles.clone(), true).or_else(|| open(cycles, false)),
        }
    }

    /// What was counted. Processes that still run are counted when they end.
    pub fn read(&mut self) -> Counters {
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
