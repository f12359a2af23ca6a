//! `lockprof where` and `lockprof list`: looks at processes that are not recorded.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Format;

/// `lockprof list`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof list                       your processes (for root, all), and what can be done\n  \
                        lockprof list --format json | jq '.processes[] | select(.state == \"recorded\")'\n\n\
                        `run -p` and `top -p` record a process, as far as the recorder can be brought in; `where` looks at any.")]
pub struct ListArgs {
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to FILE; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `lockprof where`.
#[derive(Args, Debug)]
#[command(
    override_usage = "lockprof where [OPTIONS] <PID|CORE>",
    after_help = "Examples:\n  \
                  lockprof where 4242                         every thread, what it waits for, who has that\n  \
                  lockprof where $(pidof server) -v           whole stacks, those of libraries too\n  \
                  lockprof where core.4242                    the same of a core file: last night's deadlock\n  \
                  lockprof where core --exe ./server --root ./image\n  \
                  lockprof where 4242 --format json | jq '.cycles'\n\n\
                  Nothing is put into the process. Its threads are looked at twice within a moment; those\n\
                  that sleep in the kernel are not stopped, as a rule.\n\n\
                  Exit codes: 0 no deadlock stands, 1 a deadlock stands, 2 it could not be looked at."
)]
pub struct WhereArgs {
    /// The number of a process, or a core file
    #[arg(value_name = "PID|CORE")]
    pub target: OsString,
    /// The program of the core, where it is elsewhere than the core says
    #[arg(long, value_name = "FILE")]
    pub exe: Option<PathBuf>,
    /// The folder in which the core's files are: the root of a container's image
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to FILE; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
