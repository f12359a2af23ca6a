//! Signals of a condition wake many threads, most of which find nothing to do and wait again.

use rustc_hash::FxHashMap;

use super::catalog::THUNDERING_HERD;
use super::{distinct, severity};
use crate::analysis::contention::share;
use crate::analysis::findings::cost::{Cost, What};
use crate::analysis::findings::{Collector, Costing};
use crate::analysis::time_lost::TimeLost;
use crate::model::order::SyncWhat;
use crate::model::{Kind, LockId, Session, StackId, ThreadId};

/// Fewer signals than this may be a beginning, or an end.
const POSTS: u64 = 20;
/// A signal wakes so many, on average,
const WOKEN: f64 = 2.5;
/// and so many of these find nothing to do.
const IN_VAIN: f64 = 0.5;
/// Who waits again so soon has found nothing, ns.
const AT_ONCE_NS: u64 = 100_000;

#[derive(Default)]
struct Condition {
    /// When, and where.
    posts: Vec<(u64, StackId)>,
    woken: Vec<Woken>,
}

struct Woken {
    thread: ThreadId,
    from_ns: u64,
    until_ns: u64,
    stack: StackId,
    /// It waited again at once.
    again: bool,
}

pub(super) fn find(session: &Session, lost: &TimeLost<'_>, collector: &mut Collector<'_>) {
    let mut conditions: Vec<(LockId, Condition)> = conditions(session).into_iter().collect();
    conditions.sort_by_key(|(lock, _)| *lock);
    for (lock, mut condition) in conditions {
        condition.posts.sort_unstable();
        let (mut woken, mut in_vain, mut lost_ns) = (0, 0, 0u64);
        let mut places: FxHashMap<StackId, u64> = FxHashMap::default();
        let mut posts: FxHashMap<usize, u64> = FxHashMap::default();
        for one in &condition.woken {
            // The last signal before it went on woke it, if it waited then.
            let next = condition.posts.partition_point(|(at_ns, _)| *at_ns <= one.until_ns);
            let Some((post, (at_ns, _))) = next.checked_sub(1).map(|at| (at, condition.posts[at])) else { continue };
            if at_ns < one.from_ns {
                continue;
            }
            woken += 1;
            *posts.entry(post).or_default() += 1;
            if one.again {
                in_vain += 1;
                lost_ns = lost_ns.saturating_add(one.until_ns - at_ns);
                *places.entry(one.stack).or_default() += 1;
            }
        }
        let rousing = posts.len() as u64;
        if rousing < POSTS || share(woken, rousing) < WOKEN || share(in_vain, woken) < IN_VAIN {
            continue;
        }
        let threads = distinct(condition.woken.iter().map(|woken| woken.thread));
        let run_ns = lost.scale.run_ns(session.lock(lock).process);
        let Some(weight) = lost.scale.weigh(lost_ns, &threads, run_ns) else { continue };
        let most = |places: FxHashMap<StackId, u64>| {
            places.into_iter().max_by_key(|(stack, count)| (*count, std::cmp::Reverse(*stack))).map(|(stack, _)| stack)
        };
        let mut signals: FxHashMap<StackId, u64> = FxHashMap::default();
        posts.keys().for_each(|at| *signals.entry(condition.posts[*at].1).or_default() += 1);
        collector.add_cost(Costing {
            rule: &THUNDERING_HERD,
            severity: severity(weight),
            locks: vec![lock],
            threads: Vec::new(),
            at: most(signals).into_iter().collect(),
            related: most(places).into_iter().collect(),
            by_place: false,
            count: rousing,
            cost: Cost::of(weight, What::ThunderingHerd { posts: rousing, woken, in_vain }),
        });
    }
}

fn conditions(session: &Session) -> FxHashMap<LockId, Condition> {
    let is_condition = |lock: LockId| {
        session
            .locks
            .get(lock.index())
            .is_some_and(|row| matches!(row.kind, Kind::Condvar | Kind::Cond) && row.address != 0)
    };
    let mut conditions: FxHashMap<LockId, Condition> = FxHashMap::default();
    for (at, timeline) in session.order.timelines.iter().enumerate() {
        let thread = ThreadId::from(at);
        for (number, point) in timeline.sync_points.iter().enumerate() {
            match point.what {
                SyncWhat::Posted(lock) if is_condition(lock) => {
                    conditions.entry(lock).or_default().posts.push((point.at_ns, point.stack));
                }
                SyncWhat::Taken(lock) if is_condition(lock) => {
                    let next = timeline.sync_points.get(number + 1);
                    let again = next.is_some_and(|next| {
                        next.what == point.what && next.at_ns.saturating_sub(point.until_ns) < AT_ONCE_NS
                    });
                    let (from_ns, until_ns, stack) = (point.at_ns, point.until_ns, point.stack);
                    conditions.entry(lock).or_default().woken.push(Woken { thread, from_ns, until_ns, stack, again });
                }
                _ => {}
            }
        }
    }
    conditions
}
