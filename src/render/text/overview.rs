//! The tables: the hottest rows of the view, and the waits that are not contention.

use super::some_of;
use crate::analysis::contention::{Contention, GroupBy, LockReport, SortKey, share};
use crate::analysis::groups::{GroupKey, GroupRow};
use crate::analysis::sum_of;
use crate::model::Session;
use crate::render::explain;
use crate::render::frames::place_label;
use crate::render::style::{Layout, Style, printable, wrap};
use crate::render::table::{Cell, Column, table};
use crate::render::units::{count, duration, percent, plural, short_count};

/// From this share of all waiting on, a row is painted as bad.
const BAD_SHARE: f64 = 0.5;
/// From this share on, as worth a look.
const WARN_SHARE: f64 = 0.1;

/// Heading of the column of process ids.
const PID: &str = "pid";

/// The heading with its sums, and the table of what was asked for.
pub(super) fn overview(session: &Session, contention: &Contention, layout: &Layout, limit: usize) -> String {
    let totals = &contention.contention;
    let mut out = layout.paint(Style::Heading, "Lock contention");
    let filter = contention.query.filter.describe();
    if !filter.is_empty() || contention.query.filter.min_wait_ns > 0 {
        let mut words = filter;
        if contention.query.filter.min_wait_ns > 0 {
            words.push(format!("waited for at least {}", duration(contention.query.filter.min_wait_ns)));
        }
        out.push_str(&format!(" ({})", printable(&words.join("; "))));
    }
    out.push('\n');
    out.push_str(&wrap(&sums(session, contention), layout.width, "", ""));
    for note in &contention.notes {
        out.push_str(
            &layout.paint(Style::Warn, &wrap(&explain::notes::contention(*note), layout.width, "note: ", "      ")),
        );
    }
    if totals.rows == 0 {
        return out;
    }
    out.push('\n');
    match contention.query.by {
        GroupBy::Site | GroupBy::Thread => out.push_str(&groups(session, contention, layout, limit)),
        GroupBy::Lock | GroupBy::Class => out.push_str(&locks(session, contention, layout, limit)),
    }
    out
}

/// How much was waited, in a sentence.
pub(super) fn sums(session: &Session, contention: &Contention) -> String {
    let totals = &contention.contention;
    if totals.rows == 0 && contention.blocked.rows > 0 {
        "No mutex, rwlock or spinlock here; what follows blocks for other reasons.".to_owned()
    } else if totals.rows == 0 {
        "No lock is left by the filter. `lockprof report` without options lists them all.".to_owned()
    } else if totals.contended == 0 {
        format!(
            "No thread had to wait: {} of {}, all without contention.",
            plural(totals.acquisitions, "acquisition", "acquisitions"),
            what(contention, totals.rows, totals.rows)
        )
    } else if session.coverage.contended_only {
        format!(
            "Threads waited {} in {}, for {}.",
            duration(totals.wait_ns),
            plural(totals.contended, "contended acquisition", "contended acquisitions"),
            what(contention, totals.contended_rows, totals.rows)
        )
    } else {
        format!(
            "Threads waited {}{} in {} of {} acquisitions ({}), for {}.",
            duration(totals.wait_ns),
            if contention.query.filter.is_empty() { of_thread_time(session, totals.wait_ns) } else { String::new() },
            count(totals.contended),
            count(totals.acquisitions),
            percent(share(totals.contended, totals.acquisitions)),
            what(contention, totals.contended_rows, totals.rows)
        )
    }
}

/// ` (12% of their time)`: what part of all threads' lives was spent so; empty where that is not known.
pub(super) fn of_thread_time(session: &Session, ns: u64) -> String {
    match session.thread_time_ns() {
        0 => String::new(),
        all => format!(" ({} of their time)", percent(share(ns, all).min(1.0))),
    }
}

fn what(contention: &Contention, part: u64, whole: u64) -> String {
    match contention.query.by {
        GroupBy::Class if !contention.query.lone_locks => some_of(part, whole, "class of locks", "classes of locks"),
        _ => some_of(part, whole, "lock", "locks"),
    }
}

fn severity_style(share: f64) -> Style {
    if share >= BAD_SHARE {
        Style::Bad
    } else if share >= WARN_SHARE {
        Style::Warn
    } else {
        Style::Plain
    }
}

fn plain(text: impl Into<String>) -> Cell {
    (text.into(), Style::Plain)
}

/// A duration of something that happened; a dash where nothing did, or where it is not known how long it took.
fn time(ns: u64, happened: u64) -> Cell {
    if happened == 0 || ns == 0 { ("-".into(), Style::Dim) } else { plain(duration(ns)) }
}

/// The name of a row as tables show it.
pub(super) fn label(row: &LockReport) -> String {
    let name = printable(&row.name);
    if row.stands_for > 1 { format!("{name} ×{}", short_count(row.stands_for)) } else { name }
}

/// The row's pid as a cell; a column of its own where there are several processes.
fn pid(session: &Session, row: &LockReport) -> Cell {
    let several = row.members.iter().any(|lock| session.lock(*lock).process != row.process);
    let text = if several { "several".to_owned() } else { session.process(row.process).pid.to_string() };
    (text, Style::Dim)
}

/// The columns and rows without the pid where there is one process only.
fn without_pid(session: &Session, columns: Vec<Column>, rows: Vec<Vec<Cell>>) -> (Vec<Column>, Vec<Vec<Cell>>) {
    if session.processes.len() > 1 {
        return (columns, rows);
    }
    let at = columns.iter().position(|column| column.title == PID);
    let keep = |index: usize| Some(index) != at;
    let rows = (rows.into_iter())
        .map(|row| row.into_iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, cell)| cell).collect())
        .collect();
    (columns.into_iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, column)| column).collect(), rows)
}

fn locks(session: &Session, contention: &Contention, layout: &Layout, limit: usize) -> String {
    // What the rows are sorted by is there, however narrow the table is.
    let unless = |key: SortKey, expendable: u8| if contention.query.sort == key { 0 } else { expendable };
    let columns = vec![
        Column::text("id", 0),
        Column::flexible("lock"),
        Column::number(PID, 2),
        Column::text("kind", 2),
        Column::number("wait", 0),
        Column::number("share", 0),
        Column::number("cont.", 1),
        Column::number("p99", unless(SortKey::P99, 1)),
        Column::number("max", 0),
        Column::number("hold p99", 1),
        Column::number("held", unless(SortKey::Hold, 5)),
        Column::number("queue", 3),
        Column::number("taken", unless(SortKey::Count, 4)),
    ];
    let total = contention.contention.wait_ns;
    // The profile of another tool has waits, and nothing to compare them with.
    let known = |text: String| if session.coverage.contended_only { ("-".into(), Style::Dim) } else { plain(text) };
    let row = |row: &LockReport| {
        let part = share(row.wait.total, total);
        vec![
            (row.id.clone(), Style::Dim),
            (label(row), Style::Strong),
            pid(session, row),
            plain(row.kind.name()),
            (time(row.wait.total, row.contended).0, severity_style(part)),
            (if row.contended == 0 { "-".into() } else { percent(part) }, severity_style(part)),
            known(percent(row.contended_share())),
            time(row.wait.p99, row.contended),
            time(row.wait.max, row.contended),
            time(row.hold.p99, row.acquisitions),
            time(row.hold.total, row.acquisitions),
            known(count(row.max_waiters.into())),
            known(short_count(row.acquisitions)),
        ]
    };
    let rows: Vec<_> = contention.lock_rows().take(limit).map(row).collect();
    let (columns, rows) = without_pid(session, columns, rows);
    let mut out = table(layout, &columns, &rows);
    let several = contention.lock_rows().take(limit).find(|row| contention.query.lone_locks && row.members.len() > 1);
    if let Some(row) = several {
        let text = format!(
            "  {}: {} first seen at one place; `--lock {}` or `--by lock` shows each",
            row.id,
            plural(row.stands_for, "lock", "locks"),
            row.id
        );
        out.push_str(&layout.paint(Style::Dim, wrap(&text, layout.width, "", "    ").trim_end()));
        out.push('\n');
    }
    let rest: Vec<_> = contention.lock_rows().skip(limit).collect();
    if !rest.is_empty() {
        let wait = sum_of(rest.iter().map(|row| row.wait.total));
        let text = format!(
            "  … and {} more with {} of the wait; --limit {} shows them",
            count(rest.len() as u64),
            percent(share(wait, total)),
            rest.len() + limit
        );
        out.push_str(&layout.paint(Style::Dim, &text));
        out.push('\n');
    }
    out
}

fn groups(session: &Session, contention: &Contention, layout: &Layout, limit: usize) -> String {
    let by_thread = contention.query.by == GroupBy::Thread;
    let unless = |key: SortKey, expendable: u8| if contention.query.sort == key { 0 } else { expendable };
    let columns = [
        Column::flexible(if by_thread { "thread" } else { "call site" }),
        Column::number("wait", 0),
        Column::number("share", 0),
        Column::number("cont.", 1),
        Column::number("p99", unless(SortKey::P99, 3)),
        Column::number("max", unless(SortKey::Max, 2)),
        Column::number("held", unless(SortKey::Hold, 1)),
        Column::number("blocked", 0),
        Column::number("taken", 0),
        Column::number("locks", 4),
    ];
    let total = contention.contention.wait_ns;
    let row = |row: &GroupRow| {
        let name = match &row.key {
            GroupKey::Site(place) => place_label(session, place),
            GroupKey::Thread(thread) => {
                let thread = session.thread(*thread);
                // A row of many has no number.
                let number = if thread.tid == 0 { String::new() } else { format!(" [{}]", thread.tid) };
                printable(&format!("{}{number}", thread.name))
            }
        };
        let part = share(row.wait.total, total);
        vec![
            (name, Style::Strong),
            (time(row.wait.total, row.contended).0, severity_style(part)),
            (if row.contended == 0 { "-".into() } else { percent(part) }, severity_style(part)),
            plain(percent(share(row.contended, row.acquisitions))),
            time(row.wait.p99, row.contended),
            time(row.wait.max, row.contended),
            time(row.hold_ns, row.acquisitions),
            (time(row.blocked_ns, row.blocked_ns).0, severity_style(share(row.blocked_ns, total))),
            plain(short_count(row.acquisitions)),
            plain(count(row.locks)),
        ]
    };
    let rows: Vec<_> = contention.groups.iter().take(limit).map(row).collect();
    let mut out = table(layout, &columns, &rows);
    if contention.groups.len() > limit {
        let text = format!(
            "  … and {} more; --limit {} shows them",
            count((contention.groups.len() - limit) as u64),
            contention.groups.len()
        );
        out.push_str(&layout.paint(Style::Dim, &text));
        out.push('\n');
    }
    out
}

/// What was blocked without being contention; empty where there was nothing.
pub(super) fn blocked(contention: &Contention, layout: &Layout, limit: usize) -> String {
    let rows: Vec<_> = contention.blocked_rows().collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut out = layout.paint(Style::Heading, "Blocked, but not for a lock");
    out.push('\n');
    let text = "Waiting for work, for another thread's end or for a signal. Not part of lock contention.";
    out.push_str(&wrap(text, layout.width, "", ""));
    out.push('\n');
    let columns = [
        Column::text("id", 0),
        Column::flexible("what"),
        Column::text("kind", 0),
        Column::number("blocked", 0),
        Column::number("times", 0),
        Column::number("p50", 2),
        Column::number("p99", 1),
        Column::number("max", 0),
        Column::number("timed out", 1),
    ];
    let cells: Vec<Vec<Cell>> = (rows.iter().take(limit))
        .map(|row| {
            vec![
                (row.id.clone(), Style::Dim),
                (label(row), Style::Strong),
                plain(row.kind.name()),
                time(row.wait.total, row.contended),
                plain(short_count(row.contended)),
                time(row.wait.p50, row.contended),
                time(row.wait.p99, row.contended),
                time(row.wait.max, row.contended),
                plain(count(row.timeouts)),
            ]
        })
        .collect();
    out.push_str(&table(layout, &columns, &cells));
    if rows.len() > limit {
        let text = format!("  … and {} more; --limit {} shows them", count((rows.len() - limit) as u64), rows.len());
        out.push_str(&layout.paint(Style::Dim, &text));
        out.push('\n');
    }
    out
}
