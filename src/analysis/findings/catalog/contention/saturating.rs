//! A lock that will saturate: it is held much of the time, and is waited for more and more.

use super::about;
use super::catalog::SATURATING_LOCK;
use crate::analysis::findings::Collector;
use crate::analysis::findings::cost::What;
use crate::analysis::time_lost::ClassTime;
use crate::model::Stacks;

/// Held for so much of the run.
const HELD: f64 = 0.4;
/// With fewer waits it may be chance.
const WAITS: usize = 40;
/// Each later quarter of the run has so many times the waiting of the one before,
const GROWS: f64 = 1.1;
/// the last one of the first,
const GROWN: f64 = 3.0;
/// and none is without: the program does the same all the time.
const LEAST: f64 = 0.01;

/// Where more than this share of their lives is lost by the threads, it has come already.
const OF_THREADS: f64 = 0.15;

/// Whether it is so.
pub(super) fn find(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    let held_share = class.held_share();
    if class.weight.of_threads > OF_THREADS {
        return false;
    }
    if held_share < HELD || !class.is_one_lock() || class.events.len() < WAITS || !class.keeps_all_events() {
        return false;
    }
    let (start_ns, quarter_ns) = (class.start_ns, (class.run_ns / 4).max(1));
    let mut quarters = [0u64; 4];
    for event in class.events.iter().filter(|event| event.key.lock == class.hottest()) {
        let at = (event.start_ns.saturating_sub(start_ns) / quarter_ns).min(3) as usize;
        quarters[at] = quarters[at].saturating_add(event.wait_ns);
    }
    let [first, second, third, last] = quarters.map(|ns| ns as f64);
    let grows = third >= GROWS * second && last >= GROWS * third && last >= GROWN * first;
    if !grows || first.min(second) < LEAST * last {
        return false;
    }
    let what = What::Saturating { held_share, quarters };
    let held = class.culprits().first().map_or(Stacks::UNKNOWN, |culprit| culprit.stack);
    collector.add_cost(about(&SATURATING_LOCK, class, class.weight, what, (held, class.waiter(|_| true))));
    true
}
