//! `graph --format dot`: for Graphviz.

use super::{Fitted, Options, Tone, facts, kind, story, tone};
use crate::model::Session;
use crate::render::style::printable;
use crate::render::units::short_count;

/// The graph, ending in a line break.
pub fn dot(session: &Session, fitted: &Fitted, options: &Options) -> String {
    let graph = &fitted.graph;
    let mut out = String::from("digraph lock_order {\n");
    let title = quoted(&format!("{}\n{}", options.title, facts(fitted, options)));
    out.push_str(&format!("  label={title};\n  labelloc=t;\n  rankdir=TB;\n"));
    out.push_str("  node [shape=box, fontname=\"monospace\", style=\"rounded\"];\n  edge [fontname=\"monospace\"];\n");
    let mut level = None;
    for (at, node) in graph.nodes.iter().enumerate() {
        if level != Some(node.level) {
            out.push_str(if level.is_some() { "  }\n" } else { "" });
            out.push_str(&format!("  subgraph level_{} {{\n    rank=same;\n", node.level));
            level = Some(node.level);
        }
        let label = quoted(&format!("{}\n{}", node.name, kind(session, node)));
        let border = if node.component.is_some() { ", penwidth=2, color=\"#c62828\"" } else { "" };
        out.push_str(&format!("    n{at} [label={label}{border}];\n"));
    }
    out.push_str(if level.is_some() { "  }\n" } else { "" });
    for edge in &graph.edges {
        let class = edge.cycle.map_or_else(String::new, |class| format!("\n{}", class.name()));
        let label = quoted(&format!("{}×{class}", short_count(edge.count)));
        let tooltip = quoted(&story(session, graph, edge));
        let style = match tone(edge) {
            Tone::Plain => "",
            Tone::Quiet => ", style=dashed, color=\"#b26a00\"",
            Tone::Loud => ", style=dashed, penwidth=2.5, color=\"#c62828\", fontcolor=\"#c62828\"",
        };
        out.push_str(&format!("  n{} -> n{} [label={label}, tooltip={tooltip}{style}];\n", edge.from, edge.to));
    }
    out + "}\n"
}

fn quoted(text: &str) -> String {
    let lines: Vec<String> =
        text.lines().map(|line| printable(line).replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", lines.join("\\n"))
}
