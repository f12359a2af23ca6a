//! What all threads of the process share inside the shim, and how a process comes to be recorded.
//!
//! Everything is in one private mapping that the kernel empties in the child of a fork
//! (`MADV_WIPEONFORK`): the child finds zeros, takes them for "not attached yet" and attaches itself to a
//! segment of its own, however it was forked, and without a lock. Only what stays true in a child is in
//! statics: where the mapping is, the session's folder, the key.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::{SIZE_MAX, SIZE_MIN, SPARE, SPARES, note, unseen};
use lockprof_wire::{ENV_FORBIDS, ENV_OPTIONS, ENV_SESSION, Header, option};

use crate::handed_over::HandedOver;
use crate::hooks::thread::{STARTS, Start};
use crate::locks::AddressTable;
use crate::own_stack::Spare;
use crate::private::{self, Memory};
use crate::segment::{self, Segment};
use crate::spin::Spin;
use crate::thread::{Locals, learn_tids, never_hot};
use crate::unwind::modules::Modules;
use crate::unwind::shapes::Shapes;
use crate::unwind::stacks::StackIndex;
use crate::{asleep, clock, definitions, objects, sandbox, sys};

/// See the module. All fields are valid when zero.
#[repr(C)]
pub struct Process {
    state: AtomicU32,
    pub spare: Spare,
    /// How often it was tried to attach, and how often hooks asked since.
    tries: AtomicU32,
    asked: AtomicU32,
    /// Guards everything that is made rarely: rows, nodes, shapes, modules, room.
    pub making: Spin,
    pub segment: Segment,
    memory: Memory,
    pub modules: Modules,
    pub addresses: AddressTable,
    pub stacks: StackIndex,
    pub shapes: Shapes,
    pub locals: Locals,
    /// Threads that are being started.
    pub starts: [Start; STARTS],
    /// The last token given to a `Created` record.
    pub tokens: AtomicU32,
    pub handed_over: HandedOver,
}

const NEW: u32 = 0;
const ATTACHING: u32 = 1;
const RECORDING: u32 = 2;
const OFF: u32 = 3;
/// It could not be attached for a reason that may pass.
const LATER: u32 = 4;

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(core::ptr::null_mut());
static STARTING: AtomicU32 = AtomicU32::new(0);
static FOLDER: Folder = Folder { bytes: [const { AtomicU64::new(0) }; 64], len: AtomicU32::new(0) };
static EXACT: AtomicU32 = AtomicU32::new(0);
/// Only the process that was started itself is recorded, not what it forks.
static NO_FOLLOW: AtomicU32 = AtomicU32::new(0);
/// A process was attached in this image: another one that finds it here was forked.
static FIRST: AtomicU32 = AtomicU32::new(0);
/// The header of the last segment: in the child of a fork, until it has one of its own, its parent's.
static LAST: AtomicPtr<Header> = AtomicPtr::new(core::ptr::null_mut());

/// Acquisitions made while another thread attaches the process: its header takes them over.
static MISSED: AtomicU64 = AtomicU64::new(0);

/// The session's folder, kept in words because a static cannot be written otherwise.
struct Folder {
    bytes: [AtomicU64; 64],
    len: AtomicU32,
}

/// Longest path of a segment, bytes.
pub const PATH_MAX: usize = 576;

/// How large the segment's file becomes: the usual size or, where address space is limited, at most a sixteenth of that.
/// The program maps what it uses only, but the collector, which mostly has the same limit, maps all of each.
fn segment_size() -> u64 {
    (sys::address_space_limit() / 16).clamp(SIZE_MIN, SIZE_MAX)
}

/// Private memory that comes with the process: enough for the first of all tables.
const FIRST_MEMORY: usize = 128 << 10;

const fn pages(bytes: usize) -> usize {
    bytes.div_ceil(4096) * 4096
}

impl Process {
    /// The process, if it is being recorded; attaches it where that was not tried yet.
    #[cold]
    pub fn get() -> Option<&'static Self> {
        let mut at = PROCESS.load(Ordering::Acquire);
        if at.is_null() && !asleep::is_asleep() {
            at = start()?;
        }
        if asleep::is_asleep() {
            return None;
        }
        // SAFETY: the mapping is never given back, and zeros are a valid `Process`.
        let process = unsafe { &*at };
        // Acquire: pairs with the Release store below, so that the fields are seen.
        match process.state.load(Ordering::Acquire) {
            RECORDING => Some(process),
            OFF => None,
            LATER => process.attach_later(),
            _ => process.attach(NEW),
        }
    }

    /// Whether the process is recorded, or may be once it is woken.
    pub fn may_record() -> bool {
        Self::get().is_some() || !PROCESS.load(Ordering::Acquire).is_null()
    }

    /// The process, if it is known to be recorded: never attaches.
    pub fn attached() -> Option<&'static Self> {
        let at = PROCESS.load(Ordering::Acquire);
        if at.is_null() {
            return None;
        }
        // SAFETY: as in `get`.
        let process = unsafe { &*at };
        // SeqCst: as in `attach`.
        (process.state.load(Ordering::SeqCst) == RECORDING).then_some(process)
    }

    /// The same, but not for the child of a vfork, which has its parent's memory.
    pub fn of_this_process() -> Option<&'static Self> {
        let pid = sys::getpid();
        Self::attached().filter(|process| pid == 0 || process.header().pid.load(Ordering::Relaxed) == pid)
    }

    /// The segment's header.
    pub fn header(&self) -> &Header {
        self.segment.header()
    }

    /// A filter is about to forbid calls: makes room for what comes.
    pub fn make_ready(&'static self) {
        self.spare.run(|| {
            if let Some(_guard) = self.making.lock() {
                self.segment.grow_ahead();
                self.addresses.make_ready(self, segment::AHEAD_LOCKS);
                self.stacks.make_ready(self, segment::AHEAD_NODES);
                self.shapes.make_ready(self, segment::AHEAD_NODES);
                self.locals.make_ready(self, segment::AHEAD_THREADS);
            }
        });
    }

    /// Leaves a word for the report.
    pub fn note(&self, bits: u32) {
        self.segment.note(bits);
    }

    /// Private memory, zeros; the report says why where there is none. Call under the inner lock.
    pub fn take(&self, bytes: usize) -> Option<*mut u8> {
        self.memory.take(bytes).map_err(|why| self.note(why)).ok()
    }

    fn attach(&'static self, from: u32) -> Option<&'static Self> {
        const EMFILE: u32 = 24;
        const ENFILE: u32 = 23;
        const MOST_TRIES: u32 = 20;
        if sandbox::is_blind() {
            return None;
        }
        if self.state.compare_exchange(from, ATTACHING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // Another thread attaches (or a signal handler interrupted this one doing so).
            return (self.state.load(Ordering::Acquire) == RECORDING).then_some(self);
        }
        let state = match self.spare.run(|| self.prepare()) {
            Ok(true) => RECORDING,
            Ok(false) => OFF,
            Err(why) => {
                let may_pass = matches!(why & 0xffff, EMFILE | ENFILE);
                let tries = self.tries.fetch_add(1, Ordering::Relaxed);
                if tries == 0 {
                    unseen_child(why);
                }
                if may_pass && tries < MOST_TRIES { LATER } else { OFF }
            }
        };
        if state == RECORDING {
            LAST.store(core::ptr::from_ref(self.header()).cast_mut(), Ordering::Relaxed);
        }
        // SeqCst: pairs with `missed`, so that one of the two sides finds every acquisition.
        self.state.store(state, Ordering::SeqCst);
        (state == RECORDING).then(|| {
            self.take_missed();
            self
        })
    }

    /// Tries again, more and more seldom.
    #[cold]
    fn attach_later(&'static self) -> Option<&'static Self> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if asked >> self.tries.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.asked.store(0, Ordering::Relaxed);
        self.attach(LATER)
    }

    fn take_missed(&self) {
        self.header().unrecorded.fetch_add(MISSED.swap(0, Ordering::SeqCst), Ordering::Relaxed);
    }

    /// Makes the segment; false where the process is not to be recorded.
    fn prepare(&'static self) -> Result<bool, u32> {
        const EPERM: u32 = 1;
        learn_tids();
        // The mapping that `self` is in was new, or empty because of a fork: a process comes here once, but for
        // further tries.
        let is_first_try = self.tries.load(Ordering::Relaxed) == 0;
        let forked =
            if is_first_try { FIRST.swap(1, Ordering::Relaxed) != 0 } else { !LAST.load(Ordering::Relaxed).is_null() };
        if forked && is_first_try {
            // What was missed in the parent is the parent's.
            MISSED.store(0, Ordering::Relaxed);
        }
        if forked && NO_FOLLOW.load(Ordering::Relaxed) != 0 {
            return Ok(false);
        }
        if sandbox::forbids_segments() {
            // No file is begun that cannot be finished.
            return Err(unseen::OPEN << 16 | EPERM);
        }
        let own = core::ptr::from_ref(self) as *mut u8;
        self.memory.begin(own.wrapping_add(pages(size_of::<Self>())), FIRST_MEMORY);
        let tsc = clock::choose();
        if !tsc || exact() {
            never_hot();
        }
        let (mut path, mut spare) = ([0u8; PATH_MAX], [0u8; PATH_MAX]);
        if !FOLDER.segment_path(&mut path) {
            return Err(unseen::OPEN << 16);
        }
        let size = segment_size();
        // Where no file may be as large as a segment, one that the collector made is taken over, or it becomes smaller.
        let made = sys::file_size_limit() < size
            && (0..SPARES).any(|number| {
                FOLDER.spare_path(number, &mut spare);
                let (from, to) = (CStr::from_bytes_until_nul(&spare), CStr::from_bytes_until_nul(&path));
                matches!((from, to), (Ok(from), Ok(to)) if sys::rename(from, to))
            });
        self.segment.create(&path, size, made, tsc)?;
        self.header().forked.store(u32::from(forked), Ordering::Relaxed);
        self.header().foreign.store(definitions::foreign(), Ordering::Relaxed);
        self.make_rows_for_many();
        self.modules.discover_all(self);
        Ok(true)
    }
}

/// The header of the process that this one was forked from.
fn parent() -> Option<&'static Header> {
    // SAFETY: a segment stays mapped as long as its process lives, and in its children; any bytes are valid.
    unsafe { LAST.load(Ordering::Relaxed).as_ref() }
}

/// This process cannot be recorded: who reads of its parent hears of it.
fn unseen_child(why: u32) {
    if let Some(header) = parent() {
        if sandbox::inherited() != 0 {
            header.notes.fetch_or(note::SANDBOXED_CHILD, Ordering::Relaxed);
        }
        header.children_unseen_why.store(why, Ordering::Relaxed);
        header.children_unseen.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `part` on a stack of the recorder's own, once there is one.
pub fn apart<R>(part: impl FnOnce() -> R) -> R {
    let at = PROCESS.load(Ordering::Acquire);
    // SAFETY: as in `Process::get`.
    if at.is_null() { part() } else { unsafe { &*at }.spare.run(part) }
}

/// Counts an acquisition for the process, which is being attached; or for its parent, where it cannot be.
#[cold]
pub fn missed() {
    let at = PROCESS.load(Ordering::Acquire);
    // SAFETY: as in `Process::get`.
    if let Some(process) = unsafe { at.as_ref() }
        && matches!(process.state.load(Ordering::Acquire), OFF | LATER)
    {
        if process.tries.load(Ordering::Relaxed) > 0
            && let Some(header) = parent()
        {
            header.children_acquisitions.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    MISSED.fetch_add(1, Ordering::SeqCst);
    if let Some(process) = Process::attached() {
        process.take_missed();
    }
}

/// Reads the environment and makes the mapping.
#[cold]
fn start() -> Option<*mut Process> {
    if STARTING.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return None;
    }
    if objects::first().is_null() {
        // Not glibc: locks and threads look different there.
        return None;
    }
    let environment = environment();
    if environment.is_null() {
        // Too early: libc has not looked at its own arguments yet.
        STARTING.store(0, Ordering::Release);
        return None;
    }
    // SAFETY: `environ` is a list of strings that ends with a null pointer.
    unsafe {
        if let Some(forbids) = variable(environment, ENV_FORBIDS.as_bytes()) {
            sandbox::begin(forbids);
        }
        match variable(environment, ENV_SESSION.as_bytes()) {
            Some(folder) if FOLDER.set(folder) => {}
            Some(_) => {
                asleep::for_ever();
                return None;
            }
            None => {
                let mut path = [0u8; PATH_MAX];
                asleep::fall_asleep(&mut path);
                own_folder(&path);
            }
        }
        if let Some(options) = variable(environment, ENV_OPTIONS.as_bytes()) {
            EXACT.store(u32::from(options.contains(&option::EXACT)), Ordering::Relaxed);
            NO_FOLLOW.store(u32::from(options.contains(&option::NO_FOLLOW)), Ordering::Relaxed);
        }
        #[cfg(lockprof_oracle)]
        crate::unwind::oracle::be_blind(variable(environment, b"LOCKPROF_ORACLE_BLIND").unwrap_or_default());
    }
    definitions::resolve_all();
    let at = private::map(pages(size_of::<Process>()) + FIRST_MEMORY).ok()?;
    // Release: the child of a fork and other threads see the folder.
    PROCESS.store(at.cast(), Ordering::Release);
    Some(at.cast())
}

/// Whether `--exact` was asked for: never try first.
pub fn exact() -> bool {
    EXACT.load(Ordering::Relaxed) != 0
}

fn environment() -> *const *const c_char {
    let at: *const *const *const c_char;
    // SAFETY: reads our own offset table only; the reference is weak.
    unsafe {
        core::arch::asm!(".weak environ", "mov {}, qword ptr [rip + environ@GOTPCREL]", out(reg) at,
            options(nostack, preserves_flags, readonly));
        if !at.is_null() && !(*at).is_null() { *at } else { first_environment() }
    }
}

/// The environment that the kernel gave, which libc does not know before its own constructors: above the count of
/// arguments, the arguments and a null pointer.
unsafe fn first_environment() -> *const *const c_char {
    /// More would not fit into the kernel's own limit.
    const MOST: usize = 1 << 24;
    let at: *const *const usize;
    // SAFETY: reads our own offset table only; the reference is weak.
    unsafe {
        core::arch::asm!(".weak __libc_stack_end", "mov {}, qword ptr [rip + __libc_stack_end@GOTPCREL]", out(reg) at,
            options(nostack, preserves_flags, readonly));
    }
    // SAFETY: the loader's variable says where the kernel put the count of arguments.
    unsafe {
        let Some(first) = at.as_ref().map(|at| *at).filter(|first| !first.is_null()) else {
            return core::ptr::null();
        };
        let count = *first;
        let behind = first.add(1 + count.min(MOST));
        if *behind == 0 { behind.add(1).cast() } else { core::ptr::null() }
    }
}

/// The value of a variable of the environment.
unsafe fn variable(mut environment: *const *const c_char, name: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: the list ends with a null pointer, its strings with a NUL.
    unsafe {
        while !(*environment).is_null() {
            let text = CStr::from_ptr(*environment).to_bytes();
            if text.len() > name.len() && text[name.len()] == b'=' && &text[..name.len()] == name {
                return Some(&text[name.len() + 1..]);
            }
            environment = environment.add(1);
        }
    }
    None
}

impl Folder {
    fn set(&self, folder: &[u8]) -> bool {
        if folder.is_empty() || folder.len() > 512 - 48 {
            return false;
        }
        for (word, chunk) in self.bytes.iter().zip(folder.chunks(8)) {
            let mut bytes = [0u8; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.len.store(folder.len() as u32, Ordering::Relaxed);
        true
    }

    /// `FOLDER/PID.TICKS.seg`, with a final NUL: unique among all process images of the session.
    fn segment_path(&self, into: &mut [u8; PATH_MAX]) -> bool {
        let Some(mut at) = self.copy(into) else { return false };
        let mut put = |byte: u8| {
            into[at] = byte;
            at += 1;
        };
        decimal(u64::from(sys::getpid()), &mut put);
        put(b'.');
        decimal(clock::now(), &mut put);
        b".seg\0".iter().for_each(|byte| put(*byte));
        true
    }

    /// `FOLDER/spare.N`, with a final NUL.
    fn spare_path(&self, number: u32, into: &mut [u8; PATH_MAX]) -> bool {
        let Some(mut at) = self.copy(into) else { return false };
        let mut put = |byte: u8| {
            into[at] = byte;
            at += 1;
        };
        SPARE.bytes().for_each(&mut put);
        decimal(u64::from(number), &mut put);
        put(0);
        true
    }

    /// The folder and a slash; their length.
    fn copy(&self, into: &mut [u8; PATH_MAX]) -> Option<usize> {
        let len = self.len.load(Ordering::Relaxed) as usize;
        if len == 0 {
            return None;
        }
        for (chunk, word) in into[..512].chunks_mut(8).zip(&self.bytes) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        into[len] = b'/';
        Some(len + 1)
    }
}

pub fn decimal(mut number: u64, put: &mut impl FnMut(u8)) {
    let mut digits = [0u8; 20];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    digits[..count].iter().rev().for_each(|digit| put(*digit));
}

/// Segments are made in this folder from now on, a path with a final NUL: only before there is one.
pub fn own_folder(path: &[u8; PATH_MAX]) {
    FOLDER.set(path.split(|byte| *byte == 0).next().unwrap_or_default());
}

/// Takes the shim out of the environment if children are not to be followed.
///
/// # Safety
/// No other thread of the program runs yet.
pub unsafe fn forget_in_children() {
    if NO_FOLLOW.load(Ordering::Relaxed) != 0 {
        // SAFETY: the caller's contract.
        unsafe { leave_environment() };
    }
}

/// Takes the shim out of the environment, so that it is not loaded into programs which this one starts or becomes.
///
/// # Safety
/// No other thread of the program runs.
pub unsafe fn leave_environment() {
    let mut at = environment() as *mut *mut c_char;
    if at.is_null() {
        return;
    }
    // SAFETY: the list ends with a null pointer; names are changed in place to ones nobody reads.
    unsafe {
        while !(*at).is_null() {
            let text = CStr::from_ptr(*at).to_bytes();
            if text.starts_with(b"LD_PRELOAD=") {
                // `lockprof run` puts the shim last, behind what the user preloads.
                let value = &text[b"LD_PRELOAD=".len()..];
                // SAFETY: the loader's names end with a NUL.
                let own = objects::own().map_or(&[][..], |map| CStr::from_ptr(map.name).to_bytes());
                if let Some(rest) = value.strip_suffix(own) {
                    let rest = rest.strip_suffix(b":").unwrap_or(rest);
                    *(*at).add(b"LD_PRELOAD=".len() + rest.len()) = 0;
                }
            }
            at = at.add(1);
        }
    }
}
