//! How long the views of a large trace take, and what memory.
//!
//! `cargo bench --bench views`, with another number of rounds `-- 1`. Two traces of a made-up server (1,000 locks, 100,000 call stacks, 200 threads) are
//! written once; then each command reads them in a process of its own. A view should take less than 2 s and 500 MB.
//! [`VIEWS`] is the list: a new view is a line.

mod machine;
mod own;

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use machine::machine;
use own::lockprof;

use lockprof::ingest::file;
use lockprof::model::{
    CodeAddress, Frame, Kind, Lock, LockId, LockName, Mode, Module, ModuleId, NameSource, Process, ProcessId, Session,
    SiteKey, StackId, Stacks, Thread, ThreadId, ThreadShare, WaitEvent, WaitKey,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LOCKS: u64 = 1_000;
const STACKS: usize = 100_000;
const THREADS: u64 = 200;
/// Rounds of each view where nobody said otherwise; the best one counts.
const ROUNDS: usize = 3;
/// The first word of the process that makes the traces.
const MAKE: &str = "make-traces";
/// What a view should take at most.
const MOST_SECONDS: f64 = 2.0;
const MOST_BYTES: u64 = 500_000_000;

/// Words of each command; they run in the folder of `old.lockprof` and `new.lockprof`.
const VIEWS: &[&[&str]] = &[
    &["report", "new.lockprof"],
    &["report", "--format", "json", "new.lockprof"],
    &["report", "--format", "md", "new.lockprof"],
    &["report", "--by", "site", "new.lockprof"],
    &["flamegraph", "new.lockprof", "-o", "-"],
    &["flamegraph", "--by", "both", "new.lockprof", "-o", "-"],
    &["flamegraph", "--diff", "old.lockprof", "new.lockprof", "-o", "-"],
    &["diff", "old.lockprof", "new.lockprof"],
    &["diff", "--format", "json", "old.lockprof", "new.lockprof"],
    &["html", "new.lockprof", "-o", "-"],
    &["merge", "old.lockprof", "new.lockprof", "-o", "merged.lockprof"],
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, make, folder] = &words[..]
        && make == MAKE
    {
        return make_traces(Path::new(folder));
    }
    // The harness adds words of its own.
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let folder = tempfile::tempdir()?;
    // By a process of its own: the kernel counts a parent's memory in its children's peak.
    if !Command::new(std::env::current_exe()?).arg(MAKE).arg(folder.path()).status()?.success() {
        return Err("no traces".into());
    }
    let size = std::fs::metadata(folder.path().join("new.lockprof"))?.len();
    println!("{}", machine());
    println!("{LOCKS} locks, {STACKS} stacks, {THREADS} threads: a trace of {:.1} MB", size as f64 / 1e6);
    println!("{:<58} {:>8} {:>8} {:>8} {:>8}", "", "s", "of 2 s", "MB", "of 500");
    for view in VIEWS {
        let mut best = (Duration::MAX, 0);
        for _ in 0..rounds {
            best = best.min(run(view, folder.path())?);
        }
        let (seconds, bytes) = (best.0.as_secs_f64(), best.1);
        println!(
            "{:<58} {seconds:>8.2} {:>7.0}% {:>8.0} {:>7.0}%",
            view.join(" "),
            seconds / MOST_SECONDS * 100.0,
            bytes as f64 / 1e6,
            bytes as f64 / MOST_BYTES as f64 * 100.0
        );
    }
    Ok(())
}

fn make_traces(folder: &Path) -> Result<()> {
    for (name, seed) in [("old.lockprof", 1), ("new.lockprof", 2)] {
        file::write(&server(seed), &mut File::create(folder.join(name))?)?;
    }
    Ok(())
}

/// Time and peak memory in bytes of one command.
fn run(words: &[&str], folder: &Path) -> Result<(Duration, u64)> {
    let begin = Instant::now();
    let mut command = lockprof();
    let child = command.arg("-q").args(words).current_dir(folder).stdout(Stdio::null()).spawn()?;
    let (mut status, pid) = (0, i32::try_from(child.id())?);
    // SAFETY: all bits zero are a valid `rusage`, which holds integers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the right types, and the child is ours and not waited for elsewhere.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } != pid || status != 0 {
        return Err(format!("{} failed", words.join(" ")).into());
    }
    Ok((begin.elapsed(), usage.ru_maxrss as u64 * 1024))
}

/// Knuth's MMIX generator; the low bits are poor.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A recording of a server. Code and locks are the same for every seed; times are not.
fn server(seed: u64) -> Session {
    let (mut code, mut times) = (Random(7), Random(seed));
    let mut session = Session::default();
    session.meta.command = vec!["./server".into()];
    session.meta.duration_ns = 10_000_000_000 + times.below(1_000_000_000);
    session.processes.push(Process { pid: 1, parent_pid: 0, exe: "/srv/server".into(), exit: None, threads: 200 });
    for at in 0..THREADS {
        let name = format!("worker-{at}");
        let tid = 100 + at as u32;
        session.threads.push(Thread { process: ProcessId(0), tid, name, start_ns: 0, end_ns: None });
    }
    for at in 0..30u8 {
        let module = Module { path: format!("/usr/lib/libsome{at}.so.1"), build_id: vec![at; 20] };
        session.stacks.modules.push(module);
    }
    let stacks = call_stacks(&mut session.stacks, &mut code);
    for at in 0..LOCKS {
        session.locks.push(Lock {
            origin_stack: stacks[code.below(stacks.len() as u64) as usize],
            name: Some(LockName { text: format!("cache.shard[{at}].mu"), source: NameSource::Global }),
            class: format!("server+0x{:x}", at / 2),
            max_waiters: 4,
            ..Lock::new(ProcessId(0), 0x7f00_0000_0000 + 64 * at, Kind::ALL[at as usize % 3])
        });
    }
    for (at, stack) in stacks.iter().enumerate() {
        let (lock, thread) = (LockId((at as u64 % LOCKS) as u32), ThreadId(code.below(THREADS) as u32));
        let holder = stacks[code.below(stacks.len() as u64) as usize];
        count(&mut session, (lock, thread, *stack, holder), &mut times);
    }
    session
}

/// So many distinct stacks, 12 to 40 frames deep, with shared callers.
fn call_stacks(stacks: &mut Stacks, code: &mut Random) -> Vec<StackId> {
    let mut made: Vec<(StackId, u64)> = Vec::new();
    let mut known = rustc_hash::FxHashSet::default();
    while made.len() < STACKS {
        // Goes on from within another stack, or from the start.
        let (mut at, mut depth) = match made.len() as u64 {
            len if len > 100 && code.below(10) > 0 => made[code.below(len) as usize],
            _ => (Stacks::UNKNOWN, 0),
        };
        for _ in 0..code.below(6) {
            (at, depth) = (stacks.node(at).caller, depth.saturating_sub(1));
        }
        let deepest = (depth + 1 + code.below(5)).clamp(12, 40);
        while depth < deepest || (depth < 60 && known.contains(&at)) {
            let place = code.below(8_000);
            let module = Some(ModuleId((place % 30) as u32));
            at = stacks.intern(at, CodeAddress { module, address: 0x1000 + place * 16 });
            depth += 1;
            let node = stacks.node_mut(at);
            if node.frames.is_empty() {
                let frame = Frame {
                    function: Some(format!("server::module_{}::Some<Generic>::function_{place}", place % 97)),
                    file: Some(format!("/build/server/src/module_{}.rs", place % 97)),
                    line: place as u32 % 900 + 1,
                    column: 7,
                    inlined: false,
                };
                node.frames = vec![frame].into();
            }
        }
        if known.insert(at) {
            made.push((at, depth));
        }
    }
    made.into_iter().map(|(stack, _)| stack).collect()
}

type Who = (LockId, ThreadId, StackId, StackId);

/// Some acquisitions by one stack, some of which waited.
fn count(session: &mut Session, (lock, thread, stack, holder): Who, times: &mut Random) {
    let mode = Mode::Exclusive;
    let id = session.profile.site(SiteKey { lock, stack, mode });
    let (waits, holds) = (times.below(5), times.below(20) + 5);
    let mut share = ThreadShare { acquisitions: holds, contended: waits, ..ThreadShare::default() };
    let site = &mut session.profile.sites[id.index()];
    (site.acquisitions, site.contended) = (holds, waits);
    for _ in 0..holds {
        let ns = 50 + times.below(5_000);
        site.hold.record(ns);
        share.hold_ns += ns;
    }
    let key = WaitKey { lock, thread, waiter: stack, mode, holder, holder_thread: Some(ThreadId(0)) };
    for _ in 0..waits {
        let wait_ns = 1_000 + times.below(1 << 22);
        site.wait.record(wait_ns);
        share.wait_ns += wait_ns;
        let stats = session.profile.waits.entry(key).or_default();
        stats.count += 1;
        stats.wait_ns += wait_ns;
        stats.max_ns = stats.max_ns.max(wait_ns);
        let start_ns = times.below(10_000_000_000);
        session.profile.wait_events.push(WaitEvent { key, start_ns, wait_ns, hold_ns: 1_000 });
    }
    session.profile.by_thread.insert((thread, id), share);
    session.coverage.acquisitions += holds;
    session.coverage.recorded += holds;
}
