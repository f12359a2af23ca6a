//! Sizes: what must not take long, and must not take many entries.

use std::time::{Duration, Instant};

use crate::analysis::order::{Class, Orders, orders};
use crate::analysis::testing::Builder;
use crate::model::order::{Event, Fold, How, What};
use crate::model::{Kind, LockId, Mode, ProcessId, Session, StackId, ThreadId};

/// A recording built event by event.
struct Tape {
    builder: Builder,
    fold: Fold,
    now: u64,
    stacks: Vec<StackId>,
}

impl Tape {
    fn new() -> Self {
        let mut builder = Builder::new();
        let names = ["debit", "credit", "guard", "inner", "create", "join", "wait"];
        let stacks = names.iter().map(|name| builder.stack(&[(name, "bank.c", 1)])).collect();
        Self { builder, fold: Fold::default(), now: 0, stacks }
    }

    fn thread(&mut self, creator: Option<ThreadId>) -> ThreadId {
        let thread = self.builder.thread("worker");
        let token = if creator.is_some() { thread.0 + 1 } else { 0 };
        if let Some(creator) = creator {
            self.push(creator, 4, What::Created { token });
        }
        let key = u64::from(thread.0) + 1;
        self.push(thread, 4, What::Started { process: ProcessId(0), key, token });
        thread
    }

    fn join(&mut self, joiner: ThreadId, child: ThreadId) {
        self.push(child, 5, What::Ended);
        let key = u64::from(child.0) + 1;
        self.push(joiner, 5, What::Joined { lock: LockId(0), key, until_ns: self.now });
    }

    fn locks(&mut self, count: usize) -> Vec<LockId> {
        let lock = |at: usize, builder: &mut Builder| {
            let lock = builder.lock("acct->lock", Kind::Mutex);
            builder.session.locks[lock.index()].class = "mutex@bank!make_account:3".into();
            assert_eq!(lock.index() % count.max(1), at % count.max(1), "all at once");
            lock
        };
        (0..count).map(|at| lock(at, &mut self.builder)).collect()
    }

    fn push(&mut self, thread: ThreadId, stack: usize, what: What) {
        self.now += 10;
        let event = Event { at_ns: self.now, stack: self.stacks[stack], what };
        self.fold.apply(&mut self.builder.session.order, thread, event);
    }

    fn take(&mut self, thread: ThreadId, stack: usize, lock: LockId, position: u32) {
        let (mode, how) = (Mode::Exclusive, How::Block);
        self.push(thread, stack, What::Acquired { lock, mode, how, reacquired: false, position, restart: false });
    }

    fn give(&mut self, thread: ThreadId, lock: LockId, position: u32) {
        self.push(thread, 0, What::Released { position, lock });
    }

    /// Takes locks one under the other, all at the same place but the first, and gives them back.
    fn nest(&mut self, thread: ThreadId, locks: &[LockId]) {
        for (position, lock) in (0u32..).zip(locks) {
            self.take(thread, usize::from(position > 0), *lock, position);
        }
        for (position, lock) in (0u32..).zip(locks).collect::<Vec<_>>().into_iter().rev() {
            self.give(thread, *lock, position);
        }
    }

    fn classified(mut self, limit: Duration) -> (Session, Orders) {
        self.fold.flush(&mut self.builder.session.order, true);
        let begin = Instant::now();
        let orders = orders(&self.builder.session);
        let took = begin.elapsed();
        println!("{took:?}, {} cycles {:?}", orders.cycles.len(), orders.notes);
        // Generous: a debug build on a busy machine.
        assert!(took < limit, "{took:?}");
        (self.builder.session, orders)
    }
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_pattern_of_many_instances() {
    let mut tape = Tape::new();
    let locks = tape.locks(2);
    let main = tape.thread(None);
    let threads = [tape.thread(Some(main)), tape.thread(Some(main))];
    for at in 0..100_000 {
        let pair = if at % 2 == 0 { [locks[0], locks[1]] } else { [locks[1], locks[0]] };
        tape.nest(threads[at % 2], &pair);
    }
    let (_, orders) = tape.classified(SOON);
    assert_eq!((orders.cycles.len(), orders.cycles[0].class), (1, Class::Feasible));
    assert_eq!(orders.cycles[0].legs[0].count, 50_000);
}

#[test]
fn many_instances_none_of_which_is_reached() {
    // Each hands over to the next by a lock that is taken before and behind.
    let mut tape = Tape::new();
    let locks = tape.locks(3);
    let main = tape.thread(None);
    let threads = [tape.thread(Some(main)), tape.thread(Some(main))];
    for at in 0..50_000 {
        let pair = if at % 2 == 0 { [locks[0], locks[1]] } else { [locks[1], locks[0]] };
        tape.nest(threads[at % 2], &[locks[2]]);
        tape.nest(threads[at % 2], &pair);
        tape.nest(threads[at % 2], &[locks[2]]);
    }
    let (_, orders) = tape.classified(SOON);
    assert_eq!((orders.cycles.len(), orders.cycles[0].class), (1, Class::Possible));
}

#[test]
fn thousands_of_threads_that_do_the_same() {
    let mut tape = Tape::new();
    let locks = tape.locks(3);
    let main = tape.thread(None);
    for at in 0..2_000 {
        let thread = tape.thread(Some(main));
        let pair = if at % 2 == 0 { [locks[0], locks[1]] } else { [locks[1], locks[0]] };
        tape.nest(thread, &[locks[2], pair[0], pair[1]]);
    }
    let (_, orders) = tape.classified(SOON);
    assert_eq!((orders.cycles.len(), orders.cycles[0].class), (1, Class::Guarded));
}

#[test]
fn thousands_of_threads_one_after_the_other() {
    let mut tape = Tape::new();
    let locks = tape.locks(2);
    let main = tape.thread(None);
    for at in 0..2_000 {
        let thread = tape.thread(Some(main));
        let pair = if at % 2 == 0 { [locks[0], locks[1]] } else { [locks[1], locks[0]] };
        tape.nest(thread, &pair);
        tape.join(main, thread);
    }
    let (_, orders) = tape.classified(SOON);
    assert_eq!((orders.cycles.len(), orders.cycles[0].class), (1, Class::Ordered));
}

#[test]
fn two_crowds_at_a_barrier() {
    let mut tape = Tape::new();
    let locks = tape.locks(2);
    let barrier = tape.builder.lock("phase", Kind::Barrier);
    let main = tape.thread(None);
    let threads: Vec<_> = (0..1_000).map(|_| tape.thread(Some(main))).collect();
    threads.iter().for_each(|thread| tape.nest(*thread, &[locks[0], locks[1]]));
    let until_ns = tape.now + 10 * threads.len() as u64 + 10;
    let count = threads.len() as u32;
    threads.iter().for_each(|thread| tape.push(*thread, 6, What::Barrier { lock: barrier, count, until_ns }));
    tape.now = until_ns;
    threads.iter().for_each(|thread| tape.nest(*thread, &[locks[1], locks[0]]));
    let (_, orders) = tape.classified(SOON);
    assert_eq!((orders.cycles.len(), orders.cycles[0].class), (1, Class::Ordered));
}

#[test]
fn short_lived_pairs_of_locks() {
    let mut tape = Tape::new();
    let locks = tape.locks(100_000);
    let main = tape.thread(None);
    let threads = [tape.thread(Some(main)), tape.thread(Some(main))];
    for pair in locks.chunks(2) {
        tape.nest(threads[0], pair);
        tape.nest(threads[1], &[pair[1], pair[0]]);
    }
    let (_, orders) = tape.classified(SOON);
    assert_eq!((orders.cycles.len(), orders.cycles[0].instances), (1, 50_000));
    assert!(orders.cycles[0].fails);
}

#[test]
fn a_bank_is_one_entry() {
    let mut tape = Tape::new();
    let locks = tape.locks(1_000);
    let main = tape.thread(None);
    let threads: Vec<_> = (0..4).map(|_| tape.thread(Some(main))).collect();
    let mut at = 7usize;
    for number in 0..200_000 {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, to) = ((at >> 33) % 1_000, (at >> 45) % 1_000);
        if from != to {
            tape.nest(threads[number % 4], &[locks[from], locks[to]]);
        }
    }
    let (_, orders) = tape.classified(SOON);
    let lengths: Vec<_> = orders.cycles.iter().map(|cycle| cycle.legs.len()).collect();
    // The threads hand so many accounts over to each other that no schedule is certain.
    let worst = &orders.cycles[0];
    assert_eq!((worst.legs.len(), worst.class, worst.fails), (2, Class::Possible, true), "{lengths:?}");
    assert_eq!(worst.component, Some(1_000));
    assert!(lengths.len() <= 2, "one of each length: {lengths:?}");
}

#[test]
fn locks_nested_deeply() {
    let mut tape = Tape::new();
    let locks = tape.locks(2_000);
    let main = tape.thread(None);
    tape.nest(main, &locks);
    let thread = tape.thread(Some(main));
    let back: Vec<_> = locks.iter().rev().take(2).copied().collect();
    tape.nest(thread, &back);
    let (_, orders) = tape.classified(SOON);
    assert_eq!((orders.cycles.len(), orders.cycles[0].class), (1, Class::Ordered));
}
