//! One lock in full: who waited, who held it meanwhile, who blocked whom.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::analysis::contention::{Contention, Query};
use crate::model::{LockId, Session, StackId, ThreadId};
use crate::render::explain::contention::advice;
use crate::render::frames::{Line, first_lines};
use crate::render::style::printable;

/// Stacks of each side.
const STACKS: usize = 10;
/// Frames of a stack.
const FRAMES: usize = 24;
/// Pairs of threads.
const PAIRS: usize = 20;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// The lock's number in the session.
    pub lock: u32,
    /// Who waited, longest total first.
    pub waiters: Vec<StackRow>,
    /// Who held it meanwhile, most blocked time first.
    pub holders: Vec<StackRow>,
    /// Time waited while the holder was not seen, ns.
    pub unattributed_ns: u64,
    /// Which thread waited for which, longest total first.
    pub blocking: Vec<Blocking>,
    /// What usually helps; empty where nothing can be said.
    pub advice: String,
}

/// A call stack with its figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRow {
    /// Waits.
    pub count: u64,
    /// Their time, ns.
    pub ns: u64,
    /// Frames for people, innermost first; empty where it was not seen.
    pub frames: Vec<String>,
}

/// Waits of one thread while another held the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocking {
    /// Who waited.
    pub waiter: String,
    /// Who held the lock; empty where it was not seen.
    pub holder: String,
    /// Waits.
    pub count: u64,
    /// Their time, ns.
    pub ns: u64,
}

/// `None` for a lock that is not there; empty where no acquisition of it has ended yet.
pub(super) fn detail(session: &Session, lock: u32) -> Option<Detail> {
    let id = LockId(lock);
    session.locks.get(id.index())?;
    let contention = Contention::of(session, &Query::default());
    let Some(row) = contention.row_of(id) else { return Some(Detail { lock, ..Detail::default() }) };
    let stack = |count, ns, stack| StackRow { count, ns, frames: frames(session, stack) };
    let holders = row.holders.iter().filter(|holder| holder.blocked_ns > 0);
    Some(Detail {
        lock,
        waiters: row.waiters.iter().take(STACKS).map(|w| stack(w.count, w.wait_ns, w.stack)).collect(),
        holders: holders.take(STACKS).map(|h| stack(h.count, h.blocked_ns, h.stack)).collect(),
        unattributed_ns: row.unattributed.wait_ns,
        blocking: blocking(session, id),
        advice: advice(session, row).unwrap_or_default(),
    })
}

fn frames(session: &Session, stack: StackId) -> Vec<String> {
    first_lines(session, stack, FRAMES).iter().map(Line::one).collect()
}

fn blocking(session: &Session, lock: LockId) -> Vec<Blocking> {
    let mut pairs: FxHashMap<(ThreadId, Option<ThreadId>), (u64, u64)> = FxHashMap::default();
    for (key, stats) in session.profile.waits.iter().filter(|(key, _)| key.lock == lock) {
        let sum = pairs.entry((key.thread, key.holder_thread)).or_default();
        *sum = (sum.0.saturating_add(stats.count), sum.1.saturating_add(stats.wait_ns));
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_unstable_by_key(|(threads, (_, ns))| (std::cmp::Reverse(*ns), *threads));
    let name = |id: ThreadId| {
        let thread = session.thread(id);
        format!("{} ({})", printable(&thread.name), thread.tid)
    };
    let row = |((waiter, holder), (count, ns)): ((ThreadId, Option<ThreadId>), (u64, u64))| Blocking {
        waiter: name(waiter),
        holder: holder.map_or_else(String::new, name),
        count,
        ns,
    };
    pairs.into_iter().take(PAIRS).map(row).collect()
}
