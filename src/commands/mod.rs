//! The glue: reads what was asked for, calls the rooms, writes what they return. Nothing else does I/O on
//! standard output and error, and nothing else turns errors into words.

mod check;
mod demo;
mod diff;
mod doctor;
mod explain;
mod export;
mod flamegraph;
mod generate;
mod graph;
mod hangs;
mod html;
mod look;
mod merge;
mod missing_names;
mod names;
mod output;
mod past;
mod picture;
mod recover;
mod report;
mod run;
mod settings;
mod shim;
mod sources;
mod symbolize;
mod top;
mod trace;

use crate::analysis::Filter;
use crate::cli::{Cli, Command, FilterArgs};
use crate::exit_code::ExitCode;
use crate::record;

pub use output::{Console, Target};

/// Runs one of the built-in workloads, if this process was started to be one.
pub fn workload() -> bool {
    let asked = |variable| std::env::var_os(variable).is_some();
    if asked(record::demo::VARIABLE) {
        record::demo::workload();
    } else if asked(record::cost::VARIABLE) {
        record::cost::workload();
    } else {
        return false;
    }
    true
}

/// Does what the command line says.
pub fn execute(cli: Cli) -> ExitCode {
    let console = Console::new(cli.global);
    match dispatch(&console, cli.command) {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::Success,
        Err(error) => {
            console.error(&sentence(&error));
            ExitCode::Failure
        }
    }
}

/// An error with its causes. A cause that the error before it names already is not repeated.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn dispatch(console: &Console, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Where(args) => look::locate(console, &args),
        Command::Doctor(args) => doctor::doctor(console, &args),
        Command::List(args) => look::list(console, &args),
        Command::Report(args) => report::report(console, &args),
        Command::Flamegraph(args) => flamegraph::flamegraph(console, &args),
        Command::Check(args) => check::check(console, &args),
        Command::Graph(args) => graph::graph(console, &args),
        Command::Explain(args) => explain::explain(console, &args),
        Command::Export(args) => export::export(console, &args),
        Command::Html(args) => html::html(console, &args),
        Command::Run(args) => run::run(console, &args),
        Command::Shim(_) => shim::shim(),
        Command::Recover(args) => recover::recover(console, &args),
        Command::Diff(args) => diff::diff(console, &args),
        Command::Merge(args) => merge::merge(console, &args),
        Command::Symbolize(args) => symbolize::symbolize(console, &args),
        Command::Top(args) => top::top(console, &args),
        Command::Completions(args) => generate::completions(console, &args),
        Command::Man(args) => generate::man(console, &args),
        Command::Demo(args) => demo::demo(console, &args),
    }
}

impl From<&FilterArgs> for Filter {
    fn from(args: &FilterArgs) -> Self {
        Self {
            lock: args.lock.clone(),
            kinds: args.kind.clone(),
            thread: args.thread.clone(),
            pid: args.pid,
            min_wait_ns: args.min_wait.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    #[test]
    fn a_cause_is_said_once() {
        let cause = io::Error::other("disk on fire");
        let error = anyhow::Error::new(cause).context("cannot write x: disk on fire; try y").context("demo");
        assert_eq!(super::sentence(&error), "demo: cannot write x: disk on fire; try y");
    }
}
