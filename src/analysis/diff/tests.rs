use super::*;
use crate::analysis::testing::{Builder, server};
use crate::model::{Mode, Module};

fn question() -> Question {
    Question { floor_ns: DEFAULT_FLOOR_NS, ..Question::default() }
}

#[test]
fn a_recording_does_not_differ_from_itself() {
    let session = server();
    let diff = Diff::of(&session, &session, &question());
    assert_eq!((diff.scale, diff.old), (1.0, diff.new));
    assert!(diff.locks.iter().all(|lock| lock.old == lock.new));
    assert!(diff.worse(0.0).is_empty() && !diff.all_worse(0.0) && diff.notes.is_empty());
    let wait: u64 = diff.locks.iter().filter_map(|lock| lock.new).map(|figures| figures.wait_ns).sum();
    assert_eq!(wait, diff.new.wait_ns);
}

/// Waits of 2 ms each for the locks of one class, and one other lock.
fn waits(times: [u64; 3]) -> Session {
    let mut b = Builder::new();
    let thread = b.thread("t");
    let locks = ["a", "b", "other"].map(|name| b.lock(name, Kind::Mutex));
    b.session.locks[0].class = "server+0x1".into();
    b.session.locks[1].class = "server+0x1".into();
    let [waiter, holder] = ["wait_here", "hold_here"].map(|name| b.stack(&[(name, "x.c", 3), ("main", "x.c", 9)]));
    for (lock, times) in locks.into_iter().zip(times) {
        for _ in 0..times {
            b.wait(lock, thread, waiter, Mode::Exclusive, 2_000_000, 10, Some((thread, holder)));
        }
    }
    b.session
}

#[test]
fn locks_of_one_class_are_added_up() {
    let (old, new) = (waits([1, 9, 3]), waits([20, 20, 0]));
    let diff = Diff::of(&old, &new, &question());
    assert_eq!(diff.locks.len(), 2);
    let class = &diff.locks[0];
    assert_eq!(class.values(Measure::Wait), (20_000_000, 80_000_000));
    assert_eq!(class.values(Measure::Count), (10, 40));
    assert_eq!((class.waiters.len(), class.waiters[0].new_count), (1, 40));
    assert_eq!((class.holders[0].old_ns, class.holders[0].new_ns), (20_000_000, 80_000_000));
    assert_eq!(diff.worse(0.1).len(), 1);
    assert!(diff.worse(3.0).is_empty(), "four times is not more than four times");
    let gone = &diff.locks[1];
    assert!(gone.new.is_none() && gone.old.unwrap().contended == 3);
}

#[test]
fn totals_are_scaled_to_the_same_duration() {
    let (mut old, new) = (waits([10, 0, 0]), waits([20, 0, 0]));
    old.meta.duration_ns /= 2;
    let diff = Diff::of(&old, &new, &question());
    assert_eq!(diff.scale, 2.0);
    assert_eq!(diff.locks[0].values(Measure::Wait), (40_000_000, 40_000_000));
    assert!(diff.worse(0.0).is_empty());
    let diff = Diff::of(&old, &new, &Question { absolute: true, ..question() });
    assert_eq!(diff.locks[0].values(Measure::Wait), (20_000_000, 40_000_000));
    assert_eq!(diff.worse(0.5).len(), 1);
    old.meta.duration_ns = 0;
    let diff = Diff::of(&old, &new, &question());
    assert!(diff.scale == 1.0 && diff.notes == [Note::UnknownDuration]);
}

#[test]
fn noise_is_not_judged() {
    let (old, new) = (waits([0, 0, 1]), waits([0, 0, 2]));
    let judge = |floor, measure| {
        let filter = Filter { min_wait_ns: floor, ..Filter::default() };
        Diff::of(&old, &new, &Question { filter, measure, floor_ns: floor, ..question() }).worse(0.1).len()
    };
    assert_eq!((judge(0, Measure::Wait), judge(3_000_000, Measure::Wait)), (1, 0));
    assert_eq!((judge(0, Measure::Count), judge(5_000_000, Measure::Count)), (1, 0));
    assert_eq!(judge(0, Measure::P99), 0, "two waits have no percentile");
}

/// Another build: modules, addresses and classes moved; names stay.
#[test]
fn names_match_what_classes_do_not() {
    let (old, mut new) = (server(), server());
    new.stacks.modules[0] = Module { path: "/elsewhere/server2".into(), build_id: vec![9] };
    for lock in &mut new.locks {
        lock.class = format!("{}moved", lock.class);
        lock.address += 0x1000;
    }
    let diff = Diff::of(&old, &new, &question());
    let named: Vec<_> = diff.locks.iter().filter(|lock| !lock.name.contains("server+")).collect();
    assert!(named.len() >= 4 && named.iter().all(|lock| lock.old == lock.new), "{named:?}");
    assert!(named.iter().flat_map(|lock| &lock.waiters).all(|stack| stack.old_ns == stack.new_ns));
}

#[test]
fn what_is_missing_is_told() {
    let (mut old, mut new) = (waits([1, 1, 1]), waits([1, 1, 1]));
    old.coverage.lost = 7;
    new.meta.cut = true;
    let diff = Diff::of(&old, &new, &question());
    assert!(matches!(diff.notes[0], Note::Missing(Which::Old, Missing::Lost { lost: 7, .. })));
    assert_eq!(diff.notes[1], Note::Missing(Which::New, Missing::Cut));
    let diff = Diff::of(&Session::default(), &Session::default(), &question());
    assert!(diff.locks.is_empty() && diff.notes.len() == 2);
}

proptest::proptest! {
    /// Whatever a broken trace says, the comparison ends, and the other way round has the same locks.
    #[test]
    fn any_two_compare(
        a in crate::model::arbitrary::arbitrary_session(), b in crate::model::arbitrary::arbitrary_session(),
    ) {
        let there = Diff::of(&a, &b, &question());
        let back = Diff::of(&b, &a, &question());
        proptest::prop_assert_eq!(there.locks.len(), back.locks.len());
        there.worse(0.1);
    }
}
