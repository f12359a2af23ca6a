//! Readers wait while others only read: a writer waits as well, and they queue behind it.

use super::catalog::PENDING_WRITER;
use super::{LONG_NS, about, severity};
use crate::analysis::findings::cost::What;
use crate::analysis::findings::{Collector, Costing};
use crate::analysis::sum_of;
use crate::analysis::time_lost::{ClassTime, TimeLost};
use crate::model::{Mode, StackId};

/// Whether it is most of the waiting for the lock.
pub(super) fn find(class: &ClassTime<'_>, lost: &TimeLost<'_>, collector: &mut Collector<'_>) -> bool {
    if !class.row.kind.has_readers() {
        return false;
    }
    let takes =
        |stack: StackId, mode: Mode| class.sites.iter().any(|site| (site.key.stack, site.key.mode) == (stack, mode));
    let only_reads = |stack: StackId| takes(stack, Mode::Shared) && !takes(stack, Mode::Exclusive);
    let behind: Vec<_> =
        class.waits.iter().filter(|(key, _)| key.mode == Mode::Shared && only_reads(key.holder)).collect();
    let lost_ns = sum_of(behind.iter().map(|(_, stats)| stats.wait_ns));
    let waits = sum_of(behind.iter().map(|(_, stats)| stats.count));
    let writes_wait = class.waits.iter().any(|(key, _)| key.mode == Mode::Exclusive);
    let all_ns = class.waiter_ns(Mode::Shared);
    // A reader that is woken after a writer sees others read already: that takes no time to speak of.
    if !writes_wait || waits == 0 || lost_ns < all_ns / 3 || lost_ns / waits < LONG_NS {
        return false;
    }
    let Some(weight) = lost.scale.weigh(lost_ns, &class.threads, class.run_ns) else { return false };
    let culprits = class.culprits();
    let Some(culprit) = culprits.iter().find(|culprit| culprit.mode == Mode::Shared) else { return false };
    let what = What::PendingWriter { waits, mean_hold_ns: culprit.holds.mean() };
    let waiter = class.waiter(|key| key.mode == Mode::Shared && only_reads(key.holder));
    let found = about(&PENDING_WRITER, class, weight, what, (culprit.stack, waiter));
    collector.add_cost(Costing { severity: severity(weight), count: waits, ..found });
    lost_ns >= class.row.wait.total / 2
}
