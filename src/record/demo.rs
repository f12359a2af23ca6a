//! The demo's program: a small server with a slow journal, built into the CLI and recorded like any other.
//!
//! Worker threads look things up in a cache (a read-write lock), count (a mutex held for a moment) and
//! append to a journal. Two things are wrong on purpose: the journal's lock is held across slow writes,
//! and longest while the journal is rotated; and the cache is refreshed under its write lock.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

/// Tells the CLI to be the demo's program.
pub const VARIABLE: &str = "LOCKPROF_DEMO_WORKLOAD";

struct Mutex(UnsafeCell<libc::pthread_mutex_t>);
struct Rwlock(UnsafeCell<libc::pthread_rwlock_t>);

// SAFETY: pthread locks are made to be shared.
unsafe impl Sync for Mutex {}
// SAFETY: as above.
unsafe impl Sync for Rwlock {}

static JOURNAL: Mutex = Mutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
static COUNTERS: Mutex = Mutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
static CACHE: Rwlock = Rwlock(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER));

/// Runs a block under a lock. A macro, so that the functions that use it call pthread themselves, as a C
/// program's do.
#[collapse_debuginfo(yes)]
macro_rules! locked {
    ($take:ident, $give:ident, $lock:ident, $body:expr) => {{
        // SAFETY: an initialised lock of the functions' kind.
        unsafe { libc::$take($lock.0.get()) };
        let result = $body;
        // SAFETY: taken above by this thread.
        unsafe { libc::$give($lock.0.get()) };
        result
    }};
}

/// Worker threads.
const WORKERS: u64 = 4;
/// How long they work.
const TIME: Duration = Duration::from_secs(2);

/// Runs the workload.
pub fn workload() {
    let end = Instant::now() + TIME;
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| Builder::new().name(format!("worker-{number}")).spawn(move || serve(number, end)))
        .collect();
    for worker in workers.into_iter().flatten() {
        let _ = worker.join();
    }
}

#[inline(never)]
fn serve(first: u64, end: Instant) {
    let mut request = first;
    while Instant::now() < end {
        handle_request(request);
        request += WORKERS;
    }
}

#[inline(never)]
fn handle_request(request: u64) {
    let found = look_up(request);
    count_request(found);
    match request % 50 {
        7 => rotate_journal(request),
        21 => refresh_cache(request),
        rest if rest.is_multiple_of(3) => append_record(request),
        _ => {}
    }
    think(20);
}

#[inline(never)]
fn look_up(request: u64) -> u64 {
    locked!(pthread_rwlock_rdlock, pthread_rwlock_unlock, CACHE, think(2) ^ request)
}

#[inline(never)]
fn refresh_cache(request: u64) {
    locked!(pthread_rwlock_wrlock, pthread_rwlock_unlock, CACHE, load_from_disk(request));
}

#[inline(never)]
fn count_request(found: u64) {
    locked!(pthread_mutex_lock, pthread_mutex_unlock, COUNTERS, black_box(found));
}

#[inline(never)]
fn append_record(record: u64) {
    locked!(pthread_mutex_lock, pthread_mutex_unlock, JOURNAL, write_to_disk(record, 150));
}

#[inline(never)]
fn rotate_journal(request: u64) {
    locked!(pthread_mutex_lock, pthread_mutex_unlock, JOURNAL, write_to_disk(request, 2500));
}

#[inline(never)]
fn load_from_disk(request: u64) {
    black_box(request);
    sleep(Duration::from_micros(800));
}

/// Locks are held across this: what the demo wants found.
#[inline(never)]
fn write_to_disk(record: u64, micros: u64) {
    black_box(record);
    sleep(Duration::from_micros(micros));
}

/// Some microseconds of work.
#[inline(never)]
fn think(micros: u64) -> u64 {
    let end = Instant::now() + Duration::from_micros(micros);
    let mut value = micros;
    while Instant::now() < end {
        value = black_box(value.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ value >> 29);
    }
    value
}
