//! What a process has mapped of what recorders make.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::bail;

use super::contents::PREFIX;
use crate::ingest::{procfs, tasks};

/// What a process has mapped (`/proc/PID/maps`).
///
/// # Errors
/// Where there is no such process, or it is another user's.
pub(super) fn maps(pid: u32) -> anyhow::Result<String> {
    let maps = tasks::maps(&procfs::folder(pid)).map(|maps| String::from_utf8_lossy(&maps).into_owned());
    maps.or_else(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            bail!("process {pid} belongs to another user: look at it as that user, or as root")
        }
        _ => bail!("there is no process {pid} (any more)"),
    })
}

/// The files in folders of recorders that such a text names, each at the end of its line.
pub(super) fn files_in(maps: &str) -> impl Iterator<Item = &Path> {
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    paths.filter(|path| {
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        folder.is_some_and(|name| name.starts_with(PREFIX))
    })
}
