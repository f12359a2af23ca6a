//! What a viewer costs, and how soon it shows something: `lockprof top` in a pseudo-terminal, at its usual two frames a
//! second, on a program of 200 threads and 1,000 locks.
//!
//! `cargo bench --bench top`, with another number of seconds `-- 20`. The viewer should take 3 % of a core and show its
//! first frame within 300 ms.

mod compiled;
mod machine;
mod own;
#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/util/terminal.rs"]
mod terminal;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use compiled::compile;
use machine::machine;
use own::lockprof;
use terminal::Terminal;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const THREADS: &str = "200";
const LOCKS: &str = "1000";
/// What is measured, where nobody said otherwise, s.
const SECONDS: u64 = 10;
/// Starts of a viewer; the middle one counts.
const STARTS: usize = 5;
/// The heading of the first screen, and what a lock's row has.
const FIRST: &str = "1 Locks";
const ROW: &str = " mutex ";

fn main() -> Result<()> {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(SECONDS);
    let folder = tempfile::tempdir()?;
    let program = compile("crowd", folder.path())?;
    println!("{}", machine());
    println!("{THREADS} threads, {LOCKS} locks; shares of one core over {seconds} s\n");

    let mut recording = record(&program, folder.path(), seconds)?;
    sleep(Duration::from_secs(3));
    let pid = child_of(recording.id())?;
    let alone = share_of(recording.id(), seconds)?;

    let first = median((0..STARTS).map(|_| first_frame(view(pid), ROW, "q")).collect());
    println!("first locks of `top -p`:           {first:>6.0} ms");
    let mut viewer = Terminal::start(view(pid), 160, 50);
    viewer.shows(FIRST);
    sleep(Duration::from_secs(1));
    let viewed = viewer.pid().unsigned_abs();
    let (begin, began) = ([cpu(viewed)?, cpu(recording.id())?], Instant::now());
    sleep(Duration::from_secs(seconds));
    let wall = began.elapsed().as_secs_f64();
    let [watching, serving] = [cpu(viewed)? - begin[0], cpu(recording.id())? - begin[1]].map(|used| used / wall);
    viewer.keys("q");
    viewer.end();
    println!("the viewer, 160x50:                {:>6.2} %", watching * 100.0);
    println!("the recorder, nobody looks:        {:>6.2} %", alone * 100.0);
    println!("the recorder, with the viewer:     {:>6.2} %", serving * 100.0);
    // SAFETY: sends a signal to a process that we started.
    unsafe { libc::kill(i32::try_from(pid)?, libc::SIGTERM) };
    recording.wait()?;

    let start = || {
        let mut command = lockprof();
        command.arg("top").args(["-o", "t.lockprof", "--"]).arg(&program).args([THREADS, LOCKS, "60"]);
        command.current_dir(folder.path());
        command
    };
    // Twice: the program is asked to end.
    let first = median((0..STARTS).map(|_| first_frame(start(), FIRST, "qe")).collect());
    println!("first frame of `top -- CMD`:       {first:>6.0} ms");
    Ok(())
}

fn view(pid: u32) -> Command {
    let mut command = lockprof();
    command.args(["top", "-p", &pid.to_string()]);
    command
}

fn record(program: &Path, folder: &Path, seconds: u64) -> Result<Child> {
    let mut command = lockprof();
    command.args(["run", "-q", "-o", "r.lockprof", "--"]).arg(program).args([THREADS, LOCKS]);
    // More than everything takes.
    command.arg((3 * seconds + 60).to_string()).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// Time from the start to a frame that shows this, ms.
fn first_frame(command: Command, shows: &str, keys: &str) -> f64 {
    let began = Instant::now();
    let mut terminal = Terminal::start(command, 160, 50);
    terminal.shows(shows);
    let time = began.elapsed().as_secs_f64() * 1e3;
    for key in keys.chars() {
        sleep(Duration::from_millis(300));
        terminal.keys(&key.to_string());
    }
    terminal.end();
    time
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Share of a core that a process takes.
fn share_of(pid: u32, seconds: u64) -> Result<f64> {
    let (begin, began) = (cpu(pid)?, Instant::now());
    sleep(Duration::from_secs(seconds));
    Ok((cpu(pid)? - begin) / began.elapsed().as_secs_f64())
}

/// Time on a processor so far, s: of all threads, to the nanosecond (`/proc/PID/task/*/schedstat`).
fn cpu(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().unwrap_or("0").parse::<f64>()? / 1e9;
    }
    Ok(sum)
}

fn child_of(pid: u32) -> Result<u32> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        if let Some(child) = children.split_whitespace().next() {
            return Ok(child.parse()?);
        }
    }
    Err("the recorder has no child".into())
}
