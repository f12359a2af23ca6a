//! The preloaded library, carried inside the CLI and put where the loader can read it and nobody else can change it.
//!
//! What lies there is run by every program that is recorded, so a place is safe only if each folder on the way to it belongs
//! to this user or to root, and nobody else may write there: not in somebody else's home, not in `/tmp`.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::contents;
use crate::safe_file::{self, user};

/// Names another library by hand.
pub const VARIABLE: &str = "LOCKPROF_SHIM";

static LIBRARY: &[u8] = include_bytes!(env!("LIBLOCKPROF_SHIM"));

/// The library itself, or the one that `$LOCKPROF_SHIM` names.
///
/// # Errors
/// Where the variable names nothing that can be read.
pub fn bytes() -> anyhow::Result<Cow<'static, [u8]>> {
    match std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        Some(named) => Ok(Cow::Owned(fs::read(named).context(VARIABLE)?)),
        None => Ok(Cow::Borrowed(LIBRARY)),
    }
}

/// Where the library is, now that it is there: in the user's cache under the hash of its content, in another safe place where
/// that one will not do, or in `$LOCKPROF_SHIM`. Where root installs it, every user should be able to load it: programs change
/// theirs.
///
/// # Errors
/// Where no place is safe and lets code run, or the variable names nothing.
pub fn install() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let context = || format!("{VARIABLE} names {}, which cannot be used", Path::new(&named).display());
        let path = fs::canonicalize(&named).with_context(context)?;
        return match File::open(&path).map(|file| (is_plain(&path), can_run(&file))).with_context(context)? {
            (true, true) => Ok(path),
            (false, _) => bail!("{}: its path has a blank or a colon, which the loader takes apart", context()),
            (_, false) => bail!("{}: its file system lets no code run (noexec)", context()),
        };
    }
    let (mut second, mut refused) = (None, Vec::new());
    for base in bases() {
        let placed = folder_in(&base).and_then(|folder| put(&folder));
        match placed {
            Ok(path) if user() != 0 || all_can_read(&path) => return Ok(path),
            Ok(path) => second = second.or(Some(path)),
            Err(why) => refused.push(format!("{} {why}", base.display())),
        }
    }
    second.with_context(|| {
        format!(
            "no safe place for the library that is preloaded ({}): set XDG_CACHE_HOME to a folder that only you can write to, \
             on a file system that lets code run",
            refused.join("; ")
        )
    })
}

/// Puts the library into a private folder that is there as long as the recording.
///
/// # Errors
/// Where it cannot be written there, or no code may run there.
pub fn install_in(folder: &Path) -> anyhow::Result<PathBuf> {
    place(&folder.join(contents::LIBRARY)).map_err(anyhow::Error::msg)
}

/// Why the cache that this user names is not used, in a sentence; `None` where it is.
pub fn passed_over() -> Option<String> {
    let is_ours = std::env::var_os(VARIABLE).is_none_or(|named| named.is_empty());
    let (variable, base) = named_base().filter(|_| is_ours)?;
    let why = folder_in(&base).err()?;
    Some(format!("{variable} is passed over for the preloaded library: {} {why}", base.display()))
}

/// A folder for what this user keeps: the first safe one.
pub fn cache_folder() -> Option<PathBuf> {
    bases().iter().find_map(|base| folder_in(base).ok())
}

/// The path that a variable of the environment names.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where caches are, as the user's environment has it, and the variable that says so. Root's are in `/var/cache` first.
fn named_base() -> Option<(&'static str, PathBuf)> {
    let home = || variable("HOME").filter(|_| user() != 0).map(|home| ("HOME", home.join(".cache")));
    variable("XDG_CACHE_HOME").map(|named| ("XDG_CACHE_HOME", named)).or_else(home)
}

/// Where caches are, best first.
fn bases() -> Vec<PathBuf> {
    let home = variable("HOME").map(|home| home.join(".cache"));
    let named = variable("XDG_CACHE_HOME");
    let known = match user() {
        0 => [Some("/var/cache".into()), home, Some("/run".into())],
        user => [home, Some(format!("/run/user/{user}").into()), None],
    };
    std::iter::once(named).chain(known).flatten().collect()
}

/// Our folder in a place that is safe; why not, otherwise.
fn folder_in(base: &Path) -> Result<PathBuf, String> {
    // Nothing is made below what others can change: they could lead us anywhere.
    let there = base.ancestors().find(|at| fs::symlink_metadata(at).is_ok()).unwrap_or(Path::new("/"));
    safe(there)?;
    let folder = base.join("lockprof");
    DirBuilder::new().recursive(true).mode(0o755).create(&folder).map_err(|error| words(&error))?;
    let folder = safe(&folder)?;
    if fs::metadata(&folder).is_ok_and(|meta| meta.uid() == user() && meta.mode() & 0o777 != 0o755) {
        // The umask's doing.
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o755));
    }
    Ok(folder)
}

/// The folder without links in its path, if nobody but this user and root can change any part of the way to it.
fn safe(folder: &Path) -> Result<PathBuf, String> {
    let folder = fs::canonicalize(folder).map_err(|error| words(&error))?;
    let outsiders = outsiders();
    for at in folder.ancestors() {
        let meta = fs::symlink_metadata(at).map_err(|error| words(&error))?;
        let trusted = meta.uid() == user() || meta.uid() == 0 || Some(meta.uid()) == outsiders;
        if !meta.is_dir() || !trusted {
            return Err(format!("is not safe: {} belongs to another user", at.display()));
        }
        // What is sticky counts too: others may make anew what was cleared away there.
        if meta.mode() & 0o022 != 0 {
            return Err(format!("is not safe: others can write to {}", at.display()));
        }
    }
    Ok(folder)
}

/// In a user namespace of its own: the number that stands for all users outside of it, root too.
fn outsiders() -> Option<u32> {
    const OVERFLOW: u32 = 65534;
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let is_inside = map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (first, count) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(0));
        (first..first + count).contains(&u64::from(OVERFLOW))
    });
    (!is_inside).then_some(OVERFLOW)
}

/// The library in a safe folder, under the hash of its content.
fn put(folder: &Path) -> Result<PathBuf, String> {
    place(&folder.join(format!("shim-{:08x}-{}.so", crc32fast::hash(LIBRARY), LIBRARY.len())))
}

fn place(path: &Path) -> Result<PathBuf, String> {
    if !is_plain(path) {
        return Err("has a blank or a colon in its path, which the loader takes apart".to_owned());
    }
    let file = match ours(path) {
        Some(file) => file,
        None => {
            safe_file::replace(path, LIBRARY, 0o755).map_err(|error| words(&error))?;
            ours(path).ok_or("does not keep what is written there")?
        }
    };
    if can_run(&file) { Ok(path.to_owned()) } else { Err("lets no code run (mounted noexec?)".to_owned()) }
}

/// The file, if it is the library to the last byte and nobody else can change it.
fn ours(path: &Path) -> Option<File> {
    let mut file = safe_file::open(path)?;
    let mut bytes = Vec::new();
    (file.read_to_end(&mut bytes).is_ok() && bytes == LIBRARY).then_some(file)
}

/// Whether the loader could map code from it.
fn can_run(file: &File) -> bool {
    const PAGE: usize = 4096;
    let how = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping, which is given back at once.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), PAGE, how, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
        at != libc::MAP_FAILED && libc::munmap(at, PAGE) == 0
    }
}

/// Whether users without any rights can read it.
fn all_can_read(path: &Path) -> bool {
    let has = |at: &Path, rights: u32| fs::metadata(at).is_ok_and(|meta| meta.mode() & rights == rights);
    has(path, 0o005) && path.ancestors().skip(1).all(|folder| has(folder, 0o001))
}

/// The loader splits its list at colons and blanks.
fn is_plain(path: &Path) -> bool {
    !path.to_string_lossy().contains([':', ' '])
}

fn words(error: &io::Error) -> String {
    format!("cannot be used ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_change_a_safe_place() {
        let folder = tempfile::tempdir().unwrap();
        let why = safe(folder.path()).unwrap_err();
        assert!(why.contains("others can write to"), "a folder in /tmp is not safe: {why}");
        assert!(folder_in(&folder.path().join("new")).is_err() && !folder.path().join("new").exists());
        assert_eq!(safe(Path::new("/usr/lib")), Ok(fs::canonicalize("/usr/lib").unwrap()));
    }

    #[test]
    fn the_content_counts_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path()).unwrap();
        assert!(ours(&path).is_some());
        let changed = [LIBRARY, b"!"].concat();
        fs::write(&path, changed).unwrap();
        assert!(ours(&path).is_none());
        assert_eq!(put(folder.path()), Ok(path.clone()));
        assert_eq!(fs::read(&path).unwrap(), LIBRARY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(ours(&path).is_none(), "others could change it between two looks");
        let link = folder.path().join("link.so");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(ours(&link).is_none());
    }
}
