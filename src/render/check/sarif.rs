//! `check --format sarif`: SARIF 2.1.0, as GitHub code scanning and editors read it.
//!
//! What does not fail because of its class is left out: code scanning would raise an alert for each. It is counted in
//! the run's properties.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::analysis::findings::Rule;
use crate::analysis::order::{Action, Cycle, Step};
use crate::gate::{Entry, Standing, Verdict};
use crate::model::{Session, StackId, Stacks};
use crate::render::explain::names::Names;
use crate::render::explain::{self, Part, verdict as said};
use crate::render::locations::{self, CodeLocation};
use crate::render::sources::Sources;
use crate::render::style::printable;

/// Where the schema is published.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// The base of paths within the repository, as GitHub and others name it.
const ROOT: &str = "%SRCROOT%";

/// What the file says of the run beside its results.
#[derive(Clone, Debug, Default)]
pub struct Run<'a> {
    /// Tells runs of different programs apart.
    pub id: &'a str,
    /// lockprof's version.
    pub version: &'a str,
}

/// The file, ending in a line break.
pub fn sarif(verdict: &Verdict<'_>, sources: &Sources, run: &Run<'_>) -> String {
    let entries: Vec<_> = verdict.entries.iter().filter(|entry| entry.standing != Standing::Passes).collect();
    let mut rules: BTreeMap<String, &Rule> = BTreeMap::new();
    for entry in &entries {
        rules.insert(id(entry.rule()), entry.rule());
    }
    let ids: Vec<&String> = rules.keys().collect();
    let results: Vec<Value> = (entries.iter())
        .map(|entry| {
            let id = id(entry.rule());
            let index = ids.iter().position(|other| **other == id).unwrap_or(0);
            result(verdict, entry, sources, &id, index)
        })
        .collect();
    let mut notifications: Vec<Value> = Vec::new();
    let mut notify = |level: &str, text: &str| {
        notifications.push(json!({ "level": level, "message": { "text": text } }));
    };
    said::program(verdict).iter().for_each(|text| notify("error", text));
    let level = if verdict.strict { "error" } else { "warning" };
    said::incomplete(verdict).iter().for_each(|text| notify(level, &format!("the recording is incomplete: {text}")));
    verdict.unused.iter().for_each(|rule| notify("warning", &format!("unused suppression: {rule}")));
    verdict.expired.iter().for_each(|rule| notify("warning", &format!("expired suppression: {rule}")));
    said::notes(verdict).iter().for_each(|text| notify("note", text));
    let run_id = run.id;
    let file = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "lockprof",
                "version": run.version,
                "semanticVersion": run.version,
                "rules": rules.values().map(|rule| rule_of(rule)).collect::<Vec<_>>(),
            }},
            // What comes before the last slash is the category: GitHub replaces results by category.
            "automationDetails": { "id": format!("lockprof/{run_id}/") },
            "columnKind": "utf16CodeUnits",
            "originalUriBaseIds": { ROOT: { "description": { "text": "The root of the repository." } } },
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
            "properties": {
                "verdict": verdict.outcome.name(),
                "notFailing": verdict.passing().count(),
            },
        }],
    });
    let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
    text.push('\n');
    text
}

fn rule_of(rule: &Rule) -> Value {
    json!({
        "id": id(rule),
        "name": rule.name,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.help },
        "help": { "text": rule.help, "markdown": rule.help },
        "defaultConfiguration": { "level": "error" },
        "properties": {
            "tags": ["concurrency", "deadlock", "correctness"],
            "precision": "high",
            "problem.severity": "error",
        },
    })
}

fn result(verdict: &Verdict<'_>, entry: &Entry<'_>, sources: &Sources, rule: &str, index: usize) -> Value {
    let session = entry.recording.session;
    let finding = &*entry.finding;
    let mut text = vec![format!("{}.", explain::title(session, finding)), explain::reason(session, finding)];
    text.extend(explain::advice(session, finding));
    let has_file = |stack: &StackId| locations::location(session, *stack, sources).is_some_and(|at| at.file.is_some());
    let first = finding.subject.places().find(has_file).or(finding.subject.places().next());
    let names = Names::of(session, finding);
    let parts = explain::parts(session, finding, &names);
    let mut result = json!({
        "ruleId": rule,
        "ruleIndex": index,
        "level": "error",
        "message": { "text": text.join(" ") },
        "locations": first.map(|stack| location(session, stack, sources, None)).into_iter().collect::<Vec<_>>(),
        "partialFingerprints": {
            // GitHub looks at this one only; ours does not change when lines move.
            "primaryLocationLineHash": format!("{}:1", entry.fingerprint()),
            "lockprof/v1": entry.fingerprint(),
        },
        "properties": { "class": entry.word(), "locks": entry.lock_names(), "times": entry.times },
    });
    let points = parts.iter().flat_map(|part| &part.points);
    let related: Vec<Value> = (points.enumerate())
        .map(|(at, point)| {
            let mut location = location(session, point.stack, sources, Some(&point.here));
            location["id"] = json!(at + 1);
            location
        })
        .collect();
    result["relatedLocations"] = json!(related);
    if let Some(cycle) = finding.cycle() {
        result["codeFlows"] = json!([{
            "message": { "text": if cycle.witness.is_empty() { "What each thread does" } else { "A schedule that reaches the deadlock" } },
            "threadFlows": flows(session, cycle, &parts, &names, sources),
        }]);
    }
    if let Standing::Suppressed(by) = &entry.standing {
        result["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": by }]);
    }
    if verdict.baseline.is_some() {
        result["baselineState"] = json!(match &entry.standing {
            Standing::Known => "unchanged",
            Standing::Fails(Some(_)) => "updated",
            _ => "new",
        });
    }
    result
}

/// A flow for each thread: its part of the witness, or its two requests.
fn flows(session: &Session, cycle: &Cycle, parts: &[Part], names: &Names<'_>, sources: &Sources) -> Vec<Value> {
    let mut flows: Vec<(String, Vec<Value>)> = Vec::new();
    let mut add = |thread: String, step: Value| match flows.iter_mut().find(|(other, _)| *other == thread) {
        Some((_, steps)) => steps.push(step),
        None => flows.push((thread, vec![step])),
    };
    if cycle.witness.is_empty() {
        for part in parts {
            let thread = part.thread.map_or_else(String::new, |thread| names.thread(thread));
            let last = part.points.len().saturating_sub(1);
            for (at, point) in part.points.iter().enumerate() {
                let importance = if at == last { "essential" } else { "important" };
                let location = location(session, point.stack, sources, Some(&point.sentence));
                add(thread.clone(), json!({ "location": location, "importance": importance }));
            }
        }
    }
    // A release has no place that is known.
    let placed = |step: &&Step| step.stack != Stacks::UNKNOWN;
    for (at, step) in cycle.witness.iter().filter(placed).enumerate() {
        let thread = names.thread(step.thread);
        let message = format!("{thread} {}", names.action(step));
        let importance = if matches!(step.action, Action::Block(_)) { "essential" } else { "important" };
        let location = location(session, step.stack, sources, Some(&message));
        add(thread, json!({ "location": location, "executionOrder": at + 1, "importance": importance }));
    }
    flows.into_iter().map(|(thread, steps)| json!({ "id": thread, "locations": steps })).collect()
}

/// A place. Code without a source line is named by its module, since a place without a file is refused.
fn location(session: &Session, stack: StackId, sources: &Sources, message: Option<&str>) -> Value {
    let place = locations::location(session, stack, sources);
    let mut location = match &place {
        Some(place @ CodeLocation { file: Some(file), .. }) => {
            let mut region = json!({ "startLine": place.line.max(1) });
            if place.column > 0 {
                region["startColumn"] = json!(place.column);
            }
            json!({ "physicalLocation": { "artifactLocation": artifact(sources, file), "region": region } })
        }
        _ => {
            let module = session.stacks.walk(stack).next().and_then(|node| node.address.module);
            let module = module.map_or("unknown", |module| session.stacks.modules[module.index()].name());
            json!({ "physicalLocation": {
                "artifactLocation": { "uri": uri(module) },
                "region": { "startLine": 1 },
            }})
        }
    };
    if let Some(place) = &place {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": place.function, "kind": "function" }]);
    }
    if let Some(message) = message {
        location["message"] = json!({ "text": message });
    }
    location
}

fn artifact(sources: &Sources, file: &str) -> Value {
    match sources.get(file).filter(|source| source.inside) {
        Some(source) => json!({ "uri": uri(&source.path), "uriBaseId": ROOT }),
        None if file.starts_with('/') => json!({ "uri": format!("file://{}", uri(file)) }),
        None => json!({ "uri": uri(file) }),
    }
}

/// A path as a part of a URI.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in printable(path).bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~+@".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The rule's id within SARIF.
fn id(rule: &Rule) -> String {
    format!("lock-{}/{}", rule.area.name(), rule.id)
}
