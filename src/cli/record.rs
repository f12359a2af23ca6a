//! `lockprof run`, `shim` and `demo`: what is recorded.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::program_timeout;

/// `lockprof run`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof run ./server -t 4                  C, C++ or Go, as it was built\n  \
                        lockprof run -o %e-%t.lockprof -- make -j2 test\n  \
                        lockprof run --exact python3 app.py\n  \
                        lockprof run --timeout 60 ./test_server     end it if it hangs, and say where\n  \
                        lockprof run -p 4242 --duration 10          ten seconds of a program that runs already\n\n\
                        The exit code is the program's own; 128+N when signal N ended it.")]
pub struct RunArgs {
    /// Write the recording to FILE; %e stands for the executable's name, %p for its pid, %t for the time; - is standard
    /// output, and the program's own then goes to standard error [default: %e.%p.lockprof]
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
    /// Record a program that runs already, until the recording ends: the recorder is brought in, or woken where it is asleep
    #[arg(short, long, value_name = "PID", conflicts_with_all = ["no_follow", "exact", "counters", "timeout", "command"])]
    pub pid: Option<u32>,
    /// With -p: record for so many seconds [default: until Ctrl-C, or the program's end]
    #[arg(long, value_name = "SECONDS", value_parser = program_timeout)]
    pub duration: Option<Duration>,
    /// The program and its arguments
    #[arg(required_unless_present = "pid", trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
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

/// `lockprof demo`.
#[derive(Args, Debug)]
#[command(after_help = "Writes demo.lockprof and demo.svg to this folder.\n\n\
                        Example:\n  lockprof demo && lockprof report demo.lockprof")]
pub struct DemoArgs {
    /// Open it in the browser that `xdg-open` or $BROWSER names
    #[arg(long)]
    pub open: bool,
}
