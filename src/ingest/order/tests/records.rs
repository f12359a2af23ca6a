//! What comes one by one.

use super::*;

#[test]
fn nested_holds_become_requests_and_sections_events() {
    let mut made = TestImage::new();
    made.read(&[section(1, 1), open(10, 1, 0), open(11, 2, 1), closed(11, 2, 1), closed(10, 1, 0), section(30, 3)]);
    made.read(&[section(40, MANY), with(Flags::REENTRY, section(50, 1))]);
    assert_eq!(made.requests(), BTreeMap::from([((vec![1], 2), 1)]));
    let order = made.finish();
    let told: Vec<_> = order.log.events().map(|event| (event.at_ns, event.what)).collect();
    use LoggedWhat::*;
    let mode = Mode::Exclusive;
    assert_eq!(
        told,
        [
            (1, Section(mode)),
            (10, Acquired(mode)),
            (11, Acquired(mode)),
            (15, Released),
            (16, Released),
            (30, Section(mode))
        ]
    );
    assert_eq!((order.log.complete_from_ns, order.dropped), (0, 0));
}

#[test]
fn without_nesting_nothing_is_kept() {
    let mut made = TestImage::new();
    (0..5).for_each(|round| made.read(&[section(round * 10, 1)]));
    assert!(made.finish().log.is_empty());
    assert!(!made.session.profile.sites.is_empty());
}

#[test]
fn a_small_programs_rounds_before_the_first_nesting_are_kept() {
    let mut made = TestImage::new();
    (1..6).for_each(|round| made.read(&[section(round * 10, 1)]));
    made.read(&[open(100, 1, 0), open(101, 2, 1)]);
    let order = made.finish();
    let sections = order.log.events().filter(|event| matches!(event.what, LoggedWhat::Section(_)));
    assert_eq!(sections.map(|event| event.at_ns).collect::<Vec<_>>(), [10, 20, 30, 40, 50]);
    assert_eq!(order.log.complete_from_ns, 0);
}

#[test]
fn of_a_large_one_the_last_rounds_are_kept() {
    const EACH: u64 = 8_000;
    let mut made = TestImage::new();
    for round in 1..6 {
        let sections: Vec<Record> = (0..EACH).map(|at| section(round * 100_000 + at * 10, 1)).collect();
        made.read(&sections);
    }
    made.read(&[open(1_000_000, 1, 0), open(1_000_001, 2, 1)]);
    let order = made.finish();
    let sections: Vec<u64> = (order.log.events())
        .filter(|event| matches!(event.what, LoggedWhat::Section(_)))
        .map(|event| event.at_ns)
        .collect();
    assert_eq!((sections.len() as u64, sections[0]), (2 * EACH, 400_000));
    assert_eq!(order.log.complete_from_ns, 0, "what is missing does not matter");
}

#[test]
fn flags_say_how_and_what_takes_no_part() {
    let mut made = TestImage::new();
    made.read(&[
        with(Flags::SHARED, open(1, 1, 0)),
        with(Flags::TRY, open(2, 2, 1)),
        with(Flags::REENTRY, open(3, 2, 2)),
        with(Flags::TIMED, open(4, 3, 3)),
        with(Flags::REACQUIRED, open(5, SEMAPHORE, 4)),
        with(Flags::CONTINUED, open(6, 4, 5)),
        open(7, MANY, 6),
    ]);
    let told: Vec<_> = made.session.order.requests.iter().map(|request| request.key).collect();
    assert_eq!(told.len(), 2, "tries, re-entries and what goes on ask for nothing");
    assert_eq!((told[0].how, told[0].reacquired), (How::Timed, false));
    assert_eq!((told[1].how, told[1].reacquired), (How::Block, true));
    let held: Vec<_> =
        made.session.order.chains.walk(told[1].held).map(|link| (made.lock(link.lock), link.mode)).collect();
    assert_eq!(held, [(3, Mode::Exclusive), (2, Mode::Exclusive), (1, Mode::Shared)]);
    assert_eq!(made.session.order.dropped, 1, "a row that stands for many");
}

#[test]
fn a_restart_tells_what_is_still_held() {
    let mut made = TestImage::new();
    made.read(&[open(1, 1, 0), open(2, 2, 1)]);
    let again = record(Op::EarlyAcquire, 1, 1, extra_hold(0) | RESTART);
    made.read(&[again, open(9, 3, 1), closed(9, 3, 1), closed(1, 1, 0)]);
    assert_eq!(made.requests(), BTreeMap::from([((vec![1], 2), 1), ((vec![1], 3), 1)]));
}

#[test]
fn sync_points() {
    let mut made = TestImage::new();
    let done = |lock, extra| record(Op::Done, 10, lock, extra);
    made.read(&[
        Record { stack: 7, extra: 99, ..record(Op::ThreadStart, 0, 1, 0) },
        Record { stack: 2, ..record(Op::Created, 1, 0, 33) },
        done(BARRIER, 4),
        done(SEMAPHORE, 0),
        done(CONDVAR, 0),
        done(JOIN, 0),
        record(Op::Posted, 20, CONDVAR, 0),
        record(Op::Posted, 21, 1, 0),
        record(Op::ThreadEnd, 30, 0, 0),
    ]);
    let timeline = &made.session.order.timelines[made.session.threads.len() - 1];
    let what: Vec<_> = (timeline.sync_points.iter())
        .map(|sync_point| match sync_point.what {
            SyncWhat::Created(None) => (0, 0),
            SyncWhat::Joined(None) => (1, 0),
            SyncWhat::Barrier { lock, count } => (made.lock(lock), count),
            SyncWhat::Posted(lock) => (made.lock(lock), 100),
            SyncWhat::Taken(lock) => (made.lock(lock), 200),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(what, [(0, 0), (BARRIER, 4), (SEMAPHORE, 200), (CONDVAR, 200), (1, 0), (CONDVAR, 100)]);
    assert_eq!((timeline.sync_points[1].at_ns, timeline.sync_points[1].until_ns), (10, 15));
}

#[test]
fn a_join_under_a_lock_that_is_told_only_at_its_end() {
    let mut made = TestImage::new();
    let hold = Record { word: Record::pack(Op::Hold, Flags::NONE, 50), ..section(5, 1) };
    made.read(&[record(Op::Done, 10, JOIN, 0), hold, section(60, 2)]);
    assert_eq!(made.requests(), BTreeMap::from([((vec![1], JOIN), 1)]));
}

#[test]
fn misuses() {
    let mut made = TestImage::new();
    let bad =
        |number, lock| Record { word: Record::pack(Op::Misuse, Flags::NONE, number), ..record(Op::Misuse, 1, lock, 9) };
    let kept = |lock, extra| with(Flags::UNRELEASED, record(Op::Hold, 5, lock, extra));
    made.read(&[
        bad(misuse::UNLOCK_NOT_OWNER, 1),
        bad(misuse::UNLOCK_NOT_OWNER, 1),
        bad(misuse::UNLOCK_NOT_LOCKED, 2),
        bad(misuse::DESTROYED_WHILE_HELD, 3),
        bad(99, 3),
        bad(misuse::UNLOCK_NOT_OWNER, MANY),
        kept(4, 0),
        kept(ROBUST, 0),
        kept(SEMAPHORE, 0),
    ]);
    let folded = Op::Misuse as u32;
    let table = made.fold(&[(folded, 2, 3, 0, 7, 0)], 0);
    let entry = table + (size_of::<FoldTable>() + size_of::<FoldEntry>() + offset_of!(FoldEntry, buckets)) as u64;
    made.put(entry + 4 * bucket(misuse::UNLOCK_NOT_LOCKED) as u64, &7u32.to_le_bytes());
    made.read_folds(table);
    let order = &made.session.order;
    let mut told: Vec<_> =
        order.misuses.iter().map(|(misuse, (_, count))| (misuse.kind, made.lock(misuse.lock), *count)).collect();
    told.sort();
    let expected = [
        (MisuseKind::UnlockNotOwner, 1, 2),
        (MisuseKind::UnlockNotLocked, 2, 1),
        (MisuseKind::UnlockNotLocked, 2, 7),
        (MisuseKind::DestroyedWhileHeld, 3, 1),
        (MisuseKind::HeldAtThreadExit, 4, 1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_is_left_at_the_end() {
    let mut made = TestImage::new();
    made.read(&[open(1, 1, 0), open(2, 2, 1)]);
    let slot = Layout::for_size(layout::SIZE_MIN).threads;
    let put = |made: &TestImage, offset: usize, bytes: &[u8]| made.put(slot + offset as u64, bytes);
    put(&made, offset_of!(ThreadSlot, state), &state::ACTIVE.to_le_bytes());
    put(&made, offset_of!(ThreadSlot, depth), &3u32.to_le_bytes());
    put(&made, offset_of!(ThreadSlot, wait_lock), &5u32.to_le_bytes());
    put(&made, offset_of!(ThreadSlot, wait_since), &9u64.to_le_bytes());
    put(&made, offset_of!(ThreadSlot, wait_flags), &u64::from(Flags::TIMED.bits()).to_le_bytes());
    for (at, ticks, lock) in [(0, 1u64, 1u32), (1, u64::MAX, 2), (2, 7, 4)] {
        let entry = offset_of!(ThreadSlot, held) + at * size_of::<HeldEntry>();
        put(&made, entry + offset_of!(HeldEntry, ticks), &ticks.to_le_bytes());
        let lock_and_stack = u64::from(lock) | 3 << 32;
        put(&made, entry + offset_of!(HeldEntry, lock_and_stack), &lock_and_stack.to_le_bytes());
    }
    left(0, ThreadId(0), &mut made.reducer());
    let expected = BTreeMap::from([((vec![1], 2), 1), ((vec![1], 4), 1), ((vec![1, 4], 5), 1)]);
    assert_eq!(made.requests(), expected);
    let last = made.session.order.requests.last().unwrap();
    assert!(last.unanswered && last.key.how == How::Timed);
    // 2 was given back without a word; what is held to the end is never given back.
    let order = made.finish();
    let released: Vec<_> = order.log.events().filter(|event| event.what == LoggedWhat::Released).collect();
    assert_eq!(released.len(), 1);
}
