//! The schedule that reaches a deadlock: a column for each thread, or numbered steps where there is no room.

use crate::analysis::order::{Action, Step};
use crate::model::{Session, StackId, Stacks, ThreadId};
use crate::render::explain::names::Names;
use crate::render::frames::headline;
use crate::render::names::fit_start;
use crate::render::style::{Layout, Style, columns, wrap};

/// A column narrower than this says nothing.
const LEAST_COLUMN: usize = 26;
/// Blanks between columns.
const GAP: usize = 2;
/// Longer schedules are shown by their end: the deadlock.
const MOST_STEPS: usize = 24;

/// The schedule, each line after `indent` blanks. Places that the reader has seen (`known`) are not shown again.
pub(super) fn witness(
    session: &Session,
    steps: &[Step],
    names: &Names<'_>,
    known: &[StackId],
    indent: usize,
    layout: &Layout,
) -> String {
    let mut threads: Vec<ThreadId> = Vec::new();
    for step in steps {
        if !threads.contains(&step.thread) {
            threads.push(step.thread);
        }
    }
    let mut out = String::new();
    let skipped = steps.len().saturating_sub(MOST_STEPS);
    if skipped > 0 {
        out.push_str(&format!("{}({skipped} steps before these)\n", " ".repeat(indent)));
    }
    let shown = &steps[skipped..];
    let digits = steps.len().to_string().len();
    let room = layout.width.saturating_sub(indent + digits + GAP);
    let width = room.saturating_sub(GAP * threads.len().saturating_sub(1)) / threads.len().max(1);
    let columns = if width >= LEAST_COLUMN { Some(width) } else { None };
    if let Some(width) = columns {
        let heads: Vec<_> = threads.iter().map(|thread| (names.thread(*thread), Style::Strong)).collect();
        out.push_str(&row("", &heads, indent, digits, width, layout));
    }
    for (at, step) in shown.iter().enumerate() {
        let number = (skipped + at + 1).to_string();
        let style = if matches!(step.action, Action::Block(_)) { Style::Bad } else { Style::Plain };
        let action = names.action(step);
        let seen = step.stack == Stacks::UNKNOWN || known.contains(&step.stack);
        let place = (!seen).then(|| headline(session, step.stack));
        if let Some(width) = columns {
            let cell = |text: &str| {
                let of = |thread: &ThreadId| if *thread == step.thread { text.to_owned() } else { String::new() };
                threads.iter().map(|thread| (of(thread), style)).collect::<Vec<_>>()
            };
            out.push_str(&row(&number, &cell(&action), indent, digits, width, layout));
            let dim = |(text, _): (String, Style)| (text, Style::Dim);
            let places = cell(&place.map_or_else(String::new, |place| format!("  {place}")));
            let places: Vec<_> = places.into_iter().map(dim).collect();
            out.push_str(&row("", &places, indent, digits, width, layout));
        } else {
            let place = place.map_or_else(String::new, |place| format!(" in {place}"));
            let text = format!("{} {action}{place}", names.thread(step.thread));
            let first = format!("{}{number:>digits$}. ", " ".repeat(indent));
            out.push_str(&wrap(&text, layout.width, &first, &" ".repeat(indent + digits + 2)));
        }
    }
    out
}

fn row(number: &str, cells: &[(String, Style)], indent: usize, digits: usize, width: usize, layout: &Layout) -> String {
    if cells.iter().all(|(text, _)| text.trim().is_empty()) {
        return String::new();
    }
    let mut line = format!("{}{number:>digits$}", " ".repeat(indent));
    for (text, style) in cells {
        let text = fit_start(text, width);
        let pad = " ".repeat(width - columns(&text).min(width));
        line.push_str(&format!("{}{}{pad}", " ".repeat(GAP), layout.paint(*style, &text)));
    }
    line.trim_end().to_owned() + "\n"
}
