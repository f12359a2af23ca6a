//! A lock is held while its thread waits for something else, or is in a call that blocks, and others wait for the lock
//! meanwhile.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::catalog::HELD_ACROSS_BLOCKING_CALL;
use super::{distinct, severity};
use crate::analysis::contention::{lock_name, share};
use crate::analysis::findings::cost::{Cost, HeldAcross, What};
use crate::analysis::findings::{Collector, Costing};
use crate::analysis::places::{Place, user_place};
use crate::analysis::sum_of;
use crate::analysis::time_lost::{ClassTime, TimeLost};
use crate::model::order::SyncWhat;
use crate::model::{CallId, CallKey, CallStats, Kind, LockId, Session, StackId, Stacks, ThreadId, WaitEvent};

/// Shorter waits keep nobody, ns.
const LEAST_NS: u64 = 100_000;

/// A thread is blocked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Blocked {
    from_ns: u64,
    until_ns: u64,
    /// What it waits for; the thread joined has a "lock" of its own, which is not known here.
    lock: Option<LockId>,
    stack: StackId,
}

/// What one way of being blocked under a lock did.
#[derive(Default)]
struct Sum {
    /// Each time that a thread was blocked so.
    calls: FxHashMap<(ThreadId, u64), u64>,
    lost_ns: u64,
    lock: LockId,
    waiters: Vec<ThreadId>,
    /// The worst: time lost, where it was blocked, where the lock had been taken, who waited.
    worst: (u64, StackId, StackId, StackId),
    also: Option<LockId>,
}

/// The locks of whose waiting it is most.
pub(super) fn find(session: &Session, lost: &TimeLost<'_>, collector: &mut Collector<'_>) -> Vec<LockId> {
    let mut reported = Vec::new();
    if !session.profile.calls.is_empty() {
        // Semaphores that are used as locks, too: Python's are.
        let is_lock = |lock: LockId| session.lock(lock).kind.is_lock() || session.lock(lock).is_owned();
        for class in &lost.classes(|row| row.members.iter().any(|lock| is_lock(*lock))) {
            calls(session, lost, class, collector, &mut reported);
        }
    }
    let classes = lost.classes(|row| row.kind.is_lock());
    if classes.is_empty() {
        return reported;
    }
    let blocked = blocked(session);
    let nested = nested(session);
    for class in &classes {
        let mut sums: BTreeMap<(String, StackId), Sum> = BTreeMap::new();
        for event in &class.events {
            let Some((thread, blocked, ns)) = keeper(event, &blocked) else { continue };
            let is_lock = |lock: LockId| session.lock(lock).kind.is_lock();
            if let Some(lock) = blocked.lock
                && (lock == event.key.lock || is_lock(lock) && !nested.contains(&(thread, lock, event.key.lock)))
            {
                continue;
            }
            let sum = sums.entry((call_of(session, blocked.lock), blocked.stack)).or_default();
            sum.calls.insert((thread, blocked.from_ns), blocked.until_ns - blocked.from_ns);
            sum.lost_ns = sum.lost_ns.saturating_add(ns);
            sum.waiters.push(event.key.thread);
            if ns > sum.worst.0 {
                sum.worst = (ns, blocked.stack, event.key.holder, event.key.waiter);
                (sum.lock, sum.also) = (event.key.lock, blocked.lock);
            }
        }
        for ((call, _), sum) in sums {
            let Some(weight) = lost.scale.weigh(sum.lost_ns, &class.threads, class.run_ns) else { continue };
            if sum.lost_ns >= class.row.wait.total / 2 {
                reported.push(class.hottest());
            }
            let calls = sum.calls.len() as u64;
            let what = What::HeldAcross(HeldAcross {
                call,
                function: None,
                calls,
                took_ns: sum_of(sum.calls.values().copied()),
                longest_ns: sum.calls.values().copied().max().unwrap_or(0),
            });
            let known = |stack: &StackId| *stack != Stacks::UNKNOWN;
            let (_, at, taken, waiter) = sum.worst;
            collector.add_cost(Costing {
                rule: &HELD_ACROSS_BLOCKING_CALL,
                severity: severity(weight),
                locks: [sum.lock].into_iter().chain(sum.also).collect(),
                threads: distinct(sum.calls.keys().map(|(thread, _)| *thread)),
                at: [at].into_iter().filter(known).collect(),
                related: [taken, waiter].into_iter().filter(known).collect(),
                by_place: true,
                count: calls,
                cost: Cost::of(weight, what),
            });
        }
    }
    reported
}

/// Calls at one place that may block, under the locks of a class.
#[derive(Default)]
struct Calls {
    stats: CallStats,
    /// The worst: what others waited because of it, ns, and which it was.
    worst: (u64, Option<CallKey>),
}

/// Functions that a thread which keeps others waiting on purpose calls meanwhile.
fn lets_time_pass(call: &str) -> bool {
    const FUNCTIONS: [&str; 9] =
        ["nanosleep", "clock_nanosleep", "usleep", "sleep", "time.Sleep", "pause", "poll", "select", "epoll_wait"];
    FUNCTIONS.contains(&call)
}

/// Whether one wait is nearly all waiting for a lock: for the end of a thread, or for its permission.
fn is_waited_for_once(class: &ClassTime<'_>, lock: LockId) -> bool {
    const ONCE: f64 = 0.9;
    let sites = || class.sites.iter().filter(|site| site.key.lock == lock);
    let longest_ns = sites().map(|site| site.wait.max).max().unwrap_or(0);
    share(longest_ns, sum_of(sites().map(|site| site.wait.sum))) >= ONCE
}

/// What others lost by calls with a lock of this class held.
fn calls(
    session: &Session,
    lost: &TimeLost<'_>,
    class: &ClassTime<'_>,
    collector: &mut Collector<'_>,
    reported: &mut Vec<LockId>,
) {
    let is_semaphore = !class.row.kind.is_lock();
    let is_left_out =
        |lock: LockId| is_semaphore && (!session.lock(lock).is_owned() || is_waited_for_once(class, lock));
    let called: FxHashSet<LockId> = session.profile.calls.keys().map(|key| key.lock).collect();
    let members: FxHashSet<LockId> =
        class.row.members.iter().copied().filter(|lock| called.contains(lock) && !is_left_out(*lock)).collect();
    let mut keys: Vec<&CallKey> = session.profile.calls.keys().filter(|key| members.contains(&key.lock)).collect();
    if keys.is_empty() {
        return;
    }
    keys.sort_unstable();
    let mut places: FxHashMap<StackId, Place> = FxHashMap::default();
    let mut sums: FxHashMap<(CallId, Place), Calls> = FxHashMap::default();
    for key in keys {
        let stats = session.profile.calls[key];
        let place = places.entry(key.stack).or_insert_with(|| user_place(session, key.stack));
        let sum = sums.entry((key.call, place.clone())).or_default();
        sum.stats.add(&stats);
        if stats.blocked_ns > sum.worst.0 {
            sum.worst = (stats.blocked_ns, Some(*key));
        }
    }
    let mut sums: Vec<(CallId, Calls)> = sums.into_iter().map(|((call, _), calls)| (call, calls)).collect();
    sums.sort_by_key(|(_, calls)| (std::cmp::Reverse(calls.stats.blocked_ns), calls.worst.1));
    let is_gate = !is_semaphore && lost.scale.are_gates(&class.row.members);
    let mut all_ns = 0u64;
    for (call, Calls { stats, worst }) in sums {
        let name = session.profile.call_name(call);
        let (Some(key), false) = (worst.1, is_gate && lets_time_pass(name)) else { continue };
        let Some(weight) = lost.scale.weigh(stats.blocked_ns, &class.threads, class.run_ns) else { continue };
        all_ns = all_ns.saturating_add(stats.blocked_ns);
        let waiter = class.waiter(|wait| wait.holder == key.taken);
        let known = |stack: &StackId| *stack != Stacks::UNKNOWN;
        collector.add_cost(Costing {
            rule: &HELD_ACROSS_BLOCKING_CALL,
            severity: severity(weight),
            locks: vec![key.lock],
            threads: Vec::new(),
            at: [key.stack].into_iter().filter(known).collect(),
            related: [key.taken, waiter].into_iter().filter(known).collect(),
            by_place: true,
            count: stats.count,
            cost: Cost::of(
                weight,
                What::HeldAcross(HeldAcross {
                    call: name.to_owned(),
                    function: Some((stats.waits, stats.folded > 0)),
                    calls: stats.count,
                    took_ns: stats.took_ns,
                    longest_ns: stats.max_ns,
                }),
            ),
        });
    }
    if all_ns >= class.row.wait.total / 2 && all_ns > 0 {
        reported.push(class.hottest());
    }
}

/// The thread that held the lock during a wait, if it was itself blocked for most of that time; with how long, ns.
fn keeper(event: &WaitEvent, blocked: &FxHashMap<ThreadId, Vec<Blocked>>) -> Option<(ThreadId, Blocked, u64)> {
    let thread = event.key.holder_thread.filter(|thread| *thread != event.key.thread)?;
    let list = blocked.get(&thread)?;
    let end_ns = event.start_ns.saturating_add(event.wait_ns);
    let first = list.partition_point(|blocked| blocked.until_ns <= event.start_ns);
    let overlap = |blocked: &Blocked| blocked.until_ns.min(end_ns).saturating_sub(blocked.from_ns.max(event.start_ns));
    let meanwhile = list[first..].iter().take_while(|blocked| blocked.from_ns < end_ns);
    let longest = meanwhile.max_by_key(|blocked| overlap(blocked))?;
    let ns = overlap(longest);
    (ns >= event.wait_ns / 2 && ns > 0).then_some((thread, *longest, ns))
}

/// When each thread was blocked, in the order of time.
fn blocked(session: &Session) -> FxHashMap<ThreadId, Vec<Blocked>> {
    let mut of_thread: FxHashMap<ThreadId, Vec<Blocked>> = FxHashMap::default();
    for event in session.profile.wait_events.iter().filter(|event| event.wait_ns >= LEAST_NS) {
        of_thread.entry(event.key.thread).or_default().push(Blocked {
            from_ns: event.start_ns,
            until_ns: event.start_ns.saturating_add(event.wait_ns),
            lock: Some(event.key.lock),
            stack: event.key.waiter,
        });
    }
    for (at, timeline) in session.order.timelines.iter().enumerate() {
        for point in &timeline.sync_points {
            let lock = match point.what {
                SyncWhat::Taken(lock) | SyncWhat::Barrier { lock, .. } => Some(lock),
                SyncWhat::Joined(_) => None,
                _ => continue,
            };
            let (from_ns, until_ns) = (point.at_ns, point.until_ns);
            if until_ns.saturating_sub(from_ns) >= LEAST_NS {
                let blocked = Blocked { from_ns, until_ns, lock, stack: point.stack };
                of_thread.entry(ThreadId::from(at)).or_default().push(blocked);
            }
        }
    }
    // What one thread waits for does not overlap, but in broken traces.
    of_thread.values_mut().for_each(|list| list.sort_unstable());
    of_thread
}

/// Which lock was asked for by which thread while it held which other.
fn nested(session: &Session) -> FxHashSet<(ThreadId, LockId, LockId)> {
    let mut nested = FxHashSet::default();
    for request in &session.order.requests {
        let key = &request.key;
        nested.extend(session.order.chains.walk(key.held).map(|link| (key.thread, key.lock, link.lock)));
    }
    nested
}

/// What a thread waits for, in words of the program: `mutex cache.mu`.
fn call_of(session: &Session, lock: Option<LockId>) -> String {
    match lock {
        None => Kind::Join.name().to_owned(),
        // What woke a goroutine in a `select`, or one that sends: it has no address.
        Some(lock) if session.lock(lock).kind == Kind::Cond && session.lock(lock).address == 0 => {
            Kind::Channel.name().to_owned()
        }
        Some(lock) => match (session.lock(lock).kind.label(), lock_name(session, lock)) {
            (label, name) if name.starts_with(label) => name,
            (label, name) => format!("{label} {name}"),
        },
    }
}
