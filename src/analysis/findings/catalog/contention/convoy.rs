//! A convoy: most of those who take it wait for a lock that is free most of the time, since it is handed from one sleeper to the
//! next.

use super::about;
use super::catalog::CONVOY;
use crate::analysis::contention::share;
use crate::analysis::findings::Collector;
use crate::analysis::findings::cost::What;
use crate::analysis::time_lost::ClassTime;
use crate::model::Stacks;

/// So many acquisitions waited,
const CONTENDED: f64 = 0.5;
/// so many of them, for it to be no chance,
const WAITS: u64 = 300;
/// by so many threads.
const THREADS: usize = 3;
/// It changed its owner that often.
const CHANGES: f64 = 0.5;
/// It is held for less than this share of the time in which it is waited for.
const HELD: f64 = 0.5;

/// Whether it is so.
pub(super) fn find(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    let row = class.row;
    let contended_share = share(row.contended, row.acquisitions);
    let span_ns = class.waited_for_ns();
    let is_convoy = contended_share >= CONTENDED
        && row.contended >= WAITS
        && class.waiting_threads() >= THREADS
        && share(row.owner_changes, row.acquisitions) >= CHANGES
        && class.is_one_lock()
        && !row.kind.spins();
    let holds = class.holds(|_| true);
    let held_share = share(holds.sum, span_ns);
    if !is_convoy || span_ns == 0 || held_share > HELD {
        return false;
    }
    let what = What::Convoy { contended_share, held_share, mean_hold_ns: holds.mean(), mean_wait_ns: row.wait.mean };
    let held = class.culprits().first().map_or(Stacks::UNKNOWN, |culprit| culprit.stack);
    collector.add_cost(about(&CONVOY, class, class.weight, what, (held, class.waiter(|_| true))));
    true
}
