//! What the order of locks means so far: cycles and misuses as the gate judges them, and the edges.

use serde::{Deserialize, Serialize};

use crate::analysis::findings;
use crate::analysis::order::{By, graph};
use crate::gate::{Entry, Policy, Recording, judge};
use crate::model::Session;
use crate::render::check;
use crate::render::explain;
use crate::render::style::{Layout, printable};

/// Edges that are sent.
const EDGES: usize = 500;
/// Columns of an entry's text.
const TEXT_WIDTH: usize = 78;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// When, ns since the start of the session.
    pub at_ns: u64,
    /// Cycles, the most serious first.
    pub cycles: Vec<JudgedEntry>,
    /// Misuses.
    pub findings: Vec<JudgedEntry>,
    /// Which class of locks is taken under which, by name.
    pub edges: Vec<EdgeRow>,
    /// Edges that were not sent.
    pub more_edges: u64,
    /// What a reader has to know, in whole sentences.
    pub notes: Vec<String>,
    /// Whether everything that happened was looked at.
    pub complete: bool,
}

/// A cycle or a misuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedEntry {
    /// The word of its class: `feasible`, `unlock-not-owner`.
    pub class: String,
    /// Whether it fails the gate.
    pub fails: bool,
    /// One line.
    pub title: String,
    /// Reason, sides, witness: the same text as `check` prints.
    pub text: Vec<String>,
}

/// "Taken while that was held."
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeRow {
    /// Held.
    pub held: String,
    /// Wanted.
    pub wanted: String,
    /// How often.
    pub count: u64,
    /// Threads that did.
    pub threads: u64,
    /// The class of the worst cycle that it is part of; empty for none.
    pub cycle: String,
}

/// Judges the session so far.
pub fn judged(session: &Session, at_ns: u64) -> Judged {
    let findings = &findings::find(session);
    let recordings = [Recording { name: "", session, findings }];
    let policy = Policy::default();
    let verdict = judge(&recordings, &policy, None);
    let all: Vec<&Entry<'_>> = verdict.failing().chain(verdict.passing()).collect();
    let layout = Layout { color: false, width: TEXT_WIDTH };
    let entry = |entry: &&Entry<'_>| JudgedEntry {
        class: entry.word().to_owned(),
        fails: entry.fails(),
        title: explain::title(session, &entry.finding),
        text: check::entry_text(entry, &layout).lines().map(str::to_owned).collect(),
    };
    let is_cycle = |entry: &&&Entry<'_>| entry.finding.cycle().is_some();
    let found = graph(session, findings.cycles(), By::Class, false);
    let name = |node: u32| found.nodes.get(node as usize).map_or_else(String::new, |node| printable(&node.name));
    let mut edges: Vec<EdgeRow> = (found.edges.iter())
        .map(|edge| EdgeRow {
            held: name(edge.from),
            wanted: name(edge.to),
            count: edge.count,
            threads: edge.threads,
            cycle: edge.cycle.map_or_else(String::new, |class| class.name().to_owned()),
        })
        .collect();
    // What lies on a cycle first, then what is done most.
    edges.sort_by(|a, b| {
        let key = |edge: &EdgeRow| (edge.cycle.is_empty(), std::cmp::Reverse(edge.count));
        key(a).cmp(&key(b)).then_with(|| (&a.held, &a.wanted).cmp(&(&b.held, &b.wanted)))
    });
    let more_edges = edges.len().saturating_sub(EDGES) as u64;
    edges.truncate(EDGES);
    Judged {
        at_ns,
        cycles: all.iter().filter(is_cycle).map(entry).collect(),
        findings: all.iter().filter(|entry| !is_cycle(entry)).map(entry).collect(),
        edges,
        more_edges,
        notes: findings.notes.iter().map(|note| explain::verdict::note(*note)).collect(),
        complete: findings.complete,
    }
}
