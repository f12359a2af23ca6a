//! `lockprof doctor`: what can be recorded.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Format;

/// `lockprof doctor`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof doctor                       what this machine and your rights allow\n  \
                        lockprof doctor -- ./server -t 4      what `run ./server` will see, and what not\n  \
                        lockprof doctor -p 4242               whether `run -p 4242` can attach, and why not\n  \
                        lockprof doctor --format json -- ./server | jq -r '.checks[] | select(.outcome != \"ok\")'\n\n\
                        Nothing of the program is run. Of a process, a thread is stopped for a moment.\n\n\
                        Exit codes: 0 nothing is known to stand against a whole recording, 1 locks will be\n\
                        missing, or nothing can be recorded, 2 there is no such program or process.")]
pub struct DoctorArgs {
    /// Look at a program that runs already
    #[arg(short, long, value_name = "PID", conflicts_with = "command")]
    pub pid: Option<u32>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to FILE; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The program and its arguments [default: look at this machine only]
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}
