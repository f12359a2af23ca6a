//! `check` as text: what fails in full, what does not in short, one line at the end.

use std::collections::BTreeMap;

use super::diagnostic::diagnostic;
use super::words::{reason, title};
use crate::analysis::findings::{Area, Rule};
use crate::gate::{Entry, Outcome, Standing, Verdict};
use crate::render::paint::{Layout, Style, columns, printable, wrap};
use crate::render::sources::Sources;
use crate::render::units::{count, plural};

/// How the text is laid out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Colour and width.
    pub layout: Layout,
    /// Everything in full, not only what fails.
    pub verbose: bool,
    /// Nothing but what fails and the last line.
    pub quiet: bool,
}

/// Told in full without `-v`.
const MOST: usize = 20;

/// The whole report.
pub fn text(verdict: &Verdict<'_>, sources: &Sources, options: &Options) -> String {
    let layout = &options.layout;
    let mut out = String::new();
    let full: Vec<&Entry<'_>> = verdict.entries.iter().filter(|entry| options.verbose || entry.fails()).collect();
    let most = if options.verbose { usize::MAX } else { MOST };
    for entry in full.iter().take(most) {
        out.push_str(&diagnostic(entry, sources, layout));
        out.push('\n');
    }
    if full.len() > most {
        let text = format!("… and {} more: -v tells them all", full.len() - most);
        out.push_str(&format!("{}\n\n", layout.paint(Style::Warn, &text)));
    }
    if !options.verbose && !options.quiet {
        let parts = [
            ("Does not fail:", verdict.passing().map(|entry| (entry, reason(entry))).collect::<Vec<_>>()),
            ("Known by the baseline:", verdict.known().map(|entry| (entry, entry.fingerprint())).collect()),
            ("Suppressed:", verdict.suppressed().map(|(entry, by)| (entry, printable(by))).collect()),
        ];
        for (head, entries) in parts {
            out.push_str(&list(head, &entries, layout));
        }
    }
    if !options.quiet {
        out.push_str(&warnings(verdict, layout));
    }
    if let Some(program) = &verdict.program {
        out.push_str(&message("error", Style::Bad, program, layout));
    }
    out + &answer(verdict, layout)
}

/// A word, the locks and a reason for each.
fn list(head: &str, entries: &[(&Entry<'_>, String)], layout: &Layout) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut out = format!("{}\n", layout.paint(Style::Heading, head));
    let width = entries.iter().map(|(entry, _)| entry.word().len()).max().unwrap_or(0);
    let indent = " ".repeat(2 + width + 2);
    for (entry, why) in entries {
        let word = format!("  {:width$}  ", entry.word());
        let text = wrap(&title(entry), layout.width, &word, &indent);
        // The word is painted when the line is made: colours count for nothing there.
        out.push_str(&layout.paint(Style::Good, text[..word.len()].trim_end()));
        out.push_str(&text[word.trim_end().len()..]);
        out.push_str(&layout.paint(Style::Dim, wrap(why, layout.width, &indent, &indent).trim_end()));
        out.push('\n');
    }
    out + "\n"
}

/// What a reader has to know about this verdict.
fn warnings(verdict: &Verdict<'_>, layout: &Layout) -> String {
    let mut out = String::new();
    let (word, style) = if verdict.strict { ("error", Style::Bad) } else { ("warning", Style::Warn) };
    for reason in &verdict.incomplete {
        out.push_str(&message(word, style, &format!("the recording is incomplete: {reason}"), layout));
    }
    for rule in &verdict.unused {
        let text = format!("suppression {rule} matches nothing: remove it");
        out.push_str(&message("warning", Style::Warn, &text, layout));
    }
    for rule in &verdict.expired {
        out.push_str(&message("warning", Style::Warn, &format!("suppression {rule}: it is not applied"), layout));
    }
    for note in &verdict.notes {
        out.push_str(&message("note", Style::Warn, note, layout));
    }
    if let Some(baseline) = verdict.baseline.as_ref().filter(|baseline| !baseline.not_met.is_empty()) {
        let number = baseline.not_met.len() as u64;
        let text = format!(
            "{} of the baseline not met this time: where they are mended, --write-baseline forgets them",
            if number == 1 { "1 entry was".into() } else { format!("{} entries were", count(number)) }
        );
        out.push_str(&message("note", Style::Dim, &text, layout));
    }
    out
}

fn message(word: &str, style: Style, text: &str, layout: &Layout) -> String {
    let text = wrap(&printable(text), layout.width, &format!("{word}: "), &" ".repeat(word.len() + 2));
    format!("{}{}", layout.paint(style, word), &text[word.len()..])
}

/// How many of what fail, or do not.
pub(super) fn tally<'e, 'a: 'e>(entries: impl Iterator<Item = &'e Entry<'a>>) -> String {
    // In the order of the catalogue.
    let mut rules: BTreeMap<usize, (&Rule, u64)> = BTreeMap::new();
    for rule in entries.map(Entry::rule) {
        rules.entry(rule.position()).or_insert((rule, 0)).1 += 1;
    }
    let mut parts = Vec::new();
    for area in Area::ALL {
        let of: Vec<_> = rules.values().filter(|(rule, _)| rule.area == area).collect();
        let number: u64 = of.iter().map(|(_, number)| number).sum();
        let (one, many) = area.nouns();
        let counted = plural(number, one, many);
        match area {
            _ if number == 0 => {}
            Area::Order => {
                let named = |(rule, times): &&(&Rule, u64)| match number {
                    1 => rule.id.to_owned(),
                    _ => format!("{times} {}", rule.id),
                };
                parts.push(format!("{counted} ({})", of.iter().map(named).collect::<Vec<_>>().join(", ")));
            }
            Area::Misuse | Area::Budget => parts.push(counted),
        }
    }
    parts.join(", ")
}

/// The facts of the last line, without the answer itself.
pub(super) fn facts(verdict: &Verdict<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    let failing = tally(verdict.failing());
    if !failing.is_empty() {
        let new = if verdict.baseline.is_some() { "new: " } else { "" };
        facts.push(format!("{new}{failing}"));
    }
    if verdict.program.is_some() {
        facts.push("the program itself failed".into());
    }
    let mut others = Vec::new();
    for (number, what) in [
        (verdict.passing().count(), "not of a failing class"),
        (verdict.known().count(), "in the baseline"),
        (verdict.suppressed().count(), "suppressed"),
    ] {
        if number > 0 {
            others.push(format!("{number} {what}"));
        }
    }
    if !others.is_empty() {
        facts.push(others.join(", "));
    }
    if facts.is_empty() {
        facts.push("no cycle, no misuse".into());
    }
    let sum = |of: fn(&crate::model::Coverage) -> u64| -> u64 {
        verdict.runs().map(|recording| of(&recording.session.coverage)).fold(0, u64::saturating_add)
    };
    let taken = plural(sum(|coverage| coverage.acquisitions), "acquisition", "acquisitions");
    let number = verdict.runs().count() as u64;
    let of = if number > 1 { format!(" in {}", plural(number, "recording", "recordings")) } else { String::new() };
    let complete = if verdict.incomplete.is_empty() { "" } else { ", incomplete" };
    facts.push(format!("{taken}{of}{complete}"));
    facts
}

/// The last line: the answer and its facts.
pub fn answer(verdict: &Verdict<'_>, layout: &Layout) -> String {
    let (word, style) = match verdict.outcome {
        Outcome::Pass => ("pass", Style::Good),
        Outcome::Fail => ("FAIL", Style::Bad),
        Outcome::Incomplete => ("INCOMPLETE", Style::Bad),
    };
    let first = format!("lock order: {word}: ");
    let text = wrap(&facts(verdict).join(" · "), layout.width, &first, "  ");
    let prefix = "lock order: ";
    debug_assert!(columns(&text) >= prefix.len());
    let (head, rest) = (&text[prefix.len()..prefix.len() + word.len()], &text[prefix.len() + word.len()..]);
    format!("{}{}{rest}", layout.paint(Style::Heading, prefix), layout.paint(style, head))
}

/// One line for other commands' summaries: the worst of what would fail by default.
pub fn line(orders: &crate::analysis::order::Orders, session: &crate::model::Session) -> String {
    let recording = crate::gate::Recording { name: "", session, orders };
    let recordings = [recording];
    let policy = crate::gate::Policy::default();
    let verdict = crate::gate::judge(&recordings, &policy, None);
    let Some(worst) = verdict.failing().next() else {
        let others = verdict.passing().count() as u64;
        return match others {
            0 => "lock order: no cycle".into(),
            _ => format!("lock order: {}, none that fails the gate", plural(others, "cycle", "cycles")),
        };
    };
    debug_assert!(matches!(worst.standing, Standing::Fails(None)));
    format!("lock order: {}: {}", tally(verdict.failing()), title(worst))
}
