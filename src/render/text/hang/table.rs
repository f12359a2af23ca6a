//! Who waits for what, in a table.

use super::HangReport;
use crate::model::{Kind, Mode, Waiting};
use crate::render::frames;
use crate::render::style::{Style, wrap};
use crate::render::table::{Column, table as columns_of};
use crate::render::units::{count, duration};

/// Rows, unless asked for all.
const ROWS: usize = 40;

/// The table with its title; with `-v` each thread's stacks below.
pub(super) fn table(report: &HangReport<'_>) -> String {
    let (hang, options) = (report.hang, report.options);
    let layout = &options.layout;
    let head = match hang.kind {
        kind if kind.is_left_alone() => layout.paint(Style::Bad, "stuck: "),
        _ => layout.paint(Style::Warn, "waits: "),
    };
    let mut out = wrap(&report.words.title_of_waits(), layout.width, &head, "  ");
    out.push_str(&rows(report, &hang.others));
    if options.verbose {
        for waiting in &hang.others {
            out.push_str(&format!("\n  {}:\n", report.words.wants(waiting)));
            out.push_str(&report.stack(waiting.stack));
            for held in &waiting.held {
                let name = layout.paint(Style::Strong, &report.words.names.lock(held.lock));
                out.push_str(&report.labelled("holds", &format!("{name}{}, taken:", report.words.how(held))));
                out.push_str(&report.stack(held.stack));
            }
        }
    }
    out
}

/// Threads that wait, the longest first.
pub(super) fn rows(report: &HangReport<'_>, threads: &[Waiting]) -> String {
    let (hang, options) = (report.hang, report.options);
    let layout = &options.layout;
    let columns = [
        Column::text(report.words.threads().0, 0),
        Column::text("waits for", 0),
        Column::number("for", 0),
        Column::text("held by", 1),
        Column::flexible("where"),
    ];
    let mut waiting: Vec<&Waiting> = threads.iter().collect();
    waiting.sort_by_key(|waiting| waiting.since_ns);
    let shown = if options.verbose { waiting.len() } else { waiting.len().min(ROWS) };
    let rows: Vec<_> = waiting[..shown]
        .iter()
        .map(|waiting| {
            let time = duration(hang.at_ns.saturating_sub(waiting.since_ns));
            let time = if waiting.timed { format!("{time} (timed)") } else { time };
            vec![
                (report.words.names.thread(waiting.thread), Style::Plain),
                (what(report, waiting), Style::Strong),
                (time, Style::Plain),
                (holders(report, waiting), Style::Plain),
                (frames::headline(report.session, waiting.stack), Style::Plain),
            ]
        })
        .collect();
    let mut out = columns_of(layout, &columns, &rows);
    if shown < waiting.len() {
        let more = format!("  … and {} more (-v shows all)\n", count((waiting.len() - shown) as u64));
        out.push_str(&layout.paint(Style::Dim, &more));
    }
    out
}

/// `journal.mu`, `queue.cond (condition)`, `the end of worker-1 (4243)`.
fn what(report: &HangReport<'_>, waiting: &Waiting) -> String {
    let lock = report.session.lock(waiting.lock);
    let name = report.words.names.lock(waiting.lock);
    match (lock.kind, waiting.mode) {
        (Kind::Join, _) if waiting.holders.is_empty() => "a thread's end".to_owned(),
        (Kind::Join, _) => format!("{} to end", report.words.holders(waiting)),
        (kind, Mode::Shared) if kind.has_readers() => format!("{name} (read)"),
        (kind, Mode::Exclusive) if kind.has_readers() => format!("{name} (write)"),
        (kind, _) if kind.is_lock() => name,
        (kind, _) => format!("{name} ({})", kind.label()),
    }
}

fn holders(report: &HangReport<'_>, waiting: &Waiting) -> String {
    match report.session.lock(waiting.lock).kind {
        Kind::Join => "–".to_owned(),
        kind if waiting.holders.is_empty() => if kind.is_lock() { "not seen" } else { "–" }.to_owned(),
        _ => report.words.holders(waiting),
    }
}
