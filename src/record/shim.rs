//! The preloaded library, carried inside the CLI and put where the loader can read it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Names another library by hand.
pub const VARIABLE: &str = "LOCKPROF_SHIM";

static LIBRARY: &[u8] = include_bytes!(env!("LIBLOCKPROF_SHIM"));

/// Where the library is, now that it is there: in the user's cache under the hash of its content, or in
/// `$LOCKPROF_SHIM`.
///
/// # Errors
/// Where it cannot be written anywhere, or the variable names nothing.
pub fn install() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let path = fs::canonicalize(&named)
            .with_context(|| format!("{VARIABLE} names {}, which cannot be read", Path::new(&named).display()))?;
        return usable(path);
    }
    let folder = cache_folder()?;
    let path = folder.join(format!("shim-{:08x}-{}.so", crc32fast::hash(LIBRARY), LIBRARY.len()));
    if !is_ours(&path) {
        put(&folder, &path)
            .with_context(|| format!("cannot write {}: set XDG_CACHE_HOME to a writable folder", path.display()))?;
    }
    usable(path)
}

/// The loader splits its list at colons and blanks.
fn usable(path: PathBuf) -> anyhow::Result<PathBuf> {
    if path.to_string_lossy().contains([':', ' ']) {
        bail!(
            "the path {} has a blank or a colon, which the loader takes apart: set XDG_CACHE_HOME to another folder",
            path.display()
        );
    }
    Ok(path)
}

/// A folder that only this user can write.
pub fn cache_folder() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")).filter(|path| path.is_absolute());
    for base in [named, home].into_iter().flatten() {
        let folder = base.join("lockprof");
        if fs::create_dir_all(&folder).is_ok() && is_private(&folder) {
            return Ok(folder);
        }
    }
    // SAFETY: always allowed.
    let user = unsafe { libc::geteuid() };
    let folder = std::env::temp_dir().join(format!("lockprof-cache-{user}"));
    match fs::create_dir(&folder) {
        Ok(()) => fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).context("no place for the library that is preloaded: set HOME or XDG_CACHE_HOME");
        }
    }
    if !is_private(&folder) {
        bail!("{} belongs to somebody else: set HOME or XDG_CACHE_HOME to a folder of yours", folder.display());
    }
    Ok(folder)
}

fn is_private(folder: &Path) -> bool {
    // SAFETY: always allowed.
    let user = unsafe { libc::geteuid() };
    fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == user && meta.mode() & 0o022 == 0)
}

fn is_ours(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes == LIBRARY)
}

fn put(folder: &Path, path: &Path) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(LIBRARY)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    file.persist(path)?;
    Ok(())
}
