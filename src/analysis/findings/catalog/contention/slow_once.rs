//! Threads wait for one initialisation.

use rustc_hash::FxHashMap;

use super::catalog::SLOW_ONCE;
use super::{about, severity};
use crate::analysis::findings::cost::What;
use crate::analysis::findings::{Collector, Costing};
use crate::analysis::time_lost::TimeLost;
use crate::model::{Kind, LockId, Site, Stacks};

/// The initialisations that are reported.
pub(super) fn find(lost: &TimeLost<'_>, collector: &mut Collector<'_>) -> Vec<LockId> {
    let mut reported = Vec::new();
    for class in lost.classes(|row| row.kind == Kind::Once) {
        let mut sites: FxHashMap<LockId, Vec<&Site>> = FxHashMap::default();
        class.sites.iter().for_each(|site| sites.entry(site.key.lock).or_default().push(site));
        // Whoever runs it is counted as one that waits, and is there all the time.
        let waits = |sites: &[&Site]| {
            sites.iter().fold((0u64, 0u64, 0u64), |(sum, count, most), site| {
                (sum.saturating_add(site.wait.sum), count.saturating_add(site.wait.count), most.max(site.wait.max))
            })
        };
        let worst = (sites.iter())
            .map(|(lock, sites)| (*lock, waits(sites)))
            .max_by_key(|(lock, (sum, _, most))| (sum.saturating_sub(*most), std::cmp::Reverse(*lock)));
        let Some((lock, (sum, count, took_ns))) = worst else { continue };
        let Some(weight) = lost.scale.weigh(sum.saturating_sub(took_ns), &class.threads, class.run_ns) else {
            continue;
        };
        let of_lock = sites.get(&lock).map_or(&[][..], Vec::as_slice);
        let runner = of_lock.iter().max_by_key(|site| (site.wait.max, std::cmp::Reverse(site.key)));
        let waiter = of_lock.iter().filter(|site| runner.is_none_or(|runner| runner.key != site.key));
        let waiter = waiter.max_by_key(|site| (site.wait.sum, std::cmp::Reverse(site.key)));
        let stack = |site: Option<&&Site>| site.map_or(Stacks::UNKNOWN, |site| site.key.stack);
        reported.push(lock);
        let calls = count.saturating_sub(1);
        let what = What::SlowOnce { calls, took_ns };
        let found = about(&SLOW_ONCE, &class, weight, what, (stack(runner), stack(waiter)));
        collector.add_cost(Costing { severity: severity(weight), locks: vec![lock], count: calls, ..found });
    }
    reported
}
