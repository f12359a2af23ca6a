//! `lockprof symbolize`: names added afterwards.

use std::path::PathBuf;

use clap::Args;

/// `lockprof symbolize`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof symbolize server.4242.lockprof                  debug packages were installed meanwhile\n  \
                        lockprof symbolize server.4242.lockprof --debug-dir ./build\n  \
                        lockprof symbolize server.4242.lockprof --debuginfod -o named.lockprof\n\n\
                        A file is used only where its build-id is that of the recording. What has a name keeps it.")]
pub struct SymbolizeArgs {
    /// The recording [default: the newest *.lockprof in this folder]
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,
    /// Write the recording with its names to FILE; - is standard output [default: TRACE itself]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A folder with debug files, or with programs that are not stripped, however it is arranged; several times
    #[arg(long, value_name = "DIR")]
    pub debug_dir: Vec<PathBuf>,
    /// Fetch what is missing from the servers that $DEBUGINFOD_URLS names (needs debuginfod-find)
    #[arg(long)]
    pub debuginfod: bool,
}
