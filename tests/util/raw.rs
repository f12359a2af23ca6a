//! What a shim wrote, as it lies in its segment: programs run with the library alone, and nobody collects.
//!
//! So nothing is taken out of the rings: what a thread did is there from its first record on, until its
//! largest ring is full; from then on everything is folded.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use lockprof_wire::fold::FoldTable;
use lockprof_wire::record::Slot;
use lockprof_wire::{
    ENV_SESSION, FoldEntry, Header, Layout, LockInfo, MAGIC, Op, Record, RingHeader, ThreadSlot, VERSION,
};

use super::Outcome;
use super::run::{LIMIT, finish, folder};

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
    pub kind: u8,
    pub traits: u8,
    pub initialised: bool,
    pub destroyed: bool,
    pub initial: u32,
    pub merged: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Fold {
    pub offset: u32,
    pub op: Option<Op>,
    pub flags: u8,
    pub lock: u32,
    pub holder: u32,
    pub segment: u32,
    pub count: u64,
}

/// Runs a program with the library and without a collector; its process images, oldest first.
pub fn run<T: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = T>) -> (Outcome, Vec<Raw>) {
    let session = folder();
    let mut command = Command::new(program);
    command.args(args).env("LD_PRELOAD", env!("LIBLOCKPROF_SHIM")).env(ENV_SESSION, session.path());
    let outcome = finish(&mut command, LIMIT);
    let files = std::fs::read_dir(session.path()).expect("the session's folder");
    let mut files: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    files.sort_by_key(|file| std::fs::metadata(file).and_then(|data| data.created()).ok());
    (outcome, files.iter().map(|file| Raw::read(file)).collect())
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
        // SAFETY: the program has ended; the shim wrote this file in the layout of the wire.
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
/// The slot is the mapping's, and its process has ended.
unsafe fn threads_of(map: &Mapped, slot: &ThreadSlot) -> Vec<Thread> {
    let mut threads: Vec<Thread> = Vec::new();
    let mut at = slot.ring.load(Relaxed);
    while at != 0 {
        // SAFETY: the caller's contract; rings are where slots and links say.
        let ring: &RingHeader = unsafe { map.one(at) };
        let capacity = ring.capacity.load(Relaxed) as usize;
        // SAFETY: as above; the slots follow the header.
        let slots: &[Slot] = unsafe { map.slice(at + size_of::<RingHeader>() as u64, capacity) };
        let head = ring.head.load(Relaxed) as usize;
        assert!(head <= capacity, "nobody reads, so nothing is overwritten");
        at = 0;
        for record in slots[..head].iter().map(Slot::load) {
            match record.op() {
                Some(Op::NextRing) => at = record.extra,
                Some(Op::ThreadStart) => threads.push(Thread { records: vec![record], folds: Vec::new() }),
                _ => threads.last_mut().expect("a start before all else").records.push(record),
            }
        }
    }
    let mut table = slot.folds.load(Relaxed);
    let mut folds = Vec::new();
    while table != 0 {
        // SAFETY: as above; the entries follow the table.
        let (this, entries) = unsafe {
            let this: &FoldTable = map.one(table);
            let capacity = this.capacity.load(Relaxed) as usize;
            (this, map.slice::<FoldEntry>(table + size_of::<FoldTable>() as u64, capacity))
        };
        let offset = |number: usize| table + (size_of::<FoldTable>() + number * size_of::<FoldEntry>()) as u64;
        let used = entries.iter().enumerate().filter(|(_, entry)| entry.op_and_flags.load(Relaxed) != 0);
        folds.extend(used.map(|(number, entry)| Fold::of(offset(number) as u32, entry)));
        table = this.next.load(Relaxed);
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
            kind: info.kind.load(Relaxed),
            traits: info.traits.load(Relaxed),
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
            flags: (key >> 8) as u8,
            lock: entry.lock.load(Relaxed),
            holder: entry.holder.load(Relaxed),
            segment: entry.segment.load(Relaxed),
            count: entry.count.load(Relaxed),
        }
    }
}
