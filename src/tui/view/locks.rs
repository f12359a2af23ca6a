//! The table of locks.

use ratatui::text::Line;

use super::grid::{Cell, Col, Shape};
use super::span;
use crate::render::names::columns;
use crate::render::style::Style;
use crate::render::units::{percent, short_count};
use crate::tui::figures::{bar, spark, time_or_none};
use crate::tui::state::rows::{LockLine, Sort};
use crate::tui::state::{State, rows};

/// Columns of a bar.
const BAR: usize = 6;
/// Columns of a sparkline, at least and at most: half a minute, a minute.
const SPARK: [usize; 2] = [30, 60];

const COLS: [Col; 14] = [
    Col::rest("lock"),
    Col::text("kind", 9, 5),
    Col::number("acq/s", 6, 7),
    Col::number("waits/s", 8, 0),
    Col::text("wait share", 12, 0),
    Col::number("p50", 8, 6),
    Col::number("p99", 8, 0),
    Col::number("max", 8, 2),
    Col::number("hold p99", 8, 4),
    Col::number("now", 3, 0),
    Col::text("owner now", 9, 3).up_to(15),
    Col::text("wait, last minute", SPARK[0], 8).up_to(SPARK[1]),
    Col::number("hold p50", 8, 10),
    Col::number("held", 6, 9),
];
/// Where the sparkline is in them.
const SPARK_COL: usize = 11;

/// The column of what is sorted by: it is shown however narrow the screen is.
fn sort_col(sort: Sort) -> usize {
    match sort {
        Sort::Name => 0,
        Sort::Acquisitions => 2,
        Sort::Waits => 3,
        Sort::Wait => 4,
        Sort::P99 => 6,
        Sort::Max => 7,
        Sort::Hold => 13,
    }
}

/// Heading and rows.
pub(super) fn lines(state: &State, width: usize) -> Vec<Line<'static>> {
    let locks = rows::locks(state);
    if locks.is_empty() {
        let text = match (state.now.at_ns, state.filter.is_empty()) {
            (0, _) => "waiting for the first look …",
            (_, true) => "no lock has been taken yet",
            (_, false) => "no lock has this in its name: Esc clears the filter",
        };
        return vec![Line::default(), Line::from(span(Style::Dim, format!(" {text}")))];
    }
    let waited: u64 = state.part.locks.iter().filter(|row| row.kind().is_lock()).map(|row| row.wait.sum).sum();
    let (top, height) = (state.cursor().top, state.list_height());
    let arrow = if state.is_reversed { "↑" } else { "↓" };
    let longest = locks.iter().map(|line| columns(&name(line))).max().unwrap_or(0);
    let shape = Shape::of(&COLS, longest, Some((sort_col(state.sort), arrow)), width);
    let made = locks.iter().enumerate();
    // Rows that nobody sees are not laid out: there may be thousands.
    let is_seen = |at: usize| (top..top + height).contains(&at);
    let cells: Vec<Vec<Cell>> = made
        .map(|(at, line)| if is_seen(at) { cells(state, line, waited, shape.width_of(SPARK_COL)) } else { Vec::new() })
        .collect();
    let mut lines = shape.lines(&cells, top, Some(state.cursor().row), height);
    if let Some(heading) = lines.first_mut() {
        let text =
            if locks.len() > height { format!(" {}/{}", state.cursor().row + 1, locks.len()) } else { String::new() };
        if heading.width() + columns(&text) <= width {
            heading.push_span(span(Style::Command, text));
        }
    }
    lines
}

/// `cache.shards[*].lock ×16 ▸`: a class that can be opened.
fn name(line: &LockLine<'_>) -> String {
    match (line.locks, line.is_open, line.is_member) {
        (1, _, true) => format!("  {}", line.row.name),
        (1, _, false) => line.row.name.clone(),
        (locks, true, _) => format!("{} ×{} ▾", line.row.name, short_count(locks as u64)),
        (locks, false, _) => format!("{} ×{} ▸", line.row.name, short_count(locks as u64)),
    }
}

fn cells(state: &State, line: &LockLine<'_>, waited: u64, spark_width: usize) -> Vec<Cell> {
    let row = line.row;
    let plain = |text: String| (text, Style::Plain);
    let per_second = |events: u64| {
        let rate = events as f64 * 1e9 / state.part_ns.max(1) as f64;
        if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { short_count(rate.round() as u64) }
    };
    let (wait, hold) = (row.wait.histogram(), row.hold.histogram());
    let is_lock = row.kind().is_lock();
    let share = if waited == 0 || !is_lock { 0.0 } else { row.wait.sum as f64 / waited as f64 };
    let style = match share {
        share if share >= 0.5 => Style::Bad,
        share if share >= 0.1 => Style::Warn,
        _ => Style::Plain,
    };
    let share = if is_lock { format!("{} {:>5}", bar(share, BAR), percent(share)) } else { "idle".into() };
    vec![
        (name(line), Style::Strong),
        plain(row.kind().name().into()),
        plain(per_second(row.acquisitions)),
        plain(per_second(row.contended)),
        (share, style),
        plain(time_or_none(wait.quantile(0.5))),
        plain(time_or_none(wait.quantile(0.99))),
        plain(time_or_none(wait.max)),
        plain(time_or_none(hold.quantile(0.99))),
        (
            if row.waiters == 0 { "–".into() } else { row.waiters.to_string() },
            if row.waiters > 0 { Style::Warn } else { Style::Dim },
        ),
        plain(rows::owner(state, row)),
        (state.sparks.get(&line.id).map_or_else(String::new, |values| spark(values.iter(), spark_width)), style),
        plain(time_or_none(hold.quantile(0.5))),
        plain(percent(row.hold.sum as f64 / state.part_ns.max(1) as f64)),
    ]
}
