//! The order of locks: cycles with their verdicts, edges; and misuses.

use ratatui::text::Line;

use super::grid::{Cell, Col, grid};
use super::span;
use crate::live::snapshot::JudgedEntry;
use crate::render::names::columns;
use crate::render::style::Style;
use crate::render::units::{count, duration, plural};
use crate::tui::state::{State, rows};

const COLS: [Col; 5] = [
    Col::text("verdict", 16, 0),
    Col::text("gate", 6, 0),
    Col::sentence("held → wanted"),
    Col::number("times", 9, 1),
    Col::number("threads", 7, 2),
];

const FINDING_COLS: [Col; 3] = [Col::text("finding", 24, 0), Col::text("gate", 6, 0), Col::sentence("what")];

/// Cycles, then edges.
pub(super) fn lines(state: &State, width: usize) -> Vec<Line<'static>> {
    let (cycles, edges) = (rows::cycles(state), rows::edges(state));
    let mut cells: Vec<Vec<Cell>> = cycles.iter().map(|entry| cycle(entry)).collect();
    cells.extend(edges.iter().map(|edge| {
        let style = if edge.cycle.is_empty() { Style::Plain } else { Style::Warn };
        let word = if edge.cycle.is_empty() { "edge".to_owned() } else { format!("edge, {}", edge.cycle) };
        vec![
            (word, style),
            (String::new(), Style::Plain),
            (format!("{} → {}", edge.held, edge.wanted), Style::Plain),
            (count(edge.count), Style::Plain),
            (count(edge.threads), Style::Plain),
        ]
    }));
    if cells.is_empty() {
        return nothing(state, "no lock was taken while another was held, so far");
    }
    let mut lines = grid(&COLS, &cells, state.cursor().top, Some(state.cursor().row), state.list_height(), width);
    heading(state, &mut lines, &plural(cycles.len() as u64, "cycle", "cycles"), width);
    lines
}

/// Misuses.
pub(super) fn findings(state: &State, width: usize) -> Vec<Line<'static>> {
    let findings = rows::findings(state);
    if findings.is_empty() {
        return nothing(state, "nothing was found, so far");
    }
    let cells: Vec<Vec<Cell>> = findings
        .iter()
        .map(|entry| vec![(entry.class.clone(), style(entry)), gate(entry), (entry.title.clone(), Style::Strong)])
        .collect();
    let mut lines =
        grid(&FINDING_COLS, &cells, state.cursor().top, Some(state.cursor().row), state.list_height(), width);
    heading(state, &mut lines, &plural(findings.len() as u64, "finding", "findings"), width);
    lines
}

fn cycle(entry: &JudgedEntry) -> Vec<Cell> {
    vec![(entry.class.clone(), style(entry)), gate(entry), (entry.title.clone(), Style::Strong)]
}

fn gate(entry: &JudgedEntry) -> Cell {
    if entry.fails { ("fails".into(), Style::Bad) } else { ("passes".into(), Style::Dim) }
}

fn style(entry: &JudgedEntry) -> Style {
    if entry.fails { Style::Bad } else { Style::Plain }
}

/// How many there are, and of when.
fn heading(state: &State, lines: &mut [Line<'static>], what: &str, width: usize) {
    let Some((line, judged)) = lines.first_mut().zip(state.now.judged.as_ref()) else { return };
    let age = duration(state.now.at_ns.saturating_sub(judged.at_ns) / 1_000_000_000 * 1_000_000_000);
    let incomplete = if judged.complete { "" } else { ", INCOMPLETE" };
    let more =
        if judged.more_edges > 0 { format!(", {} edges not shown", count(judged.more_edges)) } else { String::new() };
    let text = format!(" {what}{incomplete}{more}, {age} ago");
    if line.width() + columns(&text) <= width {
        line.push_span(span(Style::Command, text));
    }
}

fn nothing(state: &State, text: &str) -> Vec<Line<'static>> {
    let text = match (&state.now.judged, state.filter.is_empty()) {
        (None, _) => "the order of locks is being judged …",
        (Some(_), false) => "nothing has this in its name: Esc on the first screen clears the filter",
        (Some(_), true) => text,
    };
    let notes = state.now.judged.iter().flat_map(|judged| &judged.notes);
    let mut lines = vec![Line::default(), Line::from(span(Style::Dim, format!(" {text}")))];
    lines.extend(notes.map(|note| Line::from(span(Style::Warn, format!(" {note}")))));
    lines
}
