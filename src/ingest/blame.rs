//! Whose fault a wait was: every moment of it is charged to the one who held the lock then.
//!
//! The shim says who held the lock when the wait began. In a queue that is not the whole story: others take
//! the lock before the waiter gets it. So the holds of contended locks are kept for a while, and a wait is
//! laid over them. What no recorded hold covers (folded, or too long ago) goes to the holder that the shim
//! saw; the moments between a release and the next acquisition go to the hold before them. The parts sum to
//! the wait, and its count goes to the greatest part.
//!
//! In the same way a wait is laid over the calls that were made with the lock held: who wants a lock while its holder is
//! blocked in `fsync` waits for the `fsync`.

use super::runs;
use super::who::Who;
use crate::model::{CallId, CallKey, CallStats, LockId, Session, StackId, ThreadId, WaitEvent, WaitKey};
use rustc_hash::FxHashMap;

/// A time for which a thread had a lock, ns since the start of the session.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From.
    pub start_ns: u64,
    /// To.
    pub end_ns: u64,
    /// The stack that took it.
    pub stack: StackId,
    /// Who.
    pub who: Who,
}

/// A call that may block, with a lock held.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// From, ns since the start of the session.
    pub start_ns: u64,
    /// To.
    pub end_ns: u64,
    /// What is counted.
    pub key: CallKey,
    /// Who.
    pub thread: ThreadId,
}

/// Holds that are kept for each contended lock, at least; twice as many at most.
const KEPT: usize = 2048;
/// Calls that are kept for each lock, as many.
const KEPT_CALLS: usize = 1024;
/// From so many locks with calls on, those that nobody waited for are forgotten at the end of a round.
const CALLED_LOCKS: usize = 1024;
/// Pairs of a waiter and a holder that keep the holder's thread. Later ones have the holder's stack only: ten thousand threads at one lock would make a hundred million pairs.
const PAIRS: usize = 1 << 18;
/// Contended acquisitions that are kept one by one in the recording.
const WAIT_EVENTS: usize = 1 << 18;

/// See the module.
#[derive(Default)]
pub struct Blame {
    locks: Vec<Option<Box<Holds>>>,
    /// Waits read in this round and in the one before: only then all holds in them have been read.
    pending: Vec<(WaitEvent, u32)>,
    ready: Vec<(WaitEvent, u32)>,
    room: Vec<Span>,
    calls: FxHashMap<LockId, Calls>,
    call_room: Vec<Call>,
}

/// The last calls with one lock held.
#[derive(Default)]
struct Calls {
    list: Vec<Call>,
    /// So many of them are in their order.
    sorted: usize,
    /// Functions in which threads wait for something to do.
    for_work: Vec<CallId>,
}

impl Calls {
    /// Lays a wait over them. Who does the same as the holder, and waits for its turn to wait for work, loses nothing.
    fn split(&self, wait: &WaitEvent, mut charge: impl FnMut(CallKey, u64)) {
        let (mut at, end) = (wait.start_ns, wait.start_ns.saturating_add(wait.wait_ns));
        // Calls overlap for readers only: as in `split`.
        const BACK: usize = 64;
        let first = self.list.partition_point(|call| call.start_ns < at).saturating_sub(BACK);
        for call in self.list[first..].iter().take_while(|call| call.start_ns < end) {
            let (from, until) = (call.start_ns.max(at), call.end_ns.min(end));
            let is_turn = call.key.taken == wait.key.waiter && self.for_work.contains(&call.key.call);
            if from < until && call.thread != wait.key.thread && !is_turn {
                charge(call.key, until - from);
                at = until;
            }
        }
    }
}

#[derive(Default)]
struct Holds {
    spans: Vec<Span>,
    /// So many of them are in their order.
    sorted: usize,
}

impl Blame {
    /// Whether the holds of this lock matter.
    #[inline]
    pub fn watches(&self, lock: LockId) -> bool {
        self.locks.get(lock.index()).is_some_and(Option::is_some)
    }

    /// A hold of a lock that is watched.
    pub fn held(&mut self, lock: LockId, span: Span) {
        let Some(Some(holds)) = self.locks.get_mut(lock.index()) else { return };
        if holds.spans.len() == 2 * KEPT {
            holds.spans.drain(..KEPT);
            holds.sorted = holds.sorted.saturating_sub(KEPT);
        }
        holds.spans.push(span);
    }

    /// A call with a lock held. `for_work`: threads wait for something to do in it.
    pub fn called(&mut self, call: Call, for_work: bool) {
        let calls = self.calls.entry(call.key.lock).or_default();
        if for_work && !calls.for_work.contains(&call.key.call) {
            calls.for_work.push(call.key.call);
        }
        if calls.list.len() == 2 * KEPT_CALLS {
            calls.list.drain(..KEPT_CALLS);
            calls.sorted = calls.sorted.saturating_sub(KEPT_CALLS);
        }
        calls.list.push(call);
    }

    /// A wait that is over (`number`: of who waited). From now on the lock is watched, if its row stands for one alone
    /// (`is_one`): holds of others say nothing about this wait.
    pub fn waited(&mut self, wait: WaitEvent, number: u32, is_one: bool) {
        let at = wait.key.lock.index();
        if is_one {
            if at >= self.locks.len() {
                self.locks.resize_with(at + 1, || None);
            }
            self.locks[at].get_or_insert_default();
        }
        self.pending.push((wait, number));
    }

    /// Charges the waits of the round before (`all`: of this one too) to the holds that they fell into.
    pub fn flush(&mut self, session: &mut Session, all: bool) {
        self.charge(session);
        self.ready = std::mem::take(&mut self.pending);
        if all {
            self.charge(session);
        }
        if self.calls.len() > CALLED_LOCKS {
            let waited_for = |lock: &LockId| self.locks.get(lock.index()).is_some_and(Option::is_some);
            self.calls.retain(|lock, _| waited_for(lock));
        }
    }

    fn charge(&mut self, session: &mut Session) {
        let mut parts = Parts::default();
        for (wait, number) in std::mem::take(&mut self.ready) {
            let Some(Some(holds)) = self.locks.get_mut(wait.key.lock.index()) else {
                book(session, wait, &[]);
                continue;
            };
            // What was there before is in order, and so is what each thread added.
            runs::merge(&mut holds.spans, holds.sorted, &mut self.room, |span| span.start_ns);
            holds.sorted = holds.spans.len();
            split(&wait, number, &holds.spans, &mut parts);
            book(session, wait, &parts.list);
            if let Some(calls) = self.calls.get_mut(&wait.key.lock) {
                runs::merge(&mut calls.list, calls.sorted, &mut self.call_room, |call| call.start_ns);
                calls.sorted = calls.list.len();
                let called = &mut session.profile.calls;
                calls.split(&wait, |key, ns| {
                    let blocked = CallStats { waits: 1, blocked_ns: ns, ..CallStats::default() };
                    called.entry(key).or_default().add(&blocked);
                });
            }
        }
    }
}

/// A part of a wait: whose stack, whose thread, how long.
type Part = (StackId, Option<ThreadId>, u64);

/// Holders of one wait that keep their threads. Where more had the lock in turn, they are summed by stack.
const HOLDERS: usize = 64;

/// The parts of one wait, in the order of their first moment. Kept between waits for its memory.
#[derive(Default)]
struct Parts {
    list: Vec<Part>,
    place: FxHashMap<(StackId, Option<ThreadId>), usize>,
    /// Where the last was added: holds that follow each other are often of one stack.
    last: usize,
    by_stack: bool,
}

impl Parts {
    fn clear(&mut self) {
        self.list.clear();
        self.place.clear();
        self.last = 0;
        self.by_stack = false;
    }

    fn add(&mut self, stack: StackId, thread: Option<ThreadId>, ns: u64) {
        let thread = thread.filter(|_| !self.by_stack);
        if self.list.get(self.last).is_some_and(|part| (part.0, part.1) == (stack, thread)) {
            self.list[self.last].2 += ns;
            return;
        }
        let new = self.list.len();
        self.last = *self.place.entry((stack, thread)).or_insert(new);
        if self.last < new {
            self.list[self.last].2 += ns;
        } else {
            self.list.push((stack, thread, ns));
            if new == HOLDERS && !self.by_stack {
                self.leave_threads();
            }
        }
    }

    fn leave_threads(&mut self) {
        let list = std::mem::take(&mut self.list);
        self.clear();
        self.by_stack = true;
        for (stack, _, ns) in list {
            self.add(stack, None, ns);
        }
    }
}

/// Lays a wait over holds that are sorted by their start.
fn split(wait: &WaitEvent, number: u32, spans: &[Span], parts: &mut Parts) {
    parts.clear();
    let (start, end) = (wait.start_ns, wait.start_ns + wait.wait_ns);
    let mut at = start;
    let mut last = (wait.key.holder, wait.key.holder_thread);
    // Holds overlap for readers only, so few that began earlier can still reach into the wait.
    const BACK: usize = 64;
    let first = spans.partition_point(|span| span.start_ns < start).saturating_sub(BACK);
    for span in &spans[first..] {
        if span.start_ns >= end {
            break;
        }
        if span.end_ns <= at || span.who.number == number {
            continue;
        }
        if span.start_ns > at {
            // Between two holds, or before the first that is known.
            parts.add(last.0, last.1, span.start_ns - at);
            at = span.start_ns;
        }
        let until = span.end_ns.min(end);
        parts.add(span.stack, Some(span.who.thread), until - at);
        at = until;
        last = (span.stack, Some(span.who.thread));
    }
    if at < end {
        parts.add(last.0, last.1, end - at);
    }
}

/// Writes the parts down; the wait itself counts once, for the greatest.
fn book(session: &mut Session, mut wait: WaitEvent, parts: &[Part]) {
    let greatest = parts.iter().max_by_key(|part| (part.2, part.0, part.1)).copied();
    let (stack, thread, _) = greatest.unwrap_or((wait.key.holder, wait.key.holder_thread, 0));
    for (holder, holder_thread, ns) in parts.iter().copied() {
        let key = WaitKey { holder, holder_thread, ..wait.key };
        count_wait(session, key, u64::from((holder, holder_thread) == (stack, thread)), ns, ns);
    }
    if parts.is_empty() {
        count_wait(session, wait.key, 1, wait.wait_ns, wait.wait_ns);
    }
    (wait.key.holder, wait.key.holder_thread) = (stack, thread);
    if session.profile.wait_events.len() < WAIT_EVENTS {
        session.profile.wait_events.push(wait);
    } else {
        session.profile.wait_events_dropped += 1;
    }
}

/// Adds waits to a (waiter, holder) pair, for kinds whose waits are contention.
pub fn count_wait(session: &mut Session, mut key: WaitKey, count: u64, wait_ns: u64, max_ns: u64) {
    if session.locks.get(key.lock.index()).is_some_and(|lock| lock.kind.is_lock()) {
        let waits = &mut session.profile.waits;
        if waits.len() >= PAIRS && !waits.contains_key(&key) {
            key.holder_thread = None;
        }
        let stats = waits.entry(key).or_default();
        stats.count += count;
        stats.wait_ns += wait_ns;
        stats.max_ns = stats.max_ns.max(max_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mode;

    const WAITER: ThreadId = ThreadId(0);

    fn wait(start_ns: u64, wait_ns: u64) -> WaitEvent {
        let key = WaitKey {
            lock: LockId(0),
            thread: WAITER,
            waiter: StackId(1),
            mode: Mode::Exclusive,
            holder: StackId(9),
            holder_thread: Some(ThreadId(9)),
        };
        WaitEvent { key, start_ns, wait_ns, hold_ns: 0 }
    }

    fn span(start_ns: u64, end_ns: u64, who: u32) -> Span {
        Span { start_ns, end_ns, stack: StackId(who), who: Who::thread(ThreadId(who)) }
    }

    fn parts(wait: &WaitEvent, spans: &[Span]) -> Vec<(u32, u64)> {
        let mut parts = Parts::default();
        split(wait, WAITER.0, spans, &mut parts);
        let parts = parts.list;
        assert_eq!(parts.iter().map(|part| part.2).sum::<u64>(), wait.wait_ns, "the parts are the wait");
        parts.into_iter().map(|(stack, _, ns)| (stack.0, ns)).collect()
    }

    #[test]
    fn each_moment_goes_to_its_holder() {
        // In a queue: the rest of a short hold, then a long one, each after a short gap.
        let spans = [span(0, 110, 2), span(112, 400, 3), span(403, 500, 4), span(600, 700, 5)];
        assert_eq!(parts(&wait(100, 405), &spans), [(2, 12), (3, 291), (4, 102)]);
    }

    #[test]
    fn what_nobody_recorded_goes_to_the_holder_that_was_seen() {
        assert_eq!(parts(&wait(100, 50), &[]), [(9, 50)]);
        assert_eq!(parts(&wait(100, 50), &[span(120, 130, 2)]), [(9, 20), (2, 30)]);
    }

    #[test]
    fn own_holds_and_overlapping_readers() {
        let spans = [span(50, 160, 0), span(90, 120, 2), span(100, 150, 3)];
        assert_eq!(parts(&wait(100, 50), &spans), [(2, 20), (3, 30)]);
    }

    #[test]
    fn who_waits_while_the_holder_is_in_a_call_waits_for_the_call() {
        let call = |start_ns, end_ns, who: u32, call| {
            let (lock, stack, taken) = (LockId(0), StackId(50), StackId(who));
            Call { start_ns, end_ns, key: CallKey { lock, call: CallId(call), stack, taken }, thread: ThreadId(who) }
        };
        let parts = |calls: &[Call], for_work: &[CallId]| {
            let mut parts = Vec::new();
            let calls = Calls { list: calls.to_vec(), sorted: calls.len(), for_work: for_work.to_vec() };
            calls.split(&wait(100, 400), |key, ns| parts.push((key.taken.0, ns)));
            parts
        };
        // A queue of holders who all make the call; what is before, behind and of the waiter itself counts for nothing.
        let queue =
            [call(20, 90, 2, 0), call(90, 150, 3, 0), call(160, 300, 4, 0), call(310, 320, 0, 0), call(450, 900, 5, 0)];
        assert_eq!(parts(&queue, &[]), [(3, 50), (4, 140), (5, 50)]);
        // Readers beside each other: each moment once.
        assert_eq!(parts(&[call(90, 200, 2, 0), call(110, 150, 3, 0), call(120, 260, 4, 0)], &[]), [(2, 100), (4, 60)]);
        // `wait` was asked for with stack 1, as the first call's lock was: threads that take turns at waiting for work.
        assert_eq!(parts(&[call(100, 300, 1, 7), call(300, 500, 2, 7)], &[CallId(7)]), [(2, 200)]);
        assert_eq!(parts(&[call(100, 300, 1, 7)], &[]), [(1, 200)]);
    }

    #[test]
    fn of_a_crowd_the_stacks_tell() {
        let spans: Vec<Span> = (0..1000)
            .map(|i| Span { stack: StackId(i % 2), ..span(100 + 10 * u64::from(i), 110 + 10 * u64::from(i), i + 10) })
            .collect();
        assert_eq!(parts(&wait(100, 9_000), &spans), [(0, 4_500), (1, 4_500)]);
        let of_two: Vec<Span> =
            (0..1000).map(|i| span(100 + 10 * u64::from(i), 105 + 10 * u64::from(i), 2 + i % 2)).collect();
        assert_eq!(parts(&wait(100, 10_000), &of_two), [(2, 5_000), (3, 5_000)]);
    }
}
