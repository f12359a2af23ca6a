//! Where the shared memory lives: a private folder on a memory file system, gone when the recording is written.
//!
//! In it, next to what the program writes, is the *owner's file*: it says that the folder is a recorder's, and its lock
//! (`flock`) that the recorder lives. Numbers of processes would not: containers share `/dev/shm`, and count for themselves.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::contents::{OWNER, PREFIX, UNWRITTEN};
use super::directory::{Directory, try_lock};
use super::leftover::{self, Owner};
use super::mapped::{files_in, maps};
use crate::ingest::file;
use crate::model::Session;
use crate::safe_file::user;

/// Names the place by hand.
pub const VARIABLE: &str = "LOCKPROF_SHM";
/// With less room than that, threads will be folded early; containers often have 64 MB.
const COMFORTABLE: u64 = 48 << 20;
/// Too little even for one process.
const LEAST: u64 = 2 << 20;

/// Where the folder of a recording would be made.
pub struct Place {
    /// A folder that may be written.
    pub path: PathBuf,
    /// How much room there is, bytes.
    pub room: u64,
}

impl Place {
    /// The first place with room enough, or else the one with the most.
    ///
    /// # Errors
    /// Where no place can be written.
    pub fn choose() -> anyhow::Result<Self> {
        let places = places();
        let mut best: Option<(u64, &PathBuf)> = None;
        for place in &places {
            let Some(room) = free_bytes(place) else { continue };
            if room >= COMFORTABLE {
                best = Some((room, place));
                break;
            }
            if best.is_none_or(|(most, _)| room > most) {
                best = Some((room, place));
            }
        }
        let Some((room, path)) = best.filter(|(room, _)| *room >= LEAST) else {
            bail!(
                "no room for the shared memory in {}: free some, or name another folder by {VARIABLE}",
                places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
            );
        };
        Ok(Self { path: path.clone(), room })
    }

    /// What the person should know about it.
    pub fn note(&self) -> Option<String> {
        (self.room < COMFORTABLE).then(|| {
            format!(
                "only {} MB were free in {}: with many threads more is folded than need be ({VARIABLE} names another folder)",
                self.room >> 20,
                self.path.display()
            )
        })
    }
}

/// See the module.
pub struct Folder {
    path: PathBuf,
    note: Option<String>,
    /// Its lock is ours.
    _owner: File,
    keeps: bool,
}

impl Folder {
    /// Makes the folder of a recording.
    ///
    /// # Errors
    /// Where no place can be written.
    pub fn new(command: &[String]) -> anyhow::Result<Self> {
        Self::make(Owner::of_recording(command, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    /// Makes the folder for something that nobody needs afterwards.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn scratch() -> anyhow::Result<Self> {
        Self::make(Owner::scratch())
    }

    fn make(owner: Owner) -> anyhow::Result<Self> {
        places().iter().for_each(|place| leftover::clear(place));
        let Place { path: place, room } = Place::choose()?;
        let context = || format!("cannot make a folder in {}: name another one by {VARIABLE}", place.display());
        let path = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&place)
            .with_context(context)?
            .keep();
        let file = match own(&path, &owner) {
            Ok(file) => file,
            Err(error) => {
                let _ = fs::remove_dir(&path);
                return Err(error).with_context(context);
            }
        };
        let note = Place { path: place, room }.note();
        Ok(Self { path, note, _owner: file, keeps: false })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the person should know about the place.
    pub fn note(&self) -> Option<String> {
        self.note.clone()
    }

    /// Leaves a recording that could not be written to `lockprof recover`; where it is.
    ///
    /// # Errors
    /// Where there is no room either.
    pub fn keep(mut self, session: &Session) -> Result<PathBuf, file::WriteError> {
        file::write_to_path(session, &self.path.join(UNWRITTEN))?;
        self.keeps = true;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keeps
            && let Ok(folder) = Directory::open(&self.path)
        {
            leftover::remove(&folder, &self.path);
        }
    }
}

/// Makes the owner's file, whose lock is taken before anybody can find it.
fn own(folder: &Path, owner: &Owner) -> io::Result<File> {
    let (unfinished, finished) = (folder.join("owner.new"), folder.join(OWNER));
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let made =
        if try_lock(&file) { file.write_all(owner.text().as_bytes()) } else { Err(ErrorKind::WouldBlock.into()) };
    made.and_then(|()| fs::rename(&unfinished, &finished)).inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    Ok(file)
}

/// The folder of the session that records a process: its maps show a segment there.
///
/// # Errors
/// Where there is no such process, or it is not recorded.
pub fn of_recorded(pid: u32) -> anyhow::Result<PathBuf> {
    folder_in(&maps(pid)?).with_context(|| {
        format!(
            "process {pid} is not being recorded, and cannot be attached to from here: start it with `lockprof top -- CMD` or \
             `lockprof run CMD`"
        )
    })
}

fn folder_in(maps: &str) -> Option<PathBuf> {
    let is_segment =
        |path: &&Path| path.to_str().is_some_and(|path| path.trim_end_matches(" (deleted)").ends_with(".seg"));
    files_in(maps).filter(is_segment).last()?.parent().map(Path::to_owned)
}

/// Memory file systems first.
pub(super) fn places() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return vec![named.into()];
    }
    [
        Some("/dev/shm".into()),
        Some(format!("/run/user/{}", user()).into()),
        Some("/run/shm".into()),
        Some(std::env::temp_dir()),
    ]
    .into_iter()
    .flatten()
    .filter(|place: &PathBuf| place.is_dir())
    .collect()
}

/// Room in the file system of a folder that may be written, bytes.
pub(super) fn free_bytes(place: &Path) -> Option<u64> {
    let path = CString::new(place.as_os_str().as_bytes()).ok()?;
    // SAFETY: zeros are a valid `statvfs` to write to.
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a NUL, `answer` is valid. W_OK is checked as well: full rights are needed.
    let ok =
        unsafe { libc::statvfs(path.as_ptr(), &raw mut answer) == 0 && libc::access(path.as_ptr(), libc::W_OK) == 0 };
    ok.then(|| answer.f_bavail * answer.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_in_the_maps() {
        let maps = "7f00-7f10 r-xp 00000000 08:01 77 /usr/lib/libc.so.6\n\
                    7f20-7f30 rw-s 00000000 00:19 12 /dev/shm/lockprof-12-aBc/4242-1.seg\n7f40-7f50 rw-p 0 00:00 0\n";
        assert_eq!(folder_in(maps), Some("/dev/shm/lockprof-12-aBc".into()));
        assert_eq!(folder_in("7f20-7f30 rw-s 0 00:19 12 /dev/shm/other/x.seg\n"), None);
        let error = of_recorded(std::process::id()).unwrap_err().to_string();
        assert!(error.contains("is not being recorded"), "{error}");
    }

    #[test]
    fn what_is_not_ours_stays() {
        let place = tempfile::tempdir().unwrap();
        let named = place.path().join("lockprof-2024-11-results");
        fs::create_dir(&named).unwrap();
        fs::write(named.join("data"), "precious").unwrap();
        // It looks like ours in every way but one: its owner's file is somebody else's.
        let like = place.path().join("lockprof-4194305-abc");
        fs::create_dir(&like).unwrap();
        fs::set_permissions(&like, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(like.join(OWNER), "notes").unwrap();
        leftover::clear(place.path());
        assert!(named.join("data").exists() && like.join(OWNER).exists());
    }

    #[test]
    fn a_living_recorder_keeps_its_folder_and_a_dead_one_what_it_recorded() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, owner: &Owner| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            (own(&path, owner).unwrap(), path)
        };
        let recording = Owner::of_recording(&["./a".into(), "b c".into()], std::time::Duration::from_secs(7));
        let (lives, living) = make("lockprof-1-a", &recording);
        let (_, empty) = make("lockprof-1-b", &recording);
        let (_, full) = make("lockprof-1-c", &recording);
        let (_, scratch) = make("lockprof-1-d", &Owner::scratch());
        let (_, foreign) = make("lockprof-1-e", &Owner::scratch());
        for folder in [&full, &scratch] {
            fs::write(folder.join("12.345.seg"), "records").unwrap();
        }
        fs::write(foreign.join("mine"), "precious").unwrap();
        leftover::clear(place.path());
        assert!(living.exists() && full.exists() && !empty.exists() && !scratch.exists());
        assert!(foreign.join("mine").exists(), "a file that no recorder makes stays");
        assert_eq!(leftover::recordings(place.path()).len(), 1);
        let found = leftover::recordings(place.path()).pop().unwrap();
        assert_eq!((found.path.as_path(), found.owner), (full.as_path(), Some(recording)));
        drop((found.directory, lives));
    }
}
