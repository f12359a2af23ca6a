//! The table of threads.

use ratatui::text::Line;

use super::grid::{Cell, Col, grid};
use super::span;
use crate::live::snapshot::ThreadRow;
use crate::render::style::Style;
use crate::render::units::{percent, short_count};
use crate::tui::figures::{bar, time};
use crate::tui::state::{State, rows};

const COLS: [Col; 9] = [
    Col::text("thread", 15, 0),
    Col::number("tid", 7, 3),
    Col::text("state", 7, 0),
    Col::text("blocked", 12, 0),
    Col::number("for", 8, 1),
    Col::rest("waits for"),
    Col::text("held by", 15, 2),
    Col::number("acq/s", 6, 5),
    Col::text("holds", 30, 4),
];

/// Heading and rows.
pub(super) fn lines(state: &State, width: usize) -> Vec<Line<'static>> {
    let threads = rows::threads(state);
    if threads.is_empty() {
        let text = match (state.over.is_some(), state.filter.is_empty()) {
            (true, _) => "the program has ended: no thread is left",
            (false, true) => "no thread has used a lock yet",
            (false, false) => "no thread has this in its name: Esc clears the filter",
        };
        return vec![Line::default(), Line::from(span(Style::Dim, format!(" {text}")))];
    }
    let cells: Vec<Vec<Cell>> = threads.iter().map(|row| cells(state, row)).collect();
    grid(&COLS, &cells, state.cursor().top, Some(state.cursor().row), state.list_height(), width)
}

fn cells(state: &State, row: &ThreadRow) -> Vec<Cell> {
    let plain = |text: String| (text, Style::Plain);
    let from = state.now.at_ns.saturating_sub(state.part_ns);
    let there = state.now.at_ns.saturating_sub(row.start_ns.max(from)).max(1);
    let share = (row.blocked_ns as f64 / there as f64).min(1.0);
    let (word, style) = match (row.is_blocked, row.waits_for) {
        (true, _) => ("blocked", Style::Bad),
        (false, Some(_)) => ("waits", Style::Dim),
        (false, None) => ("runs", Style::Good),
    };
    let since = match row.waits_for {
        Some(_) => time(state.now.at_ns.saturating_sub(row.waits_since_ns)),
        None => "–".into(),
    };
    let holder = match row.blockers.as_slice() {
        _ if row.waits_for.is_none() => "–".into(),
        [] => "–".into(),
        [one] => state.now.threads.iter().find(|thread| thread.id == *one).map_or_else(|| "?".into(), name),
        many => format!("{} threads", many.len()),
    };
    let rate = row.acquisitions as f64 * 1e9 / state.part_ns.max(1) as f64;
    vec![
        (name(row), Style::Strong),
        plain(row.tid.to_string()),
        (word.into(), style),
        plain(format!("{} {:>5}", bar(share, 6), percent(share))),
        plain(since),
        plain(if row.waits_for.is_some() { row.waits_for_name.clone() } else { "–".into() }),
        plain(holder),
        plain(short_count(rate.round() as u64)),
        plain(if row.held.is_empty() { "–".into() } else { row.held.join(", ") }),
    ]
}

fn name(row: &ThreadRow) -> String {
    if row.name.is_empty() { format!("thread {}", row.tid) } else { row.name.clone() }
}
