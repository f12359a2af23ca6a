//! Putting a trace where it belongs in one step: a temporary file beside it, then a rename.
//!
//! It does not choose names and makes no folders.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::WriteError;
use crate::model::Session;

/// Writes a session to `path`. The file appears complete or not at all, and replaces what was there.
///
/// A symbolic link is followed. What is there and is no file (`/dev/stdout`, a pipe) is written into.
///
/// # Errors
/// [`WriteError::Place`], with the path and what to do; then nothing half-written is left under that name.
pub fn write_to_path(session: &Session, path: &Path) -> Result<(), WriteError> {
    put(session, path).map_err(|error| match error {
        WriteError::Io(source) => {
            let advice = advice(&source);
            WriteError::Place { path: path.to_owned(), source, advice }
        }
        placed => placed,
    })
}

fn put(session: &Session, path: &Path) -> Result<(), WriteError> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(io::Error::from(ErrorKind::IsADirectory).into()),
        Ok(there) if !there.is_file() => {
            let mut out = OpenOptions::new().write(true).open(path)?;
            return super::write(session, &mut out);
        }
        _ => {}
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = target.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidFilename))?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder: PathBuf = folder.unwrap_or(Path::new(".")).to_owned();

    let mut prefix = std::ffi::OsString::from(".");
    // A name near the limit of the file system must still leave room for the random part.
    prefix.push(if name.len() < 200 { name } else { "trace".as_ref() });
    let mut temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".part")
        .permissions(Permissions::from_mode(0o666)) // less the umask, like any file
        .tempfile_in(folder)?;
    super::write(session, &mut BufWriter::new(temporary.as_file_mut()))?;
    // Quotas and network file systems may tell only now that there is no room.
    temporary.as_file().sync_all()?;
    temporary.persist(&target).map_err(|failed| failed.error)?;
    Ok(())
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => "make the folder first, or name another file with -o",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "name a file that you may write with -o",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room, or name a file on another file system with -o"
        }
        ErrorKind::IsADirectory => "this is a folder: name a file with -o",
        ErrorKind::InvalidFilename => "name another file with -o",
        _ => "try again, or name another file with -o",
    }
}
