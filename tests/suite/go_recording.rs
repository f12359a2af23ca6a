//! Unmodified Go programs, patched and run: each lock's acquisitions, by mode, against the program's own counters.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lockprof::record::inline::{self, Patched};
use lockprof::sites::go::plan::Operation;
use lockprof::sites::go::recorder::{Record, info};
use lockprof::sites::table::{Event, Mode};

use crate::util::go::toolchains;

/// Acquisitions and releases of a lock: as a mutex, by readers, by writers.
type Counts = BTreeMap<u64, [[u64; 3]; 2]>;

const ACQUIRED: usize = 0;
const RELEASED: usize = 1;

/// Where an operation counts.
fn column(name: &str, mode: Mode) -> usize {
    match (name.starts_with("sync.(*RWMutex)"), mode) {
        (false, Mode::Exclusive) => 0,
        (_, Mode::Shared) => 1,
        (true, Mode::Exclusive) => 2,
    }
}

/// Whose request the return of a slow path ends.
fn request_of(function: &str) -> &str {
    match function {
        "sync.(*Mutex).lockSlow" => "sync.(*Mutex).Lock",
        "sync.runtime_SemacquireMutex" | "sync.runtime_SemacquireRWMutexR" => "sync.(*RWMutex).RLock",
        same => same,
    }
}

/// What the records say, and how many requests were left open.
fn count(patched: &Patched, mut records: Vec<Record>) -> (Counts, Vec<String>) {
    records.sort_by_key(|record| record.ticks);
    let mut counts = Counts::new();
    let mut open: HashMap<u64, Vec<(&str, u64)>> = HashMap::new();
    for record in &records {
        let number = (record.info & !(info::FAILED | info::NO_STACK)) as usize;
        let operation = patched.operations[number].operation;
        let event = match operation {
            Operation::Atomic(row) if record.info & info::FAILED != 0 => row.failure,
            Operation::Atomic(row) => Some(row.event),
            Operation::Call(row) => row.event.map(|(event, _)| event),
            Operation::Entry(row) => row.entry,
            Operation::Exit(row) => row.exit,
        };
        let name = operation.name();
        let mut add = |side: usize, address: u64, name: &str, mode: Mode| {
            counts.entry(address).or_default()[side][column(name, mode)] += 1;
        };
        match event.expect("an event") {
            Event::Acquired(mode) | Event::TryAcquired(mode) => add(ACQUIRED, record.address, name, mode),
            Event::Released(mode) => add(RELEASED, record.address, name, mode),
            Event::Requested(_) => open.entry(record.goroutine).or_default().push((name, record.address)),
            Event::AcquiredAfterWait(mode) => {
                let open = open.entry(record.goroutine).or_default();
                if let Some((request, address)) = open.pop_if(|(request, _)| *request == request_of(name)) {
                    add(ACQUIRED, address, request, mode);
                }
            }
            _ => {}
        }
    }
    let open = open.into_values().flatten();
    (counts, open.map(|(request, address)| format!("{request} {address:x}")).collect())
}

/// Runs a program to its end; its output, and what was recorded.
fn record(program: &Path, processors: u32) -> (String, Patched, Vec<Record>) {
    let file = fs::read(program).expect("the program");
    let mut command = Command::new(program);
    command.arg("400").env("GOMAXPROCS", processors.to_string()).stdout(Stdio::piped());
    let mut patched = inline::start(program, &file, &mut command).expect("a program that can be patched");
    let output = patched.child.stdout.take().expect("its output");
    let output = std::thread::spawn(move || std::io::read_to_string(output).expect("text"));
    let mut records = Vec::new();
    let mut ended = false;
    loop {
        let any = patched.rings.drain(|_, record, _| records.push(record));
        if !any && ended {
            break;
        }
        if !any {
            std::thread::sleep(Duration::from_micros(200));
        }
        ended =
            ended || patched.child.try_wait().expect("its end").inspect(|status| assert!(status.success())).is_some();
    }
    (output.join().expect("its output"), patched, records)
}

#[test]
fn every_acquisition_of_a_go_program_is_recorded() {
    for go in toolchains() {
        for flags in [&["-ldflags=-s -w"][..], &["-buildmode=pie"]] {
            for processors in [1, 2] {
                let (output, patched, records) = record(&go.build("truth", flags), processors);
                let (counts, open) = count(&patched, records);
                let what = format!("{} {flags:?}, {processors} processors", go.version);
                assert!(open.is_empty(), "{what}: requests that never ended: {open:?}");
                assert_eq!(patched.rings.lost(), 0, "{what}: lost");
                let truths: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("TRUTH ")).collect();
                assert_eq!(truths.len(), 10, "{what}: {output}");
                for truth in truths {
                    let mut words = truth.split(' ');
                    let address = u64::from_str_radix(words.next().expect("an address"), 16).expect("an address");
                    let wanted: Vec<u64> = words.by_ref().take(3).map(|word| word.parse().expect("a count")).collect();
                    let found = counts.get(&address).copied().unwrap_or_default();
                    assert_eq!(found[ACQUIRED][..], wanted[..], "{what}: acquisitions of {truth}");
                    assert_eq!(found[RELEASED][..], wanted[..], "{what}: releases of {truth}");
                }
            }
        }
    }
}

/// What harms without care: a nil mutex is a panic that can be recovered, a loop that only locks and unlocks can be
/// preempted (else the garbage collector would wait for ever), tracebacks and CPU profiles know all addresses.
#[test]
fn what_could_harm_a_go_program_does_not() {
    for go in toolchains() {
        for flags in [&["-ldflags=-s -w"][..], &["-buildmode=pie"]] {
            let (output, patched, records) = record(&go.build("traps", flags), 2);
            assert_eq!(output, "recovered 1000\ncollected 10\nexternal 0\n", "{} {flags:?}", go.version);
            assert!(!records.is_empty() || patched.rings.lost() > 0);
        }
    }
}
