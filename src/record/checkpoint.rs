//! What the collector has read is in this process only. From time to time a copy of it goes into the recording's folder, where
//! `lockprof recover` finds it if this process is killed.
//!
//! What was read after the last copy is lost then, but counted: the program's own counters are in the shared memory.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::contents::{COPY, UNFINISHED_COPY};
use super::directory::Directory;
use super::folder::free_bytes;
use crate::ingest::collector::Collector;
use crate::live::messages;
use crate::live::moment::{Moment, SessionAt};
use crate::model::{CodeAddress, LockId, Session};
use crate::safe_file::user;

/// Copies are made no more often than this.
const LEAST: Duration = Duration::from_millis(200);
/// A copy that took long is paid for by a pause of so many times its length.
const SHARE: u32 = 50;
/// The shared memory has to have room for so many more of them: the program needs it more.
const ROOM: u64 = 8;

/// See the module.
pub(super) struct Checkpoint {
    folder: PathBuf,
    due: Instant,
    changed: bool,
}

impl Checkpoint {
    /// Copies into this folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), due: Instant::now() + LEAST, changed: false }
    }

    /// To be called whenever so many records were read.
    pub fn read(&mut self, records: u64, collector: &Collector) {
        self.changed |= records > 0;
        let began = Instant::now();
        if !self.changed || began < self.due {
            return;
        }
        self.changed = false;
        let (session, data_addresses) = collector.read_so_far();
        // Without room it is left as it was.
        let _ = self.write(&session, data_addresses);
        self.due = Instant::now() + (began.elapsed() * SHARE).max(LEAST);
    }

    fn write(&self, session: &Session, addresses: impl Iterator<Item = (LockId, CodeAddress)>) -> io::Result<()> {
        let mut bytes = Vec::new();
        messages::send(&mut bytes, &Moment::of(session.meta.duration_ns, session, addresses)?)?;
        if free_bytes(&self.folder).is_none_or(|room| room < ROOM * bytes.len() as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let unfinished = self.folder.join(UNFINISHED_COPY);
        let write = || {
            // The folder may be another user's, who could put a link there: only a new file is written to.
            let _ = fs::remove_file(&unfinished);
            fs::OpenOptions::new().write(true).create_new(true).open(&unfinished)?.write_all(&bytes)
        };
        write().inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
        fs::rename(&unfinished, self.folder.join(COPY))
    }
}

/// The last copy that this user made in a folder.
pub(super) fn last(folder: &Directory) -> Option<SessionAt> {
    let mut bytes = Vec::new();
    folder.own_file(COPY, user())?.read_to_end(&mut bytes).ok()?;
    SessionAt::try_from(messages::receive::<Moment>(&mut bytes.as_slice()).ok()?).ok()
}
