//! What recorders that were killed have left: found, read, and given up once it is written.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use lockprof_wire::control;

use super::contents::{PREFIX, UNWRITTEN};
use super::folder::places;
use super::leftover::{Leftover, recordings};
use super::{checkpoint, describe, mapped};
use crate::ingest::collector::{Collected, Collector};
use crate::ingest::{file, procfs};
use crate::live::moment::SessionAt;
use crate::model::{Coverage, Session};

/// A recording that was left behind, as far as it is there.
pub enum Past {
    /// It was complete, with all names, and could not be written.
    Unwritten(Box<Session>),
    /// What the recorder had read, and what was in the shared memory, each without names.
    Parts(Vec<Collected>),
}

/// Recordings that were left behind: in `folder` (a recording's own, or one where such are), or wherever this user's are.
///
/// # Errors
/// Where the folder is none.
pub fn find(folder: Option<&Path>) -> anyhow::Result<Vec<Leftover>> {
    let Some(folder) = folder else { return Ok(places().iter().flat_map(|place| recordings(place)).collect()) };
    let folder = std::path::absolute(folder).context("cannot tell the current folder")?;
    if !folder.is_dir() {
        bail!("{} is no folder: `lockprof recover` without a name looks where recordings are made", folder.display());
    }
    let is_one = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    Ok(if is_one { Leftover::at(&folder).into_iter().collect() } else { recordings(&folder) })
}

/// What a recorder that was killed has left in a process which it had woken, and which lives. Root may have woken another
/// user's.
pub fn of_process(pid: u32) -> Option<Leftover> {
    let maps = mapped::maps(pid).ok()?;
    let folder = mapped::files_in(&maps).find(|path| path.file_name().is_some_and(|name| name == control::FILE))?;
    Leftover::at(folder.parent()?).filter(|left| left.woken() == Some(pid))
}

/// Those that nobody was told of yet; from now on somebody was.
pub fn unsaid() -> Vec<PathBuf> {
    let all = places().into_iter().flat_map(|place| recordings(&place));
    all.filter(|leftover| !leftover.was_said()).map(|leftover| leftover.path).collect()
}

impl Leftover {
    /// The command that was recorded, for people.
    pub fn command(&self) -> String {
        let words = self.words();
        if words.is_empty() { "a program that was woken".to_owned() } else { words.join(" ") }
    }

    fn words(&self) -> Vec<String> {
        match self.woken() {
            Some(pid) => procfs::command(pid),
            None => self.owner.as_ref().and_then(|owner| owner.command.clone()).unwrap_or_default(),
        }
    }

    /// Reads it, and says which processes still write to it.
    ///
    /// # Errors
    /// Where nothing can be read.
    pub fn read(&self) -> anyhow::Result<(Past, Vec<u32>)> {
        let unwritten = self.directory.path().join(UNWRITTEN);
        // A folder that another user may write to has none.
        if self.woken().is_none() && unwritten.exists() {
            return Ok((Past::Unwritten(Box::new(file::read(&unwritten)?)), Vec::new()));
        }
        let copy = checkpoint::last(&self.directory);
        let collector = Collector::of_the_past(&self.directory.path());
        let living = collector.living();
        let rest = collector.finish();
        let mut parts = Vec::new();
        if let Some(SessionAt { session, data_addresses, .. }) = copy {
            parts.push(Collected {
                session,
                data_addresses,
                oracle: (0, 0),
                images: Default::default(),
                loaded: Vec::new(),
                files: Default::default(),
                missing_programs: 0,
            });
        }
        if parts.is_empty() || !rest.session.processes.is_empty() {
            parts.push(rest);
        }
        let session = &mut parts[0].session;
        let started = self.owner.as_ref().map_or(0, |owner| owner.started_unix_ns);
        describe(session, self.words(), UNIX_EPOCH + Duration::from_nanos(started));
        session.coverage.notes.push(Coverage::in_part(
            "the recorder was killed: what it read from the shared memory in its last moments is counted only, and processes that \
             ended then may be missing. What it had read before and what was left are two runs of this recording",
        ));
        // Between the two some is missing.
        session.order.dropped += 1;
        Ok((Past::Parts(parts), living))
    }
}
