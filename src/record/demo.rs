//! The demo's program: a small server with a slow journal, built into the CLI and recorded like any other.
//!
//! Workers look things up in a cache (a read-write lock), count (a mutex held for a moment) and append to a
//! journal, which is held across a slow write; a compactor holds the journal even longer now and then and
//! renews the cache; a monitor only wants to look. The journal is the lock to blame.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr::null_mut;
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
    #[inline(always)]
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
    #[inline(always)]
    fn read<T>(&self, body: impl FnOnce() -> T) -> T {
        // SAFETY: an initialised lock, given back by the thread that took it.
        unsafe { libc::pthread_rwlock_rdlock(self.0.get()) };
        let result = body();
        // SAFETY: as above.
        unsafe { libc::pthread_rwlock_unlock(self.0.get()) };
        result
    }

    #[inline(always)]
    fn write<T>(&self, body: impl FnOnce() -> T) -> T {
        // SAFETY: as in `read`.
        unsafe { libc::pthread_rwlock_wrlock(self.0.get()) };
        let result = body();
        // SAFETY: as in `read`.
        unsafe { libc::pthread_rwlock_unlock(self.0.get()) };
        result
    }
}

/// How long the threads work.
const TIME: Duration = Duration::from_secs(2);

type Thread = extern "C" fn(*mut c_void) -> *mut c_void;

/// Runs the workload. Plain pthreads: their stacks show the program and nothing else.
pub fn workload() {
    let threads: [Thread; 5] = [worker, worker, worker, compactor, monitor];
    let mut started: Vec<libc::pthread_t> = Vec::new();
    for (number, routine) in threads.into_iter().enumerate() {
        let mut thread = 0;
        // SAFETY: the routines take any argument.
        if unsafe { libc::pthread_create(&raw mut thread, std::ptr::null(), routine, number as *mut c_void) } == 0 {
            started.push(thread);
        }
    }
    for thread in started {
        // SAFETY: each thread is joined once.
        unsafe { libc::pthread_join(thread, null_mut()) };
    }
}

fn named(name: &std::ffi::CStr) {
    // SAFETY: the calling thread's own name.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
}

extern "C" fn worker(number: *mut c_void) -> *mut c_void {
    named(c"worker");
    let end = Instant::now() + TIME;
    let mut request = number as u64;
    while Instant::now() < end {
        handle_request(request);
        request += 1;
    }
    null_mut()
}

extern "C" fn compactor(_: *mut c_void) -> *mut c_void {
    named(c"compactor");
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        compact_journal();
        refresh_cache();
        std::thread::sleep(Duration::from_millis(15));
    }
    null_mut()
}

extern "C" fn monitor(_: *mut c_void) -> *mut c_void {
    named(c"monitor");
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        read_statistics();
        std::thread::sleep(Duration::from_millis(3));
    }
    null_mut()
}

#[inline(never)]
fn handle_request(request: u64) {
    let found = look_up(request);
    count_request(found);
    if request % 5 == 0 {
        append_record(request);
    }
    black_box(think(40));
}

#[inline(never)]
fn look_up(request: u64) -> u64 {
    CACHE.read(|| think(2) ^ request)
}

#[inline(never)]
fn count_request(found: u64) {
    COUNTERS.with(|| black_box(found));
}

#[inline(never)]
fn append_record(request: u64) {
    JOURNAL.with(|| {
        black_box(request);
        // Held across a slow write: what the demo wants found.
        std::thread::sleep(Duration::from_micros(200));
    });
}

#[inline(never)]
fn compact_journal() {
    JOURNAL.with(|| std::thread::sleep(Duration::from_millis(5)));
}

#[inline(never)]
fn refresh_cache() {
    CACHE.write(|| std::thread::sleep(Duration::from_micros(800)));
}

#[inline(never)]
fn read_statistics() {
    JOURNAL.with(|| black_box(COUNTERS.with(|| think(1))));
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
