//! How many events the collector takes in a second, on one core.
//!
//! `cargo bench --bench ingest`. A program must not outrun its recorder by much, or more is folded than need
//! be. Records are made in memory and decoded and counted by `Drain::apply_record`, or go through a ring of a segment before.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use lockprof::ingest::accumulator::Accumulator;
use lockprof::ingest::clock::Rate;
use lockprof::ingest::drain::Drain;
use lockprof::ingest::image::Image;
use lockprof::ingest::reducer::Reducer;
use lockprof::model::Session;
use lockprof_wire::record::{PUBLISHED_EARLY, Slot};
use lockprof_wire::ring::Writer;
use lockprof_wire::{Flags, Header, Layout, LockInfo, MAGIC, NodeInfo, Op, Record, RingHeader, VERSION, layout, ring};

/// Records in a round: the largest ring.
const RECORDS: usize = ring::MAX_CAPACITY as usize;
const ROUNDS: usize = 400;
const LOCKS: u32 = 1024;
const STACKS: u32 = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:<56} {:>12}", "one core, best of many rounds", "million/s");
    let one = records(|_| (1, 1, Flags::NONE));
    let some = records(|number| (1 + number as u32 % 97 % 61, 1 + number as u32 % 97, Flags::NONE));
    let at_random = |sites: u32| {
        records(move |number| {
            let site = ((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32 % sites;
            (1 + site % (LOCKS - 1), 1 + site / 8 % (STACKS - 1), Flags::NONE)
        })
    };
    let (thousand, many) = (at_random(1000), at_random(8000));
    let contended = records(|number| (1, 1, if number % 10 == 0 { Flags::CONTENDED } else { Flags::NONE }));
    let nested = nested();
    for (what, records, threads) in [
        ("one lock, one stack", &one, 1),
        ("97 pairs of lock and stack in turn", &some, 1),
        ("1,000 pairs of lock and stack at random", &thousand, 1),
        ("8,000 pairs of lock and stack at random", &many, 1),
        ("one lock, two threads", &one, 2),
        ("one lock, two threads, a tenth contended", &contended, 2),
        ("two locks nested, two threads", &nested, 2),
    ] {
        println!("{what:<56} {:>12.1}", Bench::new()?.applied(records, threads));
    }
    for (what, records, nested) in [
        ("one lock, one stack, through a ring", &one, false),
        ("97 pairs of lock and stack, through a ring", &some, false),
        ("the same, kept for witnesses", &some, true),
    ] {
        println!("{what:<56} {:>12.1}", Bench::new()?.through_ring(records, nested));
    }
    Ok(())
}

/// Two locks, one taken under the other: each is reported when it is taken and when it is given back.
fn nested() -> Vec<Record> {
    let mut records = Vec::with_capacity(RECORDS + 4);
    let record = |op, ticks, lock, held, extra| Record {
        ticks,
        lock,
        stack: lock,
        word: Record::pack(op, Flags::NONE, held),
        extra,
    };
    while records.len() < RECORDS {
        let ticks = 1_000_000 + records.len() as u64 * 500;
        records.push(record(Op::EarlyAcquire, ticks, 1, 0, 0));
        records.push(record(Op::EarlyAcquire, ticks + 100, 2, 0, 1));
        records.push(record(Op::Hold, ticks + 100, 2, 100, 1 | PUBLISHED_EARLY));
        records.push(record(Op::Hold, ticks, 1, 300, PUBLISHED_EARLY));
    }
    records
}

/// Holds with durations of many sizes; a contended one follows its wait.
fn records(what: impl Fn(usize) -> (u32, u32, Flags)) -> Vec<Record> {
    let mut records = Vec::with_capacity(RECORDS + 2);
    for number in 0.. {
        if records.len() >= RECORDS - 1 {
            break;
        }
        let (lock, stack, flags) = what(number);
        let ticks = 1_000_000 + number as u64 * 500;
        let held = 20 + ((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (40 + number % 20));
        if flags.is_contended() {
            let word = Record::pack(Op::Waited, flags, 300);
            records.push(Record { ticks: ticks - 300, lock, stack, word, extra: 1 | 1 << 32 });
        }
        records.push(Record { ticks, lock, stack, word: Record::pack(Op::Hold, flags, held), extra: 0 });
    }
    records
}

struct Bench {
    image: Image,
    session: Session,
    accumulator: Accumulator,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("bench.seg");
        make_segment(&path)?;
        let mut session = Session::default();
        let image = Image::open(&path, &mut session, (&Rate::start(), 0), &|_, _| None)?
            .ok_or("the segment is not complete")?;
        Ok(Self { image, session, accumulator: Accumulator::default() })
    }

    fn drains(&mut self, threads: u32) -> Vec<Drain> {
        let start = |slot| Drain::new(slot, self.image.start_thread(&mut self.session, slot, slot, None));
        (0..threads).map(start).collect()
    }

    /// Million records a second through `Drain::apply_record`.
    fn applied(mut self, records: &[Record], threads: u32) -> f64 {
        let mut drains = self.drains(threads);
        let Self { image, session, accumulator } = &mut self;
        best(records.len() * threads as usize, || {
            let mut reducer = Reducer { image, session, accumulator };
            for drain in &mut drains {
                for record in records {
                    drain.apply_record(record, &mut reducer);
                }
            }
            accumulator.flush(session, false);
        })
    }

    /// The same with the records read out of a ring, as the collector does it.
    /// `nested`: of a process that nests locks elsewhere, so single sections are kept.
    fn through_ring(mut self, records: &[Record], nested: bool) -> f64 {
        let mut drains = self.drains(1);
        let offset = Layout::for_size(layout::SIZE_MIN).arena;
        if nested {
            self.image.recent.nested();
        }
        let mut least = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut copies = self.image.recent.blank();
            let Some((ring, slots)) = self.image.segment.ring(offset) else { return 0.0 };
            let writer = Writer::new(AtomicU64::new(ring.head.load(Relaxed)), AtomicU64::new(0));
            let capacity = slots.len() as u64;
            let mut pushed = 0usize;
            for record in records.iter().take_while(|_| writer.has_room(ring, capacity, 1, 0)) {
                push(&writer, ring, slots, record);
                pushed += 1;
            }
            let start = Instant::now();
            ring.drain(slots, |record| copies.push(record));
            let Self { image, session, accumulator } = &mut self;
            drains[0].apply_all(copies, usize::MAX, 0, &mut Reducer { image, session, accumulator });
            self.image.recent.end_round();
            self.accumulator.flush(&mut self.session, false);
            least = least.min(start.elapsed().as_secs_f64() / pushed as f64);
        }
        1e-6 / least
    }
}

fn push(writer: &Writer, ring: &RingHeader, slots: &[Slot], record: &Record) {
    let number = writer.next();
    writer.publish(ring, &slots[number as usize % slots.len()], number, record.words());
}

fn best(count: usize, mut round: impl FnMut()) -> f64 {
    let time = |round: &mut dyn FnMut()| {
        let start = Instant::now();
        round();
        start.elapsed().as_secs_f64()
    };
    let least = (0..ROUNDS).map(|_| time(&mut round)).fold(f64::INFINITY, f64::min);
    count as f64 / least * 1e-6
}

/// The least that a shim announces: a header, locks, stacks and an empty ring.
fn make_segment(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.set_len(layout::SIZE_MIN)?;
    let places = Layout::for_size(layout::SIZE_MIN);
    put(&file, offset_of!(Header, version), &VERSION.to_le_bytes())?;
    put(&file, offset_of!(Header, ticks_are_tsc), &1u32.to_le_bytes())?;
    put(&file, offset_of!(Header, thread_count), &4u32.to_le_bytes())?;
    put(&file, offset_of!(Header, lock_count), &LOCKS.to_le_bytes())?;
    put(&file, offset_of!(Header, node_count), &STACKS.to_le_bytes())?;
    for node in 1..STACKS {
        let at = places.nodes as usize + node as usize * size_of::<NodeInfo>();
        put(&file, at + offset_of!(NodeInfo, address), &u64::from(node * 16).to_le_bytes())?;
    }
    for lock in 1..LOCKS {
        let at = places.locks as usize + lock as usize * size_of::<LockInfo>();
        put(&file, at + offset_of!(LockInfo, address), &u64::from(lock * 64).to_le_bytes())?;
    }
    let capacity = places.arena as usize + offset_of!(RingHeader, capacity);
    put(&file, capacity, &ring::MAX_CAPACITY.to_le_bytes())?;
    put(&file, offset_of!(Header, magic), &MAGIC.to_le_bytes())
}

fn put(file: &File, offset: usize, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all_at(bytes, offset as u64)
}
