//! What costs time, as the report and the summary tell it.

use crate::analysis::findings::{Area, Finding, Findings};
use crate::model::Session;
use crate::render::explain;
use crate::render::style::{Layout, Style, wrap};
use crate::render::units::count;

/// How much is said of each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What, and what to do.
    Short,
    /// Also who, where and how much.
    Long,
}

/// The findings about lost time of which `keeps` is true, the costliest first, `most` of them; empty where there is none.
pub(super) fn costs(
    session: &Session,
    findings: &Findings,
    keeps: impl Fn(&Finding) -> bool,
    (most, detail): (usize, Detail),
    layout: &Layout,
) -> String {
    let all: Vec<&Finding> =
        findings.list.iter().filter(|finding| finding.rule.area == Area::Contention && keeps(finding)).collect();
    let mut out = String::new();
    let mut shown = all.iter().take(most).map(|finding| (finding, explain::advice(session, finding))).peekable();
    while let Some((finding, advice)) = shown.next() {
        let word = format!("{}: ", finding.rule.id);
        let text = wrap(&explain::title(session, finding), layout.width, &word, "  ");
        out.push_str(&layout.paint(Style::Warn, &word));
        out.push_str(&text[word.len()..]);
        if detail == Detail::Long {
            out.push_str(
                &layout.paint(Style::Dim, &wrap(&explain::reason(session, finding), layout.width, "  ", "  ")),
            );
        }
        // What holds for several that follow one another is said behind the last of them.
        let is_last = shown.peek().is_none_or(|(_, of_next)| *of_next != advice);
        if let Some(advice) = advice.filter(|_| is_last) {
            out.push_str(&wrap(&advice, layout.width, &layout.paint(Style::Good, "  → "), "    "));
        }
    }
    let Some(first) = all.first() else { return out };
    let rest = all.len().saturating_sub(most) as u64;
    let more = if rest > 0 { format!("{} more in the report; ", count(rest)) } else { String::new() };
    let text = format!("({more}`lockprof explain {}` says what that means)", first.rule.id);
    out.push_str(&layout.paint(Style::Dim, &wrap(&text, layout.width, "  ", "  ")));
    out
}
