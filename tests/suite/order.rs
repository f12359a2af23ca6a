//! The order in which locks are taken, from the program to the trace: what was held at each request, who created and
//! joined whom, what was never answered. Overload loses none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use lockprof::ingest::{collector::Collector, file};
use lockprof::model::order::{How, MisuseKind, Request, SyncWhat};
use lockprof::model::{Kind, LockId, Mode, Session, ThreadId};
use lockprof_wire::ENV_SESSION;

use crate::util::run::{LIMIT, finish, folder};
use crate::util::story::facts;
use crate::util::{Outcome, Target, fixture};

/// What was recorded, and what the program calls its locks.
struct Seen {
    session: Session,
    names: BTreeMap<u64, String>,
    facts: Vec<(String, u64)>,
}

impl Seen {
    fn new(session: Session, outcome: &Outcome) -> Self {
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        let facts = facts(outcome);
        let mut names: BTreeMap<_, _> = facts.iter().map(|(name, at)| (*at, name.clone())).collect();
        if let Some((_, many)) = facts.iter().find(|(name, _)| name == "many") {
            let size = size_of::<libc::pthread_mutex_t>() as u64;
            names.extend((0..200).map(|at| (many + at * size, format!("many{at}"))));
        }
        Self { session, names, facts }
    }

    /// Runs a program under the recorder.
    fn recorded(program: &str, args: &[&str]) -> Self {
        let recording = Target::new(fixture(program)).args(args).record();
        Self::new(file::read(&recording.trace).expect("a trace"), &recording.outcome)
    }

    /// Runs it with the library alone, and looks only when it is over: the rings are full long before.
    fn read_too_late(program: &str, args: &[&str]) -> Self {
        let segments = folder();
        let mut command = Command::new(fixture(program));
        command.args(args).env("LD_PRELOAD", env!("LIBLOCKPROF_SHIM")).env(ENV_SESSION, segments.path());
        let outcome = finish(&mut command, LIMIT);
        Self::new(Collector::of_the_past(segments.path()).finish().session, &outcome)
    }

    fn name(&self, lock: LockId) -> String {
        let lock = self.session.lock(lock);
        let name = self.names.get(&lock.address).cloned();
        name.unwrap_or_else(|| if lock.kind == Kind::Join { "join".into() } else { "?".into() })
    }

    fn held(&self, request: &Request) -> Vec<LockId> {
        let mut held: Vec<_> = self.session.order.chains.walk(request.key.held).map(|link| link.lock).collect();
        held.reverse();
        held
    }

    /// A request in words: `a b > c timed`.
    fn in_words(&self, request: &Request) -> String {
        let in_mode = |lock, mode| format!("{}{}", self.name(lock), if mode == Mode::Shared { "*" } else { "" });
        let mut held: Vec<_> =
            self.session.order.chains.walk(request.key.held).map(|link| in_mode(link.lock, link.mode)).collect();
        held.reverse();
        let key = &request.key;
        let how = match key.how {
            How::Block => "",
            How::Timed => " timed",
            How::Try => " try",
        };
        let reacquired = if key.reacquired { " reacquired" } else { "" };
        let unanswered = if request.unanswered { " unanswered" } else { "" };
        format!("{} > {}{how}{reacquired}{unanswered}", held.join(" "), in_mode(key.lock, key.mode))
    }

    /// All requests in words, with how often each was made.
    fn requests(&self) -> Vec<String> {
        assert_eq!(self.session.order.dropped, 0, "{:?}", self.session.coverage.notes);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for request in &self.session.order.requests {
            *counts.entry(self.in_words(request)).or_default() += request.count();
        }
        counts.into_iter().map(|(words, count)| format!("{words} x{count}")).collect()
    }

    /// Threads that were created, with the locks that guard them.
    fn children(&self) -> Vec<(ThreadId, Vec<String>)> {
        let timelines = self.session.order.timelines.iter().zip(0..);
        timelines
            .filter(|(timeline, _)| timeline.creator.is_some())
            .map(|(timeline, at)| (ThreadId(at), timeline.guards.iter().map(|gate| self.name(gate.lock)).collect()))
            .collect()
    }

    fn sync_points(&self, thread: ThreadId) -> Vec<SyncWhat> {
        self.session.order.timelines[thread.index()].sync_points.iter().map(|sync_point| sync_point.what).collect()
    }
}

#[test]
fn requests_under_held_locks() {
    let stories: [(&str, &[&str]); 8] = [
        ("plain", &["a > b x2", "a > c x1", "a b > c x1"]),
        ("recursive", &["a > r x1", "r > a x1"]),
        ("shared", &["rw > a x1", "rw* > a x1", "rw* > rw* x1"]),
        ("ways", &["a b > c timed x1"]),
        ("hand-over-hand", &["a > b x1", "b > c x1", "c > d x1"]),
        ("out-of-order", &["a > b x1", "a b > c x1", "c > d x1"]),
        ("waiting", &["a > b x1", "b > a reacquired x1"]),
        ("twice", &[]),
    ];
    for (story, expected) in stories {
        assert_eq!(Seen::recorded("nested", &[story]).requests(), expected, "{story}");
    }
}

#[test]
fn a_semaphore_that_is_a_lock_takes_part_until_it_is_none() {
    let seen = Seen::recorded("nested", &["binary"]);
    assert_eq!(seen.requests(), ["a > b x1", "one > a x1"]);
    let one = seen.session.locks.iter().find(|lock| lock.kind == Kind::Semaphore).expect("the semaphore");
    assert!(one.traits.handed_over, "{:?}", one.traits);
}

#[test]
fn more_held_than_a_slot_has_room_for() {
    let seen = Seen::recorded("nested", &["overflow"]);
    let order = &seen.session.order;
    let mut depths: Vec<_> = order.requests.iter().map(|request| seen.held(request).len()).collect();
    depths.sort_unstable();
    assert_eq!(depths, (1..200).collect::<Vec<_>>());
    let deepest = order.requests.iter().max_by_key(|request| seen.held(request).len()).expect("a request");
    let held: Vec<_> = seen.held(deepest).into_iter().map(|lock| seen.name(lock)).collect();
    assert_eq!(held, (0..199).map(|at| format!("many{at}")).collect::<Vec<_>>());
}

#[test]
fn threads_under_their_creators_locks() {
    let stories: [(&str, &[&str], &[&str]); 5] = [
        ("guarded", &["a > join x1", "b > c x1"], &["a"]),
        ("guarded-and-told", &["a > b x1", "a > join x1", "b > c x1"], &["a"]),
        ("guarded-by-two", &["a > b x2", "a > join x1", "b > c x1"], &["a"]),
        ("taken-too-late", &["a > join x1", "b > c x1"], &[]),
        ("given-back-too-early", &["b > c x1"], &[]),
    ];
    for (story, requests, gates) in stories {
        let seen = Seen::recorded("order_kin", &[story]);
        assert_eq!(seen.requests(), requests, "{story}");
        let children = seen.children();
        assert_eq!(children.len(), 1, "{story}");
        assert_eq!(children[0].1, gates, "{story}");
    }
}

#[test]
fn every_thread_has_its_creator_and_is_joined() {
    for seen in [
        Seen::recorded("order_kin", &["one-after-the-other"]),
        Seen::read_too_late("order_kin", &["one-after-the-other"]),
    ] {
        let children = seen.children();
        assert_eq!(children.len(), 300);
        let (creator, _) = seen.session.order.timelines[children[0].0.index()].creator.expect("a creator");
        let sync_points = seen.sync_points(creator);
        for (child, _) in children {
            let created = SyncWhat::Created(Some(child));
            let places: Vec<_> = sync_points.iter().filter(|what| **what == created).collect();
            assert_eq!(places.len(), 1, "{child:?}");
        }
        // Each is joined before the next one is created.
        let joined =
            |pair: &[SyncWhat]| matches!(pair, [SyncWhat::Created(who), SyncWhat::Joined(whom)] if who == whom);
        assert!(sync_points.len() == 600 && sync_points.chunks(2).all(joined), "{sync_points:?}");
    }
}

#[test]
fn what_was_never_answered() {
    let stories: [(&str, &str); 3] = [
        ("unanswered", "b > a unanswered x1"),
        ("unanswered-join", "c > join unanswered x1"),
        ("self", "a > a unanswered x1"),
    ];
    for (story, expected) in stories {
        assert_eq!(Seen::recorded("order_kin", &[story]).requests(), [expected], "{story}");
    }
}

#[test]
fn a_lock_that_a_thread_takes_with_it() {
    let seen = Seen::recorded("order_kin", &["kept"]);
    let misuses = &seen.session.order.misuses;
    let told: Vec<_> =
        misuses.iter().map(|(misuse, (_, count))| (misuse.kind, seen.name(misuse.lock), *count)).collect();
    assert_eq!(told, [(MisuseKind::HeldAtThreadExit, "a".to_owned(), 1)]);
    let robust = seen.session.locks.iter().filter(|lock| lock.traits.robust).count();
    assert_eq!(robust, 1);
}

#[test]
fn hand_overs_are_marks() {
    let seen = Seen::recorded("order_kin", &["handed-over"]);
    let [(child, _)] = seen.children()[..] else { panic!("one child") };
    let posted: Vec<_> = (seen.sync_points(child).into_iter())
        .map(|what| match what {
            SyncWhat::Posted(lock) => seen.name(lock),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(posted, ["ready", "cond"]);
    let (parent, _) = seen.session.order.timelines[child.index()].creator.expect("a creator");
    let taken = |what: &SyncWhat| matches!(what, SyncWhat::Taken(lock) if seen.name(*lock) == "ready");
    assert_eq!(seen.sync_points(parent).iter().filter(|what| taken(what)).count(), 1);
}

/// What was held, as bits by the locks' numbers, and what was wanted.
fn held_and_wanted(seen: &Seen) -> BTreeSet<(u64, u64)> {
    let number = |lock| {
        let name = seen.name(lock);
        name.strip_prefix("lock.").map(|number| number.parse::<u64>().expect("a number"))
    };
    let requests = seen.session.order.requests.iter().filter_map(|request| {
        let held = seen.held(request).into_iter().map(|lock| 1 << number(lock).expect("a lock")).sum();
        Some((held, number(request.key.lock)?))
    });
    requests.collect()
}

#[test]
fn overload_loses_no_request() {
    let storm = ["8", "20000"];
    for seen in [Seen::recorded("order_storm", &storm), Seen::read_too_late("order_storm", &storm)] {
        assert_eq!(seen.session.order.dropped, 0, "{:?}", seen.session.coverage.notes);
        let facts = seen.facts.iter().filter_map(|(name, _)| name.strip_prefix("held.")?.split_once('.'));
        let expected: BTreeSet<(u64, u64)> =
            facts.map(|(held, wanted)| (held.parse().expect("a mask"), wanted.parse().expect("a number"))).collect();
        let found = held_and_wanted(&seen);
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(expected.len() > 100 && missing.is_empty(), "{missing:?} of {}", expected.len());
        // Where a ring was full, a part of what was held may be unknown, but nothing is made up.
        for (held, wanted) in found.difference(&expected) {
            let whole = expected.iter().any(|(more, same)| same == wanted && more & held == *held);
            assert!(whole, "{held:#b} > {wanted}");
        }
        assert!(seen.session.coverage.complete());
    }
}
