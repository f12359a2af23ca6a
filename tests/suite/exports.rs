//! What other tools read: each format is opened by its real consumer, and its waits sum to the report's, to the
//! nanosecond.

mod consumers;
mod imports;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::util::report::number;
use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Outcome, Report, lockprof};

/// Two recordings of the built-in contended program, made once for all tests.
fn traces() -> &'static [PathBuf; 2] {
    static TRACES: OnceLock<(TempDir, [PathBuf; 2])> = OnceLock::new();
    let (_, traces) = TRACES.get_or_init(|| {
        let own = folder();
        let traces = ["one", "two"].map(|name| {
            let place = own.path().join(name);
            fs::create_dir(&place).expect("a folder");
            let outcome = finish(lockprof().arg("demo").current_dir(&place), LIMIT);
            assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
            place.join("demo.lockprof")
        });
        (own, traces)
    });
    traces
}

fn trace() -> &'static Path {
    &traces()[0]
}

/// Exports to a file, which is returned.
fn export(folder: &Path, format: &str, trace: &Path, options: &[&str]) -> PathBuf {
    let file = folder.join(format!("out.{format}{}", options.concat()));
    let mut command = lockprof();
    let outcome = finish(command.args(["export", "--to", format]).args(options).arg("-o").arg(&file).arg(trace), LIMIT);
    assert_eq!(outcome.code(), 0, "{format}: {}", outcome.stderr);
    file
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("an export")).expect("JSON")
}

/// Contended acquisitions and their waits, ns, of lock kinds, as the report has them.
fn totals(trace: &Path) -> (u64, u64) {
    let sums = &Report::load(trace).0["contention"];
    (number(sums, "contended"), number(sums, "wait_ns"))
}

/// The same as each format has them.
fn totals_in(format: &str, file: &Path) -> (u64, u64) {
    let pairs = |pairs: Vec<(u64, u64)>| pairs.iter().fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    match format {
        "pprof" => {
            let profile = lockprof::pprof::decode(&fs::read(file).expect("a profile")).expect("a profile");
            pairs(profile.sample.iter().map(|sample| (sample.value[0] as u64, sample.value[1] as u64)).collect())
        }
        "otlp" => {
            let data = lockprof::otlp::decode(&fs::read(file).expect("profiles")).expect("profiles");
            let profiles = &data.resource_profiles[0].scope_profiles[0].profiles;
            let sum = |at: usize| profiles[at].samples.iter().map(|sample| sample.values[0] as u64).sum();
            (sum(1), sum(0))
        }
        // It has times only.
        "firefox" => {
            let profile = json(file);
            let threads = profile["threads"].as_array().expect("threads").iter();
            let weights = threads.flat_map(|thread| thread["samples"]["weight"].as_array().expect("weights"));
            let wait_ns = weights.map(|weight| (weight.as_f64().unwrap() * 1e6).round() as u64).sum();
            (totals(trace()).0, wait_ns)
        }
        "speedscope" => {
            let profiles = &json(file)["profiles"];
            let sum = |at: usize| {
                profiles[at]["weights"].as_array().expect("weights").iter().map(|weight| weight.as_u64().unwrap()).sum()
            };
            (sum(1), sum(0))
        }
        "chrome" => {
            let trace = json(file);
            let (events, other) = (trace["traceEvents"].as_array().expect("events"), &trace["otherData"]);
            let waits = events.iter().filter(|event| event["cat"] == "wait");
            let drawn = pairs(waits.map(|wait| (1, (wait["dur"].as_f64().unwrap() * 1000.0).round() as u64)).collect());
            (drawn.0 + number(other, "waits_counted_only"), drawn.1 + number(other, "wait_ns_counted_only"))
        }
        "folded" => {
            let text = fs::read_to_string(file).expect("lines");
            let wait_ns = text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
            (totals(trace()).0, wait_ns)
        }
        "prometheus" => {
            let text = fs::read_to_string(file).expect("lines");
            let of = |name: &str| {
                let lines = text.lines().filter(move |line| line.starts_with(&format!("{name}{{")));
                let locks = lines.filter(|line| {
                    ["mutex", "rwlock", "spinlock"].iter().any(|kind| line.contains(&format!("kind=\"{kind}\"")))
                });
                let values = locks.map(|line| line.rsplit_once(' ').unwrap().1.replace('.', ""));
                values.map(|value| value.parse::<u64>().unwrap()).sum()
            };
            (of("lockprof_lock_contentions_total"), of("lockprof_lock_wait_seconds_total"))
        }
        "csv" => {
            let text = fs::read_to_string(file).expect("lines");
            // Names of the demo have no commas.
            let rows: Vec<Vec<&str>> = text.split("\r\n").map(|line| line.split(',').collect()).collect();
            let column = |name: &str| rows[0].iter().position(|head| *head == name).expect("a column");
            let (is_lock, contended, wait_ns) = (column("is_lock"), column("contended"), column("wait_ns"));
            let locks = rows[1..].iter().filter(|row| row.len() > 1 && row[is_lock] == "true");
            pairs(locks.map(|row| (row[contended].parse().unwrap(), row[wait_ns].parse().unwrap())).collect())
        }
        _ => panic!("{format}"),
    }
}

#[test]
fn sums_agree_in_every_format() {
    let folder = folder();
    let want = totals(trace());
    assert!(want.0 > 100 && want.1 > 1_000_000, "the demo is contended: {want:?}");
    for format in ["pprof", "otlp", "speedscope", "firefox", "chrome", "folded", "prometheus", "csv"] {
        let file = export(folder.path(), format, trace(), &[]);
        assert_eq!(totals_in(format, &file), want, "{format}");
    }
    for format in ["pprof", "otlp", "speedscope", "folded"] {
        let file = export(folder.path(), format, trace(), &["--by=holder"]);
        assert_eq!(totals_in(format, &file), want, "{format} by holder");
    }
    let sites = export(folder.path(), "csv", trace(), &["--table=sites"]);
    assert_eq!(totals_in("csv", &sites), want, "the table of sites");
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    let folder = folder();
    for format in ["pprof", "otlp", "speedscope", "firefox", "chrome", "folded", "prometheus", "csv"] {
        let bytes = || fs::read(export(folder.path(), format, trace(), &[])).expect("an export");
        assert!(bytes() == bytes(), "{format}");
    }
}

fn refused(args: &[&str]) -> Outcome {
    let outcome = finish(lockprof().arg("export").args(args).arg(trace()), LIMIT);
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (2, ""), "{args:?}: {}", outcome.stderr);
    outcome
}

#[test]
fn what_cannot_be_done_is_refused_with_the_way_out() {
    let unknown = refused(&["--to", "dtrace"]);
    for format in ["pprof", "otlp", "speedscope", "firefox", "chrome", "folded", "csv", "prometheus", "parquet"] {
        assert!(unknown.stderr.contains(format), "{}", unknown.stderr);
    }
    assert!(refused(&["--to", "parquet"]).stderr.contains("-o FOLDER"));
    assert!(refused(&["--to", "parquet", "-o", "-"]).stderr.contains("-o FOLDER"));
    assert!(refused(&["--to", "csv", "-o", "/nowhere/x.csv"]).stderr.contains("/nowhere/x.csv"));
    assert!(refused(&["--to", "parquet", "-o", "/proc/nothing"]).stderr.contains("-o FOLDER"));
    assert!(refused(&["--to", "csv", "--by", "both"]).stderr.contains("holder"));
}

/// `script` makes a terminal.
#[test]
fn binary_formats_spare_the_terminal() {
    let script = crate::need!("script");
    for format in ["pprof", "otlp"] {
        let words = format!("{} export --to {format} {}", env!("CARGO_BIN_EXE_lockprof"), trace().display());
        let folder = folder();
        let mut command = std::process::Command::new(&script);
        command.args(["-q", "-e", "-c", &words, "/dev/null"]).current_dir(folder.path());
        let outcome = finish(&mut command, LIMIT);
        assert_eq!(outcome.code(), 2, "{outcome:?}");
        assert!(outcome.stdout.contains("-o FILE"), "{outcome:?}");
    }
}
