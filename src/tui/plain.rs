//! The live view without a terminal: a table, or one line of JSON, for each interval.

use serde::Serialize;
use serde_json::json;

use crate::live::snapshot::window::since;
use crate::live::snapshot::{LockRow, Snapshot, Spread};
use crate::model::Histogram;
use crate::render::style::{Layout, Style};
use crate::render::table::{Column, table as columns_of};
use crate::render::units::{count, duration, percent, short_count};
use crate::tui::state::classes::{ClassRow, classes};

/// Version of the JSON; the rules are those of the report's.
const SCHEMA_VERSION: u32 = 1;

/// An interval: a snapshot, and what came since the one before (the start, for the first).
struct Interval<'a> {
    snapshot: &'a Snapshot,
    part: Snapshot,
    ns: u64,
}

impl<'a> Interval<'a> {
    fn of(snapshot: &'a Snapshot, before: Option<&Snapshot>) -> Self {
        let none = Snapshot::default();
        let before = before.unwrap_or(&none);
        Self { snapshot, part: since(snapshot, before), ns: snapshot.at_ns.saturating_sub(before.at_ns).max(1) }
    }

    /// Rows of lock kinds, the longest wait within the interval first, each with the whole of it.
    fn rows(&self) -> Vec<(&LockRow, &LockRow)> {
        let mut rows: Vec<_> = self.part.locks.iter().zip(&self.snapshot.locks).collect();
        rows.sort_by(|(a, all_a), (b, all_b)| {
            let key = |row: &LockRow, all: &LockRow| {
                use std::cmp::Reverse;
                (!row.kind().is_lock(), Reverse((row.wait.sum, row.waiters, all.wait.sum, row.acquisitions)), row.id)
            };
            key(a, all_a).cmp(&key(b, all_b))
        });
        rows
    }

    fn per_second(&self, events: u64) -> u64 {
        (events as f64 * 1e9 / self.ns as f64).round() as u64
    }
}

/// A name, and how many locks have the row.
fn times(name: &str, locks: usize) -> String {
    if locks > 1 { format!("{name} ×{}", short_count(locks as u64)) } else { name.to_owned() }
}

/// One line about the whole, then a table of the locks that were waited for most since `before`.
pub fn table(snapshot: &Snapshot, before: Option<&Snapshot>, layout: &Layout, limit: usize) -> String {
    let interval = Interval::of(snapshot, before);
    let waited: u64 = interval.part.locks.iter().filter(|row| row.kind().is_lock()).map(|row| row.wait.sum).sum();
    let open = snapshot.acquisitions.saturating_sub(snapshot.recorded.saturating_add(snapshot.folded));
    let open = if open > 0 { format!(", {} on their way", count(open)) } else { String::new() };
    let head = format!(
        "{}  {} threads, {} acquisitions/s, blocked {} of the time{open}",
        duration(snapshot.at_ns),
        snapshot.threads.len(),
        short_count(interval.per_second(interval.part.acquisitions)),
        percent(blocked_share(&interval.part, interval.ns)),
    );
    let mut out = layout.paint(Style::Heading, &head) + "\n";
    for hang in &snapshot.hangs {
        out.push_str(&layout.paint(Style::Bad, &format!("deadlock: {}", hang.title)));
        out.push('\n');
    }
    let columns = [
        Column::flexible("lock"),
        Column::text("kind", 3),
        Column::number("acq/s", 2),
        Column::number("waits/s", 1),
        Column::number("share", 0),
        Column::number("p50", 4),
        Column::number("p99", 0),
        Column::number("max", 0),
        Column::number("hold p99", 2),
        Column::number("waiting", 0),
    ];
    // As on the screen and in the report: a row for each class.
    let mut rows = classes(&interval.part);
    rows.retain(|class| class.row.kind().is_lock() && (class.row.acquisitions > 0 || class.row.waiters > 0));
    rows.sort_by_key(|ClassRow { row, .. }| {
        (std::cmp::Reverse((row.wait.sum, row.waiters, row.acquisitions)), row.pid, row.id)
    });
    let total = rows.len();
    let cells: Vec<_> = rows
        .iter()
        .take(limit)
        .map(|ClassRow { row, members, .. }| {
            let (wait, hold) = (row.wait.histogram(), row.hold.histogram());
            let plain = |text: String| (text, Style::Plain);
            let share = if waited == 0 { 0.0 } else { row.wait.sum as f64 / waited as f64 };
            vec![
                (times(&row.name, members.len()), Style::Strong),
                plain(row.kind().name().to_owned()),
                plain(short_count(interval.per_second(row.acquisitions))),
                plain(short_count(interval.per_second(row.contended))),
                plain(percent(share)),
                plain(duration(wait.quantile(0.5))),
                plain(duration(wait.quantile(0.99))),
                plain(duration(wait.max)),
                plain(duration(hold.quantile(0.99))),
                plain(row.waiters.to_string()),
            ]
        })
        .collect();
    if cells.is_empty() {
        out.push_str("  no lock was taken in this time\n");
    } else {
        out.push_str(&columns_of(layout, &columns, &cells));
    }
    if total > limit {
        out.push_str(&layout.paint(Style::Dim, &format!("  … and {} more\n", count((total - limit) as u64))));
    }
    out
}

/// Time blocked as a share of the time that the threads were there for.
pub fn blocked_share(part: &Snapshot, ns: u64) -> f64 {
    let from = part.at_ns.saturating_sub(ns);
    let there: u64 = part.threads.iter().map(|thread| part.at_ns.saturating_sub(thread.start_ns.max(from))).sum();
    let blocked: u64 = part.threads.iter().map(|thread| thread.blocked_ns).sum();
    if there == 0 { 0.0 } else { (blocked as f64 / there as f64).min(1.0) }
}

#[derive(Serialize)]
struct Durations {
    count: u64,
    total: u64,
    mean: u64,
    p50: u64,
    p99: u64,
    max: u64,
}

impl From<&Spread> for Durations {
    fn from(spread: &Spread) -> Self {
        let of: Histogram = spread.histogram();
        Self {
            count: of.count,
            total: of.sum,
            mean: of.mean(),
            p50: of.quantile(0.5),
            p99: of.quantile(0.99),
            max: of.max,
        }
    }
}

/// One line of JSON, ending in a line break. Keys are never renamed or dropped; `docs/cli.md` tells them.
pub fn json_line(snapshot: &Snapshot, before: Option<&Snapshot>, limit: usize) -> String {
    let interval = Interval::of(snapshot, before);
    let tid = |id: &u32| snapshot.threads.iter().find(|thread| thread.id == *id).map(|thread| thread.tid);
    let locks: Vec<_> = (interval.rows().into_iter().take(limit))
        .map(|(row, all)| {
            json!({
                "id": row.id, "name": row.name, "class": row.class, "kind": row.kind().name(), "pid": row.pid,
                "address": format!("{:#x}", row.address),
                "acquisitions": all.acquisitions, "contended": all.contended,
                "wait_ns": Durations::from(&all.wait), "hold_ns": Durations::from(&all.hold),
                "interval": {
                    "acquisitions": row.acquisitions, "contended": row.contended,
                    "wait_ns": Durations::from(&row.wait), "hold_ns": Durations::from(&row.hold),
                },
                "waiters": row.waiters, "owners": row.owners.iter().filter_map(tid).collect::<Vec<_>>(),
            })
        })
        .collect();
    let threads: Vec<_> = (interval.part.threads.iter())
        .map(|thread| {
            json!({
                "tid": thread.tid, "pid": thread.pid, "name": thread.name, "acquisitions": thread.acquisitions,
                "blocked_ns": thread.blocked_ns, "waits_for": thread.waits_for,
                "held": thread.held, "blocked_by": thread.blockers.iter().filter_map(tid).collect::<Vec<_>>(),
            })
        })
        .collect();
    let seen = snapshot.recorded.saturating_add(snapshot.folded);
    let hangs: Vec<_> = snapshot
        .hangs
        .iter()
        .map(|hang| json!({"at_ns": hang.at_ns, "title": hang.title, "text": hang.text}))
        .collect();
    let line = json!({
        "schema_version": SCHEMA_VERSION, "at_ns": snapshot.at_ns, "interval_ns": interval.ns,
        "command": snapshot.command, "pid": snapshot.pid, "processes": snapshot.processes,
        "acquisitions_per_second": interval.per_second(interval.part.acquisitions),
        "blocked_share": blocked_share(&interval.part, interval.ns),
        "coverage": {
            "acquisitions": snapshot.acquisitions, "recorded": snapshot.recorded, "folded": snapshot.folded,
            "on_their_way": snapshot.acquisitions.saturating_sub(seen),
        },
        "locks": locks, "threads": threads, "hangs": hangs,
    });
    line.to_string() + "\n"
}
