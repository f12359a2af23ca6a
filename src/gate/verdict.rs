//! What the gate says, as facts.

use std::borrow::Cow;

use super::{Budget, Recording};
use crate::analysis::findings::{Finding, Rule};
use crate::analysis::lock_name;
use crate::analysis::order::Note;

/// How the program that `check` ran came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It was deadlocked, and ended by us.
    Hung,
    /// It was not done in this time (ns), and ended by us.
    TimedOut(u64),
}

impl Ended {
    /// Whether this fails the gate.
    pub fn is_failure(self) -> bool {
        self != Self::Code(0)
    }
}

/// Whether an entry fails the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It fails. It was in the baseline by this rule, and is more serious now; `None`: it is new.
    Fails(Option<&'static Rule>),
    /// It is in the baseline.
    Known,
    /// Somebody allowed it: which rule of the suppressions.
    Suppressed(String),
    /// Its rule does not fail.
    Passes,
}

/// A finding and how it stands.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Where: the first recording, or the one in which it is most serious.
    pub recording: Recording<'a>,
    /// What.
    pub finding: Cow<'a, Finding>,
    /// Whether it fails.
    pub standing: Standing,
    /// In how many recordings it was met.
    pub met_in: usize,
    /// How often in all of them: cycles of single locks, misuses.
    pub times: u64,
}

impl Entry<'_> {
    /// The same in every run.
    pub fn fingerprint(&self) -> &str {
        &self.finding.fingerprint
    }

    /// What lockprof called it before fingerprints were made without the names of files, where it had such a name.
    pub fn former_fingerprint(&self) -> Option<String> {
        self.finding.former_fingerprint(self.recording.session)
    }

    /// Its row in the catalogue.
    pub fn rule(&self) -> &'static Rule {
        self.finding.rule
    }

    /// The word of the contract: the rule's id.
    pub fn word(&self) -> &'static str {
        self.rule().id
    }

    /// Whether it fails the gate.
    pub fn fails(&self) -> bool {
        matches!(self.standing, Standing::Fails(_))
    }

    /// The names of the locks that it is about.
    pub fn lock_names(&self) -> Vec<String> {
        self.finding.subject.locks.iter().map(|lock| lock_name(self.recording.session, *lock)).collect()
    }
}

/// The gate's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing fails.
    Pass,
    /// Something fails.
    Fail,
    /// Nothing fails, but locks that are known to be there were not seen; or anything else was not, and the policy is strict.
    Incomplete,
}

impl Outcome {
    /// The word of the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Incomplete => "incomplete",
        }
    }
}

/// How the baseline was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaselineUse {
    /// Entries of this verdict that it knows.
    pub known: usize,
    /// What it holds that was not met this time, in words.
    pub not_met: Vec<String>,
}

/// A fact about one of several recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About<'a, T> {
    /// The recording's name, where there are several.
    pub recording: Option<&'a str>,
    /// The fact.
    pub what: T,
}

impl<'a, T> About<'a, T> {
    pub(super) fn of(recordings: &[Recording<'a>], recording: &Recording<'a>, what: T) -> Self {
        Self { recording: (recordings.len() > 1).then_some(recording.name), what }
    }
}

/// Why a recording is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// So many acquisitions were lost.
    Lost(u64),
    /// Locks that are known to be there were not recorded: which.
    NotSeen(String),
    /// The trace was cut short.
    Cut,
    /// It has no lock operation; why, as far as that is known.
    Empty(String),
    /// Something was left out when cycles were searched for.
    Order(Note),
    /// The same, and nothing says what.
    Unexamined,
}

/// What else a reader has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// No lock has the name that this budget is for.
    NoSuchLock(Budget),
    /// Something was cut when cycles were searched for.
    Order(Note),
}

/// What the gate says.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// The answer.
    pub outcome: Outcome,
    /// What was judged.
    pub recordings: &'a [Recording<'a>],
    /// What was found: what fails first, each part with the most serious first.
    pub entries: Vec<Entry<'a>>,
    /// The program's own end, where that fails the gate.
    pub program: Option<Ended>,
    /// Why the recordings are not complete.
    pub incomplete: Vec<About<'a, Gap>>,
    /// Whether that counts.
    pub strict: bool,
    /// Suppressions that nothing was found for.
    pub unused: Vec<String>,
    /// Suppressions that are not applied any more.
    pub expired: Vec<String>,
    /// The baseline, if there is one.
    pub baseline: Option<BaselineUse>,
    /// What else a reader has to know.
    pub notes: Vec<About<'a, Remark>>,
}

impl<'a> Verdict<'a> {
    /// The recordings that were made.
    pub fn runs(&self) -> impl Iterator<Item = &'a Recording<'a>> {
        self.recordings.iter().filter(|recording| !recording.is_union())
    }

    /// What fails.
    pub fn failing(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter().filter(|entry| entry.fails())
    }

    /// What does not fail because of its rule.
    pub fn passing(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter().filter(|entry| entry.standing == Standing::Passes)
    }

    /// What the baseline knows.
    pub fn known(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter().filter(|entry| entry.standing == Standing::Known)
    }

    /// What somebody allowed, and the rule that does.
    pub fn suppressed(&self) -> impl Iterator<Item = (&Entry<'a>, &str)> {
        self.entries.iter().filter_map(|entry| match &entry.standing {
            Standing::Suppressed(by) => Some((entry, by.as_str())),
            _ => None,
        })
    }
}
