//! Where the shared memory lives: a private folder on a memory file system, gone when the recording ends.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::ingest::tasks;

/// Names the place by hand.
pub const VARIABLE: &str = "LOCKPROF_SHM";
pub(super) const PREFIX: &str = "lockprof-";
/// With less room than that, threads will be folded early; containers often have 64 MB.
const COMFORTABLE: u64 = 48 << 20;
/// Too little even for one process.
const LEAST: u64 = 2 << 20;

/// See the module.
pub struct Folder {
    folder: TempDir,
    note: Option<String>,
}

impl Folder {
    /// Makes the folder in the first place with room enough, or else in the one with the most.
    ///
    /// # Errors
    /// Where no place can be written.
    pub fn new() -> anyhow::Result<Self> {
        let places = places();
        let mut best: Option<(u64, &PathBuf)> = None;
        for place in &places {
            remove_stale(place);
            let Some(room) = free_bytes(place) else { continue };
            if room >= COMFORTABLE {
                best = Some((room, place));
                break;
            }
            if best.is_none_or(|(most, _)| room > most) {
                best = Some((room, place));
            }
        }
        let Some((room, place)) = best.filter(|(room, _)| *room >= LEAST) else {
            bail!(
                "no room for the shared memory in {}: free some, or name another folder by {VARIABLE}",
                places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
            );
        };
        let folder = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(place)
            .with_context(|| format!("cannot make a folder in {}: name another one by {VARIABLE}", place.display()))?;
        let note = (room < COMFORTABLE).then(|| {
            format!(
                "only {} MB were free in {}: with many threads more is folded than need be ({VARIABLE} names another folder)",
                room >> 20,
                place.display()
            )
        });
        Ok(Self { folder, note })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What the person should know about the place.
    pub fn note(&self) -> Option<String> {
        self.note.clone()
    }
}

/// What a process has mapped (`/proc/PID/maps`).
///
/// # Errors
/// Where there is no such process, or it is another user's.
pub(super) fn maps(pid: u32) -> anyhow::Result<String> {
    fs::read_to_string(tasks::folder(pid).join("maps")).or_else(|error| match error.kind() {
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

/// Memory file systems first.
fn places() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return vec![named.into()];
    }
    // SAFETY: always allowed.
    let user = unsafe { libc::geteuid() };
    [
        Some("/dev/shm".into()),
        Some(format!("/run/user/{user}").into()),
        Some("/run/shm".into()),
        Some(std::env::temp_dir()),
    ]
    .into_iter()
    .flatten()
    .filter(|place: &PathBuf| place.is_dir())
    .collect()
}

fn free_bytes(place: &Path) -> Option<u64> {
    let path = CString::new(place.as_os_str().as_bytes()).ok()?;
    // SAFETY: zeros are a valid `statvfs` to write to.
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a NUL, `answer` is valid. W_OK is checked as well: full rights are needed.
    let ok =
        unsafe { libc::statvfs(path.as_ptr(), &raw mut answer) == 0 && libc::access(path.as_ptr(), libc::W_OK) == 0 };
    ok.then(|| answer.f_bavail * answer.f_frsize)
}

/// Folders of recorders that were killed: the programs that they recorded keep what they have mapped.
fn remove_stale(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    // SAFETY: always allowed.
    let user = unsafe { libc::geteuid() };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = (name.to_str()).and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        let Some(pid) = owner.and_then(|pid| pid.parse::<i32>().ok()) else { continue };
        let ours = entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == user);
        // SAFETY: signal 0 only asks whether the process is there.
        let alive = unsafe { libc::kill(pid, 0) == 0 };
        if ours && !alive {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
