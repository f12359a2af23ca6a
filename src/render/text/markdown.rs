//! The report as compact Markdown: for an issue, a pull request, or a language model's context.
//!
//! The words are those of the text report; tables are short and stacks have few frames.

use super::{DEFAULT_ROWS, header, nothing_seen, overview};
use crate::analysis::contention::{Contention, LockReport, share};
use crate::analysis::findings::Findings;
use crate::model::{Session, StackId, Stacks};
use crate::render::explain;
use crate::render::explain::contention::advice;
use crate::render::explain::{raw_advice, raw_reason, verdict as said};
use crate::render::frames::lines;
use crate::render::names::fit_start;
use crate::render::style::{Layout, markdown_escaped as escape, printable};
use crate::render::units::{count, duration, percent, plural, short_count};

/// Locks shown with their stacks.
const DETAILED: usize = 3;
/// Stacks shown of each side.
const STACKS: usize = 2;
/// Frames shown of each stack.
const FRAMES: usize = 4;
/// Findings shown.
const FINDINGS: usize = 10;
/// Names are cut at so many characters.
const NAME_WIDTH: usize = 60;

/// The report, ending in a line break; `limit` cuts the table.
pub fn markdown(session: &Session, contention: &Contention, findings: &Findings, limit: Option<usize>) -> String {
    // One line is one line in Markdown: nothing is wrapped.
    let layout = Layout { color: false, width: usize::MAX };
    let mut head = header::header(session, "", &layout).lines().map(escape).collect::<Vec<_>>();
    let command = if head.is_empty() { String::new() } else { head.remove(0) };
    let mut out = format!("### Lock contention: {}\n\n{}\n", fit_start(&command, 2 * NAME_WIDTH), head.join("  \n"));
    for hang in &session.hangs {
        out.push_str(&format!("\n**{}**\n", escape(super::hang::hang_in_short(session, hang, &layout).trim())));
    }
    if let Some(reason) = nothing_seen(session) {
        out.push_str(&format!("\n{}\n", escape(&reason)));
        return out;
    }
    out.push_str(&format!("\n{}\n", escape(&overview::sums(session, contention))));
    for note in &contention.notes {
        out.push_str(&format!("\nnote: {}\n", escape(&explain::notes::contention(*note))));
    }
    let filter = contention.query.filter.describe();
    if !filter.is_empty() {
        out.push_str(&format!("\nOnly {}.\n", escape(&filter.join("; "))));
    }
    out.push_str(&locks(contention, limit.unwrap_or(DEFAULT_ROWS)));
    for row in contention.lock_rows().filter(|row| row.contended > 0).take(DETAILED) {
        out.push_str(&detail(session, row));
    }
    if contention.query.filter.is_empty() {
        let line = said::line(session, findings);
        let (what, verdict) = line.split_once(": ").unwrap_or(("lock order", &line));
        out.push_str(&format!("\n**{}**: {}\n", sentence(what), escape(verdict)));
        let failing = findings.list.iter().filter(|finding| finding.cycle().is_some() && finding.fails());
        for finding in failing.take(FINDINGS) {
            let (reason, advice) = (raw_reason(session, finding), raw_advice(session, finding));
            out.push_str(&format!("- {}: {} {}\n", finding.rule.id, escape(&reason), escape(&advice)));
        }
        for finding in findings.but_cycles().take(FINDINGS) {
            let times = if finding.count > 1 { format!(" ({}×)", count(finding.count)) } else { String::new() };
            out.push_str(&format!("- {}: {}{times}\n", finding.rule.id, escape(&raw_reason(session, finding))));
        }
        let number = findings.but_cycles().count();
        if number > FINDINGS {
            out.push_str(&format!("- … and {} more findings\n", number - FINDINGS));
        }
    }
    out
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The table of the hottest locks; empty where no lock is left.
fn locks(contention: &Contention, limit: usize) -> String {
    let rows: Vec<_> = contention.lock_rows().collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "\n| id | lock | kind | wait | share | contended | p99 | max | hold p99 | taken |\n\
         |---|---|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let total = contention.contention.wait_ns;
    for row in rows.iter().take(limit) {
        let cells = [
            row.id.clone(),
            escape(&fit_start(&overview::label(row), NAME_WIDTH)),
            row.kind.name().into(),
            duration(row.wait.total),
            percent(share(row.wait.total, total)),
            percent(row.contended_share()),
            duration(row.wait.p99),
            duration(row.wait.max),
            duration(row.hold.p99),
            short_count(row.acquisitions),
        ];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    if rows.len() > limit {
        out.push_str(&format!("\n… and {} more\n", plural((rows.len() - limit) as u64, "lock", "locks")));
    }
    out
}

/// Who waited and who held one lock.
fn detail(session: &Session, row: &LockReport) -> String {
    let name = escape(&fit_start(&overview::label(row), NAME_WIDTH));
    let advice = advice(session, row).map_or_else(String::new, |text| format!(": {}", escape(&text)));
    let mut out = format!("\n**{} {name}**{advice}\n\n", row.id);
    let mut side = |what: &str, ns: u64, times: u64, stack: StackId| {
        let part = percent(share(ns, row.wait.total));
        let times = short_count(times);
        out.push_str(&format!("- {what} {} ({part}, {times}×): {}\n", duration(ns), frames(session, stack)));
    };
    for waiter in row.waiters.iter().take(STACKS) {
        side("waited", waiter.wait_ns, waiter.count, waiter.stack);
    }
    for holder in row.holders.iter().filter(|holder| holder.blocked_ns > 0).take(STACKS) {
        side("held it while others waited", holder.blocked_ns, holder.count, holder.stack);
    }
    if row.unattributed.wait_ns > 0 {
        side("holder not seen during", row.unattributed.wait_ns, row.unattributed.count, Stacks::UNKNOWN);
    }
    out
}

/// The innermost frames as code.
fn frames(session: &Session, stack: StackId) -> String {
    let lines = lines(session, stack);
    if lines.is_empty() {
        return "stack not seen".into();
    }
    // Nothing can be escaped within code.
    let code = |text: String| format!("`{}`", printable(&text).replace('`', "'"));
    let mut words: Vec<String> =
        lines.iter().take(FRAMES).map(|line| code(fit_start(&line.one(), 2 * NAME_WIDTH))).collect();
    if lines.len() > FRAMES {
        words.push(format!("{} more", lines.len() - FRAMES));
    }
    words.join(" ← ")
}
