//! The rows of each screen, filtered and in their order.

use std::cmp::Ordering;

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

/// Locks, with what is counted of them. Kinds that only hand over or wait idly come last.
pub fn locks(state: &State) -> Vec<&LockRow> {
    let keeps = |row: &&LockRow| matches(state, &[&row.name, &row.class, row.kind().name()]);
    let mut rows: Vec<(u64, &LockRow)> =
        state.part.locks.iter().filter(keeps).map(|row| (key(row, state.sort), row)).collect();
    rows.sort_by(|(key_a, a), (key_b, b)| {
        let by_key = if state.sort == Sort::Name { a.name.cmp(&b.name) } else { key_b.cmp(key_a) };
        let by_key =
            by_key.then_with(|| (b.wait.sum, b.waiters, b.acquisitions).cmp(&(a.wait.sum, a.waiters, a.acquisitions)));
        // Rows without a difference come as in the report.
        let tie = |row: &LockRow| (row.pid, row.address, row.id);
        let by_place = (&a.class, &a.name).cmp(&(&b.class, &b.name)).then_with(|| tie(a).cmp(&tie(b)));
        (!a.kind().is_lock()).cmp(&!b.kind().is_lock()).then(turned(by_key, state)).then(by_place)
    });
    rows.into_iter().map(|(_, row)| row).collect()
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
