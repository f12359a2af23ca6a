//! What `lockprof run` says at the end: a handful of lines.

use super::findings::{Detail, costs};
use super::hang::hang_in_short;
use super::overview::{label, of_thread_time};
use super::{culprit_lines, fails, header, nothing_seen, order_line};
use crate::analysis::Contention;
use crate::analysis::contention::share;
use crate::analysis::findings::Findings;
use crate::model::Session;
use crate::render::explain::contention::advice;
use crate::render::style::{Layout, Style, wrap};
use crate::render::table::{Column, table};
use crate::render::units::{count, duration, percent, plural};

/// Locks in the summary.
const ROWS: usize = 5;
/// Findings in it.
const FINDINGS: usize = 3;

/// How the summary is laid out.
#[derive(Clone, Debug, Default)]
pub struct SummaryOptions {
    /// Colour and width.
    pub layout: Layout,
    /// Also what only matters when something is odd: the hit rate of the remembered stacks.
    pub verbose: bool,
}

/// The end-of-run summary for standard error. `trace_path` is as the person would type it.
pub fn summary(
    session: &Session,
    contention: &Contention,
    findings: &Findings,
    trace_path: &str,
    options: &SummaryOptions,
) -> String {
    let layout = &options.layout;
    let mut facts = vec![
        format!("lockprof: {}", duration(session.meta.duration_ns)),
        plural(session.processes.len() as u64, "process", "processes"),
        plural(session.thread_count(), "thread", "threads"),
    ];
    facts.extend(header::exit(session));
    let mut out = String::from("\n");
    out.push_str(&layout.paint(Style::Heading, &facts.join(", ")));
    out.push('\n');
    // What may stop the program for good comes before what slows it.
    let fails = fails(findings) && nothing_seen(session).is_none();
    if fails && session.hangs.is_empty() {
        out.push_str(&order_line(session, findings, &shell_quoted(trace_path), layout));
    }
    if session.hangs.is_empty() {
        out.push_str(&culprit_lines(session, contention, findings, layout));
    }
    if let Some(reason) = nothing_seen(session).filter(|_| session.hangs.is_empty()) {
        out.push_str(&layout.paint(Style::Warn, &wrap(&reason, layout.width, "", "  ")));
        return out;
    }
    out.push_str(&header::coverage(session, layout));
    for note in &session.coverage.notes {
        out.push_str(&layout.paint(Style::Warn, &wrap(note, layout.width, "note: ", "      ")));
    }
    if session.overhead.ns_per_pair > 0.0 {
        let cost = format!(
            "Recording cost about {:.0} ns for each lock and unlock, {} of the program's CPU time.",
            session.overhead.ns_per_pair,
            percent(session.overhead.share_of_runtime)
        );
        out.push_str(&layout.paint(Style::Dim, &wrap(&cost, layout.width, "", "  ")));
    }
    if options.verbose {
        out.push_str(&header::stacks(session, layout));
    }
    if !session.hangs.is_empty() {
        out.push('\n');
        out.extend(session.hangs.iter().map(|hang| hang_in_short(session, hang, layout)));
    }
    out.push('\n');
    let told = costs(session, findings, |_| true, (FINDINGS, Detail::Short), layout);
    out.push_str(&hottest(session, contention, told.is_empty(), layout));
    out.push_str(&told);
    if !fails || !session.hangs.is_empty() {
        out.push_str(&order_line(session, findings, &shell_quoted(trace_path), layout));
    }
    out.push('\n');
    out.push_str(&next(trace_path, contention.contention.contended > 0, layout));
    out
}

fn hottest(session: &Session, contention: &Contention, advises: bool, layout: &Layout) -> String {
    let totals = &contention.contention;
    if totals.contended == 0 {
        let taken: Vec<_> = (contention.lock_rows().filter(|row| row.acquisitions > 0).take(ROWS))
            .map(|row| format!("{} ({})", label(row), count(row.acquisitions)))
            .collect();
        let most = if taken.is_empty() { String::new() } else { format!(" Taken: {}.", taken.join(", ")) };
        // Waits that never ended are reported as what they are.
        let stuck = session.hangs.iter().any(|hang| hang.waiting().any(|wait| session.lock(wait.lock).kind.is_lock()));
        let waited = if stuck { "No wait for a lock has ended." } else { "No thread had to wait for a lock." };
        return wrap(&format!("{waited}{most}"), layout.width, "", "  ");
    }
    let text = format!(
        "Threads waited {} for locks{}, in {} of acquisitions:",
        duration(totals.wait_ns),
        of_thread_time(session, totals.wait_ns),
        percent(share(totals.contended, totals.acquisitions))
    );
    let mut out = wrap(&text, layout.width, "", "");
    let columns = [
        Column::text("", 0),
        Column::flexible("hottest locks"),
        Column::text("kind", 1),
        Column::number("wait", 0),
        Column::number("share", 0),
        Column::number("cont.", 1),
        Column::number("max", 0),
        Column::number("hold p99", 2),
    ];
    let hot: Vec<_> = contention.lock_rows().filter(|row| row.contended > 0).collect();
    let rows: Vec<_> = (hot.iter().take(ROWS))
        .map(|row| {
            let plain = |text: String| (text, Style::Plain);
            vec![
                (row.id.clone(), Style::Dim),
                (label(row), Style::Strong),
                plain(row.kind.name().into()),
                plain(duration(row.wait.total)),
                plain(percent(share(row.wait.total, totals.wait_ns))),
                plain(percent(row.contended_share())),
                plain(duration(row.wait.max)),
                plain(duration(row.hold.p99)),
            ]
        })
        .collect();
    out.push_str(&table(layout, &columns, &rows));
    if hot.len() > ROWS {
        let more = format!("  … and {} more\n", count((hot.len() - ROWS) as u64));
        out.push_str(&layout.paint(Style::Dim, &more));
    }
    if let Some(text) = hot.first().filter(|_| advises).and_then(|row| advice(session, row)) {
        out.push_str(&wrap(&text, layout.width, &layout.paint(Style::Good, "  → "), "    "));
    }
    out
}

/// The commands to try next.
fn next(trace_path: &str, contended: bool, layout: &Layout) -> String {
    let quoted = shell_quoted(trace_path);
    let svg = shell_quoted(&format!("{}.svg", trace_path.strip_suffix(".lockprof").unwrap_or(trace_path)));
    let mut out = format!("Next: {}\n", layout.paint(Style::Command, &format!("lockprof report {quoted}")));
    if contended {
        let command = format!("lockprof flamegraph {quoted} -o {svg}");
        out.push_str(&format!("      {}\n", layout.paint(Style::Command, &command)));
    }
    out
}

/// `text` so that a shell takes it as one word.
fn shell_quoted(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
