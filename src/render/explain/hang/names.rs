//! What threads and locks are called in one hang, so that no two are called the same.

use rustc_hash::FxHashMap;

use crate::model::{Hang, LockId, Session, ThreadId};
use crate::render::names::fit_end;
use crate::render::style::printable;

/// A sentence does not get easier with a longer name.
const NAME_WIDTH: usize = 40;
/// The kernel cuts a thread's name to this.
const KERNEL_WIDTH: usize = 15;

/// What a thread is called.
struct Called {
    whole: String,
    short: String,
}

/// See the module.
pub(crate) struct Names {
    threads: FxHashMap<ThreadId, Called>,
    locks: FxHashMap<LockId, String>,
}

impl Names {
    /// The names of all that a hang speaks of.
    pub fn of(session: &Session, hang: &Hang) -> Self {
        let mut threads: Vec<ThreadId> = Vec::new();
        let mut locks: Vec<LockId> = Vec::new();
        for waiting in hang.waiting() {
            threads.push(waiting.thread);
            threads.extend(&waiting.holders);
            locks.push(waiting.lock);
            locks.extend(waiting.held.iter().map(|held| held.lock));
        }
        Self { threads: thread_names(session, hang, threads), locks: lock_names(session, locks) }
    }

    /// `worker-1 (4243)`.
    pub fn thread(&self, id: ThreadId) -> String {
        self.threads.get(&id).map_or_else(String::new, |called| called.whole.clone())
    }

    /// `worker-1`, where there is only one of that name.
    pub fn short(&self, id: ThreadId) -> String {
        self.threads.get(&id).map_or_else(String::new, |called| called.short.clone())
    }

    /// `journal.mu`.
    pub fn lock(&self, id: LockId) -> String {
        self.locks.get(&id).cloned().unwrap_or_default()
    }
}

/// Threads that nobody named have their program's name: that says nothing.
fn thread_names(session: &Session, hang: &Hang, mut ids: Vec<ThreadId>) -> FxHashMap<ThreadId, Called> {
    ids.sort_unstable();
    ids.dedup();
    let process = session.process(hang.process);
    let program: String = process.exe.rsplit('/').next().unwrap_or_default().chars().take(KERNEL_WIDTH).collect();
    let name = |id: ThreadId| {
        let thread = session.thread(id);
        let own = thread.name != program && !thread.name.is_empty();
        match (own, thread.tid == process.pid) {
            (true, _) => Some(printable(&thread.name)),
            (false, true) => Some("main".to_owned()),
            (false, false) => None,
        }
    };
    let mut times: FxHashMap<String, u32> = FxHashMap::default();
    ids.iter().filter_map(|id| name(*id)).for_each(|name| *times.entry(name).or_default() += 1);
    let called = |id: ThreadId| {
        let tid = session.thread(id).tid;
        let Some(name) = name(id) else {
            let name = format!("thread {tid}");
            return (id, Called { whole: name.clone(), short: name });
        };
        let whole = format!("{name} ({tid})");
        let alone = times.get(&name).is_none_or(|times| *times < 2);
        (id, Called { short: if alone { name } else { whole.clone() }, whole })
    };
    ids.into_iter().map(called).collect()
}

fn lock_names(session: &Session, mut ids: Vec<LockId>) -> FxHashMap<LockId, String> {
    ids.sort_unstable();
    ids.dedup();
    let text = |id: LockId| {
        let lock = session.lock(id);
        let name = lock.name.as_ref().map_or_else(|| lock.kind.name().to_owned(), |name| printable(&name.text));
        fit_end(&name, NAME_WIDTH)
    };
    let mut times: FxHashMap<String, u32> = FxHashMap::default();
    ids.iter().for_each(|id| *times.entry(text(*id)).or_default() += 1);
    let name = |id: LockId| {
        let text = text(id);
        let alone = times.get(&text).is_none_or(|times| *times < 2);
        let name = if alone { text } else { format!("{text} at {:#x}", session.lock(id).address) };
        (id, name)
    };
    ids.into_iter().map(name).collect()
}
