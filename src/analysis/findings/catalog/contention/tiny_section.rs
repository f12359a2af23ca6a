//! The work under the lock takes less time than the lock, and others wait for it.

use super::catalog::TINY_CRITICAL_SECTION;
use super::{TINY_NS, about};
use crate::analysis::findings::Collector;
use crate::analysis::findings::cost::What;
use crate::analysis::time_lost::ClassTime;
use crate::model::Stacks;

/// Fewer waits than this may be chance,
const WAITS: u64 = 100;
/// and so is a smaller share of the acquisitions.
const CONTENDED: f64 = 0.02;
/// Those who wait longer on average wait for a thread that lost its processor: nothing shortens that, ns.
const LONGEST_NS: u64 = 100_000;

/// Whether it is so.
pub(super) fn find(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    let holds = class.holds(|_| true);
    let is_tiny = holds.count > 0 && holds.quantile(0.9) <= TINY_NS;
    let row = class.row;
    let is_chance = row.contended < WAITS || row.contended_share() < CONTENDED || row.wait.mean > LONGEST_NS;
    if !is_tiny || is_chance || row.kind.has_readers() {
        return false;
    }
    let what = What::TinySection {
        p50_ns: holds.quantile(0.5),
        acquisitions: class.row.acquisitions,
        contended: class.row.contended,
    };
    let held = class.culprits().first().map_or(Stacks::UNKNOWN, |culprit| culprit.stack);
    collector.add_cost(about(&TINY_CRITICAL_SECTION, class, class.weight, what, (held, class.waiter(|_| true))));
    true
}
