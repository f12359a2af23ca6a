//! How fast the order of locks is recorded and judged, and what it takes.
//!
//! `cargo bench --bench order`. Events are made in memory and go through the same `Fold` that the collector uses;
//! then `analysis::order` judges them. Memory is the peak of the process, so each size runs in one of its own.

mod machine;

use std::error::Error;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lockprof::analysis::order::{Orders, orders};
use lockprof::model::order::{Event, Fold, How, What};
use lockprof::model::{
    CodeAddress, Kind, Lock, LockId, Mode, Origin, Process, ProcessId, Session, StackId, Stacks, Thread, ThreadId,
    Traits,
};

use machine::machine;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SIZES: [&str; 3] = ["1", "10", "100"];

fn main() -> Result<()> {
    // The harness adds words of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [what, size] = &words[..] {
        return one(what, size.parse()?);
    }
    println!("{}", machine());
    println!("{:<52} {:>9} {:>9} {:>9} {:>9} {:>8}", "", "fold s", "judge s", "M events", "M ev/s", "MiB");
    for what in ["pattern", "locks", "bank", "pool"] {
        for size in SIZES {
            let status = Command::new(std::env::current_exe()?).args([what, size]).status()?;
            if !status.success() {
                return Err(format!("{what} {size} failed").into());
            }
        }
    }
    Ok(())
}

/// One size of one program, in a process of its own.
fn one(what: &str, size: usize) -> Result<()> {
    let (name, tape) = match what {
        "pattern" => (format!("2 threads, {} instances of a pattern", 1_000 * size), pattern(1_000 * size)),
        "locks" => {
            (format!("{} locks, {} requests", 10_000 * size, 100_000 * size), locks(10_000 * size, 100_000 * size))
        }
        "bank" => (format!("1,000 accounts, {} transfers", 10_000 * size), bank(10_000 * size)),
        "pool" => (format!("16 threads, {} sections, one order", 100_000 * size), pool(100_000 * size)),
        _ => return Err("unknown".into()),
    };
    let Tape { session, fold_time, events, .. } = tape;
    let begin = Instant::now();
    let orders: Orders = orders(&session);
    let judge = begin.elapsed().as_secs_f64();
    let fold = fold_time.as_secs_f64();
    let cycles: Vec<String> =
        orders.cycles.iter().map(|cycle| format!("{} {}", cycle.instances, cycle.class.name())).collect();
    let (millions, rate) = (events as f64 / 1e6, events as f64 / 1e6 / (fold + judge));
    println!(
        "{name:<52} {fold:>9.3} {judge:>9.3} {millions:>9.2} {rate:>9.1} {:>8}   {}",
        peak_mib(),
        cycles.join(", ")
    );
    Ok(())
}

/// A recording in the making. Events are made in blocks, and only their way through the fold is timed.
struct Tape {
    session: Session,
    fold: Fold,
    block: Vec<(ThreadId, Event)>,
    fold_time: Duration,
    events: usize,
    now: u64,
}

const BLOCK: usize = 1 << 16;

impl Tape {
    fn new(threads: usize, locks: usize) -> Self {
        let mut session = Session::default();
        session.processes.push(Process { pid: 1, parent_pid: 0, exe: "bench".into(), exit: None, threads: 0 });
        for at in 0..16 {
            session.stacks.intern(Stacks::UNKNOWN, CodeAddress { module: None, address: 0x1000 + 16 * at });
        }
        let lock = |at: usize| Lock {
            process: ProcessId(0),
            address: 0x10_0000 + 64 * at as u64,
            kind: Kind::Mutex,
            traits: Traits::default(),
            origin: Origin::FirstUsed,
            origin_stack: StackId(1),
            name: None,
            class: "mutex@bench!make:1".into(),
            max_waiters: 0,
            owner_changes: 0,
            merged: 1,
        };
        session.locks = (0..locks).map(lock).collect();
        let block = Vec::with_capacity(BLOCK);
        let mut tape = Self { session, fold: Fold::default(), block, fold_time: Duration::ZERO, events: 0, now: 0 };
        for at in 0..=threads {
            let (process, name) = (ProcessId(0), "worker".to_owned());
            tape.session.threads.push(Thread { process, tid: at as u32, name, start_ns: 0, end_ns: None });
            let thread = ThreadId::from(at);
            if at > 0 {
                tape.push(ThreadId(0), 1, What::Created { token: at as u32 });
            }
            tape.push(thread, 1, What::Started { process, key: at as u64 + 1, token: at as u32 });
        }
        tape
    }

    fn push(&mut self, thread: ThreadId, stack: u32, what: What) {
        self.now += 10;
        self.block.push((thread, Event { at_ns: self.now, stack: StackId(stack), what }));
        if self.block.len() == BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let begin = Instant::now();
        for (thread, event) in &self.block {
            self.fold.apply(&mut self.session.order, *thread, *event);
        }
        self.fold_time += begin.elapsed();
        self.events += self.block.len();
        self.block.clear();
    }

    /// Takes locks one under the other and gives them back.
    fn nest(&mut self, thread: usize, stack: u32, locks: &[usize]) {
        let thread = ThreadId::from(thread);
        let placed = || (0u32..).zip(locks.iter().map(|lock| LockId::from(*lock)));
        for (position, lock) in placed() {
            let (mode, how) = (Mode::Exclusive, How::Block);
            let what = What::Acquired { lock, mode, how, reacquired: false, position, restart: false };
            self.push(thread, stack + position, what);
        }
        for (position, lock) in placed().collect::<Vec<_>>().into_iter().rev() {
            self.push(thread, 9, What::Released { position, lock });
        }
    }

    fn done(mut self) -> Self {
        self.flush();
        let begin = Instant::now();
        self.fold.flush(&mut self.session.order, true);
        self.fold_time += begin.elapsed();
        self
    }
}

/// Two orders, again and again.
fn pattern(instances: usize) -> Tape {
    let mut tape = Tape::new(2, 2);
    for at in 0..instances {
        tape.nest(1 + at % 2, 1, if at % 2 == 0 { &[0, 1] } else { &[1, 0] });
    }
    tape.done()
}

/// Many locks, each taken under some of its neighbours; one inversion in a thousand.
fn locks(count: usize, requests: usize) -> Tape {
    let mut tape = Tape::new(8, count);
    for at in 0..requests {
        let (lock, reach) = (at % (count - 4), 1 + at / count % 3);
        let pair = if at % 1_000 == 0 { [lock + reach, lock] } else { [lock, lock + reach] };
        tape.nest(1 + at % 8, 1, &pair);
    }
    tape.done()
}

/// Transfers between accounts at random: one component of all of them.
fn bank(transfers: usize) -> Tape {
    let mut tape = Tape::new(4, 1_000);
    let mut dice = 7u64;
    for at in 0..transfers {
        // Knuth's MMIX generator; the low bits are poor.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, to) = ((dice >> 33) as usize % 1_000, (dice >> 45) as usize % 1_000);
        if from != to {
            tape.nest(1 + at % 4, 1, &[from, to]);
        }
    }
    tape.done()
}

/// A well-ordered program: two locks nested, and sections on others.
fn pool(sections: usize) -> Tape {
    let mut tape = Tape::new(16, 64);
    for at in 0..sections {
        let thread = 1 + at % 16;
        if at % 4 == 0 {
            tape.nest(thread, 1, &[at % 8, 8 + at % 8, 16 + at % 8]);
        } else {
            let until_ns = tape.now + 15;
            let lock = LockId::from(24 + at % 40);
            tape.push(ThreadId::from(thread), 5, What::Section { lock, mode: Mode::Exclusive, until_ns });
        }
    }
    tape.done()
}

/// The most memory that the process had so far.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}
