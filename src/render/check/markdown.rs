//! `check --format md`: a comment on a pull request, or GitHub's step summary.

use super::plain;
use super::text::facts;
use super::words::{reason, spot, title};
use crate::gate::{Entry, Outcome, Verdict};
use crate::render::paint::{markdown_escaped as escape, printable};
use crate::render::sources::Sources;

/// Told in full: a comment may have 65,536 characters.
const MOST_DETAILS: usize = 10;
/// Rows of a table.
const MOST_ROWS: usize = 50;

/// The Markdown, ending in a line break.
pub fn markdown(verdict: &Verdict<'_>, sources: &Sources) -> String {
    let answer = match verdict.outcome {
        Outcome::Pass => "✅ pass",
        Outcome::Fail => "❌ fail",
        Outcome::Incomplete => "⚠️ incomplete",
    };
    let mut out = format!("### Lock order: {answer}\n\n{}\n", escape(&facts(verdict).join(" · ")));
    if let Some(program) = &verdict.program {
        out.push_str(&format!("\n**{}**\n", escape(program)));
    }
    for reason in &verdict.incomplete {
        out.push_str(&format!("\n⚠️ The recording is incomplete: {}\n", escape(reason)));
    }
    let failing: Vec<_> = verdict.failing().collect();
    if !failing.is_empty() {
        out.push_str("\n| class | what | where |\n|---|---|---|\n");
        for entry in failing.iter().take(MOST_ROWS) {
            let row = format!("| {} | {} | {} |\n", entry.word(), escape(&title(entry)), places(entry, sources));
            out.push_str(&row);
        }
        if failing.len() > MOST_ROWS {
            out.push_str(&format!("\n… and {} more\n", failing.len() - MOST_ROWS));
        }
    }
    for entry in failing.iter().take(MOST_DETAILS) {
        let told = plain(entry, sources);
        let fence = fence(&told);
        out.push_str(&format!(
            "\n<details><summary>{}: {}</summary>\n\n{fence}text\n{}\n{fence}\n\n</details>\n",
            entry.word(),
            html(&title(entry)),
            told.trim_end()
        ));
    }
    out.push_str(&folded("Does not fail", verdict.passing().map(|entry| (entry, reason(entry)))));
    out.push_str(&folded("Known by the baseline", verdict.known().map(|entry| (entry, entry.fingerprint()))));
    out.push_str(&folded("Suppressed", verdict.suppressed().map(|(entry, by)| (entry, printable(by)))));
    let mut told = Vec::new();
    told.extend(verdict.unused.iter().map(|rule| format!("unused suppression: {rule}")));
    told.extend(verdict.expired.iter().map(|rule| format!("expired suppression: {rule}")));
    told.extend(verdict.notes.iter().cloned());
    if !told.is_empty() {
        out.push('\n');
        told.iter().for_each(|text| out.push_str(&format!("- {}\n", escape(text))));
    }
    out
}

/// A list that opens when somebody wants to see it.
fn folded<'e, 'a: 'e>(head: &str, entries: impl Iterator<Item = (&'e Entry<'a>, String)>) -> String {
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        return String::new();
    }
    let mut out = format!("\n<details><summary>{head}: {}</summary>\n\n", entries.len());
    out.push_str("| class | what | why |\n|---|---|---|\n");
    for (entry, why) in entries.iter().take(MOST_ROWS) {
        out.push_str(&format!("| {} | {} | {} |\n", entry.word(), escape(&title(entry)), escape(why)));
    }
    if entries.len() > MOST_ROWS {
        out.push_str(&format!("\n… and {} more\n", entries.len() - MOST_ROWS));
    }
    out + "\n</details>\n"
}

/// Where the sides want their second lock.
fn places(entry: &Entry<'_>, sources: &Sources) -> String {
    let session = entry.recording.session;
    let mut places: Vec<String> = Vec::new();
    let sides = super::github::primary(entry);
    let number = match &entry.subject {
        crate::gate::Subject::Cycle(cycle) => cycle.sides.len(),
        _ => 1,
    };
    for stack in sides.into_iter().take(number) {
        let place = match spot(session, stack, sources) {
            Some(spot) => match spot.file {
                Some(file) => format!("{}:{}", printable(sources.path(file)), spot.line),
                None => spot.function,
            },
            None => continue,
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    escape(&places.join(", "))
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A fence longer than any within.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}
