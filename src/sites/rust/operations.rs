//! The lock operations of `std::sync` and `parking_lot` (and of what has copied the latter's): which atomic each is, and the
//! slow path behind it.

use super::super::table::Mode::{Exclusive, Shared};
use super::super::table::{Atomic, AtomicRow, Event, Success};

/// A slow path: a function that is called where an operation did not succeed at once, or has somebody to wake.
#[derive(Debug, PartialEq, Eq)]
pub struct ColdPath {
    /// Its type and name.
    pub function: &'static str,
    /// The crate.
    pub crate_name: &'static str,
    /// What its call asks for, and its return grants; `None` where it only wakes.
    pub waits: Option<Event>,
    /// The argument (its number) that says in nanoseconds within a second when to give up; [`NEVER`] for never.
    pub limit: Option<u8>,
}

/// `None` in place of the nanoseconds of an `Instant`.
pub const NEVER: u64 = 1_000_000_000;

/// An operation.
#[derive(Debug)]
pub struct Row {
    /// What it is.
    pub atomic: AtomicRow,
    /// Bytes of the lock's word.
    pub width: usize,
    /// How the word is changed, where that tells it from others.
    pub change: Change,
    /// How it is changed always.
    pub shape: Change,
    /// The function of its slow path; empty where it has none.
    pub cold: &'static str,
}

/// How an atomic changes the lock's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// In any way.
    Any,
    /// From this number to that.
    From(u64, u64),
    /// By this number more (less, where negative).
    By(i64),
    /// These bits are set.
    Sets(u64),
}

const STD: &str = "std";
const PARKING_LOT: &str = "parking_lot";
/// Its locks are a copy of `parking_lot`'s, without time limits.
const DASHMAP: &str = "dashmap";

const fn wait(crate_name: &'static str, function: &'static str, waits: Event) -> ColdPath {
    ColdPath { function, crate_name, waits: Some(waits), limit: None }
}

const fn timed(function: &'static str, waits: Event, limit: u8) -> ColdPath {
    ColdPath { function, crate_name: PARKING_LOT, waits: Some(waits), limit: Some(limit) }
}

const fn wake(crate_name: &'static str, function: &'static str) -> ColdPath {
    ColdPath { function, crate_name, waits: None, limit: None }
}

/// All slow paths.
pub static COLD_PATHS: &[ColdPath] = &[
    wait(STD, "Mutex::lock_contended", Event::Requested(Exclusive)),
    wake(STD, "Mutex::wake"),
    wait(STD, "RwLock::read_contended", Event::Requested(Shared)),
    wait(STD, "RwLock::write_contended", Event::Requested(Exclusive)),
    wake(STD, "RwLock::wake_writer_or_readers"),
    timed("RawMutex::lock_slow", Event::Requested(Exclusive), 2),
    wake(PARKING_LOT, "RawMutex::unlock_slow"),
    timed("RawRwLock::lock_exclusive_slow", Event::Requested(Exclusive), 2),
    timed("RawRwLock::lock_shared_slow", Event::Requested(Shared), 3),
    timed("RawRwLock::lock_upgradable_slow", Event::Requested(Exclusive), 2),
    wake(PARKING_LOT, "RawRwLock::unlock_exclusive_slow"),
    wake(PARKING_LOT, "RawRwLock::unlock_shared_slow"),
    wake(PARKING_LOT, "RawRwLock::unlock_upgradable_slow"),
    wake(PARKING_LOT, "RawRwLock::downgrade_slow"),
    wait(DASHMAP, "RawRwLock::lock_exclusive_slow", Event::Requested(Exclusive)),
    wait(DASHMAP, "RawRwLock::lock_shared_slow", Event::Requested(Shared)),
    wake(DASHMAP, "RawRwLock::unlock_exclusive_slow"),
    wake(DASHMAP, "RawRwLock::unlock_shared_slow"),
];

/// Functions in which threads wait for something that is no lock, and those that wake them: hooked at their beginning and
/// their returns, as far as they are functions of their own in the program.
pub static BLOCKING: &[ColdPath] = &[
    wait(STD, "Condvar::wait", Event::Wait),
    wait(STD, "Condvar::wait_timeout", Event::Wait),
    wait(STD, "Condvar::wait_optional_timeout", Event::Wait),
    wait(STD, "Condvar::notify_one", Event::Wake),
    wait(STD, "Condvar::notify_all", Event::Wake),
    wait(STD, "Once::call", Event::Wait),
    wait(STD, "Once::wait", Event::Wait),
    wait(STD, "Barrier::wait", Event::Wait),
    wait(PARKING_LOT, "Condvar::wait_until_internal", Event::Wait),
    wait(PARKING_LOT, "Condvar::notify_one_slow", Event::Wake),
    wait(PARKING_LOT, "Condvar::notify_all_slow", Event::Wake),
    wait(PARKING_LOT, "Once::call_once_slow", Event::Wait),
];

/// A small function in which a thread parks itself for a time: its end, where that is all that can be patched.
pub static PARK_TIMEOUT: ColdPath = wait(STD, "std::thread::park_timeout", Event::Wait);

impl ColdPath {
    /// Whether it is one of [`BLOCKING`].
    pub fn is_blocking(&self) -> bool {
        matches!(self.waits, Some(Event::Wait | Event::Wake))
    }
}

/// `std`'s lock of one writer, `(1 << 30) - 1`.
pub const WRITE_LOCKED: i64 = 0x3fff_ffff;
/// `parking_lot`'s count of one reader.
const ONE_READER: i64 = 16;
/// `parking_lot`'s bit of a writer.
const WRITER: u64 = 8;

/// How the operations of a slow path change the word where their rows leave that open: `parking_lot`'s.
const fn shape_of(cold: &str, change: Change) -> Change {
    match cold.as_bytes() {
        b"RawMutex::lock_slow" => From(0, 1),
        b"RawMutex::unlock_slow" => From(1, 0),
        b"RawRwLock::lock_exclusive_slow" => From(0, WRITER),
        b"RawRwLock::lock_shared_slow" => By(ONE_READER),
        b"RawRwLock::unlock_exclusive_slow" => From(WRITER, 0),
        b"RawRwLock::unlock_shared_slow" => By(-ONE_READER),
        _ => change,
    }
}

const fn row(
    (operation, cold): (&'static str, &'static str),
    (atomic, width, change): (Atomic, usize, Change),
    event: Event,
) -> Row {
    let success = match event {
        Event::Released(_) | Event::Downgraded => Success::Always,
        _ => Success::Equal,
    };
    // Other words are changed like this, too.
    let shape = if matches!(event, Event::Downgraded) { Any } else { shape_of(cold, change) };
    let has_cold_call = !cold.is_empty();
    let atomic = AtomicRow { operation, atomic, offset: 0, success, event, failure: None, has_cold_call };
    Row { atomic, width, change, shape, cold }
}

use Atomic::{CompareExchange, Exchange, ExchangeAdd};
use Change::{Any, By, From, Sets};
use Event::{Acquired, Released, TryAcquired};

/// The operations that have a slow path, which proves what they are.
pub static OPERATIONS: &[Row] = &[
    row(("std::sync::Mutex::lock", "Mutex::lock_contended"), (CompareExchange, 4, From(0, 1)), Acquired(Exclusive)),
    row(("std::sync::Mutex::unlock", "Mutex::wake"), (Exchange, 4, Any), Released(Exclusive)),
    row(("std::sync::RwLock::read", "RwLock::read_contended"), (CompareExchange, 4, By(1)), Acquired(Shared)),
    row(
        ("std::sync::RwLock::write", "RwLock::write_contended"),
        (CompareExchange, 4, From(0, WRITE_LOCKED as u64)),
        Acquired(Exclusive),
    ),
    row(
        ("std::sync::RwLock::read_unlock", "RwLock::wake_writer_or_readers"),
        (ExchangeAdd, 4, By(-1)),
        Released(Shared),
    ),
    row(
        ("std::sync::RwLock::write_unlock", "RwLock::wake_writer_or_readers"),
        (ExchangeAdd, 4, By(-WRITE_LOCKED)),
        Released(Exclusive),
    ),
    row(("parking_lot::RawMutex::lock", "RawMutex::lock_slow"), (CompareExchange, 1, Any), Acquired(Exclusive)),
    row(("parking_lot::RawMutex::unlock", "RawMutex::unlock_slow"), (CompareExchange, 1, Any), Released(Exclusive)),
    row(
        ("parking_lot::RawRwLock::lock_exclusive", "RawRwLock::lock_exclusive_slow"),
        (CompareExchange, 8, Any),
        Acquired(Exclusive),
    ),
    row(
        ("parking_lot::RawRwLock::lock_shared", "RawRwLock::lock_shared_slow"),
        (CompareExchange, 8, Any),
        Acquired(Shared),
    ),
    row(
        ("parking_lot::RawRwLock::lock_upgradable", "RawRwLock::lock_upgradable_slow"),
        (CompareExchange, 8, Any),
        Acquired(Exclusive),
    ),
    row(
        ("parking_lot::RawRwLock::unlock_exclusive", "RawRwLock::unlock_exclusive_slow"),
        (CompareExchange, 8, Any),
        Released(Exclusive),
    ),
    row(
        ("parking_lot::RawRwLock::unlock_shared", "RawRwLock::unlock_shared_slow"),
        (ExchangeAdd, 8, Any),
        Released(Shared),
    ),
    row(
        ("parking_lot::RawRwLock::downgrade", "RawRwLock::downgrade_slow"),
        (ExchangeAdd, 8, By(ONE_READER - WRITER as i64)),
        Event::Downgraded,
    ),
    row(
        ("parking_lot::RawRwLock::unlock_upgradable", "RawRwLock::unlock_upgradable_slow"),
        (CompareExchange, 8, Any),
        Released(Exclusive),
    ),
];

/// `RwLock::try_read` and `try_write` where the compare-and-swap is a call in a function that both share: the change tells them
/// apart as it happens, one reader more or a writer.
pub static UPDATE: Row = row(("std::sync::RwLock::try_read", ""), (CompareExchange, 4, By(1)), TryAcquired(Shared));
/// What the other one means.
pub const UPDATE_TO_WRITER: Event = TryAcquired(Exclusive);

/// The downgrade of `std`'s lock: what wakes the readers is inlined, but no other word is changed by such a number.
pub static DOWNGRADE: Row =
    row(("std::sync::RwLock::downgrade", ""), (ExchangeAdd, 4, By(1 - WRITE_LOCKED)), Event::Downgraded);

const fn parking(operation: &'static str, (atomic, width, change): (Atomic, usize, Change), event: Event) -> Row {
    let success = if matches!(change, From(..)) { Success::Equal } else { Success::Always };
    let atomic = AtomicRow { operation, atomic, offset: 0, success, event, failure: None, has_cold_call: false };
    Row { atomic, width, change, shape: Any, cold: "" }
}

/// A thread parks itself: its word goes from "empty" to "parked", or from "told to go on" to "empty" without a wait.
pub static PARK: Row = parking("std::thread::park", (ExchangeAdd, 4, By(-1)), Event::Wait);
/// It goes on, as it was told to.
pub static PARKED: Row = parking("std::thread::park", (CompareExchange, 4, From(1, 0)), Event::Waited);
/// It goes on, as it was told to or as time is up.
pub static PARKED_FOR: Row = parking("std::thread::park_timeout", (Exchange, 4, Any), Event::Waited);
/// A thread is told to go on.
pub static UNPARK: Row = parking("std::thread::Thread::unpark", (Exchange, 4, Any), Event::Wake);
/// An initialisation is over: those who wait for it go on.
pub static INITIALISED: Row = parking("std::sync::Once::call", (Exchange, 4, Any), Event::Wake);
/// The same of `parking_lot`.
pub static INITIALISED_BYTE: Row = parking("parking_lot::Once::call_once", (Exchange, 1, Any), Event::Wake);

/// What is about threads that wait for something that is no lock, and is an atomic.
pub static PARKING: [&Row; 6] = [&PARK, &PARKED, &PARKED_FOR, &UNPARK, &INITIALISED, &INITIALISED_BYTE];

/// The operations that only try: nothing proves them but what becomes of the word.
pub static TRIES: &[Row] = &[
    row(("std::sync::Mutex::try_lock", ""), (CompareExchange, 4, From(0, 1)), TryAcquired(Exclusive)),
    row(
        ("std::sync::RwLock::try_write", ""),
        (CompareExchange, 4, From(0, WRITE_LOCKED as u64)),
        TryAcquired(Exclusive),
    ),
    row(("std::sync::RwLock::try_write", ""), (CompareExchange, 4, Sets(WRITE_LOCKED as u64)), TryAcquired(Exclusive)),
    row(("std::sync::RwLock::try_write", ""), (CompareExchange, 4, By(WRITE_LOCKED)), TryAcquired(Exclusive)),
    row(("std::sync::RwLock::try_read", ""), (CompareExchange, 4, By(1)), TryAcquired(Shared)),
    row(("parking_lot::RawMutex::try_lock", ""), (CompareExchange, 1, Sets(1)), TryAcquired(Exclusive)),
    row(
        ("parking_lot::RawRwLock::try_lock_exclusive", ""),
        (CompareExchange, 8, From(0, WRITER)),
        TryAcquired(Exclusive),
    ),
    row(("parking_lot::RawRwLock::try_lock_shared", ""), (CompareExchange, 8, By(ONE_READER)), TryAcquired(Shared)),
];
