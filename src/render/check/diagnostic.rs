//! One entry of a verdict in full, in the manner of rustc: what, where, why, what to do.

use super::snippet::{Mark, gutter, snippet};
use super::witness::witness;
use crate::gate::{Entry, Standing};
use crate::model::{Session, Stacks};
use crate::render::explain::names::Names;
use crate::render::explain::{self, Part, Point};
use crate::render::locations::{CodeLocation, callers, location};
use crate::render::names::fit_end;
use crate::render::sources::{Source, Sources};
use crate::render::style::{Layout, Style, columns, fill, printable, wrap};
use crate::render::units::{count, plural};

/// Callers shown of a stack.
const CALLERS: usize = 4;
/// Legs shown of a component that stands for many cycles.
const MOST_PARTS: usize = 12;

/// The entry in full, ending in a line break.
pub(super) fn diagnostic(entry: &Entry<'_>, sources: &Sources, layout: &Layout) -> String {
    let session = entry.recording.session;
    let finding = &*entry.finding;
    let names = Names::of(session, finding);
    let (severity, style) = match &entry.standing {
        Standing::Fails(_) => ("error", Style::Bad),
        _ => ("note", Style::Good),
    };
    let word = format!("{severity}[{}]", entry.word());
    let head = fill(&words(&explain::title(session, finding)), layout.width, &format!("{word}: "), "  ");
    let mut out = layout.paint(style, &word) + &layout.paint(Style::Strong, head.trim_end()[word.len()..].trim_end());
    out.push('\n');
    // One width for all line numbers of the entry.
    let lines = finding.subject.stacks().filter_map(|stack| location(session, stack, sources)).map(|place| place.line);
    let page = Page { session, sources, layout, gutter: gutter(lines.max().unwrap_or(0)) };
    let mut notes = Notes { layout, indent: page.gutter + 3, out: String::new() };
    let parts = explain::parts(session, finding, &names);
    if finding.cycle().is_some() {
        out.push('\n');
    }
    parts.iter().take(MOST_PARTS).enumerate().for_each(|(at, part)| out.push_str(&page.part(at, part)));
    if parts.len() > MOST_PARTS {
        out.push_str(&format!("    … and {} more threads\n\n", parts.len() - MOST_PARTS));
    }
    notes.add("why", &explain::reason(session, finding));
    explain::advice(session, finding).iter().for_each(|advice| notes.add("help", advice));
    if let Some(cycle) = finding.cycle().filter(|cycle| !cycle.witness.is_empty()) {
        notes.add("how", "this schedule reaches it:");
        let known: Vec<_> = finding.subject.places().collect();
        let indent = notes.indent + 2;
        notes.out.push_str(&witness(session, &cycle.witness, &names, &known, indent, layout));
    }
    for file in page.changed(entry) {
        notes.add("note", &format!("{file} is newer than the recording: lines may have moved"));
    }
    match &entry.standing {
        Standing::Fails(Some(rule)) => {
            notes.add("note", &format!("the baseline knows it as {}: it is more serious now", rule.id));
        }
        Standing::Known => notes.add("note", "the baseline knows it"),
        Standing::Suppressed(by) => notes.add("note", &format!("suppressed by {}", printable(by))),
        Standing::Fails(None) | Standing::Passes => {}
    }
    notes.add("id", &format!("{}{}", entry.fingerprint(), met(entry)));
    out + &notes.out
}

/// ` · met 4 times, in 2 recordings`.
fn met(entry: &Entry<'_>) -> String {
    let mut parts = Vec::new();
    if entry.times > 1 {
        parts.push(match entry.finding.cycle() {
            Some(_) => format!("{} sets of locks like these", count(entry.times)),
            None => format!("met {} times", count(entry.times)),
        });
    }
    if entry.met_in > 1 {
        parts.push(format!("in {} recordings", entry.met_in));
    }
    if parts.is_empty() { String::new() } else { format!(" · {}", parts.join(", ")) }
}

/// `= word: text` lines below a snippet.
struct Notes<'a> {
    layout: &'a Layout,
    indent: usize,
    out: String,
}

impl Notes<'_> {
    fn add(&mut self, word: &str, text: &str) {
        self.out.push_str(&note(word, text, self.indent, self.layout));
    }
}

fn note(word: &str, text: &str, indent: usize, layout: &Layout) -> String {
    let first = format!("{}= {word}: ", " ".repeat(indent.saturating_sub(1)));
    let rest = " ".repeat(first.len());
    let text = wrap(text, layout.width, &first, &rest);
    let head = format!("{}{}", layout.paint(Style::Command, &first[..first.len() - word.len() - 2]), {
        layout.paint(Style::Strong, &format!("{word}:"))
    });
    format!("{head}{}", &text[first.len() - 1..])
}

/// What places are shown with.
struct Page<'a> {
    session: &'a Session,
    sources: &'a Sources,
    layout: &'a Layout,
    /// Digits of a line number.
    gutter: usize,
}

impl Page<'_> {
    /// A leg, numbered: who holds what, where, and what it wants where; or the places of a finding without legs.
    fn part(&self, at: usize, part: &Part) -> String {
        let mut out = String::new();
        if !part.heading.is_empty() {
            let mut head = vec![format!("{}.", at + 1)];
            head.extend(words(&part.heading));
            // On one line.
            head.extend((part.count > 1).then(|| format!("({})", plural(part.count, "time", "times"))));
            out.push_str(&self.layout.paint(Style::Strong, fill(&head, self.layout.width, "", "   ").trim_end()));
            out.push('\n');
        }
        out + &self.points(&part.points, &part.notes)
    }

    /// Places with their source lines; those in one function share a snippet.
    fn points(&self, points: &[Point], notes: &[String]) -> String {
        let located: Vec<_> =
            points.iter().map(|point| (point, location(self.session, point.stack, self.sources))).collect();
        let label = |point: &Point| format!("{}{}", point.label, point.more);
        let mut out = String::new();
        let mut done: Vec<usize> = Vec::new();
        for (at, (point, place)) in located.iter().enumerate() {
            if done.contains(&at) {
                continue;
            }
            let arrow = format!("{}{} ", " ".repeat(self.gutter + 1), if done.is_empty() { "-->" } else { ":::" });
            done.push(at);
            let Some(place) = place else {
                out.push_str(&self.headed(&arrow, "a call stack that was not seen", Some(&label(point))));
                continue;
            };
            let Some(source) = self.source(place) else {
                out.push_str(&self.headed(&arrow, &head_of(place, self.sources), Some(&label(point))));
                continue;
            };
            let mark = |point: &Point, place: &CodeLocation<'_>| Mark {
                line: place.line,
                column: place.column,
                label: label(point),
            };
            let mut marks = vec![mark(point, place)];
            for (other_at, (other, other_place)) in located.iter().enumerate().skip(at + 1) {
                if let Some(other_place) = other_place
                    && (other_place.file, &other_place.function) == (place.file, &place.function)
                    && source.line(other_place.line).is_some()
                {
                    marks.push(mark(other, other_place));
                    done.push(other_at);
                }
            }
            out.push_str(&self.headed(&arrow, &head_of(place, self.sources), None));
            out.push_str(&snippet(source, &marks, self.gutter, self.layout));
        }
        let mut shown: Vec<Vec<String>> = Vec::new();
        for (point, place) in &located {
            let Some(place) = place.as_ref().filter(|_| point.stack != Stacks::UNKNOWN) else { continue };
            let chain = callers(self.session, point.stack, place, CALLERS);
            if !chain.is_empty() && !shown.contains(&chain) {
                out.push_str(&self.note(&format!("{} is called by {}", place.function, chain.join(" ← "))));
                shown.push(chain);
            }
        }
        notes.iter().for_each(|text| out.push_str(&self.note(text)));
        out.push('\n');
        out
    }

    fn note(&self, text: &str) -> String {
        note("note", text, self.gutter + 3, self.layout)
    }

    /// The file of a location, where its line can be shown.
    fn source(&self, place: &CodeLocation<'_>) -> Option<&Source> {
        place.file.and_then(|file| self.sources.get(file)).filter(|source| source.line(place.line).is_some())
    }

    /// Files that were shown and are newer than the recording.
    fn changed(&self, entry: &Entry<'_>) -> Vec<String> {
        let stacks = entry.finding.subject.stacks();
        let mut files: Vec<String> = stacks
            .filter_map(|stack| location(self.session, stack, self.sources))
            .filter_map(|place| self.source(&place))
            .filter(|source| source.changed)
            .map(|source| printable(&source.path))
            .collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// `--> src/bank.cc:7:9 in Bank::pay`, with what happens there where no source line can be shown.
    fn headed(&self, arrow: &str, location: &str, label: Option<&str>) -> String {
        let layout = self.layout;
        let label = label.map_or_else(String::new, |label| format!("  {label}"));
        let room = layout.width.saturating_sub(columns(arrow));
        if columns(location) + columns(&label) <= room {
            let label = layout.paint(Style::Bad, &label);
            return format!("{}{location}{label}\n", layout.paint(Style::Command, arrow));
        }
        let mut out = format!("{}{}\n", layout.paint(Style::Command, arrow), fit_end(location, room));
        if !label.is_empty() {
            let pad = " ".repeat(columns(arrow));
            out.push_str(&format!("{pad}{}\n", layout.paint(Style::Bad, &fit_end(label.trim_start(), room))));
        }
        out
    }
}

fn head_of(place: &CodeLocation<'_>, sources: &Sources) -> String {
    let Some(file) = place.file else { return place.function.clone() };
    let column = if place.column > 0 { format!(":{}", place.column) } else { String::new() };
    format!("{}:{}{column} in {}", printable(sources.path(file)), place.line, place.function)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
