//! `lockprof graph`: the lock-order graph as a picture or for other programs.

use anyhow::bail;

use super::output::{Console, Target};
use super::picture;
use super::trace;
use crate::analysis::order::{self, By};
use crate::cli::{GraphArgs, GraphBy, GraphFormat};
use crate::exit_code::ExitCode;
use crate::render::explain;
use crate::render::graph::{Fitted, MOST_EDGES, MOST_NODES, Options, dot, mermaid, svg};
use crate::render::json;

pub(super) fn graph(console: &Console, args: &GraphArgs) -> anyhow::Result<ExitCode> {
    let trace = trace::load(console, args.trace.as_deref())?;
    let session = &trace.session;
    let orders = order::orders(session);
    let graph = order::graph(session, &orders.cycles, args.by.into(), args.cycles_only);
    for note in &orders.notes {
        console.say(&explain::verdict::note(*note));
    }
    let by_class = args.by == GraphBy::Class;
    let title = format!("Lock order of {}", session.meta.command.join(" "));
    let options = Options { title, by_class, cycles_only: args.cycles_only };
    // Graphviz and jq do not mind a large graph; people do.
    let fitted = match args.format {
        GraphFormat::Svg | GraphFormat::Mermaid => Fitted::of(&graph, MOST_NODES, MOST_EDGES),
        GraphFormat::Dot | GraphFormat::Json => Fitted::of(&graph, usize::MAX, usize::MAX),
    };
    if let Some(notice) = fitted.notice() {
        console.say(&notice);
    }
    let text = match args.format {
        GraphFormat::Svg => svg(session, &fitted, &options),
        GraphFormat::Dot => dot(session, &fitted, &options),
        GraphFormat::Mermaid => mermaid(session, &fitted, &options),
        GraphFormat::Json => json::graph(session, &graph, by_class),
    };
    // A flame graph of the same recording has the plain ending.
    let own = trace.path.with_extension("graph.svg");
    if args.format == GraphFormat::Svg {
        let target = picture::target(args.output.as_deref(), args.open, own)?;
        target.write(text.as_bytes())?;
        picture::present(console, &target, args.open)?;
        return Ok(ExitCode::Success);
    }
    if args.open {
        bail!("--open goes with the picture: leave out --format, or say --format svg");
    }
    let (target, _) = console.target(args.output.as_deref());
    target.write(text.as_bytes())?;
    if let Target::File(path) = &target {
        console.say(&format!("wrote {}", path.display()));
    }
    Ok(ExitCode::Success)
}

impl From<GraphBy> for By {
    fn from(by: GraphBy) -> Self {
        match by {
            GraphBy::Class => Self::Class,
            GraphBy::Instance => Self::Instance,
        }
    }
}
