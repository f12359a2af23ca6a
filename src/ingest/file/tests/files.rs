//! Files on disk: whole or not there, with errors that say what to do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::golden::golden_session;
use super::*;
use crate::skipped::unable;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn written_whole_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lockprof");
    fs::write(&path, "something older").unwrap();
    write_to_path(&golden_session(), &path).unwrap();
    assert_eq!(read(&path).unwrap(), golden_session());
    assert_eq!(names(folder.path()), ["a.lockprof"]);

    // The same permissions as any new file.
    let plain = folder.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
}

#[test]
fn a_link_is_followed_and_a_device_written_into() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    fs::write(&target, "").unwrap();
    symlink(&target, &link).unwrap();
    write_to_path(&golden_session(), &link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read(&target).unwrap(), golden_session());
    write_to_path(&golden_session(), Path::new("/dev/null")).unwrap();
}

#[test]
fn errors_name_the_path_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| write_to_path(&golden_session(), path).unwrap_err().to_string();

    let missing = message(&folder.path().join("no/such.lockprof"));
    assert!(missing.contains("no/such.lockprof") && missing.contains("make the folder first"), "{missing}");
    let place = message(folder.path());
    assert!(place.contains("this is a folder"), "{place}");
    let full = message(Path::new("/dev/full"));
    assert!(full.contains("/dev/full") && full.contains("make room"), "{full}");
    assert_eq!(names(folder.path()), Vec::<String>::new());

    let unread = read(&folder.path().join("nothing")).unwrap_err().to_string();
    assert!(unread.contains("nothing") && unread.contains("check the name"), "{unread}");
    assert!(matches!(read(folder.path()), Err(ReadError::Io(_))));
}

#[test]
fn without_permission() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        return unable("this user may write anywhere");
    }
    let error = write_to_path(&golden_session(), &folder.path().join("a.lockprof")).unwrap_err().to_string();
    assert!(error.contains("a.lockprof") && error.contains("that you may write"), "{error}");
}
