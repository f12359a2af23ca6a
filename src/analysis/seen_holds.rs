//! Holds of threads that never waited themselves, as far as those saw them who waited.
//!
//! A recording keeps holds one by one only after a wait and around other locks. Whoever holds a lock for long and never
//! waits has none of these, and is the one to look for: each wait says who held the lock when it began. The hold lasted
//! from then until somebody else had the lock, at the latest until that wait was over. It began earlier than it was seen.

use rustc_hash::FxHashMap;

use crate::model::{LockId, Session, StackId, ThreadId, WaitEvent};

/// A hold that was seen by those who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenHold {
    /// Who held.
    pub thread: ThreadId,
    /// What.
    pub lock: LockId,
    /// The stack that had taken it.
    pub stack: StackId,
    /// When the first wait for it began, ns since the start of the session.
    pub start_ns: u64,
    /// When somebody else had the lock, ns since the start.
    pub end_ns: u64,
}

/// The holds seen by the waits that `keeps` keeps, in the order of time, each once.
pub fn seen_holds(session: &Session, keeps: impl Fn(&WaitEvent) -> bool) -> Vec<SeenHold> {
    let woken = |event: &WaitEvent| event.start_ns.saturating_add(event.wait_ns);
    // When each lock was had after a wait, ascending.
    let mut taken: FxHashMap<LockId, Vec<u64>> = FxHashMap::default();
    for event in &session.profile.wait_events {
        taken.entry(event.key.lock).or_default().push(woken(event));
    }
    taken.values_mut().for_each(|times| times.sort_unstable());
    let mut seen: Vec<SeenHold> = (session.profile.wait_events.iter())
        .filter(|event| keeps(event))
        .filter_map(|event| {
            let thread = event.key.holder_thread?;
            let times = taken.get(&event.key.lock)?;
            let next = times.get(times.partition_point(|time| *time <= event.start_ns)).copied();
            let end_ns = next.unwrap_or(u64::MAX).min(woken(event));
            let (lock, stack, start_ns) = (event.key.lock, event.key.holder, event.start_ns);
            (end_ns > start_ns).then_some(SeenHold { thread, lock, stack, start_ns, end_ns })
        })
        .collect();
    seen.sort_by_key(|hold| (hold.thread, hold.lock, hold.start_ns, hold.end_ns, hold.stack));
    let mut merged: Vec<SeenHold> = Vec::new();
    for hold in seen {
        match merged.last_mut() {
            // Two who wait for one hold see one end.
            Some(last)
                if (last.thread, last.lock, last.stack) == (hold.thread, hold.lock, hold.stack)
                    && hold.start_ns < last.end_ns =>
            {
                last.end_ns = last.end_ns.max(hold.end_ns);
            }
            _ => merged.push(hold),
        }
    }
    merged.sort_by_key(|hold| (hold.start_ns, hold.thread, hold.lock));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::Builder;
    use crate::model::{Kind, Mode};

    #[test]
    fn who_never_waits_is_seen_by_those_who_do() {
        let mut b = Builder::new();
        let (keeper, one, other) = (b.thread("keeper"), b.thread("one"), b.thread("other"));
        let lock = b.lock("state", Kind::Mutex);
        let (keep, work) = (b.stack(&[("keep", "a.c", 1)]), b.stack(&[("work", "a.c", 2)]));
        for (thread, wait_ns) in [(one, 500), (other, 600), (one, 300)] {
            b.wait(lock, thread, work, Mode::Exclusive, wait_ns, 10, Some((keeper, keep)));
        }
        // Two see one hold, which ends when the first of them has the lock; later there is another.
        for (event, start) in b.session.profile.wait_events.iter_mut().zip([1_000, 1_100, 5_000]) {
            event.start_ns = start;
        }
        let holds = seen_holds(&b.session, |_| true);
        let times: Vec<_> = holds.iter().map(|hold| (hold.thread, hold.stack, hold.start_ns, hold.end_ns)).collect();
        assert_eq!(times, [(keeper, keep, 1_000, 1_500), (keeper, keep, 5_000, 5_300)]);
        assert!(seen_holds(&b.session, |_| false).is_empty());
    }
}
