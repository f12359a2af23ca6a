//! The numbers and names of processes and tracks.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use serde_json::json;

use super::{Event, Tracks};
use crate::model::{Session, Thread, ThreadId};
use crate::render::export::thread_name;
use crate::render::style::printable;

/// The numbers of processes and tracks. A pid or tid that is met twice (exec, several runs) gets one of its own.
pub(super) struct Ids {
    /// By thread.
    processes: Vec<u64>,
    tracks: FxHashMap<(ThreadId, usize), u64>,
}

impl Ids {
    pub(super) fn of(session: &Session, tracks: &Tracks) -> Self {
        /// Above every pid and tid of Linux (`PID_MAX_LIMIT`).
        const FIRST_FREE: u64 = 1 << 32;
        let mut free = FIRST_FREE..;
        let mut taken = BTreeSet::new();
        let mut number = |wanted: u64| if taken.insert(wanted) { wanted } else { free.next().unwrap_or(u64::MAX) };
        let processes: Vec<u64> = session.processes.iter().map(|row| number(u64::from(row.pid))).collect();
        let of_thread = |row: &Thread| processes.get(row.process.index()).copied().unwrap_or_default();
        let processes = session.threads.iter().map(of_thread).collect();
        let mut taken = BTreeSet::new();
        let mut free = FIRST_FREE..;
        let mut ids = FxHashMap::default();
        for (thread, slices) in &tracks.by_thread {
            let lanes = slices.iter().map(|slice| slice.lane + 1).max().unwrap_or(0);
            for lane in 0..lanes {
                let wanted = u64::from(session.thread(*thread).tid);
                let own = lane == 0 && taken.insert(wanted);
                ids.insert((*thread, lane), if own { wanted } else { free.next().unwrap_or(u64::MAX) });
            }
        }
        Self { processes, tracks: ids }
    }

    pub(super) fn track(&self, thread: ThreadId, lane: usize) -> u64 {
        self.tracks.get(&(thread, lane)).copied().unwrap_or_default()
    }

    pub(super) fn process(&self, thread: ThreadId) -> u64 {
        self.processes.get(thread.index()).copied().unwrap_or_default()
    }

    pub(super) fn names(&self, session: &Session, tracks: &Tracks, events: &mut Vec<Event>) {
        let mut named = BTreeSet::new();
        let mut name = |what: &str, pid, tid, text: String| {
            let args = Some(json!({"name": text}));
            let (name, ph) = (what.to_owned(), "M");
            events.push(Event { name, ph, cat: None, pid, tid, ts: None, dur: None, id: None, bp: None, args });
        };
        for (thread, slices) in &tracks.by_thread {
            let pid = self.process(*thread);
            let row = session.process(session.thread(*thread).process);
            if named.insert(pid) {
                name("process_name", pid, 0, format!("{} ({})", printable(&row.exe), row.pid));
            }
            let lanes = slices.iter().map(|slice| slice.lane + 1).max().unwrap_or(0);
            for lane in 0..lanes {
                let own = thread_name(session, *thread);
                let text = if lane == 0 { own } else { format!("{own} (overlapping holds {lane})") };
                name("thread_name", pid, self.track(*thread, lane), text);
            }
        }
    }
}
