//! The canonical order of locks, which rows a view has, and in what order.
//!
//! Every order ends in a comparison of something unique, so two renderings of one recording are the same.

use std::cmp::Reverse;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use super::{GroupBy, LockReport, SortKey};
use crate::analysis::add;
use crate::analysis::filter::Filter;
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

/// Those that the filter leaves (its time and thread parts are for the sums to decide).
pub(super) fn keep(session: &Session, ranked: &[Ranked], filter: &Filter) -> Vec<Ranked> {
    (ranked.iter())
        .filter(|at| filter.keeps_kind(session.lock(at.lock).kind))
        .filter(|at| filter.pid.is_none_or(|pid| session.process(session.lock(at.lock).process).pid == pid))
        .filter(|at| filter.lock.as_ref().is_none_or(|glob| glob.matches_lock(&at.name) || glob.matches(&at.id)))
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
pub(super) fn rows(session: &Session, kept: &[Ranked], by: GroupBy) -> Vec<Row> {
    let single = |at: &Ranked| Row { id: at.id.clone(), name: at.name.clone(), members: vec![at.lock] };
    if by != GroupBy::Class {
        return kept.iter().map(single).collect();
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut of_class: FxHashMap<(&str, Kind), usize> = FxHashMap::default();
    for at in kept {
        let lock = session.lock(at.lock);
        let known = (!lock.class.is_empty()).then(|| of_class.entry((&lock.class, lock.kind)));
        match known {
            Some(std::collections::hash_map::Entry::Occupied(entry)) => {
                let row = &mut rows[*entry.get()];
                row.members.push(at.lock);
                if row.name != at.name && row.name != lock.class {
                    row.name = class_name(session, row, &lock.class);
                }
            }
            Some(std::collections::hash_map::Entry::Vacant(entry)) => {
                entry.insert(rows.len());
                rows.push(single(at));
            }
            None => rows.push(single(at)),
        }
    }
    for (at, row) in rows.iter_mut().enumerate() {
        row.id = format!("C{}", at + 1);
    }
    rows
}

/// So many locks that nothing tells apart are one row.
pub const LEAST_ALIKE: usize = 32;

/// Makes one row of many locks of one process, class and name that were taken at the same places in the code and never
/// waited for: a program may make millions of them. The rows are of single locks.
pub(super) fn merge_alike(session: &Session, rows: Vec<Row>) -> Vec<Row> {
    // The places of each lock, and whether there is more to tell of it.
    let mut seen: Vec<(u64, bool)> = vec![(0, false); session.locks.len()];
    for site in &session.profile.sites {
        let of = &mut seen[site.key.lock.index()];
        let mut hasher = FxHasher::default();
        (site.key.stack, site.key.mode).hash(&mut hasher);
        of.0 = of.0.wrapping_add(hasher.finish());
        let trouble = [site.contended, site.try_failures, site.timeouts, site.failures, site.still_held];
        of.1 |= trouble.iter().any(|count| *count > 0);
    }
    let mut alike: FxHashMap<(&str, &str, Kind, ProcessId, u64), Vec<usize>> = FxHashMap::default();
    for (at, row) in rows.iter().enumerate() {
        let [id] = row.members[..] else { continue };
        let (lock, (places, trouble)) = (session.lock(id), seen[id.index()]);
        if !trouble && !lock.class.is_empty() {
            alike.entry((&lock.class, &row.name, lock.kind, lock.process, places)).or_default().push(at);
        }
    }
    let mut joins: Vec<Option<usize>> = vec![None; rows.len()];
    for group in alike.into_values().filter(|group| group.len() >= LEAST_ALIKE) {
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

/// The name of a class whose locks have different names: the class itself, unless people chose the names.
fn class_name(session: &Session, row: &Row, class: &str) -> String {
    let chosen = |lock: &LockId| session.lock(*lock).name.as_ref().map(|name| name.source);
    match row.members.first().and_then(chosen) {
        Some(NameSource::User) => row.name.clone(),
        _ => class.to_owned(),
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
