//! What can go wrong with a whole file. Damage further inside is no error: see `v1::damage`.

use std::io;
use std::path::PathBuf;

use super::FORMAT_MAJOR;

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}; check the name and that you may read it", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed before anything useful was read.
    #[error("cannot read the trace: {0}; name a file that lockprof wrote")]
    Io(#[source] io::Error),
    /// No byte in it.
    #[error("this file is empty: record again with `lockprof run -o FILE -- CMD`")]
    Empty,
    /// Something else.
    #[error(
        "this is not a lockprof trace: name a file that `lockprof run` wrote, a pprof profile of locks or folded stacks"
    )]
    NotATrace,
    /// The magic shows that line ends or bytes above 127 were converted.
    #[error("this trace was changed by a transfer in text mode: copy it again as binary")]
    TextMode,
    /// A major version of the future.
    #[error(
        "this trace was written by a newer lockprof (format {major}.{minor}); this one reads {FORMAT_MAJOR}.x: \
         update lockprof"
    )]
    Newer {
        /// The file's major version.
        major: u16,
        /// The file's minor version.
        minor: u16,
    },
    /// Compression or references make it ask for more memory than a recording of its size needs.
    #[error(
        "this trace asks for more memory than {megabytes} MB, the most that a recording of its size needs: it is damaged \
         or made to do harm; record again with `lockprof run -o FILE -- CMD`"
    )]
    TooLarge {
        /// What was allowed, MiB.
        megabytes: u64,
    },
    /// It ends before the first chunk is complete.
    #[error("this trace is cut inside its header, so nothing of it can be read: copy it again, or record again")]
    CutInHeader,
    /// Header or first chunk do not match their checksum or make no sense.
    #[error("the header of this trace is damaged, so nothing of it can be read: copy it again, or record again")]
    DamagedHeader,
}

/// Why a trace could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output refused.
    #[error("cannot write the trace: {0}")]
    Io(#[from] io::Error),
    /// The file could not be put in its place. Nothing half-written is left under its name.
    #[error("cannot write {}: {source}; {advice}", path.display())]
    Place {
        /// Where it should have gone.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
}
