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
}

/// An operation.
#[derive(Debug)]
pub struct Row {
    /// What it is.
    pub atomic: AtomicRow,
    /// Bytes of the lock's word.
    pub width: usize,
    /// How the word is changed, where that tells it from others.
    pub change: Change,
    /// The function of its slow path; empty where it has none.
    pub cold: &'static str,
    /// The crate.
    pub crate_name: &'static str,
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

const fn wait(crate_name: &'static str, function: &'static str, waits: Event) -> ColdPath {
    ColdPath { function, crate_name, waits: Some(waits) }
}

const fn wake(crate_name: &'static str, function: &'static str) -> ColdPath {
    ColdPath { function, crate_name, waits: None }
}

/// All slow paths.
pub const COLD_PATHS: &[ColdPath] = &[
    wait(STD, "Mutex::lock_contended", Event::Requested(Exclusive)),
    wake(STD, "Mutex::wake"),
    wait(STD, "RwLock::read_contended", Event::Requested(Shared)),
    wait(STD, "RwLock::write_contended", Event::Requested(Exclusive)),
    wake(STD, "RwLock::wake_writer_or_readers"),
    wait(PARKING_LOT, "RawMutex::lock_slow", Event::Requested(Exclusive)),
    wake(PARKING_LOT, "RawMutex::unlock_slow"),
    wait(PARKING_LOT, "RawRwLock::lock_exclusive_slow", Event::Requested(Exclusive)),
    wait(PARKING_LOT, "RawRwLock::lock_shared_slow", Event::Requested(Shared)),
    wait(PARKING_LOT, "RawRwLock::lock_upgradable_slow", Event::Requested(Exclusive)),
    wake(PARKING_LOT, "RawRwLock::unlock_exclusive_slow"),
    wake(PARKING_LOT, "RawRwLock::unlock_shared_slow"),
    wake(PARKING_LOT, "RawRwLock::unlock_upgradable_slow"),
];

/// `std`'s lock of one writer, `(1 << 30) - 1`.
const WRITE_LOCKED: i64 = 0x3fff_ffff;
/// `parking_lot`'s count of one reader.
const ONE_READER: i64 = 16;
/// `parking_lot`'s bit of a writer.
const WRITER: u64 = 8;

const fn row(
    crate_name: &'static str,
    (operation, cold): (&'static str, &'static str),
    (atomic, width, change): (Atomic, usize, Change),
    event: Event,
) -> Row {
    let success = match event {
        Event::Released(_) => Success::Always,
        _ => Success::Equal,
    };
    let has_cold_call = !cold.is_empty();
    let atomic = AtomicRow { operation, atomic, offset: 0, success, event, failure: None, has_cold_call };
    Row { atomic, width, change, cold, crate_name }
}

use Atomic::{CompareExchange, Exchange, ExchangeAdd};
use Change::{Any, By, From, Sets};
use Event::{Acquired, Released, TryAcquired};

/// The operations that have a slow path, which proves what they are.
pub const OPERATIONS: &[Row] = &[
    row(STD, ("Mutex::lock", "Mutex::lock_contended"), (CompareExchange, 4, Any), Acquired(Exclusive)),
    row(STD, ("Mutex::unlock", "Mutex::wake"), (Exchange, 4, Any), Released(Exclusive)),
    row(STD, ("RwLock::read", "RwLock::read_contended"), (CompareExchange, 4, Any), Acquired(Shared)),
    row(STD, ("RwLock::write", "RwLock::write_contended"), (CompareExchange, 4, Any), Acquired(Exclusive)),
    row(STD, ("RwLock::read_unlock", "RwLock::wake_writer_or_readers"), (ExchangeAdd, 4, By(-1)), Released(Shared)),
    row(
        STD,
        ("RwLock::write_unlock", "RwLock::wake_writer_or_readers"),
        (ExchangeAdd, 4, By(-WRITE_LOCKED)),
        Released(Exclusive),
    ),
    row(PARKING_LOT, ("RawMutex::lock", "RawMutex::lock_slow"), (CompareExchange, 1, Any), Acquired(Exclusive)),
    row(PARKING_LOT, ("RawMutex::unlock", "RawMutex::unlock_slow"), (CompareExchange, 1, Any), Released(Exclusive)),
    row(
        PARKING_LOT,
        ("RawRwLock::lock_exclusive", "RawRwLock::lock_exclusive_slow"),
        (CompareExchange, 8, Any),
        Acquired(Exclusive),
    ),
    row(
        PARKING_LOT,
        ("RawRwLock::lock_shared", "RawRwLock::lock_shared_slow"),
        (CompareExchange, 8, Any),
        Acquired(Shared),
    ),
    row(
        PARKING_LOT,
        ("RawRwLock::lock_upgradable", "RawRwLock::lock_upgradable_slow"),
        (CompareExchange, 8, Any),
        Acquired(Exclusive),
    ),
    row(
        PARKING_LOT,
        ("RawRwLock::unlock_exclusive", "RawRwLock::unlock_exclusive_slow"),
        (CompareExchange, 8, Any),
        Released(Exclusive),
    ),
    row(
        PARKING_LOT,
        ("RawRwLock::unlock_shared", "RawRwLock::unlock_shared_slow"),
        (ExchangeAdd, 8, Any),
        Released(Shared),
    ),
    row(
        PARKING_LOT,
        ("RawRwLock::unlock_upgradable", "RawRwLock::unlock_upgradable_slow"),
        (CompareExchange, 8, Any),
        Released(Exclusive),
    ),
];

/// The operations that only try: nothing proves them but what becomes of the word.
pub const TRIES: &[Row] = &[
    row(STD, ("Mutex::try_lock", ""), (CompareExchange, 4, From(0, 1)), TryAcquired(Exclusive)),
    row(STD, ("RwLock::try_write", ""), (CompareExchange, 4, From(0, WRITE_LOCKED as u64)), TryAcquired(Exclusive)),
    row(STD, ("RwLock::try_read", ""), (CompareExchange, 4, By(1)), TryAcquired(Shared)),
    row(PARKING_LOT, ("RawMutex::try_lock", ""), (CompareExchange, 1, Sets(1)), TryAcquired(Exclusive)),
    row(
        PARKING_LOT,
        ("RawRwLock::try_lock_exclusive", ""),
        (CompareExchange, 8, From(0, WRITER)),
        TryAcquired(Exclusive),
    ),
    row(PARKING_LOT, ("RawRwLock::try_lock_shared", ""), (CompareExchange, 8, By(ONE_READER)), TryAcquired(Shared)),
];
