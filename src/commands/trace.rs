//! Finds and reads the recording that a command is about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use super::{Console, settings};
use crate::analysis::at_once;
use crate::ingest::import;
use crate::model::{Session, StackId};

/// A recording and the path that it came from.
pub(super) struct Trace {
    pub path: PathBuf,
    pub session: Session,
}

/// Reads the named recording, or else the newest one in the current folder, and says which.
pub(super) fn load(console: &Console, named: Option<&Path>) -> anyhow::Result<Trace> {
    read(find(console, named)?)
}

/// Reads two recordings at once; the second one is found as [`load`] does it.
pub(super) fn load_two(console: &Console, old: &Path, new: Option<&Path>) -> anyhow::Result<(Trace, Trace)> {
    let new = find(console, new)?;
    let (old, new) = at_once(|| read(old.to_owned()), || read(new));
    Ok((old?, new?))
}

fn find(console: &Console, named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let path = newest(Path::new("."))?;
    console.say(&format!("reading {}", path.display()));
    Ok(path)
}

fn read(path: PathBuf) -> anyhow::Result<Trace> {
    let mut session = import::open(&path)?;
    mark_wrappers(&mut session)?;
    Ok(Trace { path, session })
}

/// Marks the functions that the project's settings call wrappers of locks.
pub(super) fn mark_wrappers(session: &mut Session) -> anyhow::Result<()> {
    let globs = settings::wrappers(&std::env::current_dir().context("cannot tell the current folder")?)?;
    if globs.is_empty() {
        return Ok(());
    }
    let stacks = &session.stacks;
    let frames = (1..stacks.len()).flat_map(|at| &stacks.node(StackId::from(at)).frames);
    let names: BTreeSet<&String> = frames.filter_map(|frame| frame.function.as_ref()).collect();
    let meant = names.into_iter().filter(|name| globs.iter().any(|glob| glob.matches(name))).cloned().collect();
    session.stacks.wrappers = meant;
    Ok(())
}

/// The `*.lockprof` file that was changed last; of several at one time, the last by name.
fn newest(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(folder).context("cannot list the current folder: name a recording")?;
    let found = entries
        .filter_map(Result::ok)
        .filter(|entry| Path::new(&entry.file_name()).extension().is_some_and(|end| end == "lockprof"))
        .filter_map(|entry| {
            let meta = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)?;
            Some((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.file_name()))
        })
        .max();
    match found {
        Some((_, name)) => Ok(name.into()),
        None => {
            bail!("no *.lockprof in the current folder: record a program with `lockprof run CMD`, or name a recording")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_recording_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(newest(folder.path()).unwrap_err().to_string().contains("lockprof run"));
        let now = SystemTime::now();
        for (name, age) in [("b.lockprof", 20), ("a.lockprof", 10), ("c.lockprof", 30), ("d.txt", 0)] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(now - std::time::Duration::from_secs(age)).unwrap();
        }
        fs::create_dir(folder.path().join("e.lockprof")).unwrap();
        assert_eq!(newest(folder.path()).unwrap(), Path::new("a.lockprof"));
    }
}
