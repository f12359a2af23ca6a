//! Who else writes a lock that the legs of a cycle only read.
//!
//! Readers do not wait for each other, unless the lock lets a waiting writer go first: then a reader may wait behind
//! a writer who waits for another reader. A third thread has to write for that, and it must not be certain that it
//! does so before or after everything else.

use rustc_hash::FxHashMap;

use super::requests::{RequestView, Requests};
use super::search::{Candidate, Pairs};
use crate::model::order::{ChainId, How, LoggedWhat, Run};
use crate::model::{LockId, Mode, Session, StackId, ThreadId};

/// Someone who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    pub thread: ThreadId,
    pub stack: StackId,
    held: ChainId,
    runs: Vec<Run>,
}

/// The writers of read-write locks, found when they are asked for first.
pub(super) struct Writers<'a> {
    session: &'a Session,
    known: Option<FxHashMap<LockId, Vec<Writer>>>,
}

impl<'a> Writers<'a> {
    pub fn new(session: &'a Session) -> Self {
        Self { session, known: None }
    }

    /// Whether writers come between the readers at all these locks; and the lock that decides it, with who writes that.
    pub fn between(
        &mut self,
        pairs: &mut Pairs<'_>,
        requests: &Requests<'_>,
        locks: &[LockId],
        legs: &[Candidate],
    ) -> (LockId, Option<Writer>, bool) {
        let legs: Vec<RequestView<'_>> = legs.iter().filter_map(|leg| requests.get(leg.want)).collect();
        let mut first = None;
        for lock in locks {
            let writer = self.writer(pairs, *lock, &legs);
            let fails = writer.is_some() && self.session.lock(*lock).traits.writers_first;
            if !fails {
                return (*lock, writer, false);
            }
            first = first.or(Some((*lock, writer)));
        }
        let (lock, writer) = first.unwrap_or((LockId(0), None));
        let fails = writer.is_some();
        (lock, writer, fails)
    }

    /// A thread that writes the lock and may do so while the legs hold and want it.
    pub fn writer(&mut self, pairs: &mut Pairs<'_>, lock: LockId, legs: &[RequestView<'_>]) -> Option<Writer> {
        let known = self.known.get_or_insert_with(|| find(self.session));
        let writers = known.get(&lock)?;
        writers
            .iter()
            .find(|writer| {
                let want = RequestView {
                    thread: writer.thread,
                    node: lock.0,
                    lock,
                    mode: Mode::Exclusive,
                    how: How::Block,
                    reacquired: false,
                    unanswered: false,
                    stack: writer.stack,
                    held: writer.held,
                    child: false,
                    runs: &writer.runs,
                };
                legs.iter().all(|leg| {
                    leg.thread != want.thread
                        && pairs.guard(leg, &want).is_none()
                        && pairs.concurrent(false, leg, &want)
                })
            })
            .cloned()
    }
}

fn find(session: &Session) -> FxHashMap<LockId, Vec<Writer>> {
    let order = &session.order;
    let is = |lock: LockId| session.locks.get(lock.index()).is_some_and(|row| row.kind.has_readers());
    let mut found: FxHashMap<LockId, Vec<Writer>> = FxHashMap::default();
    let mut nested: FxHashMap<(ThreadId, LockId, StackId), u64> = FxHashMap::default();
    for request in &order.requests {
        let key = &request.key;
        if key.mode == Mode::Exclusive && key.how != How::Try && is(key.lock) {
            *nested.entry((key.thread, key.lock, key.stack)).or_default() += request.count();
            let (thread, stack, held, runs) = (key.thread, key.stack, key.held, request.runs.clone());
            found.entry(key.lock).or_default().push(Writer { thread, stack, held, runs });
        }
    }
    let mut alone: FxHashMap<(LockId, ThreadId, StackId), Vec<Run>> = FxHashMap::default();
    if order.log.dropped == 0 {
        let mut open: FxHashMap<ThreadId, Vec<LockId>> = FxHashMap::default();
        for event in order.log.events() {
            let open = open.entry(event.thread).or_default();
            let written = match event.what {
                LoggedWhat::Section(mode) => mode == Mode::Exclusive,
                LoggedWhat::Acquired(mode) => {
                    open.push(event.lock);
                    mode == Mode::Exclusive && open.len() == 1
                }
                LoggedWhat::Tried(..) => {
                    open.push(event.lock);
                    false
                }
                LoggedWhat::Released => {
                    if let Some(at) = open.iter().rposition(|lock| *lock == event.lock) {
                        open.remove(at);
                    }
                    false
                }
                LoggedWhat::SyncPoint => false,
            };
            if written && is(event.lock) {
                let sync_points =
                    order.timelines.get(event.thread.index()).map_or(&[][..], |timeline| &timeline.sync_points);
                let seg = sync_points.partition_point(|sync_point| sync_point.at_ns <= event.at_ns) as u32;
                let runs = alone.entry((event.lock, event.thread, event.stack)).or_default();
                if runs.last().is_none_or(|last| last.last != seg) {
                    runs.push(Run { first: seg, last: seg, count: 1 });
                }
            }
        }
    } else {
        // Somewhere in its life, where it wrote more often than it did under other locks.
        for ((thread, site), share) in &session.profile.by_thread {
            let Some(key) = session.profile.sites.get(site.index()).map(|site| site.key) else { continue };
            let under = nested.get(&(*thread, key.lock, key.stack)).copied().unwrap_or(0);
            if key.mode == Mode::Exclusive && is(key.lock) && share.acquisitions > under {
                let last = order.timelines.get(thread.index()).map_or(0, |timeline| timeline.sync_points.len() as u32);
                let run = Run { first: 0, last, count: share.acquisitions };
                alone.insert((key.lock, *thread, key.stack), vec![run]);
            }
        }
    }
    for ((lock, thread, stack), mut runs) in alone {
        runs.sort_unstable_by_key(|run| run.first);
        found.entry(lock).or_default().push(Writer { thread, stack, held: ChainId::EMPTY, runs });
    }
    for writers in found.values_mut() {
        writers.sort_unstable_by_key(|writer| (writer.thread, writer.stack, writer.held));
    }
    found
}
