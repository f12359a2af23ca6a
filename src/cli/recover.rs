//! The options of `lockprof recover`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// `lockprof recover`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof recover                    all that is there, each as EXE.PID.lockprof in this folder\n  \
                        lockprof recover --list             say what there is\n  \
                        lockprof recover /dev/shm/lockprof-4242-x7Kq2a -o server.lockprof\n  \
                        lockprof recover --discard DIR      throw one away (--all: everything)\n\n\
                        A recorder that is killed (kill -9, out of memory), or that finds no room for its file, leaves the\n\
                        shared memory. It is gone after a restart of the machine.")]
pub struct RecoverArgs {
    /// A recording's folder, or the one where such are made [default: all such places of this user]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Write the recording to FILE; %e stands for the executable's name, %p for its pid, %t for the time
    /// [default: %e.%p.lockprof]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<OsString>,
    /// Say what there is: folder and command
    #[arg(long)]
    pub list: bool,
    /// Throw it away: what is in DIR, or everything with --all
    #[arg(long, conflicts_with_all = ["list", "output"])]
    pub discard: bool,
    /// With --discard: all recordings of this user
    #[arg(long, requires = "discard", conflicts_with = "folder")]
    pub all: bool,
}
