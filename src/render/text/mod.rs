//! The report and the end-of-run summary as text.
//!
//! Fits the width that it is told. What the text leaves out (library frames, template arguments, rare
//! stacks), `--format json` has.

mod detail;
mod diagnosis;
mod diff;
mod findings;
mod hang;
mod header;
mod list;
mod look;
mod markdown;
mod overview;
mod stack;
mod summary;

use super::explain::{self, verdict as said};
use super::style::{Layout, Style, wrap};
use super::units;
use crate::analysis::Contention;
use crate::analysis::findings::{Finding, Findings};
use crate::model::Session;

pub use diagnosis::diagnosis;
pub(crate) use diff::shown;
pub use diff::{DiffOptions, Labelled, diff, growth};
pub use hang::{HangOptions, hang};
pub(crate) use header::{cost, coverage, exit};
pub use list::list;
pub use look::{LookOptions, look};
pub use markdown::markdown;
pub use summary::{SummaryOptions, summary};

/// How the report is laid out.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Colour and width.
    pub layout: Layout,
    /// Rows of a table; [`DEFAULT_ROWS`] without it.
    pub limit: Option<usize>,
    /// Also what only matters when something is odd: the hit rate of the remembered stacks.
    pub verbose: bool,
}

/// Rows of a table where nobody said otherwise.
pub const DEFAULT_ROWS: usize = 10;

/// Locks shown in detail where nobody named any.
const DETAILED: usize = 3;

/// The whole report.
pub fn report(session: &Session, contention: &Contention, findings: &Findings, options: &Options) -> String {
    let layout = &options.layout;
    let is_whole = contention.query.filter.is_empty();
    let says_order = is_whole && !session.coverage.contended_only && nothing_seen(session).is_none();
    // What may stop the program for good comes before what slows it.
    let fails = says_order && fails(findings);
    let mut first = String::new();
    if fails {
        first.push_str(&order_line(session, findings, "", layout));
    }
    if is_whole {
        first.push_str(&culprit_lines(session, contention, findings, layout));
    }
    let mut out = header::header(session, &first, layout);
    if options.verbose {
        out.push_str(&header::stacks(session, layout));
    }
    out.push('\n');
    for hang in &session.hangs {
        let told = HangOptions { layout: *layout, verbose: options.verbose, note: "" };
        out.push_str(&hang::hang(session, hang, &told));
        out.push('\n');
    }
    if let Some(reason) = nothing_seen(session) {
        out.push_str(&reason);
        out.push('\n');
        return out;
    }
    if says_order && !fails {
        out.push_str(&order_line(session, findings, "", layout));
        out.push('\n');
    }
    let is_shown = |finding: &Finding| {
        contention.query.filter.is_empty()
            || finding.subject.locks.iter().any(|lock| contention.row_of(*lock).is_some())
    };
    let told = findings::costs(session, findings, is_shown, (usize::MAX, findings::Detail::Long), layout);
    if !told.is_empty() {
        out.push_str(&told);
        out.push('\n');
    }
    let rows = options.limit.unwrap_or(DEFAULT_ROWS);
    out.push_str(&overview::overview(session, contention, layout, rows));

    let named = contention.query.filter.lock.is_some();
    let detailed = if named { rows } else { DETAILED.min(rows) };
    for row in contention.lock_rows().filter(|row| row.contended > 0).take(detailed) {
        out.push('\n');
        out.push_str(&detail::detail(session, contention, row, layout));
    }
    let blocked = overview::blocked(contention, layout, rows);
    if !blocked.is_empty() {
        out.push('\n');
        out.push_str(&blocked);
    }
    // Idle waiting needs no explanation unless somebody asks for it.
    let asked = named || !contention.query.filter.kinds.is_empty();
    for row in contention.blocked_rows().filter(|row| asked && row.contended > 0).take(detailed) {
        out.push('\n');
        out.push_str(&detail::detail(session, contention, row, layout));
    }
    out
}

/// The lock that is waited for most, who waits and who holds it; empty where no thread waited, and where no lock matters
/// but a semaphore that is used as one.
fn culprit_lines(session: &Session, contention: &Contention, findings: &Findings, layout: &Layout) -> String {
    let Some(culprit) = explain::culprit::culprit(session, contention, layout.width) else { return String::new() };
    if !culprit.matters && findings.list.iter().any(|finding| finding.cost().is_some()) {
        return String::new();
    }
    let style = if culprit.matters { Style::Strong } else { Style::Dim };
    let mut lines = culprit.lines.iter();
    let first = lines.next().map(|line| layout.paint(style, line));
    first.into_iter().chain(lines.cloned()).fold(String::new(), |out, line| out + &line + "\n")
}

/// Whether something was found that fails the gate.
fn fails(findings: &Findings) -> bool {
    findings.list.iter().any(Finding::fails)
}

/// The verdict on lock orders in a sentence, with the command that says more.
fn order_line(session: &Session, findings: &Findings, trace: &str, layout: &Layout) -> String {
    let fails = fails(findings);
    let mut text = said::line(session, findings);
    if findings.list.iter().any(|finding| finding.cost().is_none()) {
        text.push_str(&format!(" — `{}` tells more", format!("lockprof check {trace}").trim_end()));
    }
    let style = if fails { Style::Bad } else { Style::Good };
    layout.paint(style, wrap(&text, layout.width, "", "  ").trim_end()) + "\n"
}

/// Why there is nothing to show: no lock operation was recorded. `None` where there is something.
pub fn nothing_seen(session: &Session) -> Option<String> {
    if session.coverage.acquisitions > 0 || !session.profile.sites.is_empty() {
        return None;
    }
    let reason = if session.coverage.notes.is_empty() {
        "the program took no pthread or C++ lock while it was recorded; programs that are linked statically, \
         or that bring locks of their own, cannot be seen this way"
            .to_owned()
    } else {
        session.coverage.reasons()
    };
    Some(format!("No lock operation was seen: {reason}."))
}

/// `3 of 5 locks`.
fn some_of(part: u64, whole: u64, one: &str, many: &str) -> String {
    if part == whole {
        units::plural(whole, one, many)
    } else {
        format!("{} of {}", units::count(part), units::plural(whole, one, many))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Query;
    use crate::analysis::contention::GroupBy;
    use crate::analysis::filter::Glob;
    use crate::analysis::testing::{busy, empty, server};
    use crate::render::golden;
    use crate::render::style::columns;

    fn render(query: &Query, width: usize) -> String {
        let session = server();
        let options = Options { layout: Layout { color: false, width }, limit: None, verbose: false };
        let text = report(&session, &Contention::of(&session, query), &Findings::default(), &options);
        for line in text.lines() {
            assert!(columns(line) <= width, "over {width} columns: {line}");
        }
        text
    }

    #[test]
    fn golden_reports() {
        golden::check("report-80.txt", &render(&Query::default(), 80));
        golden::check("report-120.txt", &render(&Query::default(), 120));
        for (name, by) in [("class", GroupBy::Class), ("site", GroupBy::Site), ("thread", GroupBy::Thread)] {
            golden::check(&format!("report-by-{name}.txt"), &render(&Query { by, ..Query::default() }, 80));
        }
        let mut query = Query::default();
        query.filter.thread = Some(Glob::new("worker-1"));
        query.filter.min_wait_ns = 1_000_000;
        golden::check("report-thread.txt", &render(&query, 80));
    }

    #[test]
    fn golden_report_of_a_busy_program() {
        let session = busy();
        for width in [60, 80, 140] {
            let options = Options { layout: Layout { color: false, width }, limit: None, verbose: false };
            let text = report(&session, &Contention::of(&session, &Query::default()), &Findings::default(), &options);
            for line in text.lines() {
                assert!(columns(line) <= width, "over {width} columns: {line}");
            }
            if width == 80 {
                golden::check("report-busy.txt", &text);
            }
        }
    }

    #[test]
    fn colours_change_nothing_else() {
        let session = server();
        let view = Contention::of(&session, &Query::default());
        let at = |color| {
            let options = Options { layout: Layout { color, width: 80 }, limit: None, verbose: false };
            report(&session, &view, &Findings::default(), &options)
        };
        let mut plain = String::new();
        let mut escape = false;
        for c in at(true).chars() {
            match (escape, c) {
                (false, '\x1b') => escape = true,
                (false, _) => plain.push(c),
                (true, 'm') => escape = false,
                (true, _) => {}
            }
        }
        assert_eq!(plain, at(false));
    }

    #[test]
    fn golden_markdown() {
        let session = server();
        let view = Contention::of(&session, &Query::default());
        golden::check("report.md", &markdown(&session, &view, &Findings::default(), Some(3)));
        let (session, findings) = crate::gate::testing::bank();
        let text = markdown(&session, &Contention::of(&session, &Query::default()), &findings, None);
        golden::check("report-orders.md", &text);
        let session = empty();
        let text = markdown(&session, &Contention::of(&session, &Query::default()), &Findings::default(), None);
        assert!(text.contains("No lock operation was seen"), "{text}");
    }

    #[test]
    fn golden_summaries() {
        let session = server();
        let view = Contention::of(&session, &Query::default());
        let options = SummaryOptions { verbose: true, ..SummaryOptions::default() };
        golden::check("summary.txt", &summary(&session, &view, &Findings::default(), "server.4242.lockprof", &options));
        let (session, findings) = crate::gate::testing::bank();
        let view = Contention::of(&session, &Query::default());
        let text = summary(&session, &view, &findings, "server.4242.lockprof", &options);
        golden::check("summary-orders.txt", &text);
        let session = empty();
        let view = Contention::of(&session, &Query::default());
        golden::check(
            "summary-empty.txt",
            &summary(&session, &view, &Findings::default(), "server.4242.lockprof", &options),
        );
    }
}
