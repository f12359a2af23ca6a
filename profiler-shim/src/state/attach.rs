//! How a process comes to be recorded.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::layout::{SIZE_MAX, SIZE_MIN, SPARES, note, unseen};
use lockprof_wire::{ENV_FORBIDS, ENV_OPTIONS, ENV_SESSION, Header, option};

use super::dormant;
use super::folder::{FOLDER, own_folder};
use super::follower;
use super::local::never_hot;
use super::process::{ATTACHING, LATER, NEW, OFF, PROCESS, Process, RECORDING, apart, attached};
use crate::real::definitions;
use crate::sys::environment::{environment, leave_environment, variable};
use crate::sys::this_thread::{is_vforked, learn_tids, thread_id};
use crate::sys::{self, Ids, clock, filters, objects, private};
use crate::tables::object_marker::Key;
use crate::tables::segment::PATH_MAX;

static STARTING: AtomicU32 = AtomicU32::new(0);
static EXACT: AtomicU32 = AtomicU32::new(0);
/// Only the process that was started itself is recorded, not what it forks.
static NO_FOLLOW: AtomicU32 = AtomicU32::new(0);
/// Nothing of this image is to be recorded.
static LEFT_ALONE: AtomicU32 = AtomicU32::new(0);
/// A process was attached in this image: another one that finds it here was forked.
static FIRST: AtomicU32 = AtomicU32::new(0);
/// The header of the last segment: in the child of a fork, until it has one of its own, its parent's.
static LAST: AtomicPtr<Header> = AtomicPtr::new(core::ptr::null_mut());

/// Acquisitions made while another thread attaches the process: its header takes them over.
static MISSED: AtomicU64 = AtomicU64::new(0);

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

/// The process, if it is being recorded; attaches it where that was not tried yet.
#[cold]
pub fn get() -> Option<&'static Process> {
    get_as(Ids::own)
}

/// The same in what may be the child of a vfork: the process is the one whose memory this is, which goes on with it.
pub fn get_behind_vfork() -> Option<&'static Process> {
    get_as(if is_vforked() { Ids::of_vforking } else { Ids::own })
}

fn get_as(ids: fn() -> Ids) -> Option<&'static Process> {
    let mut at = PROCESS.load(Ordering::Acquire);
    if at.is_null() && !dormant::is_asleep() {
        at = start()?;
    }
    if dormant::is_asleep() {
        return None;
    }
    // SAFETY: the mapping is never given back, and zeros are a valid `Process`.
    let process = unsafe { &*at };
    // Acquire: pairs with the Release store below, so that the fields are seen.
    match process.state.load(Ordering::Acquire) {
        RECORDING => Some(process),
        OFF => None,
        LATER => process.attach_later(ids),
        _ => process.attach(NEW, ids),
    }
}

/// Whether the process is recorded, or may be once it is woken.
pub fn may_record() -> bool {
    get().is_some() || !PROCESS.load(Ordering::Acquire).is_null()
}

impl Process {
    fn attach(&'static self, from: u32, ids: fn() -> Ids) -> Option<&'static Self> {
        const EMFILE: u32 = 24;
        const ENFILE: u32 = 23;
        const MOST_TRIES: u32 = 20;
        if filters::is_blind() {
            return None;
        }
        if self.state.compare_exchange(from, ATTACHING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // Another thread attaches (or a signal handler interrupted this one doing so).
            return (self.state.load(Ordering::Acquire) == RECORDING).then_some(self);
        }
        let made = self.spare.run(|| self.prepare(ids()));
        if made == Ok(true) {
            LAST.store(core::ptr::from_ref(self.tables.header()).cast_mut(), Ordering::Relaxed);
        }
        let state = match made {
            // Its segment says that there is such a program, and that nothing of it is missing.
            Ok(true) if LEFT_ALONE.load(Ordering::Relaxed) != 0 => OFF,
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
        // SeqCst: pairs with `missed`, so that one of the two sides finds every acquisition.
        self.state.store(state, Ordering::SeqCst);
        (state == RECORDING).then(|| {
            self.take_missed();
            self
        })
    }

    /// Tries again, more and more seldom.
    #[cold]
    fn attach_later(&'static self, ids: fn() -> Ids) -> Option<&'static Self> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if asked >> self.tries.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.asked.store(0, Ordering::Relaxed);
        self.attach(LATER, ids)
    }

    fn take_missed(&self) {
        self.tables.header().unrecorded.fetch_add(MISSED.swap(0, Ordering::SeqCst), Ordering::Relaxed);
    }

    /// Makes the segment; false where the process is not to be recorded.
    fn prepare(&'static self, ids: Ids) -> Result<bool, u32> {
        const EPERM: u32 = 1;
        if ids.process == sys::getpid() {
            learn_tids();
        }
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
        if filters::forbids_segments() {
            // No file is begun that cannot be finished.
            return Err(unseen::OPEN << 16 | EPERM);
        }
        let own = core::ptr::from_ref(self) as *mut u8;
        self.tables.memory.begin(own.wrapping_add(pages(size_of::<Self>())), FIRST_MEMORY);
        let tsc = clock::choose();
        if !tsc || exact() {
            never_hot();
        }
        let (mut path, mut spare) = ([0u8; PATH_MAX], [0u8; PATH_MAX]);
        if !FOLDER.segment_path(ids.process, &mut path) {
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
        self.tables.segment.create(&path, ids, size, made, tsc)?;
        self.tables.header().forked.store(u32::from(forked), Ordering::Relaxed);
        self.tables.header().left_alone.store(LEFT_ALONE.load(Ordering::Relaxed), Ordering::Relaxed);
        self.tables.header().foreign.store(definitions::foreign(), Ordering::Relaxed);
        self.tables.make_overflow_rows();
        self.tables.key.set(Key::of(clock::now(), thread_id()));
        self.tables.modules.discover_all(&self.tables);
        Ok(true)
    }
}

/// The header of this process or, where it has none of its own (a fork's or a vfork's child), of its parent.
pub fn nearest_header() -> Option<&'static Header> {
    // SAFETY: a segment stays mapped as long as its process lives, and in its children; any bytes are valid.
    unsafe { LAST.load(Ordering::Relaxed).as_ref() }
}

/// This process cannot be recorded: who reads of its parent hears of it.
fn unseen_child(why: u32) {
    if let Some(header) = nearest_header() {
        if filters::inherited() != 0 {
            header.notes.fetch_or(note::SANDBOXED_CHILD, Ordering::Relaxed);
        }
        header.children_unseen_why.store(why, Ordering::Relaxed);
        header.children_unseen.fetch_add(1, Ordering::Relaxed);
    }
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
            && let Some(header) = nearest_header()
        {
            header.children_acquisitions.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    MISSED.fetch_add(1, Ordering::SeqCst);
    if let Some(process) = attached() {
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
            filters::begin(forbids);
        }
        // What the environment says of a session is of another one, where the recorder came late.
        objects::remember_start();
        match variable(environment, ENV_SESSION.as_bytes()).filter(|_| !objects::was_opened_late()) {
            Some(folder) if FOLDER.set(folder) => {}
            Some(_) => {
                dormant::for_ever();
                return None;
            }
            None => {
                let mut path = [0u8; PATH_MAX];
                dormant::fall_asleep(&mut path, in_child);
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
    if !dormant::may_sleep() && !follower::wants_this() {
        LEFT_ALONE.store(1, Ordering::Relaxed);
    }
    filters::report_refusals(refused);
    definitions::resolve_all();
    let at = private::map(pages(size_of::<Process>()) + FIRST_MEMORY).ok()?;
    // Release: the child of a fork and other threads see the folder.
    PROCESS.store(at.cast(), Ordering::Release);
    Some(at.cast())
}

/// In the child of a fork that finds its parent asleep: who wakes the parent does not mean the child. One whose parent
/// records goes on with it.
extern "C" fn in_child() {
    if dormant::is_asleep() {
        apart(|| {
            let mut path = [0u8; PATH_MAX];
            if dormant::own_page(&mut path) {
                own_folder(&path);
            }
        });
    }
}

/// What a filter forbids is missing in the recording.
fn refused() {
    if let Some(process) = attached() {
        process.tables.note(note::SANDBOX);
    }
}

/// Whether `--exact` was asked for: never try first.
pub fn exact() -> bool {
    EXACT.load(Ordering::Relaxed) != 0
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
