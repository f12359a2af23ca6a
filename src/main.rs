//! parse → command → exit code.

use std::process::ExitCode;

use clap::Parser;
use lockprof::{cli::Cli, commands};

fn main() -> ExitCode {
    commands::execute(Cli::parse()).into()
}
