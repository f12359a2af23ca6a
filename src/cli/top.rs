//! The options of `lockprof top`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::Format;

/// Heading of the options for use without a terminal.
const LINES: &str = "Without a screen";

/// `lockprof top`.
#[derive(Args, Debug)]
#[command(
    override_usage = "lockprof top [OPTIONS] [--] <CMD>...\n       lockprof top [OPTIONS] -p <PID>",
    after_help = "Examples:\n  \
                  lockprof top -- ./server -t 4                  watch a program's locks from its start\n  \
                  lockprof top -p 4242                           any program that runs, or one that `run` records\n  \
                  lockprof top --interval 5 -p 4242 >> locks.txt  a table every 5 seconds\n  \
                  lockprof top --format json --count 1 -p 4242 | jq '.locks[0]'\n\n\
                  On the screen ? tells the keys. `top -- CMD` writes a recording at the end, as `run` does; what the\n\
                  program prints goes to a log file. The exit code is the program's own, or 0 where it did not end by\n\
                  itself."
)]
pub struct TopArgs {
    /// Watch a program that runs already: look on where it is being recorded, else record it
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["command", "log", "no_follow", "exact"])]
    pub pid: Option<u32>,
    /// Write the recording to FILE; %e stands for the executable's name, %p for its pid, %t for the time
    /// [default: %e.%p.lockprof]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<OsString>,
    /// Write what the program prints to FILE, with % as above [default: %e.%p.log]
    #[arg(long, value_name = "FILE")]
    pub log: Option<OsString>,
    /// Record this process only, not the ones that it starts
    #[arg(long)]
    pub no_follow: bool,
    /// Never try a lock before waiting for it
    #[arg(long)]
    pub exact: bool,
    /// Draw with ASCII characters only
    #[arg(long)]
    pub ascii: bool,
    /// Print a table every so many seconds [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = super::program_timeout, help_heading = LINES)]
    pub interval: Option<Duration>,
    /// Print so many, then end (and end CMD)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = LINES)]
    pub count: Option<u32>,
    /// As tables, or as JSON: one object on a line for each
    #[arg(long, value_enum, help_heading = LINES)]
    pub format: Option<Format>,
    /// Show N locks [default: 10 as text, all as JSON]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = LINES)]
    pub limit: Option<u32>,
    /// The program and its arguments
    #[arg(required_unless_present = "pid", trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}
