//! The lock-order gate: which cycles, misuses and budgets fail, which do not, and why.
//!
//! [`judge`] weighs what the analysis says of one or several recordings against a [`Policy`]. Nothing is dropped on
//! the way: what does not fail stays in the [`Verdict`] with its [`Standing`].

pub mod baseline;
pub mod budget;
pub mod date;
pub mod fail_on;
pub mod suppress;
#[cfg(test)]
pub(crate) mod testing;
mod tsan;

use crate::analysis::contention::{Contention, Query};
use crate::analysis::findings::{Area, Finding, Rule};
use crate::analysis::lock_name;
use crate::analysis::order::{Class, Cycle, Orders, former_cycle};
use crate::model::{LockId, Session, StackId};

pub use baseline::Baseline;
pub use budget::{Breach, Budget, Measure};
pub use date::Date;
pub use fail_on::FailOn;
pub use suppress::Suppressions;

/// A recording and what its lock order means.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// What the person calls it: the trace's path, or the command.
    pub name: &'a str,
    /// The recording.
    pub session: &'a Session,
    /// What its lock order means.
    pub orders: &'a Orders,
}

impl Recording<'_> {
    /// Whether it stands for what only several recordings together show: it has no counts of its own.
    pub fn is_union(&self) -> bool {
        self.session.runs() > 1 && self.session.profile.sites.is_empty()
    }
}

/// What fails.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Classes and kinds that fail.
    pub fail_on: FailOn,
    /// An incomplete recording does not pass.
    pub strict: bool,
    /// What is known already.
    pub baseline: Option<Baseline>,
    /// What somebody allowed.
    pub suppressions: Suppressions,
    /// How long a lock may be waited for or held.
    pub budgets: Vec<Budget>,
    /// Today, for suppressions that expire.
    pub today: Date,
}

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
    /// Why this fails the gate.
    pub fn failure(self) -> Option<String> {
        match self {
            Self::Code(0) => None,
            Self::Code(code) => Some(format!("the program failed: exit code {code}")),
            Self::Signal(signal) => Some(format!("the program failed: signal {signal} ended it")),
            Self::Hung => Some("the program deadlocked and was ended".into()),
            Self::TimedOut(ns) => {
                let seconds = ns as f64 / 1e9;
                Some(format!("the program was not done after {seconds} s and was ended"))
            }
        }
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A cycle.
    Cycle(&'a Cycle),
    /// A misuse.
    Finding(&'a Finding),
    /// A budget that was broken.
    Budget(Breach<'a>),
}

/// Whether an entry fails the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It fails. It was in the baseline as this class, and is more serious now; `None`: it is new.
    Fails(Option<Class>),
    /// It is in the baseline.
    Known,
    /// Somebody allowed it: which rule.
    Suppressed(String),
    /// It is not of a class or kind that fails.
    Passes,
}

/// One thing found.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Where: the first recording, or the one in which it is most serious.
    pub recording: Recording<'a>,
    /// What.
    pub subject: Subject<'a>,
    /// Whether it fails.
    pub standing: Standing,
    /// In how many recordings it was met.
    pub met_in: usize,
    /// How often: cycles of single locks, misuses.
    pub times: u64,
}

impl Entry<'_> {
    /// The same in every run.
    pub fn fingerprint(&self) -> String {
        match &self.subject {
            Subject::Cycle(cycle) => cycle.fingerprint.clone(),
            Subject::Finding(finding) => finding.fingerprint.clone(),
            Subject::Budget(breach) => {
                format!("{}:{}", breach.budget.measure.name(), breach.budget.locks.as_str())
            }
        }
    }

    /// What lockprof called it before fingerprints were made without the names of files; budgets have no such name.
    pub fn former_fingerprint(&self) -> Option<String> {
        let session = self.recording.session;
        match &self.subject {
            Subject::Cycle(cycle) => Some(former_cycle(session, cycle)),
            Subject::Finding(finding) => Some(finding.former_fingerprint(session)),
            Subject::Budget(_) => None,
        }
    }

    /// Its row in the catalogue.
    pub fn rule(&self) -> &'static Rule {
        match &self.subject {
            Subject::Cycle(cycle) => cycle.class.rule(),
            Subject::Finding(finding) => finding.rule,
            Subject::Budget(breach) => breach.budget.measure.rule(),
        }
    }

    /// The word of the contract: the rule's id.
    pub fn word(&self) -> &'static str {
        self.rule().id
    }

    /// Whether it fails the gate where nothing else is asked for.
    fn fails_by_nature(&self) -> bool {
        match &self.subject {
            Subject::Cycle(cycle) => cycle.fails,
            Subject::Finding(finding) => finding.fails,
            Subject::Budget(_) => true,
        }
    }

    /// Whether it fails the gate.
    pub fn fails(&self) -> bool {
        matches!(self.standing, Standing::Fails(_))
    }

    /// The locks that it is about, in the cycle's order.
    pub fn locks(&self) -> Vec<LockId> {
        match &self.subject {
            Subject::Cycle(cycle) => cycle.sides.iter().map(|side| side.held.lock).collect(),
            Subject::Finding(finding) => vec![finding.lock],
            Subject::Budget(breach) => vec![breach.lock],
        }
    }

    /// Their names.
    pub fn lock_names(&self) -> Vec<String> {
        self.locks().into_iter().map(|lock| lock_name(self.recording.session, lock)).collect()
    }

    /// Every stack that belongs to it.
    pub fn stacks(&self) -> Vec<StackId> {
        match &self.subject {
            Subject::Cycle(cycle) => (cycle.sides.iter())
                .flat_map(|side| {
                    let also = side.also_held.iter().map(|held| held.stack);
                    [side.held.stack, side.wanted_stack].into_iter().chain(also)
                })
                .collect(),
            Subject::Finding(finding) => finding.stacks.clone(),
            Subject::Budget(breach) => std::iter::once(breach.stack).chain(breach.holder).collect(),
        }
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

/// What the gate says.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// The answer.
    pub outcome: Outcome,
    /// What was judged.
    pub recordings: &'a [Recording<'a>],
    /// What was found: what fails first, each part with the most serious first.
    pub entries: Vec<Entry<'a>>,
    /// How the program's own end fails the gate.
    pub program: Option<String>,
    /// Why the recordings are not complete.
    pub incomplete: Vec<String>,
    /// Whether that counts.
    pub strict: bool,
    /// Suppressions that nothing was found for.
    pub unused: Vec<String>,
    /// Suppressions that are not applied any more.
    pub expired: Vec<String>,
    /// The baseline, if there is one.
    pub baseline: Option<BaselineUse>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
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

    /// What does not fail because of its class or kind.
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

/// Judges recordings. `ended` is how the program ended that was run for it.
pub fn judge<'a>(recordings: &'a [Recording<'a>], policy: &'a Policy, ended: Option<Ended>) -> Verdict<'a> {
    let mut notes = Vec::new();
    let mut entries = collect(recordings);
    entries.extend(breaches(recordings, &policy.budgets, &mut notes));
    let mut used = policy.suppressions.fresh();
    for entry in &mut entries {
        let rule = policy.suppressions.find(entry, policy.today, &mut used);
        entry.standing = standing(entry, policy, rule);
    }
    // Within each part the order stays: that of the analysis.
    entries.sort_by_key(|entry| match entry.standing {
        Standing::Fails(_) => 0,
        Standing::Passes => 1,
        Standing::Known => 2,
        Standing::Suppressed(_) => 3,
    });
    let incomplete = incomplete(recordings);
    let program = ended.and_then(Ended::failure);
    // Nobody knows how the locks that were not recorded are taken.
    let in_part = recordings.iter().any(|at| at.session.coverage.not_seen().next().is_some());
    let outcome = if program.is_some() || entries.iter().any(Entry::fails) {
        Outcome::Fail
    } else if policy.strict && !incomplete.is_empty() || in_part {
        Outcome::Incomplete
    } else {
        Outcome::Pass
    };
    for recording in recordings {
        // Those of incomplete orders are told as the reason for that.
        if recording.orders.complete {
            notes.extend(recording.orders.notes.iter().map(|note| named(recordings, recording, note)));
        }
    }
    Verdict {
        outcome,
        recordings,
        program,
        strict: policy.strict,
        unused: policy.suppressions.unused(policy.today, &used),
        expired: policy.suppressions.expired(policy.today),
        baseline: policy.baseline.as_ref().map(|baseline| baseline.usage(&entries)),
        entries,
        incomplete,
        notes,
    }
}

/// Cycles and findings of all recordings, each fingerprint once.
fn collect<'a>(recordings: &'a [Recording<'a>]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for recording in recordings {
        let cycles = recording.orders.cycles.iter().map(|cycle| (Subject::Cycle(cycle), cycle.instances.max(1)));
        let findings = recording.orders.findings.iter().map(|found| (Subject::Finding(found), found.count));
        let mut met_here: Vec<usize> = Vec::new();
        for (subject, times) in cycles.chain(findings) {
            let entry = Entry { recording: *recording, subject, standing: Standing::Passes, met_in: 1, times };
            let known = entries
                .iter()
                .position(|other| other.fingerprint() == entry.fingerprint() && other.rule().area == entry.rule().area);
            let Some(at) = known else {
                met_here.push(entries.len());
                entries.push(entry);
                continue;
            };
            let other = &mut entries[at];
            other.times = other.times.saturating_add(entry.times);
            other.met_in += usize::from(!met_here.contains(&at));
            met_here.push(at);
            if seriousness(&entry) < seriousness(other) {
                (other.recording, other.subject) = (entry.recording, entry.subject);
            }
        }
    }
    if recordings.len() > 1 {
        entries.sort_by_key(seriousness);
    }
    entries
}

/// The lower, the more serious; areas come in their order, and only cycles have classes.
fn seriousness(entry: &Entry<'_>) -> (Area, Option<usize>, bool) {
    let rule = entry.rule();
    (rule.area, (rule.area == Area::Order).then(|| rule.position()), !entry.fails_by_nature())
}

fn standing(entry: &Entry<'_>, policy: &Policy, rule: Option<String>) -> Standing {
    let is_budget = entry.rule().area == Area::Budget;
    let fails = is_budget || policy.fail_on.fails(entry.rule(), entry.fails_by_nature());
    if !fails {
        return Standing::Passes;
    }
    if let Some(rule) = rule {
        return Standing::Suppressed(rule);
    }
    match policy.baseline.as_ref().map(|baseline| baseline.look_up(entry)) {
        Some(baseline::Found::Known) => Standing::Known,
        Some(baseline::Found::LessSerious(class)) => Standing::Fails(Some(class)),
        Some(baseline::Found::New) | None => Standing::Fails(None),
    }
}

/// Every budget once, with the recording that broke it worst.
fn breaches<'a>(recordings: &'a [Recording<'a>], budgets: &'a [Budget], notes: &mut Vec<String>) -> Vec<Entry<'a>> {
    if budgets.is_empty() {
        return Vec::new();
    }
    let views: Vec<_> = recordings.iter().map(|at| Contention::of(at.session, &Query::default())).collect();
    let mut entries = Vec::new();
    for budget in budgets {
        let seen: Vec<_> = views.iter().map(|view| budget.covers(view)).collect();
        if !seen.contains(&true) {
            notes.push(format!(
                "--{} {}: no lock of that name was seen; `lockprof report` lists the names",
                budget.measure.name(),
                budget.locks.as_str()
            ));
        }
        let broken: Vec<_> = (recordings.iter().zip(&views))
            .filter_map(|(recording, view)| Some((recording, budget.breach(recording.session, view)?)))
            .collect();
        let worst = broken.iter().max_by_key(|(_, breach)| breach.measured_ns);
        entries.extend(worst.map(|(recording, breach)| Entry {
            recording: **recording,
            subject: Subject::Budget(*breach),
            standing: Standing::Fails(None),
            met_in: broken.len(),
            times: 1,
        }));
    }
    entries
}

/// What was not seen, or not looked at.
fn incomplete(recordings: &[Recording<'_>]) -> Vec<String> {
    let mut reasons = Vec::new();
    for recording in recordings {
        let Recording { session, orders, .. } = recording;
        let counted = !recording.is_union();
        let mut tell = |reason: String| reasons.push(named(recordings, recording, &reason));
        if counted && session.coverage.lost > 0 {
            tell(format!("{} acquisitions were lost", session.coverage.lost));
        }
        if counted {
            session.coverage.not_seen().for_each(|what| tell(what.to_owned()));
        }
        if counted && session.meta.cut {
            tell("the trace was cut short".into());
        }
        if counted && session.coverage.acquisitions == 0 && session.hangs.is_empty() {
            let reasons = session.coverage.reasons();
            let why = if reasons.is_empty() { reasons } else { format!(" ({reasons})") };
            tell(format!("no lock operation was seen{why}"));
        }
        if !orders.complete {
            orders.notes.iter().for_each(|note| tell(note.clone()));
            if orders.notes.is_empty() {
                tell("not everything that happened was looked at".into());
            }
        }
    }
    reasons
}

/// A sentence with the recording that it is about, where there are several.
fn named(recordings: &[Recording<'_>], recording: &Recording<'_>, text: &str) -> String {
    if recordings.len() > 1 { format!("{}: {text}", recording.name) } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
