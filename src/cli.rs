//! The command line: names, options and help. Types only; what they do is in `commands`.

mod compare;
mod doctor;
mod export;
mod filter;
mod gate;
mod generate;
mod look;
mod record;
mod recover;
mod symbolize;
mod top;
mod views;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use compare::{DiffArgs, DiffMetric, MergeArgs};
pub use doctor::DoctorArgs;
pub use export::{ExportArgs, ExportFormat, ExportTable, Whose};
pub use filter::{FilterArgs, duration_ns};
pub use gate::{CheckArgs, CheckFormat, GraphArgs, GraphBy, GraphFormat, budget, program_timeout};
pub use generate::{CompletionsArgs, ManArgs, completions, pages};
pub use look::{ListArgs, WhereArgs};
pub use record::{DemoArgs, RunArgs, ShimArgs};
pub use recover::RecoverArgs;
pub use symbolize::SymbolizeArgs;
pub use top::TopArgs;
pub use views::{By, ExplainArgs, FlamegraphArgs, HtmlArgs, Metric, ReportArgs, ReportFormat, Side, Sort, StackOption};

/// lockprof's command line.
#[derive(Debug, Parser)]
#[command(
    name = "lockprof",
    version,
    about = "Finds out which locks a program waits for, and who holds them meanwhile",
    long_about = "Finds out which locks a program waits for, and who holds them meanwhile.\n\n\
                  Records any dynamically linked program on Linux: no rebuild, no root.",
    after_help = "Examples:\n  \
                  lockprof demo                    see it work: a built-in contended program\n  \
                  lockprof run ./server -t 4       record a program\n  \
                  lockprof top -- ./server         watch it while it runs\n  \
                  lockprof where 4242              it hangs: who waits for what, who has that\n  \
                  lockprof doctor -- ./server      what can be recorded of a program, and what not\n  \
                  lockprof report                  the newest recording in this folder\n  \
                  lockprof flamegraph -o lock.svg  the same as a picture\n  \
                  lockprof check -- ./tests        fail where locks can deadlock",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What every command knows.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Heading of the options that every command has.
const GLOBAL: &str = "Options of every command";

/// Options of every command.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Global {
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GLOBAL)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub verbose: bool,
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t = ColorWhen::Auto,
        hide_possible_values = true,
        help_heading = GLOBAL
    )]
    pub color: ColorWhen,
}

/// When to write colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program under the recorder
    Run(RunArgs),
    /// Watch a program's locks while it runs
    Top(TopArgs),
    /// Tell what every thread of a process or of a core waits for, and who has that
    Where(WhereArgs),
    /// Say beforehand what can be recorded of a program, a process, or here, and what would be missing
    Doctor(DoctorArgs),
    /// List processes: what is recorded, what carries the recorder, what can only be looked at
    List(ListArgs),
    /// Show who waits for which lock, and who holds it meanwhile
    Report(ReportArgs),
    /// Draw a recording as a flame graph (SVG)
    Flamegraph(FlamegraphArgs),
    /// Judge the order in which locks were taken: the CI gate
    Check(CheckArgs),
    /// Draw the lock-order graph
    Graph(GraphArgs),
    /// Say what a finding or a verdict means, with a bad and a good program
    Explain(ExplainArgs),
    /// Say where the recorder is, to preload it asleep
    Shim(ShimArgs),
    /// Write what a recorder that was killed left behind
    Recover(RecoverArgs),
    /// Tell what got better and worse between two recordings
    Diff(DiffArgs),
    /// Make one recording of several
    Merge(MergeArgs),
    /// Give a recording names from debug files that were not there at its end
    Symbolize(SymbolizeArgs),
    /// Write a recording in another tool's format: pprof, speedscope, Perfetto, Prometheus, tables
    Export(ExportArgs),
    /// Write everything as one page for a browser, offline
    Html(HtmlArgs),
    /// Record a built-in contended program: the first thing to try
    Demo(DemoArgs),
    /// Write the completions of commands and options for a shell
    Completions(CompletionsArgs),
    /// Write the pages for `man`
    Man(ManArgs),
}

/// How a comparison is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::model::Kind;

    #[test]
    fn the_types_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_program_keeps_its_own_options() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["lockprof", "run"], words].concat());
        for words in [&["./a", "-q", "--exact"][..], &["--", "./a", "-q", "--exact"]] {
            let cli = parse(words).unwrap();
            let Command::Run(run) = cli.command else { panic!("run") };
            assert_eq!(run.command, ["./a", "-q", "--exact"]);
            assert!(!cli.global.quiet && !run.exact);
        }
        let cli = parse(&["-q", "--exact", "-o", "x", "./a", "--", "b"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("run") };
        assert_eq!(run.command, ["./a", "--", "b"]);
        assert!(cli.global.quiet && run.exact);
        assert_eq!(parse(&["--exactt", "./a"]).unwrap_err().exit_code(), 2);
        assert_eq!(parse(&[]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn kinds_are_those_of_the_contract() {
        let parse = |kind: &str| Cli::try_parse_from(["lockprof", "report", "--kind", kind]);
        let Command::Report(report) = parse("mutex,rwlock").unwrap().command else { panic!("report") };
        assert_eq!(report.filter.kind, [Kind::Mutex, Kind::Rwlock]);
        assert!(parse("mutexx").unwrap_err().to_string().contains("semaphore"));
    }
}
