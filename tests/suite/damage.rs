//! Shared memory that somebody wrote over or cut short: the collector reads what it can, says so, and lives. The damage is
//! random; each seed makes the same again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockprof::analysis::contention::{Contention, Query};
use lockprof::analysis::order::orders;
use lockprof::ingest::collector::Collector;
use lockprof::ingest::file;
use lockprof_wire::ENV_SESSION;

use crate::util::fixture;
use crate::util::run::folder;

/// Damages of a segment whose process lives, and of one whose process has ended.
const SEEDS: u64 = 100;
/// No step of the collector takes longer, and it takes no more memory, bytes.
const LONGEST: Duration = Duration::from_secs(2);
const MOST_MEMORY: u64 = 1 << 30;

#[test]
fn while_the_program_runs() {
    assert_damaged((0..SEEDS).map(|seed| survive(seed, true)).sum());
}

#[test]
fn when_it_has_ended() {
    assert_damaged((SEEDS..2 * SEEDS).map(|seed| survive(seed, false)).sum());
}

/// A segment that was not there, or was empty, has met nothing.
fn assert_damaged(damages: u64) {
    assert!(damages >= SEEDS * 9 / 10, "only {damages} damages were done");
}

/// Collects from a program whose segment is damaged between two looks, or before the first one; how often it was.
fn survive(seed: u64, lives: bool) -> u64 {
    let session = folder();
    let (mut program, segment) = start(session.path());
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    if !lives {
        end(&mut program);
    }
    let mut collector = Collector::new(session.path());
    if lives && seed.is_multiple_of(2) {
        timed(seed, || collector.tick());
    }
    let first = damage(&segment, &mut random, seed);
    let mut damages = u64::from(first.is_some());
    timed(seed, || collector.tick());
    if lives {
        damages += u64::from(damage(&segment, &mut random, seed / 4).is_some());
        timed(seed, || collector.tick());
        end(&mut program);
    }
    let taken = std::fs::metadata(&segment).map_or(0, |data| data.blocks() * 512);
    assert!(taken < MOST_MEMORY / 4, "seed {seed}: the segment takes {taken} bytes");
    let collected = timed(seed, || collector.finish());
    let session = collected.session;
    let is_cut = first == Some(Damage::Cut);
    assert!(!is_cut || !session.coverage.complete(), "seed {seed}: cut short, and complete: {:?}", session.coverage);
    let coverage = &session.coverage;
    assert_eq!(coverage.acquisitions, coverage.recorded + coverage.folded + coverage.lost, "seed {seed}");
    timed(seed, || drop(Contention::of(&session, &Query::default())));
    timed(seed, || drop(orders(&session)));
    let mut trace = Vec::new();
    timed(seed, || file::write(&session, &mut trace).expect("a trace in memory"));
    timed(seed, || file::read_from(trace.as_slice()).expect("the trace again"));
    let memory = most_memory();
    assert!(memory < MOST_MEMORY, "seed {seed}: {memory} bytes of memory");
    damages
}

fn timed<T>(seed: u64, step: impl FnOnce() -> T) -> T {
    let began = used();
    let made = step();
    let took = used() - began;
    assert!(took < LONGEST, "seed {seed}: a step took {took:?}");
    made
}

/// Processor time of this thread: others use the machine too.
fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The program with the recorder in it, all its locks taken; and its segment.
pub(super) fn start(session: &Path) -> (Child, PathBuf) {
    let mut program = Command::new(fixture("damaged"))
        .env("LD_PRELOAD", env!("LIBLOCKPROF_SHIM"))
        .env(ENV_SESSION, session)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the fixture starts");
    let mut line = String::new();
    let output = program.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    assert!(line.contains("ready"), "{line}");
    let mut files = std::fs::read_dir(session).expect("the session's folder").flatten().map(|file| file.path());
    let segment = files.find(|file| file.extension().is_some_and(|ending| ending == "seg")).expect("a segment");
    (program, segment)
}

/// A program whose memory was damaged may not end by itself.
pub(super) fn end(program: &mut Child) {
    drop(program.stdin.take());
    let deadline = Instant::now() + Duration::from_millis(200);
    while program.try_wait().expect("its status").is_none() {
        if Instant::now() > deadline {
            program.kill().expect("it is our child");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(PartialEq, Eq)]
enum Damage {
    /// Nonsense stands in it.
    Nonsense,
    /// It was cut below its first page.
    Cut,
}

/// Writes nonsense where there is something, or cuts the file; `None` where there is nothing.
fn damage(segment: &Path, random: &mut Random, style: u64) -> Option<Damage> {
    let file = OpenOptions::new().read(true).write(true).open(segment).ok()?;
    let pieces = pieces(&file);
    if pieces.is_empty() {
        return None;
    }
    Some(match style % 4 {
        // A part of all words.
        0 | 1 => {
            let one_in = [4, 60, 2_000][random.below(3) as usize];
            for (start, end) in pieces {
                for at in (start..end).step_by(8) {
                    if random.below(one_in) == 0 {
                        file.write_all_at(&random.word().to_le_bytes(), at).expect("a word");
                    }
                }
            }
            Damage::Nonsense
        }
        // Some bytes, a few of them in the header.
        2 => {
            for number in 0..200 {
                let (start, end) = pieces[if number < 20 { 0 } else { random.below(pieces.len() as u64) as usize }];
                let length = if number < 20 { 256 } else { end - start };
                file.write_all_at(&[random.next() as u8], start + random.below(length)).expect("a byte");
            }
            Damage::Nonsense
        }
        _ => {
            let (_, end) = pieces[pieces.len() - 1];
            let size = [0, random.below(4096), random.below(end), 4096 * random.below(64)][random.below(4) as usize];
            file.set_len(size).expect("a smaller size");
            if size < 4096 { Damage::Cut } else { Damage::Nonsense }
        }
    })
}

/// Where a sparse file holds something.
pub(super) fn pieces(file: &File) -> Vec<(u64, u64)> {
    let seek = |from: u64, what| {
        // SAFETY: moves the position of a file of ours.
        let at = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, what) };
        (at >= 0).then_some(at as u64)
    };
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(start) = seek(at, libc::SEEK_DATA) {
        let end = seek(start, libc::SEEK_HOLE).unwrap_or(start + 8);
        pieces.push((start, end));
        at = end;
    }
    pieces
}

/// The most memory that this process had at one time, bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
}

pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// What is likely to do harm.
    pub(super) fn word(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => self.below(70_000),
            4 => u64::from(self.next() as u32) << 32 | self.below(200),
            _ => self.next(),
        }
    }
}
