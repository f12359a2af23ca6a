//! `check` as text: what fails in full, what does not in short, one line at the end.

use super::diagnostic::diagnostic;
use crate::gate::{Entry, Outcome, Verdict};
use crate::render::explain::{self, verdict as said};
use crate::render::sources::Sources;
use crate::render::style::{Layout, Style, columns, printable, wrap};
use crate::render::units::count;

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
            ("Known by the baseline:", verdict.known().map(|entry| (entry, entry.fingerprint().to_owned())).collect()),
            ("Suppressed:", verdict.suppressed().map(|(entry, by)| (entry, printable(by))).collect()),
        ];
        for (head, entries) in parts {
            out.push_str(&list(head, &entries, layout));
        }
    }
    if !options.quiet {
        out.push_str(&warnings(verdict, layout));
    }
    if let Some(program) = said::program(verdict) {
        out.push_str(&message("error", Style::Bad, &program, layout));
    }
    out + &answer(verdict, layout)
}

fn reason(entry: &Entry<'_>) -> String {
    explain::reason(entry.recording.session, &entry.finding)
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
        let text = wrap(&explain::title(entry.recording.session, &entry.finding), layout.width, &word, &indent);
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
    for reason in said::incomplete(verdict) {
        out.push_str(&message(word, style, &format!("the recording is incomplete: {reason}"), layout));
    }
    for rule in &verdict.unused {
        let text = format!("suppression {rule} matches nothing: remove it");
        out.push_str(&message("warning", Style::Warn, &text, layout));
    }
    for rule in &verdict.expired {
        out.push_str(&message("warning", Style::Warn, &format!("suppression {rule}: it is not applied"), layout));
    }
    for note in said::notes(verdict) {
        out.push_str(&message("note", Style::Warn, &note, layout));
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

/// The last line: the answer and its facts.
pub fn answer(verdict: &Verdict<'_>, layout: &Layout) -> String {
    let (word, style) = match verdict.outcome {
        Outcome::Pass => ("pass", Style::Good),
        Outcome::Fail => ("FAIL", Style::Bad),
        Outcome::Incomplete => ("INCOMPLETE", Style::Bad),
    };
    let first = format!("lock order: {word}: ");
    let text = wrap(&said::facts(verdict).join(" · "), layout.width, &first, "  ");
    let prefix = "lock order: ";
    debug_assert!(columns(&text) >= prefix.len());
    let (head, rest) = (&text[prefix.len()..prefix.len() + word.len()], &text[prefix.len() + word.len()..]);
    format!("{}{}{rest}", layout.paint(Style::Heading, prefix), layout.paint(style, head))
}
