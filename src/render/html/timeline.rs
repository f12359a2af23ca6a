//! The single waits that a recording keeps, as far as the page has room: the longest ones.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::data::{Thread, Timeline};
use super::locks::Shown;
use super::stacks::Builder;
use crate::analysis::contention::Contention;
use crate::analysis::seen_holds::{SeenHold, seen_holds};
use crate::analysis::{add, sum_of};
use crate::model::{LockId, Session, ThreadId, WaitEvent};
use crate::render::style::printable;

/// Waits in the page.
const MOST_WAITS: usize = 20_000;
/// Holds that those saw who waited, the longest ones.
const MOST_HOLDS: usize = 5_000;
/// Rows of the picture.
const MOST_THREADS: usize = 300;

/// The waits for the shown rows of the view, of the threads that waited, or were waited for, longest.
pub(super) fn timeline(session: &Session, contention: &Contention, shown: &Shown, stacks: &Builder<'_>) -> Timeline {
    // What each waited itself, and others for it.
    let mut totals: FxHashMap<ThreadId, (u64, u64)> = FxHashMap::default();
    for (key, stats) in &session.profile.waits {
        add(&mut totals.entry(key.thread).or_default().0, stats.wait_ns);
        if let Some(holder) = key.holder_thread {
            add(&mut totals.entry(holder).or_default().1, stats.wait_ns);
        }
    }
    let mut ranked: Vec<(ThreadId, (u64, u64))> = totals.into_iter().collect();
    ranked.sort_by_key(|(thread, (wait, blocked))| (Reverse((*wait).max(*blocked)), *thread));
    let threads_left = ranked.len().saturating_sub(MOST_THREADS) as u64;
    ranked.truncate(MOST_THREADS);
    let rows: FxHashMap<ThreadId, u32> = ranked.iter().zip(0..).map(|((thread, _), at)| (*thread, at)).collect();

    let row_of = |event: &WaitEvent| contention.row_index(event.key.lock).and_then(|row| shown.place(row));
    let mut events: Vec<(&WaitEvent, u32, u32)> = (session.profile.wait_events.iter())
        .filter_map(|event| Some((event, *rows.get(&event.key.thread)?, row_of(event)? as u32)))
        .collect();
    let order = |event: &WaitEvent| (event.start_ns, event.key.thread, event.key.lock, event.key.waiter);
    events.sort_by_key(|(event, ..)| (Reverse(event.wait_ns), order(event)));
    events.truncate(MOST_WAITS);
    events.sort_by_key(|(event, ..)| order(event));

    let (all, all_ns) = (contention.contention.contended, contention.contention.wait_ns);
    let shown_ns = sum_of(events.iter().map(|(event, ..)| event.wait_ns));
    let several = session.processes.len() > 1;
    let thread = |(id, (wait_ns, blocked_ns)): &(ThreadId, (u64, u64))| {
        let thread = session.thread(*id);
        let pid = several.then(|| session.process(thread.process).pid);
        Thread { name: printable(&thread.name), tid: thread.tid, pid, wait_ns: *wait_ns, blocked_ns: *blocked_ns }
    };
    let wait = |(event, thread, lock): &(&WaitEvent, u32, u32)| {
        let holder = event.key.holder_thread.and_then(|thread| rows.get(&thread)).map_or(-1, |at| i64::from(*at));
        let (waiter, held) = (stacks.find(event.key.waiter), stacks.find(event.key.holder));
        (*thread, *lock, event.start_ns, event.wait_ns, event.hold_ns, waiter, held, holder)
    };
    // Holds after a wait are shown with the wait.
    let mut after: FxHashMap<(ThreadId, LockId), BTreeMap<u64, u64>> = FxHashMap::default();
    for event in session.profile.wait_events.iter().filter(|event| event.hold_ns > 0) {
        let woken = event.start_ns.saturating_add(event.wait_ns);
        let ends = after.entry((event.key.thread, event.key.lock)).or_default();
        ends.insert(woken, woken.saturating_add(event.hold_ns));
    }
    let mut holds = seen_holds(session, |event| row_of(event).is_some());
    holds.retain(|hold| {
        let before = after.get(&(hold.thread, hold.lock)).and_then(|ends| ends.range(..hold.end_ns).next_back());
        before.is_none_or(|(_, end)| *end <= hold.start_ns)
    });
    holds.sort_by_key(|hold| (Reverse(hold.end_ns - hold.start_ns), hold.start_ns, hold.thread, hold.lock));
    holds.truncate(MOST_HOLDS);
    let hold = |hold: &SeenHold| {
        let lock = contention.row_index(hold.lock).and_then(|row| shown.place(row))? as u32;
        Some((*rows.get(&hold.thread)?, lock, hold.start_ns, hold.end_ns, stacks.find(hold.stack)))
    };
    Timeline {
        threads: ranked.iter().map(thread).collect(),
        threads_left,
        left: (all.saturating_sub(events.len() as u64), all_ns.saturating_sub(shown_ns)),
        waits: events.iter().map(wait).collect(),
        holds: holds.iter().filter_map(hold).collect(),
        not_kept: session.profile.wait_events_dropped,
    }
}
