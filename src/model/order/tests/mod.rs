//! The fold against a naive model: random programs of threads that take and give back locks in any order, create
//! and join each other, and are read in any interleaving, with and without overload.

mod program;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::ids::ProcessId;
use program::{Program, Told};

/// A request in full, without the numbers that depend on the order of reading.
type Plain = (ThreadId, LockId, Mode, How, StackId, Vec<GuardLock>);

fn plain(order: &Order, key: &RequestKey) -> Plain {
    let guard = |link: &Link| GuardLock { lock: link.lock, mode: link.mode, stack: link.stack };
    let mut held: Vec<_> = order.chains.walk(key.held).map(guard).collect();
    held.reverse();
    (key.thread, key.lock, key.mode, key.how, key.stack, held)
}

fn requests(order: &Order) -> BTreeMap<Plain, Vec<(u32, u32, u64)>> {
    let runs = |request: &Request| request.runs.iter().map(|run| (run.first, run.last, run.count)).collect();
    order.requests.iter().map(|request| (plain(order, &request.key), runs(request))).collect()
}

/// Reads a program's rings in rounds, as the collector does.
fn read(program: &Program, seed: u64) -> Order {
    let mut random = program::random(seed);
    let (mut order, mut fold) = (Order::default(), Fold::default());
    let mut at = vec![0; program.rings.len()];
    let mut moment = 0;
    while at.iter().zip(&program.rings).any(|(at, ring)| *at < ring.len()) {
        for (ring, thread) in program.rings.iter().zip(0..) {
            moment += random(program.end / 6 + 1);
            let at = &mut at[thread as usize];
            while let Some(told) = ring.get(*at).filter(|told| told.written <= moment) {
                match &told.what {
                    Told::Event(event) => fold.apply(&mut order, ThreadId(thread), *event),
                    Told::Doubt => fold.mark_unreliable(ThreadId(thread)),
                }
                *at += 1;
            }
        }
        fold.flush(&mut order, false);
    }
    fold.flush(&mut order, true);
    for (thread, lock, held, must) in &program.folded {
        let link = |outer, guard: &GuardLock| Link { outer, lock: guard.lock, mode: guard.mode, stack: guard.stack };
        let held = held.iter().fold(ChainId::EMPTY, |outer, guard| order.chains.intern(link(outer, guard)));
        let (thread, GuardLock { lock, mode, stack }) = (*thread, *lock);
        let key = RequestKey { thread, lock, mode, how: How::Block, reacquired: false, stack, held };
        let segments = order.timeline(thread).segments(*must);
        order.requested(key, segments, 1);
    }
    order.log.sort();
    order
}

#[test]
fn every_request_with_what_was_held() {
    for seed in 0..200 {
        let program = Program::random(seed, 0);
        let order = read(&program, seed);
        let found: BTreeMap<Plain, u64> =
            order.requests.iter().map(|request| (plain(&order, &request.key), request.count())).collect();
        assert_eq!(found, program.requests, "seed {seed}");
        assert_eq!(order.dropped, 0);
    }
}

#[test]
fn timelines_and_gates() {
    let mut guards = 0;
    for seed in 0..200 {
        let program = Program::random(seed, 0);
        let order = read(&program, seed);
        for (child, expected) in &program.kin {
            let timeline = &order.timelines[child.index()];
            let (creator, sync_point) = timeline.creator.unwrap();
            assert_eq!(creator, expected.creator, "seed {seed}");
            assert_eq!(
                order.timelines[creator.index()].sync_points[sync_point as usize].what,
                SyncWhat::Created(Some(*child))
            );
            let joined = |sync_point: &&SyncPoint| sync_point.what == SyncWhat::Joined(Some(*child));
            let joins = order.timelines[creator.index()].sync_points.iter().filter(joined).count();
            assert_eq!(joins, usize::from(expected.joined), "seed {seed}: {child:?}");
            assert_eq!(timeline.guards.iter().copied().collect::<BTreeSet<_>>(), expected.guards, "seed {seed}");
            guards += timeline.guards.len();
        }
    }
    assert!(guards > 50, "{guards}");
}

#[test]
fn the_order_of_reading_does_not_show() {
    for seed in 0..60 {
        let program = Program::random(seed, seed % 3);
        let first = read(&program, 1);
        for other in 2..6 {
            let order = read(&program, other);
            assert_eq!(requests(&order), requests(&first), "seed {seed}, {other}");
            assert_eq!(order.timelines, first.timelines, "seed {seed}, {other}");
            let events = |order: &Order| {
                let mut events: Vec<_> = order.log.events().copied().collect();
                events.sort_by_key(|event| (event.thread, event.at_ns.max(event.until_ns)));
                events
            };
            assert_eq!(events(&order), events(&first), "seed {seed}, {other}");
        }
    }
}

/// Where records are folded, no request is lost, and none is made up: at most, some of what was held is unknown.
#[test]
fn overload_loses_no_request() {
    let is_part = |part: &[GuardLock], whole: &[GuardLock]| {
        let mut rest = whole.iter();
        part.iter().all(|guard| rest.any(|other| other == guard))
    };
    let mut folded = 0;
    for seed in 0..300 {
        let program = Program::random(seed, 1 + seed % 4);
        folded += program.folded.len();
        let found = requests(&read(&program, seed));
        let joins = |plain: &Plain| plain.1.0 >= program::JOINS;
        for known in program.requests.keys().filter(|known| !joins(known)) {
            assert!(found.contains_key(known), "seed {seed}: {known:?} of {found:?}");
        }
        for told in found.keys() {
            let (thread, lock, mode, how, stack, held) = told;
            let same =
                |known: &&Plain| (&known.0, &known.1, &known.2, &known.3, &known.4) == (thread, lock, mode, how, stack);
            let whole = program.requests.keys().filter(same).any(|known| is_part(held, &known.5));
            assert!(whole, "seed {seed}: nobody asked for {told:?}");
        }
    }
    assert!(folded > 1000, "{folded}");
}

#[test]
fn the_log_says_what_was_held_when() {
    for seed in 0..50 {
        let program = Program::random(seed, 0);
        let order = read(&program, seed);
        let mut holds: BTreeSet<(ThreadId, LockId, u64, u64)> = BTreeSet::new();
        let mut open: BTreeMap<(ThreadId, LockId), u64> = BTreeMap::new();
        let mut last = 0;
        for event in order.log.events() {
            let end = event.at_ns.max(event.until_ns);
            assert!(last <= end, "events come in the order of their ends");
            last = end;
            let key = (event.thread, event.lock);
            match event.what {
                LoggedWhat::Acquired(_) | LoggedWhat::Tried(..) => assert_eq!(open.insert(key, event.at_ns), None),
                LoggedWhat::Released => {
                    let since = open.remove(&key).unwrap();
                    holds.insert((event.thread, event.lock, since, event.at_ns));
                }
                LoggedWhat::Section(_) => {
                    holds.insert((event.thread, event.lock, event.at_ns, event.until_ns));
                }
                LoggedWhat::SyncPoint => {
                    assert!(event.lock.index() < order.timelines[event.thread.index()].sync_points.len())
                }
            }
        }
        assert_eq!(holds, program.holds, "seed {seed}");
    }
}

fn apply(order: &mut Order, fold: &mut Fold, thread: u32, at_ns: u64, what: What) {
    fold.apply(order, ThreadId(thread), Event { at_ns, stack: StackId(1), what });
}

#[test]
fn segments_between_hard_sync_points() {
    let sync_point = |what| SyncPoint { at_ns: 0, until_ns: 0, what, stack: StackId(0) };
    let soft = || sync_point(SyncWhat::Posted(LockId(0)));
    let must = || sync_point(SyncWhat::Created(None));
    let timeline =
        ThreadTimeline { sync_points: vec![soft(), must(), soft(), soft(), must()], ..ThreadTimeline::default() };
    assert_eq!([0, 1, 2, 3, 9].map(|at| timeline.segments(at)), [(0, 1), (2, 4), (5, 5), (5, 5), (5, 5)]);
    assert_eq!(ThreadTimeline::default().segments(0), (0, 0));
}

#[test]
fn a_thread_that_keeps_its_lock_gives_nothing_back() {
    let (mut order, mut fold) = (Order::default(), Fold::default());
    let mode = Mode::Exclusive;
    let take = |lock, position| What::Acquired {
        lock: LockId(lock),
        mode,
        how: How::Block,
        reacquired: false,
        position,
        restart: false,
    };
    let process = ProcessId(0);
    apply(&mut order, &mut fold, 0, 1, What::Started { process, key: 0, token: 0 });
    apply(&mut order, &mut fold, 0, 2, take(1, 0));
    apply(&mut order, &mut fold, 0, 3, take(2, 1));
    apply(&mut order, &mut fold, 0, 4, What::Kept { position: 1, lock: LockId(2), mode });
    apply(&mut order, &mut fold, 0, 5, What::Released { position: 0, lock: LockId(1) });
    apply(&mut order, &mut fold, 0, 6, What::Kept { position: 0, lock: LockId(3), mode });
    apply(&mut order, &mut fold, 0, 7, What::Ended);
    let told: Vec<_> = order.log.events().map(|event| (event.lock.0, event.what)).collect();
    let taken = LoggedWhat::Acquired(mode);
    assert_eq!(told, [(1, taken), (2, taken), (1, LoggedWhat::Released), (3, taken)]);
}

#[test]
fn what_never_waits_makes_no_request_but_is_held() {
    let (mut order, mut fold) = (Order::default(), Fold::default());
    let take = |lock, position, how| What::Acquired {
        lock: LockId(lock),
        mode: Mode::Exclusive,
        how,
        reacquired: false,
        position,
        restart: false,
    };
    apply(&mut order, &mut fold, 0, 2, take(1, 0, How::Block));
    apply(&mut order, &mut fold, 0, 3, take(2, 1, How::Try));
    apply(&mut order, &mut fold, 0, 4, take(3, 2, How::Timed));
    let wanted = What::Wanted { lock: LockId(1), mode: Mode::Exclusive, how: How::Block };
    apply(&mut order, &mut fold, 0, 5, wanted);
    let told: Vec<_> = order.requests.iter().map(|request| (request.key.lock.0, request.unanswered)).collect();
    assert_eq!(told, [(3, false), (1, true)]);
    assert_eq!(order.chains.walk(order.requests[1].key.held).count(), 3);
    assert!(order.is_cyclic(|_| false));
}

#[test]
fn a_cycle_in_the_graph() {
    let cyclic = |edges: &[(u32, u32)]| {
        let mut order = Order::default();
        for (held, wanted) in edges {
            let stack = StackId(0);
            let link = Link { outer: ChainId::EMPTY, lock: LockId(*held), mode: Mode::Shared, stack };
            let key = RequestKey {
                thread: ThreadId(0),
                lock: LockId(*wanted),
                mode: Mode::Shared,
                how: How::Block,
                reacquired: false,
                stack,
                held: order.chains.intern(link),
            };
            order.requested(key, (0, 0), 1);
        }
        order.is_cyclic(|lock| lock.0 == 99)
    };
    assert!(!cyclic(&[]) && !cyclic(&[(1, 2), (2, 3), (1, 3), (4, 3)]));
    assert!(cyclic(&[(1, 2), (2, 3), (3, 4), (4, 2)]) && cyclic(&[(1, 1)]) && cyclic(&[(1, 99)]));
}

#[test]
fn the_log_keeps_the_latest_and_says_so() {
    let mut log = Log::default();
    let event = |at_ns| Logged {
        at_ns,
        until_ns: 0,
        thread: ThreadId(0),
        lock: LockId(0),
        stack: StackId(0),
        what: LoggedWhat::Released,
    };
    let most = 2 * Log::KEPT as u64;
    (1..=most).for_each(|at_ns| log.push(event(at_ns)));
    assert!(log.len() >= Log::KEPT && log.len() as u64 + log.dropped == most);
    assert_eq!(log.events().next().unwrap().at_ns, log.complete_from_ns + 1);
    let (len, dropped) = (log.len(), log.dropped);
    log.sort();
    assert_eq!((log.len(), log.dropped, log.complete_from_ns), (len, dropped, dropped));
}
