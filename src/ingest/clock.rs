//! From the shim's ticks to nanoseconds since the start of the session.

use std::time::{Duration, Instant};

/// Reads `CLOCK_MONOTONIC`, ns.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid `timespec` to write to.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Reads the time stamp counter.
pub fn tsc() -> u64 {
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
    are_tsc: bool,
    start_ticks: u64,
    /// Since the start of the session; less than 0 for a process that was there before.
    start_ns: i64,
    /// How much this side's clock has to be put forward to be the process's.
    forward_ns: i64,
}

/// What a process's clocks showed at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// Ticks are the time stamp counter; else they are `CLOCK_MONOTONIC`, ns.
    pub are_tsc: bool,
    /// Ticks.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC`, ns.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME`, ns.
    pub real_ns: u64,
}

impl Ticks {
    /// `clocks`: of the process; `origin_ns`: the start of the session on this side's `CLOCK_MONOTONIC`.
    ///
    /// In a time namespace that clock is another one in each process. The time stamp counter is the same in all of them,
    /// and so is `CLOCK_REALTIME`, but for the moments in which it is set.
    pub fn new(rate: &Rate, clocks: Clocks, origin_ns: u64) -> Self {
        /// No two readings of one clock are that far apart, however it was read.
        const APART_NS: i64 = 100_000_000;
        let Clocks { are_tsc, ticks, monotonic_ns: said_ns, real_ns } = clocks;
        let since_origin = |ns: u64| ns.wrapping_sub(origin_ns) as i64;
        let mut this =
            Self { scale: 1 << 32, are_tsc, start_ticks: ticks, start_ns: since_origin(said_ns), forward_ns: 0 };
        if are_tsc {
            this.scale = rate.scale();
            let ours = Self { start_ticks: rate.start.0, start_ns: since_origin(rate.start.1), ..this };
            let distance = ours.signed_moment_ns(ticks).saturating_sub(this.start_ns);
            let tolerance = APART_NS.saturating_add(ours.signed_moment_ns(ticks).saturating_abs() / 1000);
            if distance.saturating_abs() > tolerance {
                this = ours;
            }
        } else {
            let own_real_ns = read(libc::CLOCK_REALTIME);
            let forward_ns =
                (said_ns.wrapping_sub(real_ns) as i64).wrapping_sub(monotonic_ns().wrapping_sub(own_real_ns) as i64);
            if forward_ns.saturating_abs() > APART_NS * 10 {
                this.forward_ns = forward_ns;
                this.start_ns = this.start_ns.saturating_sub(forward_ns);
            }
        }
        this
    }

    /// Whether ticks are the time stamp counter.
    pub fn are_tsc(&self) -> bool {
        self.are_tsc
    }

    /// Now, ticks of the process.
    pub fn now(&self) -> u64 {
        if self.are_tsc { tsc() } else { monotonic_ns().wrapping_add_signed(self.forward_ns) }
    }

    /// A duration, ns.
    #[inline]
    pub fn duration_ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64
    }

    /// A moment, ns since the start of the session; 0 for one before.
    #[inline]
    pub fn moment_ns(&self, ticks: u64) -> u64 {
        self.signed_moment_ns(ticks).max(0) as u64
    }

    #[inline]
    fn signed_moment_ns(&self, ticks: u64) -> i64 {
        // What no clock shows stays in bounds, far enough from the end for a duration to be added.
        const FAR: u64 = i64::MAX as u64 / 4;
        if ticks >= self.start_ticks {
            self.start_ns.saturating_add(self.duration_ns(ticks - self.start_ticks).min(FAR) as i64)
        } else {
            self.start_ns.saturating_sub(self.duration_ns(self.start_ticks - ticks).min(FAR) as i64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is off by so much at most.
    fn near(left: u64, right: u64, tolerance: u64) -> bool {
        left.abs_diff(right) <= tolerance
    }

    #[test]
    fn a_time_namespace_changes_no_moment() {
        const SECOND: u64 = 1_000_000_000;
        let rate = Rate::start();
        let origin_ns = rate.start.1;
        let real_ns = read(libc::CLOCK_REALTIME);
        for offset in [0, 1_000_000 * SECOND, (-500_000i64 * SECOND as i64) as u64] {
            let monotonic_ns = rate.start.1.wrapping_add(offset);
            let clocks = Clocks { are_tsc: true, ticks: rate.start.0, monotonic_ns, real_ns };
            let ticks = Ticks::new(&rate, clocks, origin_ns);
            assert!(near(ticks.moment_ns(rate.start.0), 0, SECOND / 100), "{offset}");
            assert!(near(ticks.moment_ns(ticks.now()), super::monotonic_ns() - origin_ns, SECOND / 10), "{offset}");
            let clocks = Clocks { are_tsc: false, ticks: monotonic_ns, ..clocks };
            let ticks = Ticks::new(&rate, clocks, origin_ns);
            assert!(near(ticks.moment_ns(ticks.now()), super::monotonic_ns() - origin_ns, SECOND / 10), "{offset}");
        }
    }

    #[test]
    fn what_was_before_the_session_does_not_move_what_is_in_it() {
        let rate = Rate::start();
        let origin_ns = rate.start.1;
        let clocks = Clocks { are_tsc: false, ticks: 0, monotonic_ns: origin_ns - 5_000, real_ns: 0 };
        let real_ns = read(libc::CLOCK_REALTIME) - (super::monotonic_ns() - clocks.monotonic_ns);
        let ticks = Ticks::new(&rate, Clocks { real_ns, ..clocks }, origin_ns);
        assert_eq!((ticks.moment_ns(1_000), ticks.moment_ns(7_000)), (0, 2_000));
        for wild in [u64::MAX, 1 << 63, u64::MAX / 2] {
            let _ = ticks.moment_ns(wild).checked_add(ticks.duration_ns(1 << 48)).expect("room for a duration");
        }
    }
}
