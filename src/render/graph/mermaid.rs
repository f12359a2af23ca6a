//! `graph --format mermaid`: for Markdown that draws it, GitHub's and GitLab's among them.

use super::{Fitted, Options, Tone, kind, tone};
use crate::model::Session;
use crate::render::style::printable;
use crate::render::units::short_count;

/// The graph, ending in a line break.
pub fn mermaid(session: &Session, fitted: &Fitted, options: &Options) -> String {
    let graph = &fitted.graph;
    let mut out = format!("---\ntitle: {}\n---\nflowchart TD\n", quoted(&options.title));
    for (at, node) in graph.nodes.iter().enumerate() {
        let label = quoted(&format!("{}<br/>{}", escape(&node.name), escape(&kind(session, node))));
        out.push_str(&format!("  n{at}[{label}]\n"));
    }
    let mut loud = Vec::new();
    let mut quiet = Vec::new();
    for (at, edge) in graph.edges.iter().enumerate() {
        let class = edge.cycle.map_or_else(String::new, |class| format!(" {}", class.name()));
        let label = quoted(&format!("{}×{class}", short_count(edge.count)));
        let arrow = if edge.cycle.is_some() { "-.->" } else { "-->" };
        out.push_str(&format!("  n{} {arrow}|{label}| n{}\n", edge.from, edge.to));
        match tone(edge) {
            Tone::Plain => {}
            Tone::Quiet => quiet.push(at.to_string()),
            Tone::Loud => loud.push(at.to_string()),
        }
    }
    for (edges, style) in [(quiet, "stroke:#b26a00"), (loud, "stroke:#c62828,stroke-width:3px")] {
        if !edges.is_empty() {
            out.push_str(&format!("  linkStyle {} {style}\n", edges.join(",")));
        }
    }
    let looping: Vec<_> = (graph.nodes.iter().enumerate())
        .filter(|(_, node)| node.component.is_some())
        .map(|(at, _)| format!("n{at}"))
        .collect();
    if !looping.is_empty() {
        out.push_str("  classDef looping stroke:#c62828,stroke-width:3px\n");
        out.push_str(&format!("  class {} looping\n", looping.join(",")));
    }
    out
}

/// Mermaid knows entities in its own way, with `#`.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | '\\' | '{' | '}' | '[' | ']' | '|' => {
                out.push_str(&format!("#{};", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text).replace('"', "'"))
}
