//! Profiles of other tools as a session: Go's mutex and block profiles, pprof profiles of our own, folded stacks.
//!
//! What a file is, its content says. Such a file knows contended acquisitions only: the session says so
//! ([`Coverage::contended_only`](crate::model::Coverage::contended_only)), and its notes say what else is not known.

mod folded;
mod pprof;
mod rows;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use super::file::{self, ReadError};
use crate::ingest::size::{allowance, view_allowance, view_size};
use crate::model::Session;
use crate::pprof::{DecodeError, GZIP_MAGIC, LARGEST, decode};

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A trace of ours that cannot be read, or nothing that is known.
    #[error(transparent)]
    Trace(#[from] ReadError),
    /// Packed by gzip, as pprof profiles are, and no profile.
    #[error("this is packed by gzip, but {0}: name a lockprof trace, a pprof profile of locks or folded stacks")]
    Packed(#[source] DecodeError),
    /// A profile of something else.
    #[error(
        "this pprof profile is not of locks (it has {0}): name a mutex or block profile, which has contentions and delay"
    )]
    NotOfLocks(String),
    /// A profile whose stacks ask for more memory than a profile of its size needs.
    #[error(
        "this profile asks for more memory than {0} MB, the most that a profile of its size needs: it is damaged or made to \
         do harm; fetch it again"
    )]
    TooLarge(u64),
    /// A profile that refers to what it does not have.
    #[error("this pprof profile is damaged ({0}): fetch it again")]
    Damaged(&'static str),
}

/// Reads a trace, or imports what another tool wrote.
///
/// # Errors
/// Where it is neither, or damaged: one sentence that says what to do.
pub fn open(path: &Path) -> Result<Session, OpenError> {
    let mut input = File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    let mut begin = Vec::new();
    (&mut input).take(8).read_to_end(&mut begin).map_err(ReadError::Io)?;
    if begin.is_empty() || begin.starts_with(b"\x89") {
        let size = file::size_of(&input);
        return Ok(file::read_sized(Cursor::new(begin).chain(input), size)?);
    }
    let mut bytes = begin;
    input.take(LARGEST).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    import(&bytes)
}

/// Imports what another tool wrote.
pub fn import(bytes: &[u8]) -> Result<Session, OpenError> {
    let size = bytes.len() as u64;
    match decode(bytes) {
        Ok(profile) if !profile.sample_type.is_empty() => {
            return checked(pprof::session(&profile, allowance(size))?, size);
        }
        Err(error) if bytes.starts_with(&GZIP_MAGIC) => return Err(OpenError::Packed(error)),
        _ => {}
    }
    let lines = std::str::from_utf8(bytes).ok().and_then(folded::lines);
    // The reader of traces knows how to say what is wrong with anything else.
    lines.map_or_else(|| Ok(file::read_sized(bytes, size)?), |lines| checked(folded::session(&lines), size))
}

/// Whether views of it stay within what a file of its size may ask for.
fn checked(session: Session, file_bytes: u64) -> Result<Session, OpenError> {
    let most = view_allowance(file_bytes);
    if view_size(&session) > most { Err(OpenError::TooLarge(most >> 20)) } else { Ok(session) }
}
