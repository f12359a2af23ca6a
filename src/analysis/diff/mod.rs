//! What got better and worse between two recordings.
//!
//! Locks are compared by class, which is the same in another run, on another machine and after a rebuild that moves
//! nothing in the function where such locks are made; what is left over is matched by name and kind. Stacks are
//! compared by their functions, without lines and addresses.

mod notes;
mod stacks;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::contention::{Contention, GroupBy, LockReport, Query};
use super::filter::Filter;
use super::{add, at_once};
use crate::model::{Kind, Session};

use notes::cautions;
pub use notes::{Missing, Note, Which};
pub use stacks::StackChange;
use stacks::{Amount, Functions, Stacks};

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// Total wait.
    #[default]
    Wait,
    /// Total time held.
    Hold,
    /// Acquisitions.
    Count,
    /// 99th percentile of the waits.
    P99,
}

/// How to compare.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// What to keep. Locks are kept where either recording's wait reaches the filter's.
    pub filter: Filter,
    /// What is compared.
    pub measure: Measure,
    /// Totals as they are, not scaled to the same duration.
    pub absolute: bool,
    /// Below this, ns, a change is noise to the gate: see [`Diff::worse`].
    pub floor_ns: u64,
}

/// [`Question::floor_ns`] where nobody named one.
pub const DEFAULT_FLOOR_NS: u64 = 1_000_000;
/// A 99th percentile of fewer waits than this is one of the longest ones: the gate does not judge it.
pub const LEAST_WAITS: u64 = 100;

/// A lock's figures in one recording; those of OLD are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Locks of the class.
    pub locks: u64,
    /// Acquisitions.
    pub acquisitions: u64,
    /// Of these, those that waited.
    pub contended: u64,
    /// Time waited, ns.
    pub wait_ns: u64,
    /// Time held, ns.
    pub hold_ns: u64,
    /// 99th percentile of the waits, ns; never scaled, as the next ones.
    pub wait_p99_ns: u64,
    /// The longest wait, ns.
    pub wait_max_ns: u64,
    /// 99th percentile of the holds, ns.
    pub hold_p99_ns: u64,
}

impl Figures {
    fn of(row: &LockReport, scale: f64) -> Self {
        Self {
            locks: row.stands_for,
            acquisitions: scaled(row.acquisitions, scale),
            contended: scaled(row.contended, scale),
            wait_ns: scaled(row.wait.total, scale),
            hold_ns: scaled(row.hold.total, scale),
            wait_p99_ns: row.wait.p99,
            wait_max_ns: row.wait.max,
            hold_p99_ns: row.hold.p99,
        }
    }

    fn of_all(contention: &Contention, scale: f64) -> Self {
        let mut sum = Self::default();
        for row in contention.lock_rows() {
            add(&mut sum.locks, row.stands_for);
            sum.wait_max_ns = sum.wait_max_ns.max(row.wait.max);
        }
        let totals = &contention.contention;
        sum.acquisitions = scaled(totals.acquisitions, scale);
        sum.contended = scaled(totals.contended, scale);
        sum.wait_ns = scaled(totals.wait_ns, scale);
        sum.hold_ns = scaled(totals.hold_ns, scale);
        sum
    }

    /// The figure that is compared.
    pub fn value(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Wait => self.wait_ns,
            Measure::Hold => self.hold_ns,
            Measure::Count => self.acquisitions,
            Measure::P99 => self.wait_p99_ns,
        }
    }
}

/// `value` times `scale`, rounded.
pub fn scaled(value: u64, scale: f64) -> u64 {
    if scale == 1.0 { value } else { (value as f64 * scale).round() as u64 }
}

/// A class of locks in both recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockChange {
    /// What people call it (in NEW, where it is there).
    pub name: String,
    /// Its class, likewise.
    pub class: String,
    /// What it is.
    pub kind: Kind,
    /// Its figures in OLD; `None`: it is new.
    pub old: Option<Figures>,
    /// Its figures in NEW; `None`: it vanished.
    pub new: Option<Figures>,
    /// By the waiter's stack, greatest change first.
    pub waiters: Vec<StackChange>,
    /// By the holder's stack, greatest change first.
    pub holders: Vec<StackChange>,
}

impl LockChange {
    /// The compared figure in both; 0 where it is not there.
    pub fn values(&self, measure: Measure) -> (u64, u64) {
        let value = |figures: &Option<Figures>| figures.map_or(0, |figures| figures.value(measure));
        (value(&self.old), value(&self.new))
    }
}

/// The result.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// What was asked.
    pub question: Question,
    /// What OLD's totals were multiplied by.
    pub scale: f64,
    /// All lock kinds together, OLD.
    pub old: Figures,
    /// The same, NEW.
    pub new: Figures,
    /// Lock kinds (others where the filter names them), greatest change of the compared figure first.
    pub locks: Vec<LockChange>,
    /// What a reader has to know.
    pub notes: Vec<Note>,
}

impl Diff {
    /// Compares.
    pub fn of(old: &Session, new: &Session, question: &Question) -> Self {
        let filter = Filter { min_wait_ns: 0, ..question.filter.clone() };
        let Views { old: before, new: after, scale, notes } = Views::of(old, new, filter, question.absolute);

        let asked = !question.filter.kinds.is_empty();
        let rows = |view| kept_rows(view, asked);
        let pairs = pair(&rows(&before), &rows(&after));
        let mut functions = Functions::default();
        let mut locks: Vec<LockChange> =
            pairs.into_iter().filter_map(|(a, b)| change(&mut functions, (old, a), (new, b), scale)).collect();
        let floor = question.filter.min_wait_ns;
        locks.retain(|lock| {
            let wait = |figures: &Option<Figures>| figures.map_or(0, |figures| figures.wait_ns);
            wait(&lock.old).max(wait(&lock.new)) >= floor
        });
        locks.sort_by(|a, b| {
            let size = |lock: &LockChange, measure| {
                let (old, new) = lock.values(measure);
                Reverse(old.abs_diff(new))
            };
            let key = |lock: &LockChange| {
                (size(lock, question.measure), size(lock, Measure::Wait), size(lock, Measure::Hold))
            };
            key(a).cmp(&key(b)).then_with(|| (&a.class, &a.name, a.kind).cmp(&(&b.class, &b.name, b.kind)))
        });
        Self {
            old: Figures::of_all(&before, scale),
            new: Figures::of_all(&after, 1.0),
            question: question.clone(),
            scale,
            locks,
            notes,
        }
    }

    /// Locks that got worse than `share` allows (0.1: by more than a tenth), greatest growth first.
    ///
    /// Not judged is what is noise: a lock whose wait stays below the floor in NEW, a time that grew by less than
    /// that, a percentile of fewer than [`LEAST_WAITS`] waits.
    pub fn worse(&self, share: f64) -> Vec<&LockChange> {
        let mut worse: Vec<_> = (self.locks.iter())
            .filter(|lock| {
                let (old, new) = (lock.old.unwrap_or_default(), lock.new.unwrap_or_default());
                self.grew(&old, &new, share)
            })
            .collect();
        worse.sort_by_key(|lock| {
            let (old, new) = lock.values(self.question.measure);
            Reverse(new.saturating_sub(old))
        });
        worse
    }

    /// Whether all locks together got worse than that. A percentile of all locks is not compared.
    pub fn all_worse(&self, share: f64) -> bool {
        self.question.measure != Measure::P99 && self.grew(&self.old, &self.new, share)
    }

    fn grew(&self, old: &Figures, new: &Figures, share: f64) -> bool {
        let (measure, floor) = (self.question.measure, self.question.floor_ns);
        let (before, after) = (old.value(measure), new.value(measure));
        let noise = match measure {
            Measure::Wait => after.saturating_sub(before) < floor,
            Measure::Hold => new.wait_ns < floor || after.saturating_sub(before) < floor,
            Measure::Count => new.wait_ns < floor,
            Measure::P99 => new.wait_ns < floor || old.contended.min(new.contended) < LEAST_WAITS,
        };
        !noise && after as f64 > before as f64 * (1.0 + share)
    }
}

/// Two recordings, looked at in the same way.
#[derive(Clone, Debug)]
pub struct Views {
    /// OLD by class: classes are the same in both.
    pub old: Contention,
    /// NEW, likewise.
    pub new: Contention,
    /// What OLD's totals are to be multiplied by.
    pub scale: f64,
    /// What a reader has to know.
    pub notes: Vec<Note>,
}

impl Views {
    /// Looks. `absolute`: totals stay as they are, not scaled to the same duration.
    pub fn of(old: &Session, new: &Session, filter: Filter, absolute: bool) -> Self {
        let mut notes = cautions(old, new);
        let scale = scale(old, new, absolute, &mut notes);
        let query = Query { filter, by: GroupBy::Class, ..Query::default() };
        let of = |session| Contention::of(session, &query);
        let (before, after) = at_once(|| of(old), || of(new));
        for note in before.notes.iter().chain(&after.notes).map(|note| Note::Contention(*note)) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        Self { old: before, new: after, scale, notes }
    }
}

/// What OLD's totals are multiplied by.
fn scale(old: &Session, new: &Session, absolute: bool, notes: &mut Vec<Note>) -> f64 {
    let (before, after) = (old.meta.duration_ns, new.meta.duration_ns);
    if absolute || before == after {
        return 1.0;
    }
    if before == 0 || after == 0 {
        notes.push(Note::UnknownDuration);
        return 1.0;
    }
    after as f64 / before as f64
}

fn kept_rows(view: &Contention, asked: bool) -> Vec<&LockReport> {
    view.locks.iter().filter(|row| asked || row.kind.is_lock()).collect()
}

type Pair<'a> = (Option<&'a LockReport>, Option<&'a LockReport>);

/// By class, then by name; names that several left-over rows share match nothing.
fn pair<'a>(old: &[&'a LockReport], new: &[&'a LockReport]) -> Vec<Pair<'a>> {
    let by_class: FxHashMap<(&str, Kind), usize> = (old.iter().enumerate())
        .filter(|(_, row)| !row.class.is_empty())
        .map(|(at, row)| ((row.class.as_str(), row.kind), at))
        .collect();
    let mut taken = vec![false; old.len()];
    let mut partners: Vec<Option<usize>> = (new.iter())
        .map(|row| {
            let at = by_class.get(&(row.class.as_str(), row.kind)).copied()?;
            taken[at] = true;
            Some(at)
        })
        .collect();
    let mut by_name: FxHashMap<(&str, Kind), [Vec<usize>; 2]> = FxHashMap::default();
    for (at, row) in old.iter().enumerate().filter(|(at, _)| !taken[*at]) {
        by_name.entry((&row.name, row.kind)).or_default()[0].push(at);
    }
    for (at, row) in new.iter().enumerate().filter(|(at, _)| partners[*at].is_none()) {
        by_name.entry((&row.name, row.kind)).or_default()[1].push(at);
    }
    for [olds, news] in by_name.values() {
        if let ([before], [after]) = (&olds[..], &news[..]) {
            partners[*after] = Some(*before);
            taken[*before] = true;
        }
    }
    let matched = new.iter().zip(&partners).map(|(row, partner)| (partner.map(|at| old[at]), Some(*row)));
    let gone = old.iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(row, _)| (Some(*row), None));
    matched.chain(gone).collect()
}

type Place<'a> = (&'a Session, Option<&'a LockReport>);

fn change(functions: &mut Functions, old: Place<'_>, new: Place<'_>, scale: f64) -> Option<LockChange> {
    let shown = new.1.or(old.1)?;
    let mut waiters = Stacks::default();
    let mut holders = Stacks::default();
    for ((session, row), is_new) in [(old, false), (new, true)] {
        for waiter in row.iter().flat_map(|row| &row.waiters) {
            let amount = Amount { stack: waiter.stack, count: waiter.count, ns: waiter.wait_ns };
            waiters.add(functions, session, is_new, &amount, scale);
        }
        for holder in row.iter().flat_map(|row| &row.holders).filter(|holder| holder.count > 0) {
            let amount = Amount { stack: holder.stack, count: holder.count, ns: holder.blocked_ns };
            holders.add(functions, session, is_new, &amount, scale);
        }
        if let Some(unseen) = row.map(|row| row.unattributed).filter(|unseen| unseen.count > 0) {
            let amount = Amount { stack: crate::model::Stacks::UNKNOWN, count: unseen.count, ns: unseen.wait_ns };
            holders.add(functions, session, is_new, &amount, scale);
        }
    }
    Some(LockChange {
        name: shown.name.clone(),
        class: shown.class.clone(),
        kind: shown.kind,
        old: old.1.map(|row| Figures::of(row, scale)),
        new: new.1.map(|row| Figures::of(row, 1.0)),
        waiters: waiters.changes(functions),
        holders: holders.changes(functions),
    })
}
