//! Records and folds as a shim would write them, and what becomes of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use lockprof_wire::fold::{ANY_SEGMENT, FoldTable, bucket};
use lockprof_wire::lock::TraitBits;
use lockprof_wire::record::{PUBLISHED_EARLY, RESTART, extra_hold, misuse};
use lockprof_wire::thread::state;
use lockprof_wire::{
    Flags, FoldEntry, Header, HeldEntry, Layout, LockInfo, MAGIC, NodeInfo, Op, Record, ThreadSlot, VERSION, layout,
};

use super::*;
use crate::ingest::accumulator::Accumulator;
use crate::ingest::clock::{Rate, monotonic_ns};
use crate::ingest::drain::Drain;
use crate::ingest::image::Image;
use crate::ingest::polls::Polls;
use crate::model::order::{How, LoggedWhat, Order, SyncWhat};
use crate::model::{LockId, Mode, Session};

/// Rows: mutexes, and from there on one of each of the others.
const MUTEXES: u32 = 8;
const SEMAPHORE: u32 = MUTEXES;
const CONDVAR: u32 = MUTEXES + 1;
const BARRIER: u32 = MUTEXES + 2;
const JOIN: u32 = MUTEXES + 3;
const MANY: u32 = MUTEXES + 4;
const ROBUST: u32 = MUTEXES + 5;
const ROWS: u32 = MUTEXES + 6;
const STACKS: u32 = 16;

/// A segment made by hand, and what was read of it.
struct Made {
    file: File,
    image: Image,
    session: Session,
    accumulator: Accumulator,
    drain: Drain,
    next: u64,
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.seg");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(layout::SIZE_MIN).unwrap();
        let places = Layout::for_size(layout::SIZE_MIN);
        let put = |offset: usize, bytes: &[u8]| file.write_all_at(bytes, offset as u64).unwrap();
        put(offset_of!(Header, version), &VERSION.to_le_bytes());
        // The process has this side's clocks: its ticks are nanoseconds since both began.
        let real_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 - monotonic_ns();
        put(offset_of!(Header, start_real_ns), &real_ns.to_le_bytes());
        put(offset_of!(Header, thread_count), &1u32.to_le_bytes());
        put(offset_of!(Header, lock_count), &ROWS.to_le_bytes());
        put(offset_of!(Header, node_count), &STACKS.to_le_bytes());
        for node in 1..STACKS {
            let at = places.nodes as usize + node as usize * size_of::<NodeInfo>();
            put(at + offset_of!(NodeInfo, address), &u64::from(node * 16).to_le_bytes());
        }
        for row in 1..ROWS {
            let at = places.locks as usize + row as usize * size_of::<LockInfo>();
            let (kind, traits) = match row {
                SEMAPHORE => (Kind::Semaphore, TraitBits::BINARY),
                CONDVAR => (Kind::Condvar, TraitBits::default()),
                BARRIER => (Kind::Barrier, TraitBits::default()),
                JOIN => (Kind::Join, TraitBits::default()),
                ROBUST => (Kind::Mutex, TraitBits::ROBUST),
                _ => (Kind::Mutex, TraitBits::default()),
            };
            let address = if row == MANY { 0 } else { u64::from(row) * 64 };
            put(at + offset_of!(LockInfo, address), &address.to_le_bytes());
            put(at + offset_of!(LockInfo, kind), &[kind as u8]);
            put(at + offset_of!(LockInfo, traits), &[traits.bits()]);
        }
        put(offset_of!(Header, magic), &MAGIC.to_le_bytes());
        let mut session = Session::default();
        let mut image = Image::open(&path, &mut session, &Rate::start(), 0).unwrap().unwrap();
        let thread = image.start_thread(&mut session, 0, 1, Some(0));
        let drain = Drain::new(0, thread);
        Self { file, image, session, accumulator: Accumulator::default(), drain, next: places.arena }
    }

    fn reducer(&mut self) -> Reducer<'_> {
        Reducer { image: &mut self.image, session: &mut self.session, accumulator: &mut self.accumulator }
    }

    fn put(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }

    fn read(&mut self, records: &[Record]) {
        let Self { image, session, accumulator, drain, .. } = self;
        drain.apply_all(records.to_vec(), usize::MAX, 0, &mut Reducer { image, session, accumulator });
        self.image.recent.end_round();
        self.accumulator.flush(&mut self.session, false);
    }

    /// A table of folds in the arena: (word, lock, stack, outer entry, count, segment). Entries are linked by their
    /// numbers, 0 for none; its offset.
    fn fold(&mut self, entries: &[(u32, u32, u32, u32, u64, u32)], next: u64) -> u64 {
        let table = self.next;
        let entry = |number: usize| table + (size_of::<FoldTable>() + number * size_of::<FoldEntry>()) as u64;
        self.put(table + offset_of!(FoldTable, capacity) as u64, &(entries.len() as u64 + 1).to_le_bytes());
        self.put(table + offset_of!(FoldTable, next) as u64, &next.to_le_bytes());
        for ((word, lock, stack, outer, count, segment), number) in entries.iter().zip(1..) {
            let outer = if *outer == 0 { 0 } else { entry(*outer as usize) as u32 };
            let at = entry(number);
            self.put(at + offset_of!(FoldEntry, op_and_flags) as u64, &word.to_le_bytes());
            self.put(at + offset_of!(FoldEntry, lock) as u64, &lock.to_le_bytes());
            self.put(at + offset_of!(FoldEntry, stack) as u64, &stack.to_le_bytes());
            self.put(at + offset_of!(FoldEntry, holder) as u64, &outer.to_le_bytes());
            self.put(at + offset_of!(FoldEntry, count) as u64, &count.to_le_bytes());
            self.put(at + offset_of!(FoldEntry, segment) as u64, &segment.to_le_bytes());
        }
        self.next = entry(entries.len() + 1).next_multiple_of(64);
        table
    }

    fn read_folds(&mut self, table: u64) {
        aggregated(table, ThreadId(0), Polls::default(), 77, &mut self.reducer());
    }

    fn finish(&mut self) -> &Order {
        finish(&mut self.reducer());
        self.accumulator.finish(&mut self.session);
        &self.session.order
    }

    fn lock(&self, lock: LockId) -> u32 {
        (self.session.lock(lock).address / 64) as u32
    }

    /// Requests: what was held and what was wanted, by rows, and how often.
    fn requests(&self) -> BTreeMap<(Vec<u32>, u32), u64> {
        let order = &self.session.order;
        let mut all = BTreeMap::new();
        for request in &order.requests {
            let mut held: Vec<_> = order.chains.walk(request.key.held).map(|link| self.lock(link.lock)).collect();
            held.reverse();
            *all.entry((held, self.lock(request.key.lock))).or_default() += request.count();
        }
        all
    }
}

fn record(op: Op, ticks: u64, lock: u32, extra: u64) -> Record {
    Record { ticks, lock, stack: 1 + lock % (STACKS - 1), word: Record::pack(op, Flags::NONE, 5), extra }
}

fn with(flags: Flags, record: Record) -> Record {
    Record { word: record.word | u64::from(flags.bits()) << 8, ..record }
}

fn open(ticks: u64, lock: u32, position: u32) -> Record {
    record(Op::EarlyAcquire, ticks, lock, extra_hold(position))
}

fn closed(ticks: u64, lock: u32, position: u32) -> Record {
    record(Op::Hold, ticks, lock, extra_hold(position) | PUBLISHED_EARLY)
}

fn section(ticks: u64, lock: u32) -> Record {
    record(Op::Hold, ticks, lock, 0)
}

#[test]
fn nested_holds_become_requests_and_sections_events() {
    let mut made = Made::new();
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
    let mut made = Made::new();
    (0..5).for_each(|round| made.read(&[section(round * 10, 1)]));
    assert!(made.finish().log.is_empty());
    assert!(!made.session.profile.sites.is_empty());
}

#[test]
fn a_small_programs_rounds_before_the_first_nesting_are_kept() {
    let mut made = Made::new();
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
    let mut made = Made::new();
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
    let mut made = Made::new();
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
    let mut made = Made::new();
    made.read(&[open(1, 1, 0), open(2, 2, 1)]);
    let again = record(Op::EarlyAcquire, 1, 1, extra_hold(0) | RESTART);
    made.read(&[again, open(9, 3, 1), closed(9, 3, 1), closed(1, 1, 0)]);
    assert_eq!(made.requests(), BTreeMap::from([((vec![1], 2), 1), ((vec![1], 3), 1)]));
}

#[test]
fn sync_points() {
    let mut made = Made::new();
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
    let mut made = Made::new();
    let hold = Record { word: Record::pack(Op::Hold, Flags::NONE, 50), ..section(5, 1) };
    made.read(&[record(Op::Done, 10, JOIN, 0), hold, section(60, 2)]);
    assert_eq!(made.requests(), BTreeMap::from([((vec![1], JOIN), 1)]));
}

#[test]
fn misuses() {
    let mut made = Made::new();
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

const EARLY: u32 = Op::EarlyAcquire as u32;

#[test]
fn folds_hang_together() {
    let mut made = Made::new();
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
        let mut made = Made::new();
        let table = made.fold(&entries, 0);
        made.read_folds(table);
        assert!(made.requests().is_empty());
        assert_eq!(made.session.order.dropped, dropped, "{entries:?}");
    }
    // A table that hangs on itself.
    let mut made = Made::new();
    let at = made.next;
    made.fold(&[(EARLY, 1, 1, 0, 1, 0), (EARLY, 2, 1, 1, 1, 0)], at);
    made.read_folds(at);
    assert!(made.requests().len() <= 1);
}

#[test]
fn aggregated_sync_points_are_missed() {
    let mut made = Made::new();
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
        let (mut told, mut folded) = (Made::new(), Made::new());
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
        let requests = |made: &Made| -> BTreeMap<(Vec<GuardLock>, u32), u64> {
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

#[test]
fn what_is_left_at_the_end() {
    let mut made = Made::new();
    made.read(&[open(1, 1, 0), open(2, 2, 1)]);
    let slot = Layout::for_size(layout::SIZE_MIN).threads;
    let put = |made: &Made, offset: usize, bytes: &[u8]| made.put(slot + offset as u64, bytes);
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
