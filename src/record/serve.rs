//! Viewers of a recording in other processes: a socket in the session's folder, which only its user can reach.
//!
//! One thread waits for viewers, one more serves each. A viewer that dies, or sends nonsense, is its own loss.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, bail};
use rustc_hash::FxHashMap;

use super::desk::{Desk, Frozen, Viewer};
use super::folder;
use crate::ingest::file;
use crate::ingest::live::Collected;
use crate::model::{CodeAddress, LockId, ModuleId, Session};
use crate::snapshot::wire::{self, Hello, LONGEST_QUESTION, Moment, Question, SOCKET};
use crate::snapshot::{Snapshot, Want};

/// Viewers at one time; more are sent away.
const MOST: usize = 16;
/// A viewer that takes its answer no faster than this is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// A recorder that does not answer within this time hangs.
const ANSWER: Duration = Duration::from_secs(20);
/// A whole session takes longer to send.
const WHOLE_ANSWER: Duration = Duration::from_secs(120);

/// Serves viewers for as long as this process lives. Where that cannot be, nobody can look: the recording does not care.
pub(super) fn serve(folder: &Path, desk: &Desk) {
    let Ok(listener) = UnixListener::bind(folder.join(SOCKET)) else { return };
    let desk = desk.clone();
    let _ = Builder::new().name("viewers".to_owned()).spawn(move || {
        let present = std::sync::Arc::new(());
        for stream in listener.incoming().flatten() {
            if std::sync::Arc::strong_count(&present) > MOST {
                continue;
            }
            let (viewer, present) = (Viewer::new(desk.clone()), std::sync::Arc::clone(&present));
            let _ = Builder::new().name("viewer".to_owned()).spawn(move || {
                let _present = present;
                // However it ends: the viewer has gone.
                let _ = attend(stream, viewer);
            });
        }
    });
}

fn attend(mut stream: UnixStream, mut viewer: Viewer) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    wire::send(&mut stream, &Hello::OWN)?;
    if wire::receive_at_most::<Hello>(&mut stream, LONGEST_QUESTION)? != Hello::OWN {
        return Ok(());
    }
    loop {
        match wire::receive_at_most(&mut stream, LONGEST_QUESTION)? {
            Question::Look(want) => {
                let Some(snapshot) = viewer.look(want) else { return Ok(()) };
                wire::send(&mut stream, &snapshot)?;
            }
            Question::Moment => {
                let Some(frozen) = viewer.session() else { return Ok(()) };
                let Collected { session, data_addresses, .. } = &frozen.collected;
                let addresses = data_addresses.iter().map(|(lock, at)| (*lock, *at));
                wire::send(&mut stream, &moment(frozen.now.at_ns, session, addresses)?)?;
            }
        }
    }
}

/// A session at one moment, as it is sent.
pub(super) fn moment(
    at_ns: u64,
    session: &Session,
    addresses: impl Iterator<Item = (LockId, CodeAddress)>,
) -> io::Result<Moment> {
    let mut trace = Vec::new();
    file::write(session, &mut trace).map_err(io::Error::other)?;
    let data_addresses = addresses.map(|(lock, at)| (lock.0, at.module.map(|module| module.0), at.address)).collect();
    Ok(Moment { at_ns, trace, data_addresses })
}

/// A view of a recording that another process makes.
pub struct Remote(UnixStream);

impl Remote {
    /// Finds the recording of a process, and asks to look.
    ///
    /// # Errors
    /// Where there is no such process, it is not recorded, or its recorder lets nobody look.
    pub fn connect(pid: u32) -> anyhow::Result<Self> {
        let folder = session_folder(pid)?;
        let mut stream = UnixStream::connect(folder.join(SOCKET)).with_context(|| {
            format!("process {pid} was recorded, but its recorder has gone or lets nobody look: start it anew with `lockprof top`")
        })?;
        let hello = (|| {
            stream.set_read_timeout(Some(ANSWER))?;
            wire::send(&mut stream, &Hello::OWN)?;
            wire::receive_at_most::<Hello>(&mut stream, LONGEST_QUESTION)
        })();
        match hello {
            Ok(Hello::OWN) => Ok(Self(stream)),
            Ok(_) => bail!("process {pid} is recorded by another version of lockprof: use that one to look at it"),
            Err(error) => Err(error)
                .with_context(|| format!("the recorder of process {pid} does not answer: has it been stopped?")),
        }
    }

    /// What this viewer wants to see; `None` once the recording is over.
    ///
    /// # Errors
    /// Where the recorder does not answer, or not as it should.
    pub fn look(&mut self, want: Want) -> io::Result<Option<Snapshot>> {
        wire::ask(&mut self.0, Question::Look(want))
    }

    /// The session at the moment that is shown, without names; `None` once the recording is over.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn moment(&mut self) -> anyhow::Result<Option<SessionAt>> {
        self.0.set_read_timeout(Some(WHOLE_ANSWER))?;
        let answer = wire::ask::<Moment>(&mut self.0, Question::Moment);
        self.0.set_read_timeout(Some(ANSWER))?;
        Ok(answer?.map(SessionAt::try_from).transpose()?)
    }
}

/// A session at one moment, without names.
pub struct SessionAt {
    /// The moment, ns since the start of the session.
    pub at_ns: u64,
    /// The session so far.
    pub session: Session,
    /// Where locks lie in their module's data.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
}

impl TryFrom<Moment> for SessionAt {
    type Error = file::ReadError;

    fn try_from(Moment { at_ns, trace, data_addresses }: Moment) -> Result<Self, Self::Error> {
        let address = |(lock, module, address): (u32, Option<u32>, u64)| {
            (LockId(lock), CodeAddress { module: module.map(ModuleId), address })
        };
        let data_addresses = data_addresses.into_iter().map(address).collect();
        Ok(Self { at_ns, session: file::read_from(&trace[..])?, data_addresses })
    }
}

impl From<Frozen> for SessionAt {
    fn from(Frozen { collected, now }: Frozen) -> Self {
        Self { at_ns: now.at_ns, session: collected.session, data_addresses: collected.data_addresses }
    }
}

/// The folder of the session that records a process: its maps show a segment there.
fn session_folder(pid: u32) -> anyhow::Result<PathBuf> {
    folder_in(&folder::maps(pid)?).with_context(|| {
        format!(
            "process {pid} is not being recorded: start it with `lockprof top -- CMD` or `lockprof run CMD`, or with \
             LD_PRELOAD=$(lockprof shim --path) to look at it at any time"
        )
    })
}

fn folder_in(maps: &str) -> Option<PathBuf> {
    let is_segment =
        |path: &&Path| path.to_str().is_some_and(|path| path.trim_end_matches(" (deleted)").ends_with(".seg"));
    folder::files_in(maps).filter(is_segment).last()?.parent().map(Path::to_owned)
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
        let error = session_folder(std::process::id()).unwrap_err().to_string();
        assert!(error.contains("is not being recorded"), "{error}");
    }
}
