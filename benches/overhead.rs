//! What recording costs a program: one uncontended lock and unlock, bare and recorded, side by side.
//!
//! `cargo bench --bench overhead`. Each figure is the least of many short rounds over several runs that
//! alternate between bare and recorded: what the code costs where nothing disturbs it. The figures are the
//! machine's; the ratios travel. Other recorders are measured as well where they are installed.

mod compiled;
mod machine;
mod own;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use compiled::compile;
use machine::machine;
use own::lockprof;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs of each program; the least figure counts.
const RUNS: usize = 5;
/// Pairs in a round: what the rings take without being emptied meanwhile.
const PAIRS: &str = "1000";
const ROUNDS: &str = "150";
/// Time for the recorder to empty the rings between two rounds, µs.
const PAUSE_US: &str = "1500";
const DEPTHS: [&str; 3] = ["1", "10", "30"];

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bench = Bench { program: compile("pairs", folder.path())?, folder: folder.path().to_owned() };
    println!("{}", machine());
    println!("rdtsc: {:.1} ns\n", rdtsc_ns());
    println!("{:<44} {:>8} {:>9} {:>7} {:>9}", "ns for a lock and unlock", "bare", "recorded", "ratio", "added");
    for depth in DEPTHS {
        let row = format!("depth {depth}, short rounds");
        bench.compare(&row, &["loop", depth, PAIRS, ROUNDS, PAUSE_US], &[], f64::min)?;
    }
    for depth in DEPTHS {
        bench.compare(&format!("depth {depth}, all aggregated"), &["fold", depth, "20000", "100"], &[], f64::min)?;
    }
    for kilobytes in ["0", "32", "512", "4096"] {
        let row = format!("depth 10, {kilobytes} KB touched between pairs");
        bench.compare(&row, &["cold", "10", kilobytes, "9"], &[], f64::min)?;
    }
    bench.compare("depth 10, frames of 8 KB, short rounds", &["frames", PAIRS, ROUNDS, PAUSE_US], &[], f64::min)?;
    bench.compare("a condition made, signalled, destroyed", &["conds", PAIRS, ROUNDS, PAUSE_US], &[], f64::min)?;
    bench.compare("16 call paths at random, short rounds", &["paths", PAIRS, ROUNDS, PAUSE_US], &[], f64::min)?;
    bench.compare(
        "depth 10, short rounds, --exact",
        &["loop", "10", PAIRS, ROUNDS, PAUSE_US],
        &["--exact"],
        f64::min,
    )?;
    for depth in DEPTHS {
        bench.compare(
            &format!("depth {depth}, 10 million pairs at full tilt"),
            &["tilt", depth, "10000000"],
            &[],
            f64::min,
        )?;
    }
    bench.compare("a read, no lock held", &["calls", "20000", "60"], &[], f64::min)?;
    bench.compare("a read, a lock held, short rounds", &["held", PAIRS, ROUNDS, PAUSE_US], &[], f64::min)?;
    bench.asleep("a read, the shim preloaded and asleep", &["calls", "20000", "60"])?;
    bench.asleep("depth 10, the shim preloaded and asleep", &["loop", "10", PAIRS, ROUNDS, "0"])?;
    bench.compare("two threads on one lock, 2 million pairs each", &["crowd", "2", "2000000"], &[], f64::min)?;
    bench.compare("eight threads on one lock, 500,000 pairs each", &["crowd", "8", "500000"], &[], f64::min)?;
    bench.peers()?;
    println!("\n{:<44} {:>8}", "pairs a second, by four threads", "collector, % of a core");
    for rate in ["0", "25000", "250000", "1000000"] {
        println!("{rate:<44} {:>8.2}", 100.0 * bench.collector_at(rate)?);
    }
    Ok(())
}

struct Bench {
    program: PathBuf,
    folder: PathBuf,
}

impl Bench {
    /// Prints a row: the program bare and recorded, in turn.
    fn compare(&self, row: &str, words: &[&str], options: &[&str], better: fn(f64, f64) -> f64) -> Result<()> {
        let trace = self.folder.join("t.lockprof");
        let (mut bare, mut recorded) = (f64::NAN, f64::NAN);
        for _ in 0..RUNS {
            bare = better(bare, output(Command::new(&self.program).args(words))?);
            let mut command = lockprof();
            command.args(["run", "-q", "-o"]).arg(&trace).args(options).arg("--").arg(&self.program).args(words);
            recorded = better(recorded, output(&mut command)?);
        }
        let (ratio, added) = (recorded / bare, recorded - bare);
        println!("{row:<44} {bare:>8.1} {recorded:>9.1} {ratio:>7.2} {added:>9.1}   {}", coverage(&trace)?);
        Ok(())
    }

    /// Prints a row: the program bare and with a shim that nobody wakes, in turn.
    fn asleep(&self, row: &str, words: &[&str]) -> Result<()> {
        let shim = String::from_utf8(lockprof().args(["shim", "--path"]).output()?.stdout)?;
        let (mut bare, mut asleep) = (f64::NAN, f64::NAN);
        for _ in 0..RUNS {
            bare = bare.min(output(Command::new(&self.program).args(words))?);
            asleep = asleep.min(output(Command::new(&self.program).args(words).env("LD_PRELOAD", shim.trim_end()))?);
        }
        println!("{row:<44} {bare:>8.1} {asleep:>9.1} {:>7.2} {:>9.1}", asleep / bare, asleep - bare);
        Ok(())
    }

    /// The share of a processor that the collector takes at this rate.
    fn collector_at(&self, rate: &str) -> Result<f64> {
        let mut command = lockprof();
        command.args(["run", "-q", "-o"]).arg(self.folder.join("t.lockprof")).arg("--").arg(&self.program);
        let mut child = command.args(["rate", "4", rate, "7"]).stdout(Stdio::null()).spawn()?;
        // Of its first thread, which is the collector: the time on a processor, ns.
        let used = || -> Result<f64> {
            let text = std::fs::read_to_string(format!("/proc/{}/schedstat", child.id()))?;
            Ok(text.split_whitespace().next().ok_or("no time")?.parse()?)
        };
        std::thread::sleep(Duration::from_secs(1));
        let (start, before) = (Instant::now(), used()?);
        std::thread::sleep(Duration::from_secs(5));
        let share = (used()? - before) / start.elapsed().as_nanos() as f64;
        child.wait()?;
        Ok(share)
    }

    /// Other recorders, where they are installed: depth 10, in short rounds without pauses.
    fn peers(&self) -> Result<()> {
        let words = ["loop", "10", "1000", "20", "0"];
        let bare = output(Command::new(&self.program).args(words))?;
        let experiment = self.folder.join("peer.er");
        let gprofng = |what: &str| {
            let mut command = Command::new("gprofng");
            command.args(["collect", "app", "-O"]).arg(&experiment).args(["-p", "off", "-s", what]);
            command
        };
        let peers = [
            ("mutrace", Command::new("mutrace")),
            ("gprofng collect app -s on (long waits only)", gprofng("on")),
            ("gprofng collect app -s all", gprofng("all")),
        ];
        for (name, mut command) in peers {
            command.arg(&self.program).args(words);
            if let Ok(ns) = output(&mut command) {
                println!("{name:<44} {bare:>8.1} {ns:>9.1} {:>7.2} {:>9.1}", ns / bare, ns - bare);
            }
        }
        Ok(())
    }
}

/// The last number that a program says.
fn output(command: &mut Command) -> Result<f64> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let number = text.lines().rev().find_map(|line| line.trim().parse().ok());
    number.ok_or_else(|| format!("{command:?} gave no number").into())
}

/// What became of the acquisitions.
fn coverage(trace: &Path) -> Result<String> {
    let output = lockprof().args(["report", "--format", "json"]).arg(trace).output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let count = |key: &str| report["coverage"][key].as_u64().unwrap_or(0);
    let (all, folded, lost) = (count("acquisitions"), count("folded"), count("lost"));
    Ok(format!("{:.1}% folded, {lost} lost", 100.0 * folded as f64 / all.max(1) as f64))
}

/// What reading the time stamp counter takes: a recorded pair does it twice.
fn rdtsc_ns() -> f64 {
    const READS: u32 = 1000;
    let round = || {
        let start = Instant::now();
        for _ in 0..READS {
            // SAFETY: `rdtsc` has no preconditions.
            std::hint::black_box(unsafe { core::arch::x86_64::_rdtsc() });
        }
        start.elapsed().as_nanos() as f64 / f64::from(READS)
    };
    (0..1000).map(|_| round()).fold(f64::INFINITY, f64::min)
}
