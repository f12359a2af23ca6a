//! What is only counted.

use super::*;

const EARLY: u32 = Op::EarlyAcquire as u32;

#[test]
fn folds_hang_together() {
    let mut made = TestImage::new();
    made.read(&[record(Op::Done, 1, BARRIER, 2), record(Op::Posted, 2, CONDVAR, 0), record(Op::Done, 3, BARRIER, 2)]);
    let reentry = EARLY | u32::from(Flags::REENTRY.bits()) << 8;
    let entries = [
        (EARLY, 1, 1, 0, 3, 1),   // 1: outermost: asks for nothing
        (EARLY, 2, 2, 1, 0, 1),   // 2: 1 > 2, not counted
        (reentry, 2, 2, 2, 4, 1), // 3: again
        (EARLY, 3, 3, 3, 5, 1),   // 4: 1 2 > 3
        (EARLY, 4, 4, 1, 6, ANY_SEGMENT),
    ];
    let table = made.fold(&entries, 0);
    made.read_folds(table);
    assert_eq!(made.requests(), BTreeMap::from([((vec![1, 2], 3), 5), ((vec![1], 4), 6)]));
    let runs: Vec<_> = made.session.order.requests.iter().map(|request| request.runs[0]).collect();
    let spans: Vec<_> = runs.iter().map(|run| (run.first, run.last)).collect();
    assert_eq!(spans, [(1, 2), (0, 3)], "between the barriers, and any time");
    assert_eq!(made.session.order.log.complete_from_ns, made.image.ticks.moment_ns(77));
    // What was read is not read again.
    made.read_folds(table);
    assert_eq!(made.requests()[&(vec![1], 4)], 6);
}

#[test]
fn folds_that_make_no_sense_are_counted_as_missing() {
    let cases = [
        (vec![(EARLY, 1, 1, 2, 3, 0), (EARLY, 2, 1, 1, 0, 0)], 3), // a ring
        (vec![(EARLY, 1, 1, 9, 3, 0)], 3),                         // nothing there
        (vec![(EARLY, MANY, 1, 0, 0, 0), (EARLY, 2, 1, 1, 4, 0)], 4),
        (vec![(EARLY, 1, 1, 0, 0, 0), (EARLY, MANY, 1, 1, 4, 0)], 4),
        (vec![(EARLY, 1, 1, 2, 3, 0), (Op::Hold as u32, 2, 1, 0, 1, 0)], 3), // no acquisition around it
    ];
    for (entries, dropped) in cases {
        let mut made = TestImage::new();
        let table = made.fold(&entries, 0);
        made.read_folds(table);
        assert!(made.requests().is_empty());
        assert_eq!(made.session.order.dropped, dropped, "{entries:?}");
    }
    // A table that hangs on itself.
    let mut made = TestImage::new();
    let at = made.next;
    made.fold(&[(EARLY, 1, 1, 0, 1, 0), (EARLY, 2, 1, 1, 1, 0)], at);
    made.read_folds(at);
    assert!(made.requests().len() <= 1);
}

#[test]
fn aggregated_sync_points_are_missed() {
    let mut made = TestImage::new();
    let [done, posted, created] = [Op::Done, Op::Posted, Op::Created].map(|op| op as u32);
    let table = made.fold(
        &[
            (done, JOIN, 1, 0, 1, 0),
            (done, BARRIER, 1, 0, 2, 0),
            (done, CONDVAR, 1, 0, 30, 0),
            (posted, CONDVAR, 1, 0, 40, 0),
            (created, 0, 1, 0, 4, 0),
        ],
        0,
    );
    made.read_folds(table);
    let timeline = &made.session.order.timelines[0];
    assert_eq!((timeline.hard_dropped, timeline.soft_dropped), (7, 70));
}

/// The same program, recorded with every nested acquisition in the ring, and with all of them folded.
#[test]
fn overload_never_loses_an_edge() {
    for seed in 1..60u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            // Knuth's MMIX generator; the low bits are poor.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut told, mut folded) = (TestImage::new(), TestImage::new());
        let mut entries: Vec<(u32, u32, u32, u32, u64, u32)> = Vec::new();
        let mut held: Vec<Option<(u32, u64, bool)>> = Vec::new();
        for now in 1..400u64 {
            let live: Vec<_> = (0..held.len()).filter(|at| held[*at].is_some()).collect();
            if random(2) == 0 && live.len() < 6 {
                let lock = 1 + random(u64::from(MUTEXES) - 1) as u32;
                if held.iter().flatten().any(|(other, ..)| *other == lock) {
                    continue;
                }
                held.push(Some((lock, now * 10, false)));
                if live.is_empty() {
                    continue;
                }
                let mut outer = 0;
                for (at, entry) in held.iter_mut().enumerate() {
                    let Some((lock, since, is_told)) = entry else { continue };
                    if !*is_told {
                        told.read(&[open(*since, *lock, at as u32)]);
                        *is_told = true;
                    }
                    let stack = 1 + *lock % (STACKS - 1);
                    let same = |known: &(u32, u32, u32, u32, u64, u32)| (known.1, known.3) == (*lock, outer);
                    outer = match entries.iter().position(same) {
                        Some(known) => known as u32 + 1,
                        None => {
                            entries.push((EARLY, *lock, stack, outer, 0, 0));
                            entries.len() as u32
                        }
                    };
                }
                entries[outer as usize - 1].4 += 1;
            } else if !live.is_empty() {
                let at = live[random(live.len() as u64) as usize];
                if let Some((lock, since, true)) = held[at] {
                    told.read(&[closed(since, lock, at as u32)]);
                }
                held[at] = None;
                while held.pop_if(|last| last.is_none()).is_some() {}
            }
        }
        let table = folded.fold(&entries, 0);
        folded.read_folds(table);
        let requests = |made: &TestImage| -> BTreeMap<(Vec<GuardLock>, u32), u64> {
            let order = &made.session.order;
            let guard = |link: &crate::model::order::Link| GuardLock {
                lock: LockId(made.lock(link.lock)),
                mode: link.mode,
                stack: StackId(0),
            };
            let held =
                |request: &crate::model::order::Request| order.chains.walk(request.key.held).map(guard).collect();
            let all = order.requests.iter();
            all.map(|request| ((held(request), made.lock(request.key.lock)), request.count())).collect()
        };
        assert!(requests(&told).len() > 20);
        assert_eq!(requests(&folded), requests(&told), "seed {seed}");
        assert_eq!(folded.session.order.dropped, 0);
    }
}
