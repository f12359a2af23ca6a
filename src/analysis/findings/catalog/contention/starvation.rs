//! Threads wait much longer than the lock is held: others have it again and again meanwhile.

use rustc_hash::FxHashMap;

use super::catalog::{STARVATION, WRITER_STARVATION};
use super::{about, distinct};
use crate::analysis::contention::share;
use crate::analysis::findings::cost::What;
use crate::analysis::findings::{Collector, Costing};
use crate::analysis::sum_of;
use crate::analysis::time_lost::{ClassTime, TimeLost};
use crate::model::{Histogram, LockId, Mode, WaitEvent};

/// Shorter waits starve nobody, ns.
const LEAST_NS: u64 = 30_000_000;
/// Such a wait has room for so many holds, those before it in the queue left out,
const HOLDS: u64 = 10;
/// where nine of ten are shorter,
const USUAL: f64 = 0.9;
/// and for so many of the longest.
const LONGEST: u64 = 3;
/// It was in use all the while: it is held for this share of the time in which it is waited for.
const HELD: f64 = 0.6;
/// Those who starve lose this share of their lives.
const OF_LIFE: f64 = 0.05;

/// Whether it is most of the waiting for the lock.
pub(super) fn find(class: &ClassTime<'_>, lost: &TimeLost<'_>, collector: &mut Collector<'_>) -> bool {
    if class.events.is_empty() || share(class.holds(|_| true).sum, class.waited_for_ns()) < HELD {
        return false;
    }
    let mut holds: FxHashMap<LockId, Histogram> = FxHashMap::default();
    for site in &class.sites {
        holds.entry(site.key.lock).or_default().merge(&site.hold);
    }
    let usual: FxHashMap<LockId, (u64, u64)> =
        holds.into_iter().map(|(lock, holds)| (lock, (holds.quantile(USUAL).max(1), holds.max))).collect();
    let starved: Vec<&WaitEvent> = (class.events.iter().copied())
        .filter(|event| {
            let Some((hold_ns, longest_ns)) = usual.get(&event.key.lock) else { return false };
            let queue = u64::from(class.max_waiters(event.key.lock));
            event.wait_ns >= LEAST_NS
                && event.wait_ns / hold_ns >= HOLDS + queue
                && event.wait_ns / longest_ns.max(&1) >= LONGEST
        })
        .collect();
    let reads = |stack| class.sites.iter().any(|site| (site.key.stack, site.key.mode) == (stack, Mode::Shared));
    let behind_readers = |event: &&WaitEvent| event.key.mode == Mode::Exclusive && reads(event.key.holder);
    let (writers, others): (Vec<&WaitEvent>, Vec<&WaitEvent>) = starved.into_iter().partition(behind_readers);
    let mut told_ns = 0u64;
    for (rule, waits) in [(&WRITER_STARVATION, writers), (&STARVATION, others)] {
        let threads = distinct(waits.iter().map(|event| event.key.thread));
        let lost_ns = sum_of(waits.iter().map(|event| event.wait_ns));
        let Some(weight) =
            lost.scale.weigh(lost_ns, &threads, class.run_ns).filter(|weight| weight.of_threads >= OF_LIFE)
        else {
            continue;
        };
        let Some(worst) = waits.iter().max_by_key(|event| (event.wait_ns, std::cmp::Reverse(event.key))) else {
            continue;
        };
        let what = What::Starvation {
            waits: waits.len() as u64,
            longest_wait_ns: worst.wait_ns,
            usual_hold_ns: usual.get(&worst.key.lock).map_or(0, |usual| usual.0),
            threads: threads.len() as u64,
        };
        let found = about(rule, class, weight, what, (worst.key.holder, worst.key.waiter));
        collector.add_cost(Costing { locks: vec![worst.key.lock], threads, count: waits.len() as u64, ..found });
        told_ns = told_ns.saturating_add(lost_ns);
    }
    told_ns > 0 && told_ns >= class.row.wait.total / 2
}
