//! The command line: names, options and help. Types only; what they do is in `commands`.

mod compare;
mod export;
mod gate;
mod recover;
mod top;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::analysis::Glob;
use crate::model::Kind;

pub use compare::{DiffArgs, DiffMetric, MergeArgs};
pub use export::{ExportArgs, ExportFormat, ExportTable, Whose};
pub use gate::{CheckArgs, CheckFormat, GraphArgs, GraphBy, GraphFormat, budget, program_timeout};
pub use recover::RecoverArgs;
pub use top::TopArgs;

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
/// Heading of the options that leave something out.
const FILTER: &str = "What to leave out";

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
    /// Show who waits for which lock, and who holds it meanwhile
    Report(ReportArgs),
    /// Draw a recording as a flame graph (SVG)
    Flamegraph(FlamegraphArgs),
    /// Judge the order in which locks were taken: the CI gate
    Check(CheckArgs),
    /// Draw the lock-order graph
    Graph(GraphArgs),
    /// Say where the recorder is, to preload it asleep
    Shim(ShimArgs),
    /// Write what a recorder that was killed left behind
    Recover(RecoverArgs),
    /// Tell what got better and worse between two recordings
    Diff(DiffArgs),
    /// Make one recording of several
    Merge(MergeArgs),
    /// Write a recording in another tool's format: pprof, speedscope, Perfetto, Prometheus, tables
    Export(ExportArgs),
    /// Write everything as one page for a browser, offline
    Html(HtmlArgs),
    /// Record a built-in contended program: the first thing to try
    Demo(DemoArgs),
}

/// `lockprof run`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof run ./server -t 4\n  \
                        lockprof run -o %e-%t.lockprof -- make -j2 test\n  \
                        lockprof run --exact python3 app.py\n  \
                        lockprof run --timeout 60 ./test_server     end it if it hangs, and say where\n  \
                        lockprof run -p 4242 --duration 10          a program started with the recorder asleep\n\n\
                        The exit code is the program's own; 128+N when signal N ended it.")]
pub struct RunArgs {
    /// Write the recording to FILE; %e stands for the executable's name, %p for its pid, %t for the time
    /// [default: %e.%p.lockprof]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<OsString>,
    /// Record this process only, not the ones that it starts
    #[arg(long)]
    pub no_follow: bool,
    /// Never try a lock before waiting for it: slower, but the order in which threads get it is untouched
    #[arg(long)]
    pub exact: bool,
    /// Count CPU cycles too, by events of the kernel (perf): they slow each context switch of the program
    #[arg(long)]
    pub counters: bool,
    /// End the program, with all that it started, after so many seconds, and say who waited for what then
    #[arg(long, value_name = "SECONDS", value_parser = program_timeout)]
    pub timeout: Option<Duration>,
    /// Wake the recorder in a running program that was started with LD_PRELOAD=$(lockprof shim --path), and put it to
    /// sleep again at the end
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["no_follow", "exact", "counters", "timeout", "command"])]
    pub pid: Option<u32>,
    /// With -p: record for so many seconds [default: until Ctrl-C, or the program's end]
    #[arg(long, value_name = "SECONDS", value_parser = program_timeout)]
    pub duration: Option<Duration>,
    /// The program and its arguments
    #[arg(required_unless_present = "pid", trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `lockprof report`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof report                              the newest recording in this folder\n  \
                        lockprof report server.4242.lockprof --sort p99\n  \
                        lockprof report --lock 'cache*' --thread worker-1\n  \
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
    /// per thread
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = By::Lock)]
    pub by: By,
    /// A row for every lock, even where there are many that nothing tells apart (same name, same places in the code, never
    /// waited for)
    #[arg(long)]
    pub every_lock: bool,
    /// What to leave out.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Show N rows [default: 10 as text and Markdown, all as JSON]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
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
    /// Write the picture to FILE [default: TRACE with .svg in place of .lockprof, or standard output
    /// where that is not a terminal]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
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

/// `lockprof shim`.
#[derive(Args, Debug)]
#[command(after_help = "A program that carries the recorder asleep runs as ever and can be looked at at any time.\n\n\
                        Examples:\n  \
                        LD_PRELOAD=$(lockprof shim --path) ./server &\n  \
                        lockprof run -p $! --duration 10\n  \
                        echo \"Environment=LD_PRELOAD=$(lockprof shim --path)\"      in a systemd unit's [Service]")]
pub struct ShimArgs {
    /// Write the library's path
    #[arg(long, required = true)]
    pub path: bool,
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

/// `lockprof demo`.
#[derive(Args, Debug)]
#[command(after_help = "Writes demo.lockprof and demo.svg to this folder.\n\n\
                        Example:\n  lockprof demo && lockprof report demo.lockprof")]
pub struct DemoArgs {}

/// What to leave out of a view.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = FILTER)]
pub struct FilterArgs {
    /// Only locks with this name or id (`L3`); * stands for anything, ? for one character
    #[arg(long, value_name = "GLOB", value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Glob::new(text)))]
    pub lock: Option<Glob>,
    /// Only locks of this kind; several with commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds())]
    pub kind: Vec<Kind>,
    /// Only what threads with this name (or thread id) did; * and ? as above
    #[arg(long, value_name = "NAME", value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Glob::new(text)))]
    pub thread: Option<Glob>,
    /// Only locks of the process with this id
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Only locks that were waited for at least this long in total, such as 1ms
    #[arg(long, value_name = "TIME", value_parser = duration_ns)]
    pub min_wait: Option<u64>,
}

/// How a comparison is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
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

fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).map(|word| {
        // The parser lets known words pass only.
        Kind::ALL.into_iter().find(|kind| kind.name() == word).unwrap_or(Kind::Mutex)
    })
}

/// A duration such as `1ms`, `1.5s` or `250us`, in ns.
pub fn duration_ns(text: &str) -> Result<u64, String> {
    let explain = || "give a number with ns, us, ms or s, such as 1ms or 1.5s".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "" if number == "0" => 1.0,
        _ => return Err(explain()),
    };
    let number: f64 = number.parse().map_err(|_| explain())?;
    Ok((number * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_types_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        for (text, want) in [("1ms", 1_000_000), ("1.5s", 1_500_000_000), ("250us", 250_000), ("0", 0), ("7 ns", 7)] {
            assert_eq!(duration_ns(text), Ok(want));
        }
        for text in ["", "1", "ms", "1h2", "1.2.3s", "-1ms"] {
            assert!(duration_ns(text).unwrap_err().contains("such as 1ms"), "{text}");
        }
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
