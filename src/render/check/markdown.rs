//! `check --format md`: a comment on a pull request, or GitHub's step summary.

use super::plain;
use crate::gate::{Entry, Outcome, Verdict};
use crate::render::explain::{self, verdict as said};
use crate::render::locations::location;
use crate::render::sources::Sources;
use crate::render::style::{markdown_escaped as escape, printable};

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
    let mut out = format!("### Lock order: {answer}\n\n{}\n", escape(&said::facts(verdict).join(" · ")));
    if let Some(program) = said::program(verdict) {
        out.push_str(&format!("\n**{}**\n", escape(&program)));
    }
    for reason in said::incomplete(verdict) {
        out.push_str(&format!("\n⚠️ The recording is incomplete: {}\n", escape(&reason)));
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
    out.push_str(&collapsed(
        "Does not fail",
        verdict.passing().map(|entry| (entry, explain::reason(entry.recording.session, &entry.finding))),
    ));
    out.push_str(&collapsed(
        "Known by the baseline",
        verdict.known().map(|entry| (entry, entry.fingerprint().to_owned())),
    ));
    out.push_str(&collapsed("Suppressed", verdict.suppressed().map(|(entry, by)| (entry, printable(by)))));
    let mut remarks = Vec::new();
    remarks.extend(verdict.unused.iter().map(|rule| format!("unused suppression: {rule}")));
    remarks.extend(verdict.expired.iter().map(|rule| format!("expired suppression: {rule}")));
    remarks.extend(said::notes(verdict));
    if !remarks.is_empty() {
        out.push('\n');
        remarks.iter().for_each(|text| out.push_str(&format!("- {}\n", escape(text))));
    }
    out
}

/// A list that opens when somebody wants to see it.
fn collapsed<'e, 'a: 'e>(head: &str, entries: impl Iterator<Item = (&'e Entry<'a>, String)>) -> String {
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

fn title(entry: &Entry<'_>) -> String {
    explain::title(entry.recording.session, &entry.finding)
}

/// Where it happens.
fn places(entry: &Entry<'_>, sources: &Sources) -> String {
    let mut places: Vec<String> = Vec::new();
    for stack in &entry.finding.subject.at {
        let place = match location(entry.recording.session, *stack, sources) {
            Some(place) => match place.file {
                Some(file) => format!("{}:{}", printable(sources.path(file)), place.line),
                None => place.function,
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
