//! Records and folds as a shim would write them, and what becomes of them.

mod folds;
mod records;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use lockprof_wire::fold::{self, ANY_SEGMENT, FoldTable, bucket};
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
struct TestImage {
    file: File,
    image: Image,
    session: Session,
    accumulator: Accumulator,
    drain: Drain,
    next: u64,
}

impl TestImage {
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
        let mut image = Image::open(&path, &mut session, (&Rate::start(), 0), &|_, _| None).unwrap().unwrap();
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
        let capacity = fold::FIRST_ENTRIES.max(entries.len() as u64 + 1);
        let entry = |number: usize| table + (size_of::<FoldTable>() + number * size_of::<FoldEntry>()) as u64;
        self.put(table + offset_of!(FoldTable, capacity) as u64, &capacity.to_le_bytes());
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
        self.next = entry(capacity as usize).next_multiple_of(64);
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
