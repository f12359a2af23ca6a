//! From the shim's ticks to nanoseconds since the start of the session.

use std::time::{Duration, Instant};

/// Reads `CLOCK_MONOTONIC`, ns.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid `timespec` to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn tsc() -> u64 {
    // SAFETY: `rdtsc` has no preconditions on x86-64.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// A pair of the two clocks, read at one moment as well as can be: the tightest of some attempts.
fn pair() -> (u64, u64) {
    (0..8)
        .map(|_| {
            let before = tsc();
            let ns = monotonic_ns();
            let after = tsc();
            (after - before, (before + (after - before) / 2, ns))
        })
        .min()
        .map_or((0, 0), |(_, pair)| pair)
}

/// The rate of the time stamp counter, from two pairs far enough apart.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    start: (u64, u64),
    started: Instant,
}

/// Apart enough for a rate good to about one part in 100,000.
const APART: Duration = Duration::from_millis(5);

impl Rate {
    /// The first pair.
    pub fn start() -> Self {
        Self { start: pair(), started: Instant::now() }
    }

    /// Nanoseconds per tick times 2^32; waits until the pairs are apart enough.
    fn scale(&self) -> u64 {
        if let Some(rest) = APART.checked_sub(self.started.elapsed()) {
            std::thread::sleep(rest);
        }
        let now = pair();
        let (ticks, ns) = (now.0.wrapping_sub(self.start.0).max(1), now.1.wrapping_sub(self.start.1));
        ((u128::from(ns) << 32) / u128::from(ticks)) as u64
    }
}

/// One process's ticks.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    scale: u64,
    start_ticks: u64,
    start_ns: u64,
}

impl Ticks {
    /// `start_ticks` and `start_mono_ns` are one moment in the process; `origin_ns` is the start of the session.
    pub fn new(rate: &Rate, are_tsc: bool, start_ticks: u64, start_mono_ns: u64, origin_ns: u64) -> Self {
        let scale = if are_tsc { rate.scale() } else { 1 << 32 };
        Self { scale, start_ticks, start_ns: start_mono_ns.saturating_sub(origin_ns) }
    }

    /// A duration, ns.
    #[inline]
    pub fn duration_ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64
    }

    /// A moment, ns since the start of the session.
    #[inline]
    pub fn moment_ns(&self, ticks: u64) -> u64 {
        if ticks >= self.start_ticks {
            self.start_ns + self.duration_ns(ticks - self.start_ticks)
        } else {
            self.start_ns.saturating_sub(self.duration_ns(self.start_ticks - ticks))
        }
    }
}
