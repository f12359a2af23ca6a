//! `lockprof export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::FilterArgs;

/// `lockprof export`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof export --to pprof -o lock.pb.gz && go tool pprof -http : lock.pb.gz\n  \
                        lockprof export --to speedscope -o lock.speedscope.json   open it at speedscope.app\n  \
                        lockprof export --to chrome -o lock.trace.json            open it at ui.perfetto.dev\n  \
                        lockprof export --to firefox -o lock.profile.json         open it at profiler.firefox.com\n  \
                        lockprof export --to otlp -o lock.otlp.pb\n  \
                        lockprof export --to folded --by holder > holders.folded\n  \
                        lockprof export --to csv --table sites > sites.csv\n  \
                        lockprof export --to prometheus -o /var/lib/node_exporter/lockprof.prom\n  \
                        lockprof export --to parquet --host web-1 --release 4.2 -o run-17/\n\n\
                        Waits sum to what `lockprof report` says, to the nanosecond. docs/exports.md has each format.")]
pub struct ExportArgs {
    /// The format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: ExportFormat,
    /// The recording [default: the newest *.lockprof in this folder]
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,
    /// Write to FILE (parquet: the folder for its files) [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// pprof, otlp, speedscope, folded: the stacks of those who waited, or of those who held the lock meanwhile
    #[arg(long, value_enum, value_name = "SIDE", default_value_t = Whose::Waiter)]
    pub by: Whose,
    /// csv: which table
    #[arg(long, value_enum, value_name = "TABLE", default_value_t = ExportTable::Locks)]
    pub table: ExportTable,
    /// parquet: the machine's name, in the table `meta`
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// parquet: the program's release, in the table `meta`
    #[arg(long, value_name = "NAME")]
    pub release: Option<String>,
    /// What to leave out.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What other tools read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// For `go tool pprof`, Pyroscope, Parca.
    Pprof,
    /// For speedscope.app.
    Speedscope,
    /// For Perfetto and chrome://tracing: single waits and holds over time.
    Chrome,
    /// For profiler.firefox.com: time waited by stack, waits and holds over time.
    Firefox,
    /// OpenTelemetry's profiles, as protobuf.
    Otlp,
    /// Lines of stacks for any flame graph tool.
    Folded,
    /// A table for spreadsheets.
    Csv,
    /// Prometheus' text format.
    Prometheus,
    /// Tables for DuckDB, ClickHouse, Spark.
    Parquet,
}

/// Whose stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Whose {
    Waiter,
    Holder,
}

/// The tables of CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportTable {
    /// A row for each lock.
    Locks,
    /// A row for each call path to each lock.
    Sites,
    /// Who waited for whom.
    Waits,
    /// The lock-order graph.
    Edges,
}
