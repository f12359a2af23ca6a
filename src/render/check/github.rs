//! `check --format github`: workflow commands, which GitHub shows at the lines that they name.

use crate::gate::{Entry, Verdict};
use crate::render::explain::names::Names;
use crate::render::explain::{self, verdict as said};
use crate::render::locations::location;
use crate::render::sources::Sources;
use crate::render::style::printable;

/// One command a line, ending in a line with the answer.
pub fn github(verdict: &Verdict<'_>, sources: &Sources) -> String {
    let mut out = String::new();
    for entry in verdict.failing() {
        out.push_str(&annotation(entry, sources));
    }
    let mut say = |level: &str, title: &str, text: &str| {
        out.push_str(&format!("::{level} title={}::{}\n", property(title), data(text)));
    };
    if let Some(program) = said::program(verdict) {
        say("error", "lockprof: the program failed", &program);
    }
    let level = if verdict.strict { "error" } else { "warning" };
    for reason in said::incomplete(verdict) {
        say(level, "lockprof: the recording is incomplete", &reason);
    }
    for rule in &verdict.unused {
        say("warning", "lockprof: unused suppression", &format!("{rule} matches nothing: remove it"));
    }
    for rule in &verdict.expired {
        say("warning", "lockprof: expired suppression", &format!("{rule}; it is not applied"));
    }
    // No line of its own may begin with two colons.
    let facts = said::facts(verdict).join(" · ");
    out + &format!("lock order: {}: {}\n", verdict.outcome.name(), printable(&facts))
}

fn annotation(entry: &Entry<'_>, sources: &Sources) -> String {
    let session = entry.recording.session;
    let names = Names::of(session, &entry.finding);
    let mut text = vec![explain::reason(session, &entry.finding)];
    let at = |stack| match location(session, stack, sources) {
        Some(place) => match place.file {
            Some(file) => format!("{} ({}:{})", place.function, printable(sources.path(file)), place.line),
            None => place.function,
        },
        None => "a call stack that was not seen".into(),
    };
    for part in explain::parts(session, &entry.finding, &names) {
        if let Some(thread) = part.thread {
            let points = part.points.iter().map(|point| format!("{} in {}", point.label, at(point.stack)));
            text.push(format!("{}: {}", names.thread(thread), points.collect::<Vec<_>>().join(", ")));
        }
    }
    text.extend(explain::advice(session, &entry.finding));
    text.push(format!("id: {}", entry.fingerprint()));
    let mut properties = Vec::new();
    let known = entry.finding.subject.places().filter_map(|stack| location(session, stack, sources));
    let known: Vec<_> = known.filter_map(|place| Some((place.file?, place.line, place.column))).collect();
    // A place that GitHub can show, or else none: a file outside the repository is of no use there.
    let place = known.iter().find(|(file, ..)| sources.get(file).is_some_and(|file| file.inside));
    if let Some((file, line, column)) = place.or(known.first()) {
        properties.push(format!("file={}", property(sources.path(file))));
        properties.push(format!("line={line}"));
        if *column > 0 {
            properties.push(format!("col={column}"));
        }
    }
    let title = explain::title(session, &entry.finding);
    properties.push(format!("title={}", property(&format!("{title} [{}]", entry.word()))));
    format!("::error {}::{}\n", properties.join(","), data(&text.join("\n")))
}

/// Text of a command: a line break would end it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command: colons and commas end it, too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
