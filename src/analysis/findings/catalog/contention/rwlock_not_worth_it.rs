//! A read-write lock that is written so often that its readers hardly ever meet.

use super::about;
use super::catalog::RWLOCK_NOT_WORTH_IT;
use crate::analysis::contention::share;
use crate::analysis::findings::Collector;
use crate::analysis::findings::cost::What;
use crate::analysis::sum_of;
use crate::analysis::time_lost::ClassTime;
use crate::model::{Mode, Stacks};

/// So many acquisitions write.
const WRITES: f64 = 0.25;
/// Fewer acquisitions than this may be a beginning.
const ACQUISITIONS: u64 = 200;
/// Where more readers than this have it at one time, it is worth it.
const READERS: f64 = 1.3;

pub(super) fn find(class: &ClassTime<'_>, collector: &mut Collector<'_>) {
    let lock = class.hottest();
    let of = |mode: Mode| class.sites.iter().filter(move |site| site.key.lock == lock && site.key.mode == mode);
    let (reads, writes) = (
        sum_of(of(Mode::Shared).map(|site| site.acquisitions)),
        sum_of(of(Mode::Exclusive).map(|site| site.acquisitions)),
    );
    let all = reads.saturating_add(writes);
    if !class.row.kind.has_readers() || reads == 0 || all < ACQUISITIONS || share(writes, all) < WRITES {
        return;
    }
    let readers = readers(class).max(seen_readers(class));
    if readers > READERS || !class.is_one_lock() {
        return;
    }
    let what = What::RwlockNotWorthIt { reads, writes, readers };
    let held = class.culprits().first().map_or(Stacks::UNKNOWN, |culprit| culprit.stack);
    collector.add_cost(about(&RWLOCK_NOT_WORTH_IT, class, class.weight, what, (held, class.waiter(|_| true))));
}

/// How many readers have the lock at one time while there is one, if they come independently of each other.
fn readers(class: &ClassTime<'_>) -> f64 {
    let lock = class.hottest();
    let of = |mode: Mode| class.sites.iter().filter(move |site| site.key.lock == lock && site.key.mode == mode);
    let held = |mode: Mode| sum_of(of(mode).map(|site| site.hold.sum));
    let open_ns = class.waited_for_ns().saturating_sub(held(Mode::Exclusive)).max(1);
    // Each of so many threads reads for this part of the time in which nobody writes.
    let threads = class.readers(lock).max(1) as f64;
    let part = (share(held(Mode::Shared), open_ns) / threads).min(1.0);
    let nobody = (1.0 - part).powf(threads);
    if nobody >= 1.0 { 1.0 } else { threads * part / (1.0 - nobody) }
}

/// The same as the holds show that followed a wait.
fn seen_readers(class: &ClassTime<'_>) -> f64 {
    let lock = class.hottest();
    let mut holds: Vec<(u64, u64)> = (class.events.iter())
        .filter(|event| event.key.lock == lock && event.key.mode == Mode::Shared && event.hold_ns > 0)
        .map(|event| (event.start_ns + event.wait_ns, event.start_ns + event.wait_ns + event.hold_ns))
        .collect();
    holds.sort_unstable();
    let (mut until, mut together) = (0, 0u64);
    for (from, to) in &holds {
        together += to.saturating_sub((*from).max(until));
        until = until.max(*to);
    }
    let alone = sum_of(holds.iter().map(|(from, to)| to - from));
    if together == 0 { 1.0 } else { alone as f64 / together as f64 }
}
