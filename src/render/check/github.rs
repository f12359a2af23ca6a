//! `check --format github`: workflow commands, which GitHub shows at the lines that they name.

use super::names::Names;
use super::words::{advice, reason, spot, title};
use crate::gate::{Entry, Subject, Verdict};
use crate::render::paint::printable;
use crate::render::sources::Sources;

/// One command a line, ending in a line with the answer.
pub fn github(verdict: &Verdict<'_>, sources: &Sources) -> String {
    let mut out = String::new();
    for entry in verdict.failing() {
        out.push_str(&annotation(entry, sources));
    }
    let mut say = |level: &str, title: &str, text: &str| {
        out.push_str(&format!("::{level} title={}::{}\n", property(title), data(text)));
    };
    if let Some(program) = &verdict.program {
        say("error", "lockprof: the program failed", program);
    }
    let level = if verdict.strict { "error" } else { "warning" };
    for reason in &verdict.incomplete {
        say(level, "lockprof: the recording is incomplete", reason);
    }
    for rule in &verdict.unused {
        say("warning", "lockprof: unused suppression", &format!("{rule} matches nothing: remove it"));
    }
    for rule in &verdict.expired {
        say("warning", "lockprof: expired suppression", &format!("{rule}; it is not applied"));
    }
    // No line of its own may begin with two colons.
    let facts = super::text::facts(verdict).join(" · ");
    out + &format!("lock order: {}: {}\n", verdict.outcome.name(), printable(&facts))
}

fn annotation(entry: &Entry<'_>, sources: &Sources) -> String {
    let session = entry.recording.session;
    let names = Names::of(entry);
    let mut text = vec![reason(entry)];
    let at = |stack| match spot(session, stack, sources) {
        Some(spot) => match spot.file {
            Some(file) => format!("{} ({}:{})", spot.function, printable(sources.path(file)), spot.line),
            None => spot.function,
        },
        None => "a call stack that was not seen".into(),
    };
    if let Subject::Cycle(cycle) = &entry.subject {
        for side in &cycle.sides {
            let deeds = names.deeds(side).into_iter().map(|deed| format!("{} in {}", deed.label, at(deed.stack)));
            text.push(format!("{}: {}", names.thread(side.thread), deeds.collect::<Vec<_>>().join(", ")));
        }
    }
    text.extend(advice(entry));
    text.push(format!("id: {}", entry.fingerprint()));
    let mut properties = Vec::new();
    let spots = primary(entry).into_iter().filter_map(|stack| spot(session, stack, sources));
    // A place that GitHub can show, or else none: a file outside the repository is of no use there.
    let place = spots.clone().find(|spot| spot.file.and_then(|file| sources.get(file)).is_some_and(|file| file.inside));
    let place = place.or_else(|| spots.clone().find(|spot| spot.file.is_some()));
    if let Some(place) = place
        && let Some(file) = place.file
    {
        properties.push(format!("file={}", property(sources.path(file))));
        properties.push(format!("line={}", place.line));
        if place.column > 0 {
            properties.push(format!("col={}", place.column));
        }
    }
    properties.push(format!("title={}", property(&format!("{} [{}]", title(entry), entry.word()))));
    format!("::error {}::{}\n", properties.join(","), data(&text.join("\n")))
}

/// The stacks at which an entry is shown, the best first: where the second lock is wanted.
pub(super) fn primary(entry: &Entry<'_>) -> Vec<crate::model::StackId> {
    match &entry.subject {
        Subject::Cycle(cycle) => {
            let wanted = cycle.sides.iter().map(|side| side.wanted_stack);
            wanted.chain(cycle.sides.iter().map(|side| side.held.stack)).collect()
        }
        Subject::Finding(finding) => finding.stacks.clone(),
        Subject::Budget(breach) => std::iter::once(breach.stack).chain(breach.holder).collect(),
    }
}

/// Text of a command: a line break would end it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command: colons and commas end it, too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
