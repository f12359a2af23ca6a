//! What recording adds to a program that is over soon: before its `main`, after its end and as a whole.
//!
//! `cargo bench --bench short [-- ROUNDS]`. Each round starts the program bare, recorded, and recorded with an empty cache
//! folder, one after the other; what counts are medians, and the best of all rounds.

mod compiled;
mod machine;
mod own;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use compiled::compile;
use machine::machine;
use own::lockprof;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 100;
/// What a program does in `main`, ms.
const LENGTHS: [u32; 2] = [30, 0];

/// ms: before `main`, in it, after its end, and all of it.
type Times = [f64; 4];

fn main() -> Result<()> {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    // Not in /tmp: nothing is kept where others could put something.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let program = compile("short", folder.path())?;
    println!("{}", machine());
    println!("median (best) of {rounds} rounds, ms\n");
    println!("{:<32} {:>14} {:>14} {:>14} {:>14}", "", "before main", "main", "after its end", "whole");
    for length in LENGTHS {
        let mut all: [Vec<Times>; 3] = Default::default();
        for _ in 0..rounds {
            for (way, times) in all.iter_mut().enumerate() {
                times.push(run(&program, length, folder.path(), way)?);
            }
        }
        let name = if length > 0 { format!("4 threads, {length} ms") } else { "no threads, no locks".to_owned() };
        for (way, times) in ["bare", "recorded", "recorded, nothing kept"].into_iter().zip(&mut all) {
            print!("{:<32}", if way == "bare" { format!("{name}: {way}") } else { format!("  {way}") });
            for part in 0..4 {
                let mut values: Vec<f64> = times.iter().map(|times| times[part]).collect();
                values.sort_by(f64::total_cmp);
                print!(" {:>14}", format!("{:.1} ({:.1})", values[values.len() / 2], values[0]));
            }
            println!();
        }
    }
    Ok(())
}

fn run(program: &Path, length: u32, folder: &Path, way: usize) -> Result<Times> {
    let (times, cache) = (folder.join("times"), folder.join("cache"));
    let mut command = match way {
        0 => Command::new(program),
        _ => {
            let mut command = lockprof();
            command.args(["run", "-o"]).arg(folder.join("t.lockprof")).arg("--").arg(program);
            command
        }
    };
    if way == 2 {
        drop(fs::remove_dir_all(&cache));
        fs::create_dir(&cache)?;
        command.env("XDG_CACHE_HOME", &cache);
    }
    command.arg(length.to_string()).arg(&times);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = now();
    let status = command.status()?;
    let ended = now();
    let text = fs::read_to_string(&times)?;
    let (Some((begin, end)), true) = (text.trim().split_once(' '), status.success()) else {
        return Err(format!("{command:?} failed ({status}): {text}").into());
    };
    let (begin, end): (i64, i64) = (begin.parse()?, end.parse()?);
    Ok([begin - started, end - begin, ended - end, ended - started].map(|ns| ns as f64 / 1e6))
}

/// The clock that the program tells, ns.
fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
