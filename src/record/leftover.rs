//! Folders that recorders and programs left behind: which of them are surely ours, hold nothing, and go.
//!
//! A folder is touched only if it is private to this user, a file in it bears our mark, and nobody lives who uses it: the
//! lock of a recorder's file tells that in whatever process-id namespace it runs. Files are removed by their names, one by
//! one; what no recorder makes stays, and the folder with it. What holds a recording is left to `lockprof recover`. So is a
//! program that was woken and lives on after its recorder: what it records is wanted, and its folder stays.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockprof_wire::FOLLOW;
use lockprof_wire::control;
use lockprof_wire::layout::SPARE;

use super::contents::{COPY, LIBRARY, OWNER, PREFIX, SAID, UNFINISHED_COPY, UNWRITTEN};
use super::directory::{Directory, try_lock};
use super::page::Page;
use crate::ingest::file;
use crate::live::messages::SOCKET;
use crate::model::Session;
use crate::safe_file::user;

/// First line of an owner's file.
const MARK: &str = "lockprof recorder 1";
/// An owner's file is not longer, bytes.
const LONGEST: u64 = 1 << 16;

/// What an owner's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The command that is recorded; `None` for what nobody needs afterwards.
    pub command: Option<Vec<String>>,
    /// When the recording began, ns since 1970.
    pub started_unix_ns: u64,
}

impl Owner {
    pub(super) fn of_recording(command: &[String], started: Duration) -> Self {
        Self { command: Some(command.to_vec()), started_unix_ns: started.as_nanos() as u64 }
    }

    pub(super) fn scratch() -> Self {
        Self { command: None, started_unix_ns: 0 }
    }

    pub(super) fn text(&self) -> String {
        let Some(command) = &self.command else { return format!("{MARK}\n") };
        // Long ones are cut: they are for people.
        let words: String = command.join("\0").chars().take(LONGEST as usize / 8).collect();
        format!("{MARK}\n{}\n{words}", self.started_unix_ns)
    }

    fn read(file: &File) -> Option<Self> {
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.splitn(3, '\n');
        if lines.next() != Some(MARK) {
            return None;
        }
        let started_unix_ns = lines.next().and_then(|line| line.parse().ok());
        let words = |line: &str| line.split('\0').map(str::to_owned).collect();
        let command = started_unix_ns.and(lines.next()).map(words);
        Some(Self { command, started_unix_ns: started_unix_ns.unwrap_or(0) })
    }
}

/// A folder that holds a recording which nobody makes any more.
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// What its recorder said; `None` for that of a program that was woken.
    pub owner: Option<Owner>,
    pub(super) directory: Directory,
    hold: Hold,
}

/// Why nobody else touches it.
enum Hold {
    /// Its lock is ours.
    Dead { _lock: File },
    /// The process lives, records all the same, and its page is ours.
    Living(u32, Page),
}

impl Leftover {
    /// Looks at a folder; `None` where it is not ours, its owner lives, or it is nobody's and holds nothing. The latter is
    /// removed. To root, the folder of another user's program that lives and records is ours as well.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let directory = Directory::open(path).ok()?;
        let is_ours = directory.is_private_of(user());
        let has_recording = || directory.names().iter().any(|name| holds_recording(name));
        let sleeper = Sleeper::of(name).filter(|_| is_ours || user() == 0);
        let (owner, lock) = if let Some(sleeper) = sleeper {
            if let Some(page) = sleeper.awake(&directory) {
                let hold = Hold::Living(sleeper.pid as u32, page);
                return has_recording().then(|| Self { path: path.to_owned(), owner: None, directory, hold });
            }
            (None, sleeper.dead(&directory).filter(|_| is_ours)?)
        } else if !is_ours {
            return None;
        } else {
            let (owner, lock) = dead_owner(&directory)?;
            (Some(owner), lock)
        };
        let wanted = owner.as_ref().is_none_or(|owner| owner.command.is_some()) && !is_asleep(&directory);
        if wanted && has_recording() {
            return Some(Self { path: path.to_owned(), owner, directory, hold: Hold::Dead { _lock: lock } });
        }
        remove(&directory, path);
        None
    }

    /// Whether somebody said that it is there; from now on, somebody did.
    pub(super) fn was_said(&self) -> bool {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(self.directory.path().join(SAID));
        file.is_err()
    }

    /// The process that was woken, which lives and records though nobody reads it.
    pub fn woken(&self) -> Option<u32> {
        match self.hold {
            Hold::Living(pid, _) => Some(pid),
            Hold::Dead { .. } => None,
        }
    }

    /// Whether a recorder of this user made it: nobody looks for those of others unasked.
    fn is_own(&self) -> bool {
        self.directory.is_private_of(user()) || self.directory.own_file(COPY, user()).is_some()
    }

    /// Puts what was read from it back, as a whole recording. A living process has it still.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn keep(&self, session: &Session) -> Result<(), file::WriteError> {
        if self.woken().is_some() {
            return Ok(());
        }
        file::write_to_path(session, &self.directory.path().join(UNWRITTEN))
    }

    /// Throws the recording away. A process that was woken sleeps again: what it has recorded is nobody's any more.
    pub fn discard(self) {
        match &self.hold {
            Hold::Living(_, page) => {
                page.put_to_sleep();
                [COPY, UNFINISHED_COPY, SAID, SOCKET].iter().for_each(|name| self.directory.remove(name));
            }
            Hold::Dead { .. } => remove(&self.directory, &self.path),
        }
    }
}

/// The owner's file of a recorder that is no more, with its lock.
fn dead_owner(folder: &Directory) -> Option<(Owner, File)> {
    let file = folder.own_file(OWNER, user())?;
    let owner = Owner::read(&file)?;
    // Who had it before us may have removed it by now.
    (try_lock(&file) && file.metadata().is_ok_and(|meta| meta.nlink() == 1)).then_some((owner, file))
}

/// The folder of a program that carries the shim asleep: `lockprof-PID-NAMESPACE-asleep`.
struct Sleeper {
    pid: i32,
    namespace: u64,
}

impl Sleeper {
    fn of(name: &str) -> Option<Self> {
        let numbers = name.strip_prefix(control::PREFIX)?.strip_suffix(control::SUFFIX)?;
        let (pid, namespace) = numbers.split_once('-')?;
        Some(Self { pid: pid.parse().ok()?, namespace: namespace.parse().ok()? })
    }

    /// The page of a program that lives and records, if nobody reads that.
    fn awake(&self, folder: &Directory) -> Option<Page> {
        let pid = u32::try_from(self.pid).ok()?;
        if self.namespace != own_namespace()? || is_asleep(folder) {
            return None;
        }
        let file = |folder: &Directory| folder.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
        Page::find(pid).ok().flatten().filter(|page| page.is_awake() && file(&page.folder) == file(folder))
    }

    /// The control file's lock, if the program is no more for certain: only numbers of our own namespace mean anything.
    fn dead(&self, folder: &Directory) -> Option<File> {
        // SAFETY: signal 0 only asks whether the process is there.
        let gone = unsafe { libc::kill(self.pid, 0) } != 0
            && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
        if self.namespace != own_namespace()? || self.pid <= 0 || !gone {
            return None;
        }
        let file = folder.file(control::FILE).ok()?;
        let page = page(&file)?;
        let magic = u64::from_le_bytes(page[8..16].try_into().ok()?);
        (magic == control::MAGIC && try_lock(&file)).then_some(file)
    }
}

fn own_namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|meta| meta.ino())
}

/// Bytes of the control page.
fn page(mut file: &File) -> Option<[u8; 16]> {
    let mut page = [0; 16];
    file.read_exact(&mut page).ok()?;
    Some(page)
}

/// Whether it is a program's folder, and nobody was recording it: what its segment holds was written long ago.
fn is_asleep(folder: &Directory) -> bool {
    let word = folder.file(control::FILE).ok().and_then(|file| page(&file));
    word.is_some_and(|page| page[..4] != [0; 4])
}

fn holds_recording(name: &OsStr) -> bool {
    is_segment(name) || name == UNWRITTEN || name == COPY
}

/// `PID.TICKS.seg`.
pub(super) fn is_segment(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|name| name.split_once('.'));
    numbers.is_some_and(|(pid, ticks)| is_number(pid) && is_number(ticks))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes what recorders make in a folder, and the folder if nothing else is there.
pub(super) fn remove(folder: &Directory, path: &Path) {
    let fixed = [SOCKET, FOLLOW, UNWRITTEN, LIBRARY, SAID, control::FILE, COPY, UNFINISHED_COPY];
    let is_spare = |name: &OsStr| name.to_str().and_then(|name| name.strip_prefix(SPARE)).is_some_and(is_number);
    let ours = |name: &OsStr| is_segment(name) || is_spare(name) || fixed.iter().any(|fixed| name == *fixed);
    folder.names().iter().filter(|name| ours(name)).for_each(|name| folder.remove(name));
    // Last: until then others see whose the folder is.
    folder.remove(OWNER);
    // Refused unless it is empty.
    let _ = fs::remove_dir(path);
}

/// Removes what is nobody's any more and holds no recording.
pub(super) fn clear(place: &Path) {
    recordings(place);
}

/// The recordings that were left behind in a place; what holds none is removed.
pub(super) fn recordings(place: &Path) -> Vec<Leftover> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)));
    let found = named.filter_map(|entry| Leftover::at(&entry.path()));
    let mut found: Vec<Leftover> = found.filter(Leftover::is_own).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
