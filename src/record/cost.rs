//! What recording costs on this machine: measured by running the CLI's own lock loop bare and recorded.

use std::cell::UnsafeCell;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use lockprof_wire::ENV_SESSION;

use super::{folder, shim};

/// Tells the CLI to be the measured program.
pub const VARIABLE: &str = "LOCKPROF_COST_WORKLOAD";

struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: pthread locks are made to be shared.
unsafe impl Sync for Mutex {}

static MUTEX: Mutex = Mutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

/// Pairs in one round. All rounds together fit into the rings, which nobody drains: none is folded.
const PAIRS: u32 = 200;
const ROUNDS: u32 = 80;

/// Prints the time of one uncontended lock and unlock at depth 10, ns: the best of some rounds.
pub fn workload() {
    let best = (0..ROUNDS).map(|_| descend(10)).min().unwrap_or(0);
    println!("{}", best as f64 / f64::from(PAIRS));
}

#[inline(never)]
fn descend(depth: u32) -> u128 {
    if depth > 1 {
        return black_box(descend(black_box(depth - 1)));
    }
    let start = Instant::now();
    for _ in 0..PAIRS {
        // SAFETY: an initialised mutex, given back at once.
        unsafe {
            libc::pthread_mutex_lock(MUTEX.0.get());
            libc::pthread_mutex_unlock(MUTEX.0.get());
        }
    }
    start.elapsed().as_nanos()
}

/// The cost that recording adds to a pair, ns: the least that was measured so far, since a busy machine only
/// adds to it. `None` where it could not be measured.
pub fn ns_per_pair(library: &Path) -> Option<f64> {
    let kept = shim::cache_folder()?.join(format!("cost-{}", library.file_name()?.to_string_lossy()));
    let known = fs::read_to_string(&kept).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(f64::MAX);
    let bare = run(None)?;
    let folder = folder::Folder::scratch().ok()?;
    let recorded = run(Some((library, folder.path())))?;
    let least = known.min((recorded - bare).max(0.0));
    let _ = fs::write(&kept, least.to_string());
    Some(least)
}

fn run(recorded: Option<(&Path, &Path)>) -> Option<f64> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.env(VARIABLE, "1").env_remove("LD_PRELOAD").stdin(Stdio::null()).stderr(Stdio::null());
    if let Some((library, folder)) = recorded {
        command.env("LD_PRELOAD", library).env(ENV_SESSION, folder);
    }
    let output = command.output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
