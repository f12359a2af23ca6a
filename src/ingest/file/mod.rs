//! The trace file: a [`Session`] on disk, and back.
//!
//! `docs/trace-format.md` is the specification. The layers: `container` (magic, versions, chunks
//! with checksums; knows nothing of locks), one room per major version (`v1`: the rows and how they
//! become the model), `place` (putting the file where it belongs in one step).
//!
//! A file that is cut or damaged is read up to there: the session then has
//! [`Meta::cut`](crate::model::Meta::cut) set and a note in its coverage. This module does not
//! symbolise, merge or judge, and it keeps serde out of the model.

mod container;
mod error;
mod place;
mod v1;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::model::Session;

pub use error::{ReadError, WriteError};
pub use place::write_to_path;

/// The major version that [`write()`] writes, and the newest that [`read`] understands.
pub const FORMAT_MAJOR: u16 = 1;
/// The minor version that [`write()`] writes. [`read`] takes any minor of a major that it knows.
pub const FORMAT_MINOR: u16 = 3;

/// Writes a session. The same session gives the same bytes.
///
/// Strings of more than a mebibyte are shortened; nothing else is lost. `out` gets few, large writes.
pub fn write(session: &Session, out: &mut dyn Write) -> Result<(), WriteError> {
    v1::write(session, out)
}

/// Reads a trace file.
///
/// # Errors
/// Where nothing can be read at all: no such file, not a trace, a newer major version, or cut
/// before its first chunk is complete. What is cut later gives a session with `meta.cut`.
pub fn read(path: &Path) -> Result<Session, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    let size = size_of(&file);
    read_sized(file, size)
}

/// Bytes of a file that has a size; 0 of a pipe and the like.
pub fn size_of(file: &File) -> u64 {
    file.metadata().ok().filter(|about| about.is_file()).map_or(0, |about| about.len())
}

/// Reads a trace from anything; as [`read`]. It does its own buffering.
pub fn read_from(input: impl Read) -> Result<Session, ReadError> {
    read_sized(input, 0)
}

/// Reads a trace of which so many bytes are known to come; as [`read`].
///
/// Memory is allowed for by the bytes of the file. Its tables are packed more or less well: what a table of a million
/// locks needs, later tables have the bytes for. Where the size is not known, each chunk has to have them before it.
pub fn read_sized(input: impl Read, bytes: u64) -> Result<Session, ReadError> {
    let mut chunks = container::ChunkReader::open(input)?;
    match chunks.version() {
        (1, _) => v1::read(&mut chunks, v1::MEMORY_LIMIT, bytes),
        (0, _) => Err(ReadError::NotATrace),
        (major, minor) => Err(ReadError::Newer { major, minor }),
    }
}
