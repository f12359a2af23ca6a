//! One place in the code holds the lock long while others wait: always, or seldom among many short holds.

use super::catalog::LONG_HOLD;
use super::{LONG_NS, about};
use crate::analysis::contention::share;
use crate::analysis::findings::cost::{LongHold, What};
use crate::analysis::findings::{Collector, Costing};
use crate::analysis::time_lost::{ClassTime, Culprit};
use crate::model::histogram::bucket_low;
use crate::model::{Histogram, Mode};

/// From this share of all waiting for the lock on, one place is to blame.
const CULPRIT: f64 = 0.5;
/// A thread runs about so long before another one has its processor, ns: a lock that it holds then is held long by chance.
const TIME_SLICE_NS: f64 = 3_000_000.0;
/// Long holds are no chance where there are so many times as many,
const CHANCE: f64 = 5.0;
/// or where they are longer than any thread is kept from its processor, ns.
const NO_CHANCE_NS: u64 = 50_000_000;
/// Fewer than this share of the holds are few.
const FEW: f64 = 0.1;

/// Whether few holds are long, and the others short.
pub(super) fn find_few(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    let found = long_hold(class).filter(|(_, hold)| hold.few.is_some());
    found.map(|(culprit, hold)| add(class, &culprit, hold, collector)).is_some()
}

/// Whether the lock is held long.
pub(super) fn find(class: &ClassTime<'_>, collector: &mut Collector<'_>) -> bool {
    long_hold(class).map(|(culprit, hold)| add(class, &culprit, hold, collector)).is_some()
}

fn long_hold(class: &ClassTime<'_>) -> Option<(Culprit, LongHold)> {
    let culprit = class.culprits().into_iter().next()?;
    let of_wait = share(culprit.blocked_ns, class.row.wait.total).min(1.0);
    let holds = &culprit.holds;
    if of_wait < CULPRIT || holds.count == 0 {
        return None;
    }
    let (long_ns, long) = long_part(holds);
    let p50_ns = holds.quantile(0.5);
    if long_ns < LONG_NS || !is_no_chance(long_ns, long, holds.count, p50_ns) {
        return None;
    }
    let few = (share(long, holds.count) <= FEW && long_ns >= 10 * p50_ns).then_some((long, long_ns));
    let readers = class.waiter_ns(Mode::Shared) > class.waiter_ns(Mode::Exclusive);
    let keeps_readers = class.row.kind.has_readers() && culprit.mode == Mode::Exclusive && readers;
    let (holds, mean_ns, max_ns) = (holds.count, holds.mean(), holds.max);
    Some((culprit, LongHold { holds, mean_ns, p50_ns, max_ns, few, of_wait, keeps_readers }))
}

fn add(class: &ClassTime<'_>, culprit: &Culprit, hold: LongHold, collector: &mut Collector<'_>) {
    let mut weight = class.weight;
    weight.lost_ns = culprit.blocked_ns;
    weight.of_threads *= hold.of_wait;
    let waiter = class.waiter(|key| key.holder == culprit.stack);
    let count = hold.few.map_or(hold.holds, |(long, _)| long);
    let found = about(&LONG_HOLD, class, weight, What::LongHold(hold), (culprit.stack, waiter));
    collector.add_cost(Costing { by_place: true, count, ..found });
}

/// The shortest of the long holds, ns, and how many there are: half of the time that the lock is held is in holds that
/// are twice as long.
fn long_part(holds: &Histogram) -> (u64, u64) {
    let buckets: Vec<(u32, u64)> = holds.buckets().collect();
    let mut rest = holds.sum / 2;
    let mut middle = holds.max;
    for (bucket, count) in buckets.iter().rev() {
        middle = bucket_low(*bucket);
        let here = middle.saturating_mul(*count);
        if here >= rest {
            break;
        }
        rest -= here;
    }
    let least = middle / 2;
    let long: Vec<&(u32, u64)> = buckets.iter().filter(|(bucket, _)| bucket_low(*bucket) >= least).collect();
    let shortest = long.first().map_or(0, |(bucket, _)| bucket_low(*bucket)).max(holds.min);
    (shortest, long.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count)))
}

/// Whether there are more long holds than come from threads that lost their processor in a short one.
fn is_no_chance(long_ns: u64, long: u64, holds: u64, p50_ns: u64) -> bool {
    let chance = CHANCE * p50_ns as f64 / TIME_SLICE_NS;
    p50_ns >= LONG_NS || long_ns >= NO_CHANCE_NS || share(long, holds) > chance
}
