//! `lockprof report`, `flamegraph` and `html`: what is shown of a recording.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::FilterArgs;

/// `lockprof report`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof report                              the newest recording in this folder\n  \
                        lockprof report server.4242.lockprof --sort p99\n  \
                        lockprof report --lock 'cache*' --thread worker-1\n  \
                        lockprof report --lock C2                    each lock of a row that stands for several\n  \
                        lockprof report --by site --limit 30\n  \
                        lockprof report --format md > contention.md      to paste into an issue\n  \
                        lockprof report --format json | jq '.locks[0].holders[0]'")]
pub struct ReportArgs {
    /// The recording [default: the newest *.lockprof in this folder]
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,
    /// How to write it: for people, for programs, or as compact Markdown for an issue or a language model
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
    /// What comes first: the total wait, the longest wait, the waits' 99th percentile, the number of
    /// acquisitions, the total time held
    #[arg(long, value_enum, value_name = "KEY", default_value_t = Sort::Wait)]
    pub sort: Sort,
    /// One row per lock, per class of locks (first seen at the same place in the code), per call site or
    /// per thread [default: as text and Markdown per class, unless --lock names some; as JSON per lock]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub by: Option<By>,
    /// A row for every lock, even where there are many that nothing tells apart (same name, same places in the code, hardly
    /// waited for)
    #[arg(long)]
    pub every_lock: bool,
    /// JSON: each stack of a lock in full where it stands, or all once in a table, in which rows have their numbers
    /// [default: inline, with more than 10,000 rows table]
    #[arg(long, value_enum, value_name = "FORM")]
    pub stacks: Option<StackOption>,
    /// What to leave out.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Show N rows [default: 10 as text and Markdown, all as JSON]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// How JSON writes the stacks of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StackOption {
    /// Each where it stands.
    Inline,
    /// Each once.
    Table,
}

/// `lockprof flamegraph`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof flamegraph -o lock.svg\n  \
                        lockprof flamegraph server.4242.lockprof --by both > lock.svg\n  \
                        lockprof flamegraph --by holder --lock journal.mu -o blame.svg\n  \
                        lockprof flamegraph --metric hold -o held.svg\n  \
                        lockprof flamegraph new.lockprof --diff old.lockprof -o diff.svg\n\n\
                        --diff: a frame is as wide as in TRACE, and red where it grew, blue where it shrank.")]
pub struct FlamegraphArgs {
    /// The recording [default: the newest *.lockprof in this folder]
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,
    /// Write the picture to FILE; - is standard output [default: TRACE with .svg in place of .lockprof, or
    /// standard output where that is not a terminal]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Open it in the browser that `xdg-open` or $BROWSER names
    #[arg(long)]
    pub open: bool,
    /// How wide a frame is: the time waited, the time held, or how often
    #[arg(long, value_enum, default_value_t = Metric::Wait)]
    pub metric: Metric,
    /// Whose stacks: of those who waited, of those who held the lock meanwhile, or the waiter's, the lock
    /// and the holder's on top [default: waiter; with --metric hold or count, all who took the lock]
    #[arg(long, value_enum, value_name = "SIDE")]
    pub by: Option<Side>,
    /// Colour what grew since this older recording red, and what shrank blue
    #[arg(long, value_name = "OLD")]
    pub diff: Option<PathBuf>,
    /// Compare with OLD as it is, not scaled to the same duration
    #[arg(long, requires = "diff")]
    pub absolute: bool,
    /// What to leave out.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The picture's title
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
}

/// `lockprof html`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof html -o report.html --open\n  \
                        lockprof html server.4242.lockprof -o server.html\n  \
                        lockprof html -o - | gzip > report.html.gz\n\n\
                        The page needs no network and no other file. A link such as report.html#lock=L1 opens\n\
                        it with one lock's details.")]
pub struct HtmlArgs {
    /// The recording [default: the newest *.lockprof in this folder]
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,
    /// Write the page to FILE; - is standard output [default: TRACE with .html in place of .lockprof, or
    /// standard output where that is not a terminal]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Open it in the browser that `xdg-open` or $BROWSER names
    #[arg(long)]
    pub open: bool,
}

/// `lockprof explain`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof explain                  what there is\n  \
                        lockprof explain long-hold        one of the findings of `report`\n  \
                        lockprof explain needs-writer     one of the verdicts of `check`")]
pub struct ExplainArgs {
    /// A finding or a verdict, as reports name it [default: a list of all]
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For issues, pull requests and language models.
    Md,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Sort {
    Wait,
    Max,
    P99,
    Count,
    Hold,
}

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum By {
    Lock,
    Class,
    Site,
    Thread,
}

/// How wide a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Metric {
    Wait,
    Hold,
    Count,
}

/// Whose stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Side {
    Waiter,
    Holder,
    Both,
}
