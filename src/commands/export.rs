//! `lockprof export`: a recording in another tool's format.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, bail};

use super::output::{Console, Target};
use super::trace;
use crate::analysis::Filter;
use crate::analysis::blame::Whose;
use crate::analysis::contention::{Contention, Query};
use crate::analysis::order::{By, Graph, graph, orders};
use crate::cli::{self, ExportArgs, ExportFormat, ExportTable};
use crate::exit_code::ExitCode;
use crate::model::Session;
use crate::render::explain;
use crate::render::export::tables::{self, Labels, TableInput};
use crate::render::export::{chrome, firefox, otlp, pprof, prometheus, speedscope};
use crate::render::flamegraph;

pub(super) fn export(console: &Console, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let target = match &args.output {
        Some(path) if path.as_os_str() != "-" => Target::File(path.clone()),
        _ => Target::Stdout,
    };
    if args.to == ExportFormat::Parquet && target == Target::Stdout {
        bail!("parquet is several files: name a folder for them with -o FOLDER");
    }
    let binary = match args.to {
        ExportFormat::Pprof => Some("pprof"),
        ExportFormat::Otlp => Some("otlp"),
        _ => None,
    };
    if let Some(format) = binary
        && target == Target::Stdout
        && std::io::stdout().is_terminal()
    {
        bail!("{format} is a binary format that would garble the terminal: name a file with -o FILE");
    }
    let session = trace::load(console, args.trace.as_deref())?.session;
    let query = Query { filter: Filter::from(&args.filter), ..Query::default() };
    let contention = Contention::of(&session, &query);
    for note in &contention.notes {
        console.say(&explain::notes::contention(*note));
    }
    let whose = Whose::from(args.by);
    let bytes = match args.to {
        ExportFormat::Pprof => pprof::pprof(&session, &contention, whose),
        ExportFormat::Speedscope => speedscope::speedscope(&session, &contention, whose).into_bytes(),
        ExportFormat::Chrome => chrome::chrome(&session, &contention).into_bytes(),
        ExportFormat::Firefox => firefox::firefox(&session, &contention).into_bytes(),
        ExportFormat::Otlp => otlp::otlp(&session, &contention, whose),
        ExportFormat::Folded => folded(&session, &contention, whose).into_bytes(),
        ExportFormat::Prometheus => prometheus::prometheus(&session, &contention).into_bytes(),
        ExportFormat::Csv => {
            let graph = if args.table == ExportTable::Edges { graph_of(&session) } else { Graph::default() };
            let input =
                TableInput { session: &session, contention: &contention, graph: &graph, labels: Labels::default() };
            let table = match args.table {
                ExportTable::Locks => tables::locks(&input),
                ExportTable::Sites => tables::sites(&input),
                ExportTable::Waits => tables::waits(&input),
                ExportTable::Edges => tables::edges(&input),
            };
            tables::csv(&table).into_bytes()
        }
        ExportFormat::Parquet => {
            let labels = Labels { host: args.host.clone(), release: args.release.clone() };
            let graph = graph_of(&session);
            let input = TableInput { session: &session, contention: &contention, graph: &graph, labels };
            if let Target::File(folder) = &target {
                write_tables(&input, folder)?;
                console.say(&format!("wrote the tables to {}", folder.display()));
            }
            return Ok(ExitCode::Success);
        }
    };
    target.write(&bytes)?;
    if let Target::File(path) = &target {
        console.say(&format!("wrote {}{}", path.display(), hint(args.to)));
    }
    Ok(ExitCode::Success)
}

/// What opens it.
fn hint(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Pprof => ": `go tool pprof -http : FILE` shows it",
        ExportFormat::Speedscope => ": open it at https://www.speedscope.app",
        ExportFormat::Chrome => ": open it at https://ui.perfetto.dev",
        ExportFormat::Firefox => ": open it at https://profiler.firefox.com",
        _ => "",
    }
}

fn folded(session: &Session, contention: &Contention, whose: Whose) -> String {
    let side = match whose {
        Whose::Waiter => flamegraph::Side::Waiter,
        Whose::Holder => flamegraph::Side::Holder,
    };
    let options = flamegraph::Options { side: Some(side), ..flamegraph::Options::default() };
    flamegraph::folded(session, contention, &options)
}

fn graph_of(session: &Session) -> Graph {
    graph(session, &orders(session).cycles, By::Instance, false)
}

fn write_tables(input: &TableInput<'_>, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}; name a writable place by -o FOLDER", folder.display()))?;
    for table in tables::all(input) {
        let bytes = tables::parquet(&table).with_context(|| format!("cannot write the table {}", table.name))?;
        Target::File(folder.join(table.name).with_extension("parquet")).write(&bytes)?;
    }
    Ok(())
}

impl From<cli::Whose> for Whose {
    fn from(whose: cli::Whose) -> Self {
        match whose {
            cli::Whose::Waiter => Self::Waiter,
            cli::Whose::Holder => Self::Holder,
        }
    }
}
