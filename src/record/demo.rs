//! The demo's program: a small server with a slow journal, built into the CLI and recorded like any other.
//!
//! Worker threads look things up in a cache (a read-write lock), count (a mutex held for a moment) and
//! append to a journal, which is held across a slow write: the lock to blame.

use std::cell::UnsafeCell;
use std::hint::black_box;
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

impl Mutex {
    fn with<T>(&self, body: impl FnOnce() -> T) -> T {
        // SAFETY: an initialised mutex, given back by the thread that took it.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
        let result = body();
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
        result
    }
}

impl Rwlock {
    fn read<T>(&self, body: impl FnOnce() -> T) -> T {
        // SAFETY: an initialised lock, given back by the thread that took it.
        unsafe { libc::pthread_rwlock_rdlock(self.0.get()) };
        let result = body();
        // SAFETY: as above.
        unsafe { libc::pthread_rwlock_unlock(self.0.get()) };
        result
    }

    fn write<T>(&self, body: impl FnOnce() -> T) -> T {
        // SAFETY: as in `read`.
        unsafe { libc::pthread_rwlock_wrlock(self.0.get()) };
        let result = body();
        // SAFETY: as in `read`.
        unsafe { libc::pthread_rwlock_unlock(self.0.get()) };
        result
    }
}

/// Worker threads.
const WORKERS: usize = 4;
/// How long they work.
const TIME: Duration = Duration::from_secs(2);

/// Runs the workload.
pub fn workload() {
    let end = Instant::now() + TIME;
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let mut request = number as u64;
                while Instant::now() < end {
                    handle_request(request);
                    request += WORKERS as u64;
                }
            })
        })
        .collect();
    for worker in workers.into_iter().flatten() {
        let _ = worker.join();
    }
}

#[inline(never)]
fn handle_request(request: u64) {
    if request % 64 == 0 {
        refresh_cache(request);
    }
    let found = look_up(request);
    count_request(found);
    if request % 8 == 0 {
        append_record(request);
    }
    think(20);
}

#[inline(never)]
fn look_up(request: u64) -> u64 {
    CACHE.read(|| think(2) ^ request)
}

#[inline(never)]
fn refresh_cache(request: u64) {
    CACHE.write(|| black_box(think(40) ^ request));
}

#[inline(never)]
fn count_request(found: u64) {
    COUNTERS.with(|| black_box(found));
}

#[inline(never)]
fn append_record(request: u64) {
    JOURNAL.with(|| {
        black_box(request);
        write_to_disk();
    });
}

/// Held across this: what the demo wants found.
#[inline(never)]
fn write_to_disk() {
    std::thread::sleep(Duration::from_micros(300));
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
