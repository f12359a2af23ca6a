//! The canonical order of locks, which rows a view has, and in what order.
//!
//! Every order ends in a comparison of something unique, so two renderings of one recording are the same.

use std::cmp::Reverse;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use super::{GroupBy, LockReport, Query, SortKey, share};
use crate::analysis::add;
use crate::analysis::filter::Filter;
use crate::model::lock_class::starred;
use crate::model::{Kind, LockId, NameSource, ProcessId, Session};

/// A lock with its place in the canonical order.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    pub lock: LockId,
    pub id: String,
    pub name: String,
}

/// The locks of which something was seen, hottest first: lock kinds before others, then by total wait,
/// acquisitions, class, name and address. The filter has no say, so ids are the same in every view.
pub(super) fn canonical(session: &Session) -> Vec<Ranked> {
    let mut sums = vec![(0u64, 0u64, false); session.locks.len()];
    for site in &session.profile.sites {
        let sum = &mut sums[site.key.lock.index()];
        add(&mut sum.0, site.wait.sum);
        add(&mut sum.1, site.acquisitions);
        sum.2 = true;
    }
    let mut ids: Vec<LockId> = (0..session.locks.len()).filter(|at| sums[*at].2).map(LockId::from).collect();
    let names: Vec<String> = (0..session.locks.len()).map(|at| name(session, LockId::from(at))).collect();
    ids.sort_by(|a, b| {
        let key = |id: &LockId| {
            let lock = session.lock(*id);
            let (wait, acquisitions, _) = sums[id.index()];
            (!lock.kind.is_lock(), Reverse(wait), Reverse(acquisitions))
        };
        let tie = |id: &LockId| {
            let lock = session.lock(*id);
            (lock.class.as_str(), names[id.index()].as_str(), lock.process, lock.address, *id)
        };
        key(a).cmp(&key(b)).then_with(|| tie(a).cmp(&tie(b)))
    });
    (ids.into_iter().enumerate())
        .map(|(at, lock)| Ranked { lock, id: format!("L{}", at + 1), name: names[lock.index()].clone() })
        .collect()
}

/// A lock by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockSums {
    /// `L3`, as in every view.
    pub id: String,
    /// Acquisitions.
    pub acquisitions: u64,
    /// Of these, those that waited.
    pub contended: u64,
    /// Time waited, ns.
    pub wait_ns: u64,
    /// Time held, ns.
    pub hold_ns: u64,
}

/// Each lock of which something was seen by itself, for a view of classes.
pub fn lock_sums(session: &Session) -> FxHashMap<LockId, LockSums> {
    let ids = canonical(session).into_iter().map(|at| (at.lock, LockSums { id: at.id, ..LockSums::default() }));
    let mut of_lock: FxHashMap<LockId, LockSums> = ids.collect();
    for site in &session.profile.sites {
        if let Some(sums) = of_lock.get_mut(&site.key.lock) {
            add(&mut sums.acquisitions, site.acquisitions);
            add(&mut sums.contended, site.contended);
            add(&mut sums.wait_ns, site.wait.sum);
            add(&mut sums.hold_ns, site.hold.sum);
        }
    }
    of_lock
}

/// What people call a lock.
pub fn name(session: &Session, id: LockId) -> String {
    let lock = session.lock(id);
    match &lock.name {
        Some(name) if !name.text.is_empty() => name.text.clone(),
        _ if !lock.class.is_empty() => lock.class.clone(),
        _ if lock.address == 0 => format!("other {} locks", lock.kind.name()),
        _ => format!("{} {:#x}", lock.kind.name(), lock.address),
    }
}

/// The number of each lock's class, from 1 in the canonical order; 0 for locks of which nothing was seen. One that has no
/// class is one by itself.
pub(super) fn classes(session: &Session, ranked: &[Ranked]) -> Vec<u32> {
    let mut numbers = vec![0; session.locks.len()];
    let mut of_class: FxHashMap<(&str, Kind), u32> = FxHashMap::default();
    let mut next = 1;
    for at in ranked {
        let lock = session.lock(at.lock);
        let known = (!lock.class.is_empty()).then(|| *of_class.entry((&lock.class, lock.kind)).or_insert(next));
        let number = known.unwrap_or(next);
        next += u32::from(number == next);
        numbers[at.lock.index()] = number;
    }
    numbers
}

/// What a class is called by its number.
fn class_id(number: u32) -> String {
    format!("C{number}")
}

/// Those that the filter leaves (its time and thread parts are for the sums to decide).
pub(super) fn keep(session: &Session, ranked: &[Ranked], classes: &[u32], filter: &Filter) -> Vec<Ranked> {
    let is_named = |at: &Ranked| {
        filter.lock.as_ref().is_none_or(|glob| {
            glob.matches_lock(&at.name) || glob.matches(&at.id) || glob.matches(&class_id(classes[at.lock.index()]))
        })
    };
    (ranked.iter())
        .filter(|at| filter.keeps_kind(session.lock(at.lock).kind))
        .filter(|at| filter.pid.is_none_or(|pid| session.process(session.lock(at.lock).process).pid == pid))
        .filter(|at| is_named(at))
        .cloned()
        .collect()
}

/// A row to be: its id, its name and its locks.
pub(super) struct Row {
    pub id: String,
    pub name: String,
    pub members: Vec<LockId>,
}

/// The rows of a view.
pub(super) fn rows(session: &Session, kept: &[Ranked], classes: &[u32], query: &Query) -> Vec<Row> {
    let single = |at: &Ranked| Row { id: at.id.clone(), name: at.name.clone(), members: vec![at.lock] };
    if query.by != GroupBy::Class {
        return kept.iter().map(single).collect();
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut of_class: FxHashMap<u32, usize> = FxHashMap::default();
    for at in kept {
        let number = classes[at.lock.index()];
        let place = *of_class.entry(number).or_insert(rows.len());
        match rows.get_mut(place) {
            Some(row) => {
                row.members.push(at.lock);
                if row.name != at.name {
                    row.name = class_name(session, row, &at.name, &session.lock(at.lock).class);
                }
            }
            None => rows.push(single(at)),
        }
    }
    for row in &mut rows {
        if !(query.lone_locks && row.members.len() == 1) {
            row.id = class_id(classes[row.members[0].index()]);
        }
    }
    rows
}

/// So many locks that nothing tells apart are one row.
pub const LEAST_ALIKE: usize = 32;
/// So many are one row though some were waited for,
const LEAST_WAITED_FOR: usize = 1_000;
/// but for those with this share of all waiting.
const HOT: f64 = 0.01;

/// What of a lock decides whether it may be in one row with others.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// A hash of the places in the code that took it.
    places: u64,
    wait_ns: u64,
    was_waited_for: bool,
    /// It takes part in something that is reported by itself.
    trouble: bool,
}

/// What locks have in common that nothing tells apart: class, name, kind, process, places, and whether they were waited for.
type Alike<'a> = (&'a str, &'a str, Kind, ProcessId, u64, bool);

/// Makes one row of many locks of one process, class and name that were taken at the same places in the code and hardly
/// waited for: a program may make millions of them. The rows are of single locks.
pub(super) fn merge_alike(session: &Session, rows: Vec<Row>) -> Vec<Row> {
    let mut seen = vec![Seen::default(); session.locks.len()];
    // For locks, and for what is waited for otherwise.
    let mut all_ns = [0; 2];
    for site in &session.profile.sites {
        let of = &mut seen[site.key.lock.index()];
        let mut hasher = FxHasher::default();
        (site.key.stack, site.key.mode).hash(&mut hasher);
        of.places = of.places.wrapping_add(hasher.finish());
        add(&mut of.wait_ns, site.wait.sum);
        add(&mut all_ns[usize::from(session.lock(site.key.lock).kind.is_lock())], site.wait.sum);
        of.was_waited_for |= site.contended > 0;
        of.trouble |= [site.try_failures, site.timeouts, site.failures, site.still_held].iter().any(|count| *count > 0);
    }
    let mut alike: FxHashMap<Alike<'_>, Vec<usize>> = FxHashMap::default();
    for (at, row) in rows.iter().enumerate() {
        let [id] = row.members[..] else { continue };
        let (lock, Seen { places, wait_ns, was_waited_for, trouble }) = (session.lock(id), seen[id.index()]);
        let is_hot = was_waited_for && share(wait_ns, all_ns[usize::from(lock.kind.is_lock())]) >= HOT;
        if !trouble && !is_hot && !lock.class.is_empty() {
            let key = (lock.class.as_str(), row.name.as_str(), lock.kind, lock.process, places, was_waited_for);
            alike.entry(key).or_default().push(at);
        }
    }
    let mut joins: Vec<Option<usize>> = vec![None; rows.len()];
    let least = |was_waited_for: bool| if was_waited_for { LEAST_WAITED_FOR } else { LEAST_ALIKE };
    for (_, group) in alike.into_iter().filter(|((.., waited), group)| group.len() >= least(*waited)) {
        group[1..].iter().for_each(|at| joins[*at] = Some(group[0]));
    }
    let mut places = vec![0; rows.len()];
    let mut merged: Vec<Row> = Vec::new();
    for (at, row) in rows.into_iter().enumerate() {
        match joins[at] {
            // The first of them comes before the others.
            Some(first) => merged[places[first]].members.extend(row.members),
            None => {
                places[at] = merged.len();
                merged.push(row);
            }
        }
    }
    merged
}

/// The name of a class whose locks have different names: what people chose for the first; with a star for the numbers in
/// brackets where these are all that differs (`cache.shard[*].mu`); else the class itself.
fn class_name(session: &Session, row: &Row, other: &str, class: &str) -> String {
    let chosen = |lock: &LockId| session.lock(*lock).name.as_ref().map(|name| name.source);
    match row.members.first().and_then(chosen) {
        _ if row.name == class => class.to_owned(),
        Some(NameSource::User) if starred(&row.name, other).is_none() => row.name.clone(),
        _ => starred(&row.name, other).unwrap_or_else(|| class.to_owned()),
    }
}

/// Puts rows in the asked order; lock kinds come before the others.
pub(super) fn sort(rows: &mut [LockReport], by: SortKey) {
    // The rows come in canonical order, and the sort is stable: ties keep it.
    rows.sort_by(|a, b| {
        a.kind.is_lock().cmp(&b.kind.is_lock()).reverse().then_with(|| value(b, by).cmp(&value(a, by)))
    });
}

/// The figure that a row is sorted by.
fn value(row: &LockReport, by: SortKey) -> u64 {
    match by {
        SortKey::Wait => row.wait.total,
        SortKey::Max => row.wait.max,
        SortKey::P99 => row.wait.p99,
        SortKey::Count => row.acquisitions,
        SortKey::Hold => row.hold.total,
    }
}

#[cfg(test)]
mod tests {
    use crate::model::lock_class::starred;

    #[test]
    fn names_that_differ_in_numbers_are_one() {
        assert_eq!(starred("cache.shard[3].mu", "cache.shard[12].mu").as_deref(), Some("cache.shard[*].mu"));
        assert_eq!(starred("t[*][1]", "t[7][1]").as_deref(), Some("t[*][1]"));
        assert_eq!(starred("t[1][1]", "t[1][2]").as_deref(), Some("t[1][*]"));
        assert_eq!(starred("lock1", "lock2"), None);
        assert_eq!(starred("a[1].x", "a[1].y"), None);
        assert_eq!(starred("a[1]", "a[1].y"), None);
    }
}
