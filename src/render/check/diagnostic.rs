//! One entry of a verdict in full, in the manner of rustc: what, where, why, what to do.

use super::names::Names;
use super::snippet::{Mark, gutter, snippet};
use super::witness::witness;
use super::words::{Spot, advice, callers, place, reason, spot, title};
use crate::analysis::order::{Cycle, Side};
use crate::gate::{Entry, Standing, Subject};
use crate::model::{HangKind, Kind, Session, StackId, Stacks};
use crate::render::names::fit_end;
use crate::render::paint::{Layout, Style, columns, fill, printable, wrap};
use crate::render::sources::{Source, Sources};
use crate::render::units::{count, plural};

/// Callers told of a stack.
const CALLERS: usize = 4;
/// Sides told of a component that stands for many cycles.
const MOST_SIDES: usize = 12;

/// What a side does at a place.
struct Point {
    stack: StackId,
    label: String,
}

/// The entry in full, ending in a line break.
pub(super) fn diagnostic(entry: &Entry<'_>, sources: &Sources, layout: &Layout) -> String {
    let session = entry.recording.session;
    let names = Names::of(entry);
    let (severity, style) = match &entry.standing {
        Standing::Fails(_) => ("error", Style::Bad),
        _ => ("note", Style::Good),
    };
    let word = format!("{severity}[{}]", entry.word());
    let head = fill(&words(&title(entry)), layout.width, &format!("{word}: "), "  ");
    let mut out = layout.paint(style, &word) + &layout.paint(Style::Strong, head.trim_end()[word.len()..].trim_end());
    out.push('\n');
    // One width for all line numbers of the entry.
    let lines = entry.stacks().into_iter().filter_map(|stack| spot(session, stack, sources)).map(|spot| spot.line);
    let page = Page { session, sources, layout, gutter: gutter(lines.max().unwrap_or(0)) };
    let mut notes = Notes { layout, indent: page.gutter + 3, out: String::new() };
    match &entry.subject {
        Subject::Cycle(cycle) => {
            out.push('\n');
            for at in 0..cycle.sides.len().min(MOST_SIDES) {
                out.push_str(&page.side(cycle, at, &names));
            }
            if cycle.sides.len() > MOST_SIDES {
                out.push_str(&format!("    … and {} more threads\n\n", cycle.sides.len() - MOST_SIDES));
            }
            notes.add("why", &reason(entry));
            advice(entry).iter().for_each(|advice| notes.add("help", advice));
            if !cycle.witness.is_empty() {
                notes.add("how", "this schedule reaches it:");
                let known: Vec<_> = cycle.sides.iter().flat_map(|side| [side.held.stack, side.wanted_stack]).collect();
                let indent = notes.indent + 2;
                notes.out.push_str(&witness(session, &cycle.witness, &names, &known, indent, layout));
            }
        }
        Subject::Finding(finding) => {
            let labels = finding.rule.wording.as_ref().map_or(["", ""], |wording| wording.places);
            let lock = names.lock(finding.lock);
            let told = finding.stacks.iter().zip(labels).map(|(stack, label)| (*stack, label.replace('X', &lock)));
            let points: Vec<_> = told.map(|(stack, label)| Point { stack, label }).collect();
            out.push_str(&page.points(&points, Vec::new()));
            notes.add("why", &reason(entry));
            advice(entry).iter().for_each(|advice| notes.add("help", advice));
        }
        Subject::Budget(breach) => {
            let lock = names.lock(breach.lock);
            let label = match breach.budget.measure {
                crate::gate::Measure::Wait => format!("waits for {lock}"),
                crate::gate::Measure::Hold => format!("takes {lock} and keeps it"),
            };
            let mut points = vec![Point { stack: breach.stack, label }];
            points.extend(breach.holder.map(|stack| Point { stack, label: format!("had taken {lock}") }));
            out.push_str(&page.points(&points, Vec::new()));
            notes.add("why", &reason(entry));
            advice(entry).iter().for_each(|advice| notes.add("help", advice));
        }
    }
    for file in page.changed(entry) {
        notes.add("note", &format!("{file} is newer than the recording: lines may have moved"));
    }
    match &entry.standing {
        Standing::Fails(Some(class)) => {
            notes.add("note", &format!("the baseline knows it as {}: it is more serious now", class.name()));
        }
        Standing::Known => notes.add("note", "the baseline knows it"),
        Standing::Suppressed(by) => notes.add("note", &format!("suppressed by {}", printable(by))),
        Standing::Fails(None) | Standing::Passes => {}
    }
    notes.add("id", &format!("{}{}", entry.fingerprint(), met(entry)));
    out + &notes.out
}

/// ` (met 4 times, in 2 of 3 recordings)`.
fn met(entry: &Entry<'_>) -> String {
    let mut parts = Vec::new();
    if entry.times > 1 {
        parts.push(match &entry.subject {
            Subject::Cycle(_) => format!("{} sets of locks like these", count(entry.times)),
            _ => format!("met {} times", count(entry.times)),
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

/// What places are told with.
struct Page<'a> {
    session: &'a Session,
    sources: &'a Sources,
    layout: &'a Layout,
    /// Digits of a line number.
    gutter: usize,
}

impl Page<'_> {
    /// A side: who holds what, where, and what it wants where.
    fn side(&self, cycle: &Cycle, at: usize, names: &Names<'_>) -> String {
        let side: &Side = &cycle.sides[at];
        let mut head = vec![format!("{}.", at + 1)];
        head.extend(words(&names.side(side)));
        if side.count > 1 {
            head.push(format!("({})", plural(side.count, "time", "times")));
        }
        let mut out = self.layout.paint(Style::Strong, fill(&head, self.layout.width, "", "   ").trim_end());
        out.push('\n');
        let next = &cycle.sides[(at + 1) % cycle.sides.len()];
        let is_join = self.session.lock(side.wanted).kind == Kind::Join;
        let holder = match cycle.hang {
            Some(HangKind::Deadlock) if !is_join => format!(", held by {}", names.thread(next.thread)),
            _ => String::new(),
        };
        let deeds = names.deeds(side).into_iter();
        let mut points: Vec<_> = deeds.map(|deed| Point { stack: deed.stack, label: deed.label }).collect();
        if let Some(last) = points.last_mut() {
            last.label.push_str(&holder);
        }
        let mut notes = Vec::new();
        for held in &side.also_held {
            let place = place(self.session, held.stack);
            let mode = names.mode(held.lock, held.mode);
            notes.push(format!("also holds {}{mode}, taken in {place}", names.lock(held.lock)));
        }
        out + &self.points(&points, notes)
    }

    /// Places with their source lines; those in one function share a snippet.
    fn points(&self, points: &[Point], notes: Vec<String>) -> String {
        let spots: Vec<_> = points.iter().map(|point| (point, spot(self.session, point.stack, self.sources))).collect();
        let mut out = String::new();
        let mut done: Vec<usize> = Vec::new();
        for (at, (point, spot)) in spots.iter().enumerate() {
            if done.contains(&at) {
                continue;
            }
            let arrow = format!("{}{} ", " ".repeat(self.gutter + 1), if done.is_empty() { "-->" } else { ":::" });
            done.push(at);
            let Some(spot) = spot else {
                out.push_str(&self.headed(&arrow, "a call stack that was not seen", Some(&point.label)));
                continue;
            };
            let Some(source) = self.source(spot) else {
                out.push_str(&self.headed(&arrow, &location(spot, self.sources), Some(&point.label)));
                continue;
            };
            let mut marks = vec![mark(point, spot)];
            for (other_at, (other, other_spot)) in spots.iter().enumerate().skip(at + 1) {
                if let Some(other_spot) = other_spot
                    && (other_spot.file, &other_spot.function) == (spot.file, &spot.function)
                    && source.line(other_spot.line).is_some()
                {
                    marks.push(mark(other, other_spot));
                    done.push(other_at);
                }
            }
            out.push_str(&self.headed(&arrow, &location(spot, self.sources), None));
            out.push_str(&snippet(source, &marks, self.gutter, self.layout));
        }
        let mut told: Vec<Vec<String>> = Vec::new();
        for (point, spot) in &spots {
            let Some(spot) = spot.as_ref().filter(|_| point.stack != Stacks::UNKNOWN) else { continue };
            let chain = callers(self.session, point.stack, spot, CALLERS);
            if !chain.is_empty() && !told.contains(&chain) {
                out.push_str(&self.note(&format!("{} is called by {}", spot.function, chain.join(" ← "))));
                told.push(chain);
            }
        }
        notes.iter().for_each(|text| out.push_str(&self.note(text)));
        out.push('\n');
        out
    }

    fn note(&self, text: &str) -> String {
        note("note", text, self.gutter + 3, self.layout)
    }

    /// The file of a spot, where its line can be shown.
    fn source(&self, spot: &Spot<'_>) -> Option<&Source> {
        spot.file.and_then(|file| self.sources.get(file)).filter(|source| source.line(spot.line).is_some())
    }

    /// Files that were shown and are newer than the recording.
    fn changed(&self, entry: &Entry<'_>) -> Vec<String> {
        let spots = entry.stacks().into_iter().filter_map(|stack| spot(self.session, stack, self.sources));
        let mut files: Vec<String> = spots
            .filter_map(|spot| self.source(&spot))
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

fn mark(point: &Point, spot: &Spot<'_>) -> Mark {
    Mark { line: spot.line, column: spot.column, label: point.label.clone() }
}

fn location(spot: &Spot<'_>, sources: &Sources) -> String {
    let Some(file) = spot.file else { return spot.function.clone() };
    let column = if spot.column > 0 { format!(":{}", spot.column) } else { String::new() };
    format!("{}:{}{column} in {}", printable(sources.path(file)), spot.line, spot.function)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
