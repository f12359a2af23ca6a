//! One page for a browser, offline: the report, the flame graph, the lock orders and the single waits together.
//!
//! Rust says what there is (`data`, as JSON in the page), the page's own script shows it. What a recording says is
//! only ever text for the script, never markup, and the content security policy lets nothing run but that script.

mod data;
mod locks;
mod sha256;
mod stacks;
mod timeline;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::analysis::contention::{Contention, Totals, share};
use crate::analysis::findings::Findings;
use crate::analysis::order::{By, graph};
use crate::analysis::{add, sum_of};
use crate::gate::{Policy, Recording, judge};
use crate::model::Session;
use crate::render::check::{self, xml};
use crate::render::explain::{self, verdict as said};
use crate::render::frames::headline;
use crate::render::graph::{Fitted, MOST_EDGES, MOST_NODES, Options, part};
use crate::render::sources::Sources;
use crate::render::style::{Layout, printable};
use crate::render::text;
use crate::render::units::{duration, percent, plural};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// In the order in which they build on each other.
const SCRIPT: &str = concat!(
    include_str!("base.js"),
    include_str!("summary.js"),
    include_str!("table.js"),
    include_str!("detail.js"),
    include_str!("flame.js"),
    include_str!("timeline.js"),
    include_str!("page.js"),
);

/// Findings shown in full.
const MOST_ENTRIES: usize = 100;
/// Bytes of their texts together.
const ENTRY_BYTES: usize = 500_000;
/// Letters of the command.
const COMMAND: usize = 2_000;
/// Hangs shown in full.
const MOST_HANGS: usize = 20;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The file's text.
    pub html: String,
    /// What the page has no room for, in a sentence.
    pub notice: Option<String>,
}

/// The page of a recording.
pub fn page(session: &Session, contention: &Contention, findings: &Findings) -> Page {
    let data = build(session, contention, findings);
    let notice = notice(&data);
    // Plain structs of numbers, strings and lists, written to memory: this cannot fail. `<` would end the script
    // element that holds the data, so it is written as an escape.
    let json = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
    let lock_order = graph(session, findings.cycles(), By::Class, false);
    let fitted = Fitted::of(&lock_order, MOST_NODES, MOST_EDGES);
    let options = Options { title: "Lock order".into(), by_class: true, cycles_only: false };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        sha256::source(SCRIPT),
        sha256::source(STYLE)
    );
    let program = session.meta.command.first().map_or("a program", |word| word.rsplit('/').next().unwrap_or(word));
    let html = fill(
        PAGE,
        &[
            ("policy", &policy),
            ("title", &xml(&printable(program))),
            ("style", STYLE),
            ("graph", &part(session, &fitted, &options)),
            ("data", &json),
            ("script", SCRIPT),
        ],
    );
    Page { html, notice }
}

/// The template with its `{{name}}`s replaced, in one pass: what is put in is not looked at again.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, (name, after))) =
        rest.split_once("{{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        out.push_str(before);
        out.push_str(parts.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text));
        rest = after;
    }
    out + rest
}

fn build(session: &Session, contention: &Contention, findings: &Findings) -> data::Page {
    let mut builder = stacks::Builder::new(session);
    let shown = locks::Shown::of(contention);
    let locks = locks::locks(session, contention, &shown, &mut builder);
    let timeline = timeline::timeline(session, contention, &shown, &builder);
    let left = |is_lock: bool| {
        let rows = contention.locks.iter().enumerate().filter(|(at, _)| shown.place(*at).is_none());
        totals(&Totals::of(rows.map(|(_, row)| row).filter(|row| row.kind.is_lock() == is_lock)))
    };
    let mut facts = vec![
        duration(session.meta.duration_ns),
        plural(session.processes.len() as u64, "process", "processes"),
        plural(session.thread_count(), "thread", "threads"),
    ];
    facts.extend(text::exit(session));
    facts.extend((!session.meta.host.is_empty()).then(|| printable(&session.meta.host)));
    let command = printable(&session.meta.command.join(" "));
    let hangs = session.hangs.iter().take(MOST_HANGS);
    data::Page {
        command: command.chars().take(COMMAND).collect(),
        facts,
        duration_ns: session.meta.duration_ns,
        version: session.meta.version.clone(),
        coverage: coverage(session),
        nothing: text::nothing_seen(session).map(|text| printable(&text)),
        hottest: hottest(session, contention),
        contention: totals(&contention.contention),
        blocked: totals(&contention.blocked),
        orders: orders(session, contention, findings),
        hangs: hangs.map(|hang| text::hang(session, hang, &text::HangOptions::default())).collect(),
        stacks: builder.finish(),
        locks,
        locks_left: left(true),
        blocked_left: left(false),
        timeline,
    }
}

/// What is said beside the page: the same is said in it, at its place.
fn notice(data: &data::Page) -> Option<String> {
    let all = data.contention.wait_ns;
    let mut parts = Vec::new();
    if data.locks_left.locks > 0 {
        let part = percent(share(data.locks_left.wait_ns, all));
        parts.push(format!("{} with {part} of the waiting", plural(data.locks_left.locks, "lock", "locks")));
    }
    if data.blocked_left.locks > 0 {
        let time = duration(data.blocked_left.wait_ns);
        parts.push(format!(
            "{} of other kinds, where threads were blocked for {time}",
            plural(data.blocked_left.locks, "row", "rows")
        ));
    }
    let stacks = sum_of(data.locks.iter().map(|lock| lock.waiters_left.0.saturating_add(lock.holders_left.0)));
    if stacks > 0 {
        let left = sum_of(data.locks.iter().filter(|lock| lock.is_lock).map(|lock| lock.waiters_left.2));
        let part = percent(share(left, all));
        parts.push(format!("{} with {part} of the waiting", plural(stacks, "call stack", "call stacks")));
    }
    (!parts.is_empty()).then(|| format!("the page has no room for {}; the totals count them", parts.join(", and ")))
}

fn totals(totals: &Totals) -> data::Totals {
    data::Totals {
        locks: totals.rows,
        contended_locks: totals.contended_rows,
        acquisitions: totals.acquisitions,
        contended: totals.contended,
        wait_ns: totals.wait_ns,
        hold_ns: totals.hold_ns,
    }
}

fn coverage(session: &Session) -> data::Coverage {
    let one_line = Layout { color: false, width: usize::MAX };
    let mut notes: Vec<String> = session.coverage.notes.iter().map(|note| printable(note)).collect();
    if session.meta.cut {
        notes.insert(0, "The trace was cut short: what follows is the part up to the cut.".into());
    }
    data::Coverage {
        text: text::coverage(session, &one_line).trim_end().to_owned(),
        complete: session.coverage.complete() && !session.meta.cut,
        cost: text::cost(session),
        notes,
    }
}

/// `The hottest lock is journal.mu: threads waited 5.16 s for it (92% of all waiting), mostly in append (journal.cc:42).`
fn hottest(session: &Session, contention: &Contention) -> Option<data::Hottest> {
    let row = contention.lock_rows().find(|row| row.contended > 0)?;
    let all = contention.contention.wait_ns;
    let mut places: BTreeMap<String, u64> = BTreeMap::new();
    for waiter in &row.waiters {
        add(places.entry(headline(session, waiter.stack)).or_default(), waiter.wait_ns);
    }
    // Of several the first by name.
    let most = places.iter().max_by_key(|(name, ns)| (**ns, std::cmp::Reverse(*name)));
    let place = most
        .map_or_else(String::new, |(name, ns)| format!(", {} of that in {name}", percent(share(*ns, row.wait.total))));
    let sentence = format!(
        "The hottest lock is {}: threads waited {} for it ({} of all waiting for locks){place}.",
        printable(&row.name),
        duration(row.wait.total),
        percent(share(row.wait.total, all))
    );
    Some(data::Hottest { sentence, advice: explain::contention::advice(session, row) })
}

/// What the gate says with its usual rules.
fn orders(session: &Session, contention: &Contention, findings: &Findings) -> data::Orders {
    let recordings = [Recording { name: "", session, findings }];
    let policy = Policy::default();
    let verdict = judge(&recordings, &policy, None);
    let mut room = ENTRY_BYTES;
    let mut entries = Vec::new();
    for entry in verdict.entries.iter().take(MOST_ENTRIES) {
        let text = check::plain(entry, &Sources::default());
        let Some(rest) = room.checked_sub(text.len()) else { break };
        room = rest;
        let row_ids =
            entry.finding.subject.locks.iter().filter_map(|lock| contention.row_of(*lock)).map(|row| row.id.clone());
        let mut locks: Vec<String> = row_ids.collect();
        locks.dedup();
        entries.push(data::Entry {
            cycle: entry.finding.cycle().is_some(),
            area: entry.rule().area.name(),
            word: entry.word(),
            fails: entry.fails(),
            title: explain::title(session, &entry.finding),
            reason: explain::reason(session, &entry.finding),
            advice: explain::advice(session, &entry.finding),
            text,
            locks,
        });
    }
    data::Orders {
        line: said::line(session, findings),
        fails: verdict.entries.iter().any(crate::gate::Entry::fails),
        left: verdict.entries.len() - entries.len(),
        entries,
        incomplete: said::incomplete(&verdict),
        notes: said::notes(&verdict),
    }
}
