//! parse → command → exit code.

use std::process::ExitCode;

use clap::Parser;
use lockprof::{cli::Cli, commands};

fn main() -> ExitCode {
    if commands::workload() {
        return ExitCode::SUCCESS;
    }
    commands::execute(Cli::parse()).into()
}
