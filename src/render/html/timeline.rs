//! The single waits that a recording keeps, as far as the page has room: the longest ones.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::data::{Thread, Timeline};
use super::locks::Shown;
use super::stacks::Builder;
use crate::analysis::contention::Contention;
use crate::analysis::{add, sum_of};
use crate::model::{Session, ThreadId, WaitEvent};
use crate::render::paint::printable;

/// Waits in the page.
const MOST_WAITS: usize = 20_000;
/// Rows of the picture.
const MOST_THREADS: usize = 300;

/// The waits for the shown rows of the view, of the threads that waited longest.
pub(super) fn timeline(session: &Session, contention: &Contention, shown: &Shown, stacks: &Builder<'_>) -> Timeline {
    let mut totals: FxHashMap<ThreadId, u64> = FxHashMap::default();
    for (key, stats) in &session.profile.waits {
        add(totals.entry(key.thread).or_default(), stats.wait_ns);
    }
    let mut ranked: Vec<(ThreadId, u64)> = totals.into_iter().collect();
    ranked.sort_by_key(|(thread, wait)| (Reverse(*wait), *thread));
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
    let thread = |(id, wait_ns): &(ThreadId, u64)| {
        let thread = session.thread(*id);
        let pid = several.then(|| session.process(thread.process).pid);
        Thread { name: printable(&thread.name), tid: thread.tid, pid, wait_ns: *wait_ns }
    };
    let wait = |(event, thread, lock): &(&WaitEvent, u32, u32)| {
        let holder = event.key.holder_thread.and_then(|thread| rows.get(&thread)).map_or(-1, |at| i64::from(*at));
        let (waiter, held) = (stacks.find(event.key.waiter), stacks.find(event.key.holder));
        (*thread, *lock, event.start_ns, event.wait_ns, event.hold_ns, waiter, held, holder)
    };
    Timeline {
        threads: ranked.iter().map(thread).collect(),
        threads_left,
        left: (all.saturating_sub(events.len() as u64), all_ns.saturating_sub(shown_ns)),
        waits: events.iter().map(wait).collect(),
        not_kept: session.profile.wait_events_dropped,
    }
}
