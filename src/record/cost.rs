//! What recording costs on this machine: measured by running the CLI's own lock loop bare and recorded.
//!
//! That takes some milliseconds, which a short program's recording should not take each time: what was measured is kept beside
//! the library, and measured again now and then.

use std::cell::UnsafeCell;
use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{Builder, JoinHandle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lockprof_wire::ENV_SESSION;

use super::{folder, shim};
use crate::safe_file;

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
    let cache = shim::cache_folder()?;
    let path = cache.join(format!("cost-{}", library.file_name()?.to_string_lossy()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let kept = kept(&path).and_then(|text| Measured::parse(&text));
    if let Some(kept) = kept.as_ref().filter(|kept| kept.is_enough(boot.trim(), now)) {
        return Some(kept.least);
    }
    let bare = run(None)?;
    let folder = folder::Folder::scratch().ok()?;
    let recorded = run(Some((library, folder.path())))?;
    let least = (recorded - bare).clamp(0.0, Measured::MOST);
    let measured = Measured { least, times: 1, at: now, boot: boot.trim().to_owned() }.after(kept);
    let _ = safe_file::replace(&path, measured.text().as_bytes(), 0o644);
    Some(measured.least)
}

/// What was kept: no more than a line.
fn kept(path: &Path) -> Option<String> {
    let mut text = String::new();
    safe_file::open(path)?.take(256).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The cost of a pair, measured by a thread while this one does something else.
pub struct Measuring(Option<JoinHandle<Option<f64>>>);

impl Measuring {
    /// Begins.
    pub fn begin() -> Self {
        let work = || shim::install().ok().and_then(|library| ns_per_pair(&library));
        Self(Builder::new().name("cost".to_owned()).spawn(work).ok())
    }

    /// See [`ns_per_pair`].
    pub fn ns_per_pair(self) -> Option<f64> {
        self.0.and_then(|measured| measured.join().ok()).flatten()
    }
}

/// What was measured with one library so far.
#[derive(Clone, Debug, PartialEq)]
struct Measured {
    /// ns.
    least: f64,
    /// How often since the machine was started.
    times: u32,
    /// When last, seconds since 1970.
    at: u64,
    /// The kernel's name for the time since the machine was started.
    boot: String,
}

impl Measured {
    /// The least of so many is hardly that of a busy moment.
    const ENOUGH: u32 = 5;
    /// A pair that costs more, ns, was not measured by us.
    const MOST: f64 = 1e6;
    /// Seconds after which it is measured again all the same: a virtual machine may have moved.
    const OLD: u64 = 3600;

    fn is_enough(&self, boot: &str, now: u64) -> bool {
        let age = now.checked_sub(self.at);
        self.boot == boot && self.times >= Self::ENOUGH && age.is_some_and(|age| age < Self::OLD)
    }

    /// Together with what was known before.
    fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        let times = if before.boot == self.boot { before.times.saturating_add(1) } else { 1 };
        Self { least: self.least.min(before.least), times, ..self }
    }

    fn text(&self) -> String {
        format!("{} {} {} {}\n", self.least, self.times, self.at, self.boot)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let least = words.next()?.parse().ok().filter(|least: &f64| *least > 0.0 && *least <= Self::MOST)?;
        let (times, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { least, times, at, boot: words.next().unwrap_or_default().to_owned() })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_measured_some_times_and_then_now_and_then() {
        let one = |least, at, boot: &str| Measured { least, times: 1, at, boot: boot.to_owned() };
        let mut kept = one(30.0, 100, "a");
        for at in 101..105 {
            assert!(!kept.is_enough("a", at));
            kept = one(20.0 + at as f64, at, "a").after(Some(kept));
        }
        assert_eq!((kept.least, kept.times), (30.0, 5));
        assert!(kept.is_enough("a", 105) && !kept.is_enough("b", 105));
        assert!(!kept.is_enough("a", 104 + Measured::OLD) && !kept.is_enough("a", 103), "a clock may go back");
        assert_eq!(Measured::parse(&kept.text()), Some(kept.clone()));
        let anew = one(25.0, 106, "b").after(Some(kept));
        assert_eq!((anew.least, anew.times), (25.0, 1));
        for other in ["", "23.5", "NaN 5 1 a", "-1 5 1 a", "1e300 5 1 a", "0 5 1 a", "-0 5 1 a", "1 x 1 a"] {
            assert_eq!(Measured::parse(other), None);
        }
    }
}
