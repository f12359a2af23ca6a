//! The lock-order gate: which findings fail, which do not, and why.
//!
//! [`judge`] weighs what the analysis found in one or several recordings against a [`Policy`]. Nothing is dropped on
//! the way: what does not fail stays in the [`Verdict`] with its [`Standing`].

pub mod baseline;
pub mod date;
pub mod fail_on;
pub mod suppress;
#[cfg(test)]
pub(crate) mod testing;
mod tsan;
mod verdict;

use std::borrow::Cow;

use crate::analysis::contention::{Contention, Query};
use crate::analysis::findings::{Area, Finding, Findings};
use crate::model::Session;

pub use crate::analysis::findings::budget::{Budget, Measure};
pub use baseline::Baseline;
pub use date::{Date, day_of};
pub use fail_on::FailOn;
pub use suppress::Suppressions;
pub use verdict::{About, BaselineUse, Ended, Entry, Gap, Outcome, Remark, Standing, Verdict};

/// A recording and what was found in it.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// What the person calls it: the trace's path, or the command.
    pub name: &'a str,
    /// The recording.
    pub session: &'a Session,
    /// What was found in it.
    pub findings: &'a Findings,
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
    /// Rules that fail.
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

/// Judges recordings. `ended` is how the program ended that was run for it.
pub fn judge<'a>(recordings: &'a [Recording<'a>], policy: &Policy, ended: Option<Ended>) -> Verdict<'a> {
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
    let program = ended.filter(|ended| ended.is_failure());
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
        // Those of incomplete orders are the reason for that, and reported as such.
        if recording.findings.complete {
            let remarks = recording.findings.notes.iter().map(|note| Remark::Order(*note));
            notes.extend(remarks.map(|what| About::of(recordings, recording, what)));
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

/// The findings of all recordings, each fingerprint once.
fn collect<'a>(recordings: &'a [Recording<'a>]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for recording in recordings {
        let mut met_here: Vec<usize> = Vec::new();
        for finding in &recording.findings.list {
            let known = entries
                .iter()
                .position(|other| other.fingerprint() == finding.fingerprint && other.rule().area == finding.rule.area);
            let Some(at) = known else {
                met_here.push(entries.len());
                entries.push(Entry {
                    recording: *recording,
                    finding: Cow::Borrowed(finding),
                    standing: Standing::Passes,
                    met_in: 1,
                    times: finding.count,
                });
                continue;
            };
            let other = &mut entries[at];
            other.times = other.times.saturating_add(finding.count);
            other.met_in += usize::from(!met_here.contains(&at));
            met_here.push(at);
            if seriousness(finding) < seriousness(&other.finding) {
                (other.recording, other.finding) = (*recording, Cow::Borrowed(finding));
            }
        }
    }
    if recordings.len() > 1 {
        entries.sort_by_key(|entry| seriousness(&entry.finding));
    }
    entries
}

/// The lower, the more serious; areas come in their order, and only some have grades.
fn seriousness(finding: &Finding) -> (Area, Option<usize>, bool) {
    let rule = finding.rule;
    (rule.area, rule.area.is_graded().then(|| rule.position()), !finding.fails())
}

fn standing(entry: &Entry<'_>, policy: &Policy, rule: Option<String>) -> Standing {
    // A budget is asked for by its own option.
    let is_asked_for = !entry.rule().is_selectable();
    if !is_asked_for && !policy.fail_on.fails(&entry.finding) {
        return Standing::Passes;
    }
    if let Some(rule) = rule {
        return Standing::Suppressed(rule);
    }
    match policy.baseline.as_ref().map(|baseline| baseline.look_up(entry)) {
        Some(baseline::Found::Known) => Standing::Known,
        Some(baseline::Found::LessSerious(rule)) => Standing::Fails(Some(rule)),
        Some(baseline::Found::New) | None => Standing::Fails(None),
    }
}

/// Every budget once, with the recording that broke it worst.
fn breaches<'a>(
    recordings: &'a [Recording<'a>],
    budgets: &[Budget],
    notes: &mut Vec<About<'a, Remark>>,
) -> Vec<Entry<'a>> {
    if budgets.is_empty() {
        return Vec::new();
    }
    let views: Vec<_> = recordings.iter().map(|at| Contention::of(at.session, &Query::default())).collect();
    let mut entries = Vec::new();
    for budget in budgets {
        if !views.iter().any(|view| budget.covers(view)) {
            notes.push(About { recording: None, what: Remark::NoSuchLock(budget.clone()) });
        }
        let broken: Vec<_> = (recordings.iter().zip(&views))
            .filter_map(|(recording, view)| Some((recording, budget.breach(recording.session, view)?)))
            .collect();
        let met_in = broken.len();
        let worst = broken.into_iter().max_by_key(|(_, breach)| breach.measured_ns);
        entries.extend(worst.map(|(recording, breach)| Entry {
            recording: *recording,
            finding: Cow::Owned(Finding::from(breach)),
            standing: Standing::Fails(None),
            met_in,
            times: 1,
        }));
    }
    entries
}

/// What was not seen, or not looked at.
fn incomplete<'a>(recordings: &'a [Recording<'a>]) -> Vec<About<'a, Gap>> {
    let mut gaps = Vec::new();
    for recording in recordings {
        let Recording { session, findings, .. } = recording;
        let mut add = |what: Gap| gaps.push(About::of(recordings, recording, what));
        if !recording.is_union() {
            let coverage = &session.coverage;
            if coverage.lost > 0 {
                add(Gap::Lost(coverage.lost));
            }
            coverage.not_seen().for_each(|what| add(Gap::NotSeen(what.to_owned())));
            if session.meta.cut {
                add(Gap::Cut);
            }
            if coverage.acquisitions == 0 && session.hangs.is_empty() {
                add(Gap::Empty(coverage.reasons()));
            }
        }
        if !findings.complete {
            findings.notes.iter().for_each(|note| add(Gap::Order(*note)));
            if findings.notes.is_empty() {
                add(Gap::Unexamined);
            }
        }
    }
    gaps
}

#[cfg(test)]
mod tests;
