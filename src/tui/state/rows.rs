//! The rows of each screen, filtered and in their order.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;

use super::State;
use crate::live::snapshot::{EdgeRow, JudgedEntry, LockRow, ThreadRow};

/// What comes first, the greatest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sort {
    #[default]
    Wait,
    Waits,
    P99,
    Max,
    Hold,
    Acquisitions,
    Name,
}

impl Sort {
    const ALL: [Self; 7] = [Self::Wait, Self::Waits, Self::P99, Self::Max, Self::Hold, Self::Acquisitions, Self::Name];

    /// The one after this.
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    /// Its name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Waits => "waits",
            Self::P99 => "p99",
            Self::Max => "max",
            Self::Hold => "hold",
            Self::Acquisitions => "acq/s",
            Self::Name => "name",
        }
    }
}

/// A line of the list of locks: a class, or a lock.
#[derive(Clone, Copy, Debug)]
pub struct LockLine<'a> {
    /// The same at each snapshot.
    pub id: u64,
    /// What is counted of it.
    pub row: &'a LockRow,
    /// The lock that stands for it on its own screen: the first of the class in the order of the list.
    pub lock: u32,
    /// How many locks it stands for.
    pub locks: usize,
    /// The class's locks follow.
    pub is_open: bool,
    /// A lock of the class above it.
    pub is_member: bool,
}

/// Classes of locks, those that are opened with their locks; or all locks. Kinds that only hand over or wait idly come last.
pub fn locks(state: &State) -> Vec<LockLine<'_>> {
    let keeps = |row: &LockRow| matches(state, &[&row.name, &row.class, row.kind().name()]);
    let all = &state.part.locks;
    if state.every_lock {
        return sorted(state, all.iter().filter(|row| keeps(row)).map(lock_line));
    }
    let mut kept = FxHashMap::default();
    let lines = state.classes.iter().filter_map(|class| {
        if let [one] = class.members[..] {
            return keeps(&all[one]).then(|| lock_line(&all[one]));
        }
        let members = || class.members.iter().map(|at| &all[*at]);
        // A name that is typed may be the class's or that of some of its locks.
        let shown: Vec<&LockRow> =
            if keeps(&class.row) { members().collect() } else { members().filter(|row| keeps(row)).collect() };
        let first = shown.iter().max_by_key(|row| (key(row, state.sort), std::cmp::Reverse(row.id)))?;
        let is_open = state.open.contains(&class.id);
        let line = LockLine {
            id: class.id,
            row: &class.row,
            lock: first.id,
            locks: class.members.len(),
            is_open,
            is_member: false,
        };
        if is_open {
            kept.insert(class.id, shown);
        }
        Some(line)
    });
    let mut out = Vec::new();
    for line in sorted(state, lines) {
        out.push(line);
        let members = kept.remove(&line.id).unwrap_or_default();
        out.extend(
            sorted(state, members.into_iter().map(lock_line))
                .into_iter()
                .map(|line| LockLine { is_member: true, ..line }),
        );
    }
    out
}

fn lock_line(row: &LockRow) -> LockLine<'_> {
    LockLine { id: u64::from(row.id), row, lock: row.id, locks: 1, is_open: false, is_member: false }
}

fn sorted<'a>(state: &State, lines: impl Iterator<Item = LockLine<'a>>) -> Vec<LockLine<'a>> {
    let mut rows: Vec<(u64, LockLine<'a>)> = lines.map(|line| (key(line.row, state.sort), line)).collect();
    rows.sort_by(|(key_a, LockLine { row: a, .. }), (key_b, LockLine { row: b, .. })| {
        let by_key = if state.sort == Sort::Name { a.name.cmp(&b.name) } else { key_b.cmp(key_a) };
        let by_key =
            by_key.then_with(|| (b.wait.sum, b.waiters, b.acquisitions).cmp(&(a.wait.sum, a.waiters, a.acquisitions)));
        // Without a difference locks of a class come as they lie in memory: the tenth of an array behind the ninth.
        let tie = |row: &LockRow| (row.pid, row.address, row.id);
        let by_place = a.class.cmp(&b.class).then_with(|| tie(a).cmp(&tie(b)));
        (!a.kind().is_lock()).cmp(&!b.kind().is_lock()).then(turned(by_key, state)).then(by_place)
    });
    rows.into_iter().map(|(_, line)| line).collect()
}

fn key(row: &LockRow, sort: Sort) -> u64 {
    match sort {
        Sort::Wait => row.wait.sum,
        Sort::Waits => row.contended,
        Sort::P99 => row.wait.histogram().quantile(0.99),
        Sort::Max => row.wait.max,
        Sort::Hold => row.hold.sum,
        Sort::Acquisitions => row.acquisitions,
        Sort::Name => 0,
    }
}

fn turned(order: Ordering, state: &State) -> Ordering {
    if state.is_reversed { order.reverse() } else { order }
}

/// Living threads, the most blocked first.
pub fn threads(state: &State) -> Vec<&ThreadRow> {
    let keeps = |row: &&ThreadRow| matches(state, &[&row.name, &row.tid.to_string(), &row.waits_for_name]);
    let mut rows: Vec<&ThreadRow> = state.part.threads.iter().filter(keeps).collect();
    rows.sort_by(|a, b| {
        let by_key = match state.sort {
            Sort::Name => a.name.cmp(&b.name),
            Sort::Acquisitions => b.acquisitions.cmp(&a.acquisitions),
            _ => b.blocked_ns.cmp(&a.blocked_ns),
        };
        turned(by_key.then_with(|| b.is_blocked.cmp(&a.is_blocked)), state).then(a.id.cmp(&b.id))
    });
    rows
}

/// Cycles, the most serious first.
pub fn cycles(state: &State) -> Vec<&JudgedEntry> {
    let judged = state.now.judged.iter().flat_map(|judged| &judged.cycles);
    judged.filter(|entry| matches(state, &[&entry.title, &entry.class])).collect()
}

/// Edges, those of cycles first.
pub fn edges(state: &State) -> Vec<&EdgeRow> {
    let judged = state.now.judged.iter().flat_map(|judged| &judged.edges);
    judged.filter(|edge| matches(state, &[&edge.held, &edge.wanted])).collect()
}

/// Misuses.
pub fn findings(state: &State) -> Vec<&JudgedEntry> {
    let judged = state.now.judged.iter().flat_map(|judged| &judged.findings);
    judged.filter(|entry| matches(state, &[&entry.title, &entry.class])).collect()
}

/// Who holds it: the thread's name, or how many readers do.
pub fn owner(state: &State, row: &LockRow) -> String {
    match row.owners.as_slice() {
        [] => "–".into(),
        [one] => {
            let thread = state.now.threads.iter().find(|thread| thread.id == *one);
            thread.map_or_else(
                || "?".into(),
                |thread| if thread.name.is_empty() { thread.tid.to_string() } else { thread.name.clone() },
            )
        }
        many => format!("{} threads", many.len()),
    }
}

fn matches(state: &State, texts: &[&str]) -> bool {
    if state.filter.is_empty() {
        return true;
    }
    let wanted = state.filter.to_lowercase();
    texts.iter().any(|text| text.to_lowercase().contains(&wanted))
}
