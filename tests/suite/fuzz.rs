//! Decoders against bytes that nobody wrote: real inputs, changed at random. The same functions run under `cargo fuzz`.
//!
//! Each seed makes the same inputs again. `LOCKPROF_FUZZ_SECONDS` runs each target so long instead;
//! `LOCKPROF_FUZZ_CORPUS` also writes the real inputs there, as folders for `cargo fuzz`.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockprof::live::messages::{Hello, Question, send};
use lockprof::live::moment::Moment;
use lockprof::live::snapshot::{LockRow, Snapshot, ViewRequest};
use lockprof::pprof::{Function, Line, Location, Profile, Sample, ValueType, encode};

use super::damage::{Random, end, pieces, start};
use crate::util::build::scratch;
use crate::util::run::folder;
use targets::{TARGETS, rows_of, segment_of};

/// Tries `inputs` and changes of them. `least`: so many changed ones are read at least, and so many refused.
fn run(name: &str, inputs: &[Vec<u8>], rounds: u64, least: [u64; 2]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    if let Some(corpus) = std::env::var_os("LOCKPROF_FUZZ_CORPUS") {
        for (number, input) in inputs.iter().enumerate() {
            keep(&Path::new(&corpus).join(name), &number.to_string(), input);
        }
    }
    for (number, input) in inputs.iter().enumerate() {
        assert!(target(input), "{name}: input {number} is not read as it is");
    }
    let seconds = std::env::var("LOCKPROF_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let goes_on = |round: u64| until.map_or(round < rounds, |until| Instant::now() < until);
    let (mut read, mut refused) = (0, 0);
    for round in (0..).take_while(|round| goes_on(*round)) {
        let bytes = changed(inputs, round);
        match catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            Ok(true) => read += 1,
            Ok(false) => refused += 1,
            Err(panic) => {
                let path = keep(&scratch().join("fuzz").join(name), &round.to_string(), &bytes);
                eprintln!("{name}: round {round}; the input is {}", path.display());
                resume_unwind(panic);
            }
        }
    }
    println!("{name}: {read} read, {refused} refused");
    assert!(
        read >= least[0] && refused >= least[1],
        "{name}: {read} read, {refused} refused: too few to mean anything"
    );
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder for inputs");
    let path = folder.join(name);
    fs::write(&path, bytes).expect("an input on disk");
    path
}

/// One of the inputs with one to eight changes.
fn changed(inputs: &[Vec<u8>], round: u64) -> Vec<u8> {
    let mut random = Random((round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut bytes = inputs[random.below(inputs.len() as u64) as usize].clone();
    for _ in 0..=random.below(8) {
        let length = bytes.len() as u64;
        let at = random.below(length + 1) as usize;
        // Often near the beginning, where headers are.
        let at = if random.below(4) == 0 { at.min(random.below(64) as usize) } else { at };
        let end = at + (random.below(16) as usize).min(bytes.len() - at);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            3 => {
                let other = &inputs[random.below(inputs.len() as u64) as usize];
                let from = random.below(other.len() as u64 + 1) as usize;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            4 => {
                let word = random.word().to_le_bytes();
                let size = (1 << random.below(4)).min(bytes.len() - at);
                bytes[at..at + size].copy_from_slice(&word[..size]);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if random.below(2) == 0 { *byte ^ 1 << random.below(8) } else { random.next() as u8 };
                }
            }
        }
    }
    bytes
}

fn traces() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/traces");
    let mut paths: Vec<_> = fs::read_dir(folder).expect("the golden traces").flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a golden trace")).collect()
}

/// A profile as Go writes them.
fn profile() -> Profile {
    let texts = ["", "contentions", "count", "delay", "nanoseconds", "sync.(*Mutex).Unlock", "main.(*Cache).Put"];
    let line = |function_id| vec![Line { function_id, line: 7 }];
    let location = |id| Location { id, mapping_id: 0, address: 0x400 + id, line: line(id) };
    let function = |id, name| Function { id, name, system_name: name, filename: 0 };
    Profile {
        sample_type: vec![ValueType { kind: 1, unit: 2 }, ValueType { kind: 3, unit: 4 }],
        sample: vec![Sample { location_id: vec![1, 2], value: vec![3, 700], label: Vec::new() }],
        location: vec![location(1), location(2)],
        function: vec![function(1, 5), function(2, 6)],
        string_table: texts.map(str::to_owned).to_vec(),
        ..Profile::default()
    }
}

/// One packed as a file, one as it is inside.
fn profiles() -> Vec<Vec<u8>> {
    vec![encode(&profile()), prost::Message::encode_to_vec(&profile())]
}

#[test]
fn trace() {
    run("trace", &traces(), 2_000, [100; 2]);
}

#[test]
fn rows() {
    let inputs: Vec<_> = traces().iter().map(|trace| rows_of(trace)).collect();
    run("rows", &inputs, 2_000, [100; 2]);
}

#[test]
fn import() {
    let folded = b"# a comment\nmu;main;work 70\nmu;main 5\nother;[unknown stack] 3\n".to_vec();
    run("import", &[profiles(), vec![folded]].concat(), 3_000, [100; 2]);
}

#[test]
fn pprof() {
    run("pprof", &profiles(), 5_000, [100; 2]);
}

#[test]
fn snapshot() {
    let lock = LockRow { id: 7, name: "journal.mu".into(), ..LockRow::default() };
    let shown = Snapshot { at_ns: 5, locks: vec![lock], cpu_ns: Some(3), ..Snapshot::default() };
    let moment = Moment { at_ns: 9, trace: traces().remove(0), data_addresses: vec![(1, Some(0), 64)] };
    let mut inputs = vec![Vec::new(); 4];
    send(&mut inputs[0], &Hello::OWN).expect("a message in memory");
    send(&mut inputs[1], &Question::Look(ViewRequest::default())).expect("a message in memory");
    send(&mut inputs[2], &moment).expect("a message in memory");
    send(&mut inputs[3], &shown).expect("a message in memory");
    run("snapshot", &inputs, 5_000, [100; 2]);
}

/// Nearly every one is read: what is damaged is told.
#[test]
fn segment() {
    let session = folder();
    let (mut program, path) = start(session.path());
    let file = File::open(&path).expect("the segment");
    let read = |(start, end): (u64, u64)| {
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start).expect("what is there");
        (start, bytes)
    };
    let size = file.metadata().expect("its size").len();
    let there: Vec<_> = pieces(&file).into_iter().map(read).collect();
    end(&mut program);
    run("segment", &[segment_of(size, &there)], 60, [40, 0]);
}
