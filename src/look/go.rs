//! Goroutines: all of them, by the runtime's own list, each with why it waits and its stack.
//!
//! Neither symbols nor a version are needed. Where a goroutine keeps its number is read out of the runtime's code; the list is
//! the slice in the program's variables whose first entry is goroutine 1; what is said of a wait lies at fixed distances from
//! the number (Go 1.18 to 1.27 on amd64, `runtime/runtime2.go`).

use super::files::{Files, Loaded};
use super::memory::Memory;
use super::registers::Registers;
use super::unwind::{self, Stack};
use super::wait::{RawState, RawWait};
use crate::model::{Kind, Mode};
use crate::sites::go::goroutines::{LONGEST, PC, SCANNED, SP, is_list};
use crate::sites::go::runtime::Runtime;

/// More goroutines are not shown.
pub const MOST: usize = 50_000;
/// From `g.goid` to `g.waitsince` and `g.waitreason`.
const SINCE: u64 = 16;
const REASON: u64 = 24;
/// `sudog.elem`, and what tells one wait from the next (`sudog.ticket`).
const ELEMENT: u64 = 24;
const TICKETS: [u64; 2] = [48, 56];
/// Where in a mutex's word the number of its waiters begins (`mutexWaiterShift`).
const WAITERS: u32 = 3;
/// What stands for a goroutine in a queue is named within so many bytes of its stack.
const NEAR: u64 = 2048;

/// `_Grunning`, `_Gsyscall`, `_Gwaiting`.
pub const RUNNING: u32 = 2;
pub const SYSCALL: u32 = 3;
pub const WAITING: u32 = 4;
/// `_Gidle`, `_Gdead`; and from there on others that run no code.
const IDLE: u32 = 0;
const DEAD: u32 = 6;

/// A Go program's runtime.
pub struct Go<'f, 'a> {
    file: &'f Loaded<'a>,
    /// Offset of a goroutine's number.
    number: u64,
    /// The slice of all goroutines.
    list: u64,
    /// Where the words for reasons are in the file.
    reasons: Option<u64>,
}

/// A goroutine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goroutine {
    pub address: u64,
    pub number: u64,
    pub status: u32,
    pub reason: u8,
    pub stack: (u64, u64),
    pub sp: u64,
    pub pc: u64,
    /// Changes from wait to wait.
    mark: [u64; 6],
}

impl<'f, 'a> Go<'f, 'a> {
    /// Finds it in a program's file.
    pub fn find(file: &'f Loaded<'a>, memory: &Memory<'_>) -> Option<Self> {
        let index = file.go()?;
        let number = u64::from(Runtime::find(file.image(), index).ok()?.goroutine_number);
        let bias = file.opened.bias;
        let variables = file.image().segments().iter().filter(|segment| segment.writable);
        let list = variables
            .flat_map(|segment| (segment.address..segment.address.saturating_add(segment.size)).step_by(8))
            .map(|at| (at.wrapping_add(7) & !7).wrapping_add(bias))
            .find(|at| is_list(&|at| memory.word(at), *at, number))?;
        Some(Self { file, number, list, reasons: reasons(file) })
    }

    /// All that live, in the order of the list; whether these are all.
    pub fn all(&self, memory: &Memory<'_>) -> (Vec<Goroutine>, bool) {
        let (Some(list), Some(length)) = (memory.word(self.list), memory.word(self.list + 8)) else {
            return (Vec::new(), false);
        };
        let addresses = (0..length.min(LONGEST)).filter_map(|at| memory.word(list.checked_add(8 * at)?));
        let mut all = addresses.filter_map(|at| self.read(memory, at)).filter(|one| one.lives());
        let found: Vec<Goroutine> = all.by_ref().take(MOST).collect();
        let is_all = all.next().is_none();
        (found, is_all)
    }

    /// A goroutine by its address.
    pub fn read(&self, memory: &Memory<'_>, address: u64) -> Option<Goroutine> {
        let word = |offset: u64| memory.word(address.checked_add(offset)?);
        let (sp, since) = (word(SP)?, word(self.number + SINCE)?);
        let mut goroutine = Goroutine {
            address,
            number: word(self.number)?,
            status: word(self.number - 8)? as u32 & !SCANNED,
            reason: word(self.number + REASON)? as u8,
            stack: (word(0)?, word(8)?),
            sp,
            pc: word(PC)?,
            mark: [since, 0, 0, 0, 0, 0],
        };
        if goroutine.status == WAITING
            && let Some(queued) = goroutine.queued(memory)
        {
            let of = |offset| memory.word(queued.wrapping_add(offset)).unwrap_or(0);
            goroutine.mark = [since, queued, of(8), of(ELEMENT), of(TICKETS[0]), of(TICKETS[1])];
        }
        Some(goroutine)
    }

    /// Go's word for why one waits.
    pub fn reason(&self, reason: u8) -> Option<&'a str> {
        // The list begins with the second one.
        let at = self.reasons?.checked_add(16 * u64::from(reason.checked_sub(1)?))?;
        let (text, length) = (self.file.image().word(at)?, self.file.image().word(at + 8)?);
        (length < 64).then_some(())?;
        str::from_utf8(self.file.image().bytes(text, length as usize)?).ok()
    }

    /// What one waits for, where that is a lock.
    pub fn wait(&self, goroutine: &Goroutine, stack: &Stack, memory: &Memory<'_>) -> Option<RawWait> {
        let index = self.file.go()?;
        let names: Vec<_> = stack
            .frames
            .iter()
            .take(12)
            .flat_map(|frame| index.frames(self.file.in_file(frame.inside())))
            .map(|frame| frame.function)
            .collect();
        let has = |name: &str| names.iter().any(|other| other == name);
        let is_mutex = has("sync.(*Mutex).lockSlow") || has("internal/sync.(*Mutex).lockSlow");
        // The stack may name other things that begin with the goroutine: a mutex that is waited for counts its waiters.
        let counts_waiters = |element: &u64| {
            !is_mutex || memory.half(element.wrapping_sub(4)).is_some_and(|state| state >> WAITERS != 0)
        };
        let mut elements = goroutine.all_queued(memory).filter_map(|queued| memory.word(queued.wrapping_add(ELEMENT)));
        let element = elements.find(counts_waiters)?;
        let alone = Mode::Exclusive;
        let wait = |kind, noun, address, mode, state| RawWait { kind, noun, address, mode, timed: false, state };
        let word = |address: u64| memory.half(address);
        if has("sync.(*RWMutex).RLock") {
            let lock = element.wrapping_sub(12);
            return Some(wait(Kind::Rwlock, "sync.RWMutex", lock, Mode::Shared, RawState::NotRecorded));
        }
        if has("sync.(*RWMutex).Lock") {
            // For its mutex, which another writer has, or for readers.
            let lock = element.wrapping_sub(if is_mutex { 4 } else { 8 });
            let readers = word(lock.wrapping_add(20)).filter(|readers| !is_mutex && (*readers as i32) > 0);
            let state = readers.map_or(RawState::NotRecorded, RawState::Readers);
            return Some(wait(Kind::Rwlock, "sync.RWMutex", lock, alone, state));
        }
        if is_mutex {
            let lock = element.wrapping_sub(4);
            let state = if word(lock)? & 1 == 0 { RawState::Free } else { RawState::NotRecorded };
            return Some(wait(Kind::Mutex, "sync.Mutex", lock, alone, state));
        }
        has("sync.(*WaitGroup).Wait")
            .then(|| wait(Kind::Waitgroup, "sync.WaitGroup", element.wrapping_sub(8), alone, RawState::Nobody))
    }
}

impl Goroutine {
    fn lives(&self) -> bool {
        // Numbers beyond are of stacks that are being copied, and of preempted ones.
        self.status != IDLE && self.status != DEAD && self.status < 16
    }

    /// What stands for it in a queue: its stack has the address of that, and that begins with its own.
    fn queued(&self, memory: &Memory<'_>) -> Option<u64> {
        self.all_queued(memory).next()
    }

    /// All that may stand for it in a queue.
    fn all_queued<'m>(&self, memory: &'m Memory<'_>) -> impl Iterator<Item = u64> + use<'m> {
        let (address, end) = (self.address, self.sp.saturating_add(NEAR).min(self.stack.1));
        let words = (self.sp & !7..end).step_by(8).filter_map(|at| memory.word(at));
        words.filter(move |word| *word != address && word.is_multiple_of(8) && memory.word(*word) == Some(address))
    }

    /// Its stack, where it does not run.
    pub fn walk(&self, files: &Files<'_>, memory: &Memory<'_>) -> Option<Stack> {
        let (low, high) = self.stack;
        let is_within = (low..high).contains(&self.sp) && self.pc != 0;
        is_within.then(|| unwind::walk_from_call(files, memory, Registers::of_call(self.pc, self.sp)))
    }
}

/// Where the runtime's words for reasons begin: behind an empty one comes the same in all versions.
fn reasons(file: &Loaded<'_>) -> Option<u64> {
    const FIRST: &[u8] = b"GC assist marking";
    let image = file.image();
    image.segments().iter().filter(|segment| !segment.writable).find_map(|segment| {
        let places = memchr::memmem::find_iter(segment.data, FIRST);
        places.map(|at| segment.address + at as u64).find_map(|text| {
            let mut words = image.words_that_hold(text).into_iter();
            words.find(|word| image.word(word + 8) == Some(FIRST.len() as u64))
        })
    })
}
