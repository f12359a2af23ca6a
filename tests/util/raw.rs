//! What a shim wrote, as it lies in its segment: programs run with the library alone, and nobody collects.
//!
//! So what a thread did is there from its first record on, until its largest ring is full; from then on
//! everything is folded. Only a program that asks for it has its rings emptied once, at a known moment.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lockprof_wire::fold::FoldTable;
use lockprof_wire::lock::TraitBits;
use lockprof_wire::record::{PUBLISHED_EARLY, RESTART, Slot};
use lockprof_wire::{
    ENV_SESSION, Flags, FoldEntry, Header, Kind, Layout, LockInfo, MAGIC, Op, Record, RingHeader, ThreadSlot, VERSION,
};

use super::Outcome;
use super::run::{LIMIT, finish, folder, start, wait};

/// One process image.
pub struct Raw {
    /// Bits of `wire::layout::note`.
    pub notes: u32,
    pub pid: u32,
    pub threads: Vec<Thread>,
    /// By row; row 0 is none.
    pub locks: Vec<Lock>,
}

/// What one thread wrote.
#[derive(Debug, Default)]
pub struct Thread {
    pub records: Vec<Record>,
    /// With the offset of each; the slot's, so those of all its threads together.
    pub folds: Vec<Fold>,
}

#[derive(Clone, Copy, Debug)]
pub struct Lock {
    pub address: u64,
    pub kind: Option<Kind>,
    pub traits: TraitBits,
    pub initialised: bool,
    pub destroyed: bool,
    pub initial: u32,
    pub merged: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Fold {
    pub offset: u32,
    pub op: Option<Op>,
    pub flags: Flags,
    pub lock: u32,
    pub holder: u32,
    pub segment: u32,
    pub count: u64,
}

/// Runs a program with the library and without a collector; its process images, oldest first.
pub fn run<T: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = T>) -> (Outcome, Vec<Raw>) {
    let session = folder();
    let outcome = finish(&mut command(program, args, session.path()), LIMIT);
    (outcome, images(session.path()))
}

/// The same for a program of one process, whose rings are emptied when it says the fact `full`. It waits until there
/// is a file `emptied` where it runs. What each thread wrote before and after it.
pub fn run_emptied<T: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = T>) -> (Outcome, Raw) {
    let (session, output) = (folder(), folder());
    let child = start(command(program, args, session.path()).current_dir(output.path()), output.path());
    let said = || std::fs::read_to_string(output.path().join("stdout")).unwrap_or_default().contains("\"full\"");
    let deadline = Instant::now() + LIMIT;
    while !said() {
        assert!(Instant::now() < deadline, "the program does not say that it is full");
        sleep(Duration::from_millis(1));
    }
    let mut before = images(session.path()).remove(0);
    std::fs::write(output.path().join("emptied"), "").expect("a file for the program");
    let outcome = wait(child, output.path(), LIMIT);
    let after = images(session.path()).remove(0);
    (before.notes, before.locks) = (after.notes, after.locks);
    for (first, rest) in before.threads.iter_mut().zip(after.threads) {
        first.records.extend(rest.records);
        first.folds = rest.folds;
    }
    (outcome, before)
}

fn command<T: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = T>, session: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("LD_PRELOAD", env!("LIBLOCKPROF_SHIM")).env(ENV_SESSION, session);
    command
}

fn images(session: &Path) -> Vec<Raw> {
    let files = std::fs::read_dir(session).expect("the session's folder");
    let mut files: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    files.sort_by_key(|file| std::fs::metadata(file).and_then(|data| data.created()).ok());
    files.iter().map(|file| Raw::read(file)).collect()
}

impl Thread {
    /// What an `EarlyAcquire` record adds to: the rows of the locks that are open then, outermost first, itself last.
    /// Panics where the records contradict each other.
    pub fn opened(&self) -> Vec<Vec<u32>> {
        let mut open: Vec<Record> = Vec::new();
        let mut chains = Vec::new();
        for record in &self.records {
            let same =
                |known: &Record| (known.ticks, known.lock, known.stack) == (record.ticks, record.lock, record.stack);
            let known = open.iter().position(same);
            match record.op() {
                Some(Op::EarlyAcquire) => {
                    if record.extra & RESTART != 0 {
                        open.clear();
                    } else {
                        assert_eq!(known, None, "opened twice: {record:?}");
                    }
                    open.push(*record);
                    chains.push(open.iter().map(|open| open.lock).collect());
                }
                Some(Op::Hold) => {
                    assert_eq!(known.is_some(), record.extra & PUBLISHED_EARLY != 0, "{record:?}, open: {open:?}");
                    known.map(|at| open.remove(at));
                }
                Some(Op::ThreadEnd) => assert!(open.is_empty(), "left open: {open:?}"),
                _ => {}
            }
        }
        chains
    }
}

struct Mapped(memmap2::MmapRaw);

impl Mapped {
    /// # Safety
    /// `T` consists of atomics, and the shim has one (`count` of them) at this offset.
    unsafe fn slice<T>(&self, offset: u64, count: usize) -> &[T] {
        assert!(offset as usize + count * size_of::<T>() <= self.0.len(), "beyond the segment");
        // SAFETY: within the mapping; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(offset as usize).cast(), count) }
    }

    /// # Safety
    /// As `slice`.
    unsafe fn one<T>(&self, offset: u64) -> &T {
        // SAFETY: the caller's contract.
        unsafe { &self.slice::<T>(offset, 1)[0] }
    }
}

impl Raw {
    fn read(path: &Path) -> Self {
        let file = std::fs::File::options().read(true).write(true).open(path).expect("a segment");
        let map = Mapped(memmap2::MmapOptions::new().map_raw(&file).expect("a mapping"));
        let layout = Layout::for_size(map.0.len() as u64);
        // SAFETY: the program does nothing now; the shim wrote this file in the layout of the wire.
        unsafe {
            let header: &Header = map.one(0);
            assert_eq!((header.magic.load(Relaxed), header.version.load(Relaxed)), (MAGIC, VERSION));
            let locks = map.slice::<LockInfo>(layout.locks, header.lock_count.load(Relaxed) as usize);
            let slots = map.slice::<ThreadSlot>(layout.threads, header.thread_count.load(Relaxed) as usize);
            Self {
                notes: header.notes.load(Relaxed),
                pid: header.pid.load(Relaxed),
                threads: slots.iter().flat_map(|slot| threads_of(&map, slot)).collect(),
                locks: locks.iter().map(Lock::of).collect(),
            }
        }
    }

    /// The rows of an address, oldest first.
    pub fn rows_at(&self, address: u64) -> Vec<u32> {
        (1..self.locks.len() as u32).filter(|row| self.locks[*row as usize].address == address).collect()
    }

    /// All records of an operation.
    pub fn all(&self, op: Op) -> Vec<Record> {
        let records = self.threads.iter().flat_map(|thread| &thread.records);
        records.filter(|record| record.op() == Some(op)).copied().collect()
    }
}

/// The threads that had a slot, one after the other.
///
/// # Safety
/// The slot is the mapping's, and its threads do nothing now.
unsafe fn threads_of(map: &Mapped, slot: &ThreadSlot) -> Vec<Thread> {
    let mut threads: Vec<Thread> = Vec::new();
    let mut at = slot.ring.load(Relaxed);
    while at != 0 {
        // SAFETY: the caller's contract; rings are where slots and links say.
        let ring: &RingHeader = unsafe { map.one(at) };
        let capacity = ring.capacity.load(Relaxed) as usize;
        // SAFETY: as above; the slots follow the header.
        let slots: &[Slot] = unsafe { map.slice(at + size_of::<RingHeader>() as u64, capacity) };
        let mut next = 0;
        ring.drain(slots, |record| match record.op() {
            Some(Op::NextRing) => next = record.extra,
            Some(Op::ThreadStart) => threads.push(Thread { records: vec![record], folds: Vec::new() }),
            _ => {
                if threads.is_empty() {
                    // It was under way already when the ring was emptied.
                    threads.push(Thread::default());
                }
                threads.last_mut().expect("a thread").records.push(record);
            }
        });
        at = next;
        if next != 0 {
            slot.ring.store(next, Relaxed);
        }
    }
    let mut waiting = vec![slot.folds.load(Relaxed)];
    let mut folds = Vec::new();
    while let Some(table) = waiting.pop() {
        if table == 0 {
            continue;
        }
        // SAFETY: as above; the entries follow the table.
        let (this, entries) = unsafe {
            let this: &FoldTable = map.one(table);
            let capacity = this.capacity.load(Relaxed) as usize;
            (this, map.slice::<FoldEntry>(table + size_of::<FoldTable>() as u64, capacity))
        };
        let offset = |number: usize| table + (size_of::<FoldTable>() + number * size_of::<FoldEntry>()) as u64;
        let used = entries.iter().enumerate().filter(|(_, entry)| entry.op_and_flags.load(Relaxed) != 0);
        folds.extend(used.map(|(number, entry)| Fold::of(offset(number) as u32, entry)));
        waiting.extend(this.next.iter().map(|next| next.load(Relaxed)));
    }
    if let Some(last) = threads.last_mut() {
        last.folds = folds;
    }
    threads
}

impl Lock {
    fn of(info: &LockInfo) -> Self {
        Self {
            address: info.address.load(Relaxed),
            kind: info.kind(),
            traits: info.traits(),
            initialised: info.initialised.load(Relaxed) != 0,
            destroyed: info.destroyed_ticks.load(Relaxed) != 0,
            initial: info.initial.load(Relaxed),
            merged: info.merged.load(Relaxed),
        }
    }
}

impl Fold {
    fn of(offset: u32, entry: &FoldEntry) -> Self {
        let key = entry.op_and_flags.load(Relaxed);
        Self {
            offset,
            op: Op::from_u8(key as u8),
            flags: Flags::from_bits((key >> 8) as u8),
            lock: entry.lock.load(Relaxed),
            holder: entry.holder.load(Relaxed),
            segment: entry.segment.load(Relaxed),
            count: entry.count.load(Relaxed),
        }
    }
}
