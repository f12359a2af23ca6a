//! Fixtures that tell where their locks are, and what the shim wrote about them, in words.

use std::collections::BTreeMap;
use std::fmt::Write;

use lockprof_wire::lock::TraitBits;
use lockprof_wire::record::{PUBLISHED_EARLY, RESTART};
use lockprof_wire::{Flags, Op, Record};

use super::raw::{self, Fold, Raw};
use super::{Outcome, fixture};

/// One story of a fixture: where its things are, and what was written.
pub struct Story {
    pub names: BTreeMap<u64, String>,
    /// The first process image.
    pub raw: Raw,
    /// Those of its children.
    pub children: Vec<Raw>,
}

impl Story {
    pub fn of(program: &str, name: &str) -> Self {
        let (outcome, mut children) = raw::run(&fixture(program), [name]);
        assert!(!children.is_empty(), "nothing was recorded");
        let raw = children.remove(0);
        Self::from(&outcome, raw, children)
    }

    /// One that a trap may kill: it is tried until it ends by itself.
    pub fn trapped(program: &str, name: &str) -> Self {
        const TRIES: usize = 50;
        for _ in 0..TRIES {
            let (outcome, mut images) = raw::run(&fixture(program), [name]);
            if outcome.code() != 128 + libc::SIGTRAP {
                return Self::from(&outcome, images.remove(0), Vec::new());
            }
        }
        panic!("{program} {name} was killed each time");
    }

    /// One in which the rings are emptied once.
    pub fn emptied(program: &str, name: &str) -> Self {
        let (outcome, raw) = raw::run_emptied(&fixture(program), [name]);
        Self::from(&outcome, raw, Vec::new())
    }

    fn from(outcome: &Outcome, raw: Raw, children: Vec<Raw>) -> Self {
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        for raw in [&raw].into_iter().chain(&children) {
            raw.threads.iter().for_each(|thread| drop(thread.opened()));
        }
        Self { names: facts(outcome).into_iter().map(|(name, at)| (at, name)).collect(), raw, children }
    }

    /// The address of something.
    pub fn address(&self, name: &str) -> u64 {
        *self.names.iter().find(|(_, known)| *known == name).expect("a name of the program's").0
    }

    /// What the program calls a row.
    pub fn name(&self, row: u32) -> &str {
        self.names.get(&self.raw.locks[row as usize].address).map_or("?", String::as_str)
    }

    /// The only row of something.
    pub fn row(&self, name: &str) -> u32 {
        let rows = self.raw.rows_at(self.address(name));
        assert_eq!(rows.len(), 1, "rows of {name}");
        rows[0]
    }

    /// Records in words: `open b1 timed`, `hold a0 opened`.
    pub fn told(&self, thread: usize) -> Vec<String> {
        self.raw.threads[thread].records.iter().map(|record| self.in_words(record)).collect()
    }

    /// One of them.
    pub fn in_words(&self, record: &Record) -> String {
        let op = record.op().expect("a known operation");
        if op == Op::Misuse {
            return format!("misuse {} {}", self.name(record.lock), record.payload());
        }
        let mut words = format!("{op:?}").to_lowercase();
        if !matches!(op, Op::ThreadStart | Op::ThreadEnd | Op::Created) {
            let _ = write!(words, " {}", self.name(record.lock));
        }
        if matches!(op, Op::Hold | Op::EarlyAcquire) {
            let _ = write!(words, "{}", record.extra as u32);
        }
        words += &flags_in_words(record.flags());
        match op {
            Op::Hold if record.extra & PUBLISHED_EARLY != 0 => words + " opened",
            Op::EarlyAcquire if record.extra & RESTART != 0 => words + " restart",
            _ => words,
        }
    }

    /// The chains of folded `EarlyAcquire`s from the outermost on, with how often.
    pub fn folded(&self, thread: usize) -> Vec<(Vec<&str>, Fold)> {
        let folds = &self.raw.threads[thread].folds;
        let around = |fold: &Fold| *folds.iter().find(|other| other.offset == fold.holder).expect("what is around it");
        (folds.iter().filter(|fold| fold.op == Some(Op::EarlyAcquire) && fold.count > 0))
            .map(|fold| {
                let mut chain = vec![self.name(fold.lock)];
                let mut at = *fold;
                while at.holder != 0 {
                    at = around(&at);
                    chain.insert(0, self.name(at.lock));
                }
                (chain, *fold)
            })
            .collect()
    }

    /// The same in words: `a b c x10`.
    pub fn chains(&self, thread: usize) -> Vec<String> {
        let in_words = |(chain, fold): (Vec<&str>, Fold)| {
            let after = if fold.segment > 0 { format!(" after {}", fold.segment) } else { String::new() };
            format!("{}{}{after} x{}", chain.join(" "), flags_in_words(fold.flags), fold.count)
        };
        let mut chains: Vec<String> = self.folded(thread).into_iter().map(in_words).collect();
        chains.sort();
        chains
    }

    /// The chains that `EarlyAcquire` records tell, from the outermost on.
    pub fn opened(&self, thread: usize) -> Vec<Vec<&str>> {
        let chains = self.raw.threads[thread].opened();
        chains.into_iter().map(|chain| chain.into_iter().map(|row| self.name(row)).collect()).collect()
    }

    /// Whether a lock has a trait.
    pub fn has(&self, name: &str, traits: TraitBits) -> bool {
        self.raw.locks[self.row(name) as usize].traits.has_any(traits)
    }
}

fn flags_in_words(flags: Flags) -> String {
    let words = [
        (Flags::SHARED, " shared"),
        (Flags::TRY, " try"),
        (Flags::TIMED, " timed"),
        (Flags::REENTRY, " reentry"),
        (Flags::REACQUIRED, " reacquired"),
        (Flags::CONTINUED, " continued"),
        (Flags::UNRELEASED, " unreleased"),
    ];
    words.iter().filter(|(bit, _)| flags.has_any(*bit)).map(|(_, word)| *word).collect()
}

/// The program's own facts.
pub fn facts(outcome: &Outcome) -> Vec<(String, u64)> {
    let lines = outcome.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter_map(|line| Some((line["fact"].as_str()?.to_owned(), line["value"].as_u64()?))).collect()
}
