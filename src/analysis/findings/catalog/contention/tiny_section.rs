//! The work under the lock takes less time than the lock, and others wait for it.

use super::catalog::TINY_CRITICAL_SECTION;
use super::{TINY_NS, about};
use crate::analysis::findings::Collector;
use crate::analysis::findings::cost::What;
use crate::analysis::time_lost::ClassTime;
use crate::model::Stacks;

/// Fewer waits than this may be chance.
const WAITS: u64 = 100;

/// Whether it is so.
pub(super) fn find(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    let holds = class.holds(|_| true);
    let is_tiny = holds.count > 0 && holds.quantile(0.9) <= TINY_NS;
    if !is_tiny || class.row.contended < WAITS || class.row.kind.has_readers() {
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
