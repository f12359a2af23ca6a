//! Files of this user's that outlive a run: nobody else can change what is read, and what is written is there whole or not at
//! all.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The user as whom this process works.
pub fn user() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::geteuid() }
}

/// A plain file of this user's or root's that nobody else can change, to be read. What has the name may be anything, and holds
/// nobody up.
pub fn open(path: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let meta = file.metadata().ok()?;
    let safe = meta.is_file() && [user(), 0].contains(&meta.uid()) && meta.mode() & 0o022 == 0;
    safe.then_some(file)
}

/// Makes a file in one step: whatever has the name, a link too, is replaced and not written to.
///
/// # Errors
/// Where the folder cannot be written to.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

/// What tells a file from another one, and from itself before it was changed.
pub fn identity(meta: &Metadata) -> String {
    let (changed, touched) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    format!("{} {} {} {changed:?} {touched:?}", meta.dev(), meta.ino(), meta.size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_others_could_change_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        replace(&path, b"one", 0o644).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open(&path).is_some() && open(&link).is_none() && open(folder.path()).is_none());
        std::fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        assert!(open(&path).is_none());
        replace(&link, b"two", 0o600).unwrap();
        let mut text = String::new();
        open(&link).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), std::fs::read(&path).unwrap().as_slice()), ("two", &b"one"[..]));
    }
}
