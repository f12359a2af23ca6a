//! One lock around everything: it is held most of the time, from several places, and many threads want it.

use super::catalog::HOT_GLOBAL_LOCK;
use super::{LONG_NS, TINY_NS, about};
use crate::analysis::contention::share;
use crate::analysis::findings::Collector;
use crate::analysis::findings::cost::What;
use crate::analysis::time_lost::{ClassTime, Culprit};
use crate::model::{Mode, Stacks};

/// Held for so much of the run.
const HELD: f64 = 0.5;
/// So many threads waited.
const THREADS: usize = 3;
/// A place counts from this share of the waiting on.
const COUNTS: f64 = 0.05;
/// One place alone is no reason to split the lock.
const ONE: f64 = 0.8;

/// Whether it is so.
pub(super) fn find(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    let culprits = class.culprits();
    let first = culprits.first().map_or(0, |culprit| culprit.blocked_ns);
    places(class, &culprits) >= 2 && share(first, class.row.wait.total) < ONE && add(class, &culprits, collector)
}

/// The same of a lock that is taken at one place, where it is held too short for that place to be to blame alone.
pub(super) fn find_one_place(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    class.holds(|site| site.key.mode == Mode::Exclusive).mean() < LONG_NS && add(class, &class.culprits(), collector)
}

fn places(class: &ClassTime<'_>, culprits: &[Culprit]) -> usize {
    culprits.iter().filter(|culprit| share(culprit.blocked_ns, class.row.wait.total) >= COUNTS).count()
}

fn add(class: &ClassTime<'_>, culprits: &[Culprit], collector: &mut Collector<'_>) -> bool {
    let (held_share, threads) = (class.held_share(), class.waiting_threads());
    let holds = class.holds(|site| site.key.mode == Mode::Exclusive);
    // Of a lock that is held for a moment, the taking is the cost.
    if held_share < HELD || threads < THREADS || !class.is_one_lock() || holds.quantile(0.9) <= TINY_NS {
        return false;
    }
    let (threads, places) = (threads as u64, places(class, culprits) as u64);
    let what = What::HotLock { held_share, threads, places, mean_hold_ns: holds.mean() };
    let held = culprits.first().map_or(Stacks::UNKNOWN, |culprit| culprit.stack);
    collector.add_cost(about(&HOT_GLOBAL_LOCK, class, class.weight, what, (held, class.waiter(|_| true))));
    true
}
