//! `lockprof check` and `lockprof graph`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration_ns;
use crate::analysis::Glob;

/// Heading of the options that decide what fails.
const WHAT_FAILS: &str = "What fails";
/// Heading of the options for `-- CMD`.
const PROGRAM: &str = "With -- CMD";

/// `lockprof check`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof check                               the newest recording in this folder\n  \
                        lockprof check a.lockprof b.lockprof         several recordings as one\n  \
                        lockprof check -- ./tests --all              record a program, then judge it\n  \
                        lockprof check -- go test -count=1 ./...     the tests of a Go module, judged together\n  \
                        lockprof check --baseline known.json --write-baseline -- ./tests\n  \
                        lockprof check --baseline known.json --format github -- ./tests\n  \
                        lockprof check --fail-on default,guarded --max-wait 'db.*=5ms' -- ./tests\n\n\
                        Exit codes: 0 nothing fails, 1 something fails (--error-exitcode), 2 lockprof could not do it,\n\
                        3 with --strict: the recording is incomplete. Every option has a variable (LOCKPROF_FAIL_ON …)\n\
                        and a key in lockprof.toml: see docs/cli.md.")]
pub struct CheckArgs {
    /// The recordings [default: the newest *.lockprof in this folder]
    #[arg(value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// The program to record and judge, with its arguments
    #[arg(last = true, value_name = "CMD", conflicts_with = "traces")]
    pub command: Vec<OsString>,
    /// How to write it: for people, for programs (json, sarif, junit), for GitHub's log, or as Markdown
    #[arg(long, value_enum, env = "LOCKPROF_FORMAT", hide_env = true)]
    pub format: Option<CheckFormat>,
    /// Write the report to FILE in place of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Classes and findings that fail, in place of the usual ones; `default` stands for those
    #[arg(
        long,
        value_name = "CLASS,…",
        value_delimiter = ',',
        env = "LOCKPROF_FAIL_ON",
        hide_env = true,
        help_heading = WHAT_FAILS
    )]
    pub fail_on: Option<Vec<String>>,
    /// Only what is not in FILE fails
    #[arg(long, value_name = "FILE", env = "LOCKPROF_BASELINE", hide_env = true, help_heading = WHAT_FAILS)]
    pub baseline: Option<PathBuf>,
    /// Write what fails now to the baseline's FILE: from now on it is known
    #[arg(long, help_heading = WHAT_FAILS)]
    pub write_baseline: bool,
    /// What is allowed, and why: allow tables in TOML or ThreadSanitizer's deadlock: lines; several times
    #[arg(
        long,
        value_name = "FILE",
        env = "LOCKPROF_SUPPRESS",
        value_delimiter = ',',
        hide_env = true,
        help_heading = WHAT_FAILS
    )]
    pub suppress: Option<Vec<PathBuf>>,
    /// No thread may wait longer than this, once, for a lock of this name; several times
    #[arg(
        long,
        value_name = "NAME=TIME",
        value_parser = budget,
        env = "LOCKPROF_MAX_WAIT",
        value_delimiter = ',',
        hide_env = true,
        help_heading = WHAT_FAILS
    )]
    pub max_wait: Option<Vec<(Glob, u64)>>,
    /// No thread may hold a lock of this name longer than this, once; several times
    #[arg(
        long,
        value_name = "NAME=TIME",
        value_parser = budget,
        env = "LOCKPROF_MAX_HOLD",
        value_delimiter = ',',
        hide_env = true,
        help_heading = WHAT_FAILS
    )]
    pub max_hold: Option<Vec<(Glob, u64)>>,
    /// An incomplete recording does not pass: exit code 3
    #[arg(long, env = "LOCKPROF_STRICT", hide_env = true, help_heading = WHAT_FAILS)]
    pub strict: bool,
    /// The exit code in place of 1
    #[arg(long, value_name = "N", env = "LOCKPROF_ERROR_EXITCODE", hide_env = true, help_heading = WHAT_FAILS)]
    pub error_exitcode: Option<u8>,
    /// Keep the recording in FILE
    #[arg(long, value_name = "FILE", requires = "command", help_heading = PROGRAM)]
    pub trace: Option<PathBuf>,
    /// End the program after so many seconds: that fails, too
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = program_timeout,
        env = "LOCKPROF_TIMEOUT",
        hide_env = true,
        help_heading = PROGRAM
    )]
    pub timeout: Option<Duration>,
    /// Record the program itself only, not the ones that it starts
    #[arg(long, requires = "command", help_heading = PROGRAM)]
    pub no_follow: bool,
    /// Never try a lock before waiting for it
    #[arg(long, requires = "command", help_heading = PROGRAM)]
    pub exact: bool,
}

/// How a verdict is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For code scanning and editors.
    Sarif,
    /// For viewers of test results.
    Junit,
    /// For GitHub's log.
    Github,
    /// For comments.
    Md,
}

/// `lockprof graph`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof graph -o order.svg                  the newest recording as a picture\n  \
                        lockprof graph server.4242.lockprof --cycles-only -o cycles.svg\n  \
                        lockprof graph --format dot | dot -Tpdf -o order.pdf\n  \
                        lockprof graph --by instance --format json | jq '.edges[0]'")]
pub struct GraphArgs {
    /// The recording [default: the newest *.lockprof in this folder]
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = GraphFormat::Svg)]
    pub format: GraphFormat,
    /// Write it to FILE, - for standard output [default: standard output; SVG on a terminal: TRACE with
    /// .graph.svg in place of .lockprof]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A box for each class of locks (first seen at the same place in the code), or for each lock
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = GraphBy::Class)]
    pub by: GraphBy,
    /// Only what is part of a cycle
    #[arg(long)]
    pub cycles_only: bool,
    /// Open it in the browser that `xdg-open` or $BROWSER names
    #[arg(long)]
    pub open: bool,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum GraphFormat {
    Svg,
    Dot,
    Mermaid,
    Json,
}

/// What a box of the graph stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum GraphBy {
    Class,
    Instance,
}

/// `NAME=5ms`: a pattern of names and a limit in ns.
pub fn budget(text: &str) -> Result<(Glob, u64), String> {
    // A lock may be called `a==b`; a time never has an equals sign.
    let (name, limit) = text.rsplit_once('=').ok_or("give a lock's name and a time, such as journal.mu=5ms")?;
    if name.is_empty() {
        return Err("give a lock's name before the equals sign; * stands for every lock".into());
    }
    Ok((Glob::new(name), duration_ns(limit)?))
}

/// A time in seconds (`90`, `1.5`), or with a unit (`500ms`, `2min`).
pub fn program_timeout(text: &str) -> Result<Duration, String> {
    let time = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => duration_ns(text).ok().map(Duration::from_nanos),
    };
    time.filter(|time| !time.is_zero()).ok_or_else(|| "give seconds, such as 60 or 1.5".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn check(words: &[&str]) -> Result<CheckArgs, clap::Error> {
        let cli = Cli::try_parse_from([&["lockprof", "check"], words].concat())?;
        let Command::Check(args) = cli.command else { panic!("check") };
        Ok(args)
    }

    #[test]
    fn traces_or_a_program() {
        let args = check(&["a", "b", "--format", "sarif"]).unwrap();
        assert_eq!((args.traces.len(), args.format), (2, Some(CheckFormat::Sarif)));
        let args = check(&["--strict", "--", "./a", "--strict", "--", "b"]).unwrap();
        assert_eq!(args.command, ["./a", "--strict", "--", "b"]);
        assert!(args.strict && args.traces.is_empty());
        assert!(check(&["a", "--", "./a"]).is_err());
        assert!(check(&["--trace", "x"]).is_err(), "--trace is about a program");
    }

    #[test]
    fn budgets() {
        let args = check(&["--max-wait", "a==b=5ms", "--max-wait", "*=1s", "--max-hold", "x=1us"]).unwrap();
        let limits: Vec<_> = args.max_wait.unwrap().iter().map(|(glob, ns)| (glob.as_str().to_owned(), *ns)).collect();
        assert_eq!(limits, [("a==b".to_owned(), 5_000_000), ("*".to_owned(), 1_000_000_000)]);
        for (text, want) in [("x", "such as journal.mu=5ms"), ("=5ms", "before the equals"), ("x=5", "such as 1ms")] {
            assert!(budget(text).unwrap_err().contains(want), "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, want) in [("60", 60_000), ("1.5", 1_500), ("500ms", 500), ("2min", 120_000)] {
            assert_eq!(program_timeout(text), Ok(Duration::from_millis(want)), "{text}");
        }
        for text in ["", "0", "-1", "soon"] {
            assert!(program_timeout(text).is_err(), "{text}");
        }
    }
}
