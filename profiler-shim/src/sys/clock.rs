//! Ticks: the time stamp counter where it is invariant, `CLOCK_MONOTONIC` elsewhere.

use core::arch::x86_64::{__cpuid, _rdtsc};
use core::sync::atomic::{AtomicBool, Ordering};

static NO_TSC: AtomicBool = AtomicBool::new(false);

/// Whether the counter runs at one rate, whatever the power state (CPUID 8000_0007h, EDX bit 8).
pub fn has_invariant_tsc() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

/// Chooses the clock; true if it is the time stamp counter.
pub fn choose() -> bool {
    let tsc = has_invariant_tsc();
    NO_TSC.store(!tsc, Ordering::Relaxed);
    tsc
}

/// Now, in ticks.
#[inline(always)]
pub fn now() -> u64 {
    if crate::sys::filters::is_blind() {
        return 0;
    }
    if NO_TSC.load(Ordering::Relaxed) { crate::sys::monotonic_ns() } else { tsc() }
}

/// The time stamp counter: for the hot path, which runs only where the counter is invariant.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: `rdtsc` has no preconditions on the processors that we support.
    unsafe { _rdtsc() }
}
