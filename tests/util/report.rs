//! A report as users read it: the JSON of `lockprof report --format json`, and what must hold in each one.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::run::{LIMIT, finish, lockprof};

/// A parsed report.
pub struct Report(pub Value);

impl Report {
    pub fn load(trace: &Path) -> Self {
        let outcome = finish(
            lockprof().args(["report", "--format", "json", "--every-lock", "--stacks", "inline"]).arg(trace),
            LIMIT,
        );
        assert_eq!(outcome.code(), 0, "report fails: {}", outcome.stderr);
        Self::parse(&outcome.stdout)
    }

    pub fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_else(|error| panic!("the report is no JSON: {error}\n{text}")))
    }

    pub fn coverage(&self, key: &str) -> u64 {
        number(&self.0["coverage"], key)
    }

    pub fn notes(&self) -> Vec<&str> {
        list(&self.0["coverage"]["notes"]).iter().filter_map(Value::as_str).collect()
    }

    pub fn locks(&self) -> &[Value] {
        list(&self.0["locks"])
    }

    pub fn processes(&self) -> &[Value] {
        list(&self.0["processes"])
    }

    /// Every lock of that name and kind (one for each process that has it); an empty name means any. A member of the lock's own
    /// type (`hot._M_mutex`) is the lock.
    pub fn named<'a>(&'a self, name: &str, kind: &str) -> Vec<&'a Value> {
        let is = |lock: &Value| {
            let own = lock["name"].as_str().unwrap_or("");
            let inner = own.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("._M_"));
            lock["kind"] == kind && (name.is_empty() || inner)
        };
        self.locks().iter().filter(|lock| is(lock)).collect()
    }

    /// The one lock of that name and kind.
    pub fn lock(&self, name: &str, kind: &str) -> &Value {
        let found = self.named(name, kind);
        assert_eq!(found.len(), 1, "locks named {name} of kind {kind}, among:\n{}", self.overview());
        found[0]
    }

    /// Names, kinds and counts of all locks, for failure messages.
    pub fn overview(&self) -> String {
        self.locks().iter().fold(String::new(), |mut text, lock| {
            let _ = writeln!(text, "  {} {} {} {}", lock["id"], lock["kind"], lock["name"], lock["acquisitions"]);
            text
        })
    }

    /// What must hold in every report: each acquisition is accounted for, once, and sums and orders agree.
    pub fn assert_accounted(&self) {
        self.assert_agrees();
        assert_eq!(self.0["coverage"]["complete"], true, "{}", self.0["coverage"]);
    }

    /// The same, but for locks of this kind that do not go through libc: that they are missing is told, and nothing else is.
    pub fn assert_accounted_but_for(&self, kind: &str) {
        self.assert_agrees();
        let kind = format!("({kind}), which do not go through libc");
        let notes = self.notes();
        let missing: Vec<_> =
            notes.iter().filter(|note| note.contains("recorded in part") || note.contains("not recorded")).collect();
        assert_eq!(self.0["coverage"]["complete"], false, "{}", self.0["coverage"]);
        assert!(!missing.is_empty() && missing.iter().all(|note| note.contains(&kind)), "{notes:?}");
    }

    /// Every acquisition is counted. Where locks or threads could not be told apart, that is said, and the recording does
    /// not call itself complete.
    pub fn assert_counted(&self) {
        const ONLY_COUNTED: [&str; 3] =
            ["are counted without lock", "are counted together by kind", "is counted, but not told apart"];
        self.assert_agrees();
        let notes = self.notes();
        let missing: Vec<_> = notes.iter().filter(|note| note.contains("recorded in part")).collect();
        assert!(missing.iter().all(|note| ONLY_COUNTED.iter().any(|words| note.contains(words))), "{notes:?}");
        assert_eq!(self.0["coverage"]["complete"], missing.is_empty(), "{}", self.0["coverage"]);
    }

    fn assert_agrees(&self) {
        let wrong = self.contradictions();
        assert!(wrong.is_empty(), "the report contradicts itself:\n{}\n{}", wrong.join("\n"), self.0["coverage"]);
    }

    fn contradictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut claim = |holds: bool, text: String| {
            if !holds {
                wrong.push(text);
            }
        };
        let acquisitions = self.coverage("acquisitions");
        claim(
            self.coverage("recorded") + self.coverage("folded") == acquisitions,
            "recorded + folded is not all".into(),
        );
        claim(self.coverage("lost") == 0, format!("lost {}", self.coverage("lost")));
        let all: u64 = self.locks().iter().map(|lock| number(lock, "acquisitions")).sum();
        claim(all == acquisitions, format!("the locks have {all} acquisitions, the coverage {acquisitions}"));
        for lock in self.locks() {
            let (name, taken) = (format!("{} {}", lock["kind"], lock["name"]), number(lock, "acquisitions"));
            let sites = sum(&lock["sites"], "count");
            claim(sites == taken, format!("{name}: {sites} by site, {taken} in all"));
            let contended = number(lock, "contended");
            claim(contended <= taken, format!("{name}: {contended} contended of {taken}"));
            let by_site = sum(&lock["sites"], "contended");
            claim(by_site == contended, format!("{name}: {by_site} contended by site, {contended} in all"));
            let waited = sum(&lock["waiters"], "count");
            claim(waited == contended, format!("{name}: {waited} by waiter, {contended} contended"));
            if lock["kind"] == "rwlock" {
                let both = number(lock, "read_acquisitions") + number(lock, "write_acquisitions");
                claim(both == taken, format!("{name}: {both} by mode, {taken} in all"));
            }
            for time in ["wait_ns", "hold_ns"] {
                let steps = ["p50", "p90", "p99", "max", "total"].map(|key| number(&lock[time], key));
                claim(steps.is_sorted(), format!("{name}: {time} is not in order: {}", lock[time]));
            }
            for stack in ["sites", "waiters", "holders"].iter().flat_map(|key| list(&lock[*key])) {
                let own = list(&stack["stack"]).iter().find(|frame| is_recorder(frame));
                claim(own.is_none(), format!("{name}: the recorder is on the stack: {}", stack["stack"]));
            }
        }
        wrong
    }
}

fn is_recorder(frame: &Value) -> bool {
    frame["module"].as_str().is_some_and(|module| module.contains("lockprof"))
}

/// What the report says of the lock at an address: acquisitions of a mutex, by readers, by writers.
pub fn counts(locks: &[Value], address: u64) -> [u64; 3] {
    let mut counts = [0; 3];
    let address = format!("{address:#x}");
    for lock in locks.iter().filter(|lock| lock["address"] == address.as_str()) {
        match lock["kind"].as_str() {
            Some("mutex") => counts[0] += number(lock, "acquisitions"),
            Some("rwlock") => {
                counts[1] += number(lock, "read_acquisitions");
                counts[2] += number(lock, "write_acquisitions");
            }
            _ => {}
        }
    }
    counts
}

/// A number of the contract, which must be there.
pub fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {value:.200}"))
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn sum(values: &Value, key: &str) -> u64 {
    list(values).iter().map(|value| number(value, key)).sum()
}

/// Whether a symbol is that function: its name, perhaps qualified, with parameters, or as a compiler's copy of it.
pub fn is_function(frame: &Value, name: &str) -> bool {
    let symbol = frame["function"].as_str().unwrap_or("");
    let plain = symbol.split(['(', '<']).next().unwrap_or("");
    // A template's instance has its return type in front.
    let plain = plain.rsplit(' ').next().unwrap_or("");
    let plain = [".constprop", ".isra", ".part", ".cold"]
        .iter()
        .fold(plain, |rest, end| rest.split(end).next().unwrap_or(rest));
    plain == name || plain.strip_suffix(name).is_some_and(|rest| rest.ends_with("::"))
}

/// How many frames of a stack are that function.
pub fn frames_of(entry: &Value, name: &str) -> usize {
    list(&entry["stack"]).iter().filter(|frame| is_function(frame, name)).count()
}

/// Whether the functions are on the stack in this order, innermost first; others may lie between.
pub fn has_in_order(entry: &Value, functions: &[&str]) -> bool {
    let mut frames = list(&entry["stack"]).iter();
    functions.iter().all(|name| frames.any(|frame| is_function(frame, name)))
}

/// The entries of `sites`, `waiters` or `holders` with that function on their stacks.
pub fn with_function<'a>(entries: &'a Value, name: &str) -> Vec<&'a Value> {
    list(entries).iter().filter(|entry| frames_of(entry, name) > 0).collect()
}

/// Compares a line of a program that knows what it did (`ADDRESS MUTEX READ WRITE …`, the address in hexadecimal) with what
/// was recorded of that lock.
#[track_caller]
pub fn assert_truth(locks: &[Value], truth: &str, what: &str) {
    let mut words = truth.split(' ');
    let address = u64::from_str_radix(words.next().expect("an address"), 16).expect("an address");
    let wanted: Vec<u64> = words.take(3).map(|word| word.parse().expect("a count")).collect();
    assert_eq!(counts(locks, address)[..], wanted[..], "{what}: {truth}");
}
