//! Viewers of a recording in other processes: a socket in the session's folder, which only its user can reach.
//!
//! One thread waits for viewers, one more serves each. A viewer that dies, or sends nonsense, is its own loss.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, bail};

use super::control::ControlChannel;
use super::messages::{self, Hello, LONGEST_QUESTION, Question, SOCKET};
use super::moment::{Moment, SessionAt};
use super::snapshot::{Snapshot, ViewRequest};
use super::viewer::Viewer;

/// Viewers at one time; more are sent away.
const MOST_VIEWERS: usize = 16;
/// A viewer that takes its answer no faster than this is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A recorder that does not answer within this time hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A whole session takes longer to send.
const WHOLE_ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves viewers for as long as this process lives. Where that cannot be, nobody can look: the recording does not care.
pub fn serve(folder: &Path, control: &ControlChannel) {
    let Ok(listener) = UnixListener::bind(folder.join(SOCKET)) else { return };
    let control = control.clone();
    let _ = Builder::new().name("viewers".to_owned()).spawn(move || {
        let present = std::sync::Arc::new(());
        for stream in listener.incoming().flatten() {
            if std::sync::Arc::strong_count(&present) > MOST_VIEWERS {
                continue;
            }
            let (viewer, present) = (Viewer::new(control.clone()), std::sync::Arc::clone(&present));
            let _ = Builder::new().name("viewer".to_owned()).spawn(move || {
                let _present = present;
                // However it ends: the viewer has gone.
                let _ = attend(stream, viewer);
            });
        }
    });
}

fn attend(mut stream: UnixStream, mut viewer: Viewer) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    messages::send(&mut stream, &Hello::OWN)?;
    if messages::receive_at_most::<Hello>(&mut stream, LONGEST_QUESTION)? != Hello::OWN {
        return Ok(());
    }
    loop {
        match messages::receive_at_most(&mut stream, LONGEST_QUESTION)? {
            Question::Look(request) => {
                let Some(snapshot) = viewer.look(request) else { return Ok(()) };
                messages::send(&mut stream, &snapshot)?;
            }
            Question::Moment => {
                let Some(copy) = viewer.session() else { return Ok(()) };
                let addresses = copy.collected.data_addresses.iter().map(|(lock, at)| (*lock, *at));
                messages::send(&mut stream, &Moment::of(copy.now.at_ns, &copy.collected.session, addresses)?)?;
            }
        }
    }
}

/// A view of a recording that another process makes.
pub struct Remote(UnixStream);

impl Remote {
    /// Asks to look at the recording of a process, whose folder this is.
    ///
    /// # Errors
    /// Where its recorder lets nobody look.
    pub fn connect(pid: u32, folder: &Path) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect(folder.join(SOCKET)).with_context(|| {
            format!("process {pid} was recorded, but its recorder has gone or lets nobody look: start it anew with `lockprof top`")
        })?;
        let hello = (|| {
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            messages::send(&mut stream, &Hello::OWN)?;
            messages::receive_at_most::<Hello>(&mut stream, LONGEST_QUESTION)
        })();
        match hello {
            Ok(Hello::OWN) => Ok(Self(stream)),
            Ok(_) => bail!("process {pid} is recorded by another version of lockprof: use that one to look at it"),
            Err(error) => Err(error)
                .with_context(|| format!("the recorder of process {pid} does not answer: has it been stopped?")),
        }
    }

    /// What this viewer asks for; `None` once the recording is over.
    ///
    /// # Errors
    /// Where the recorder does not answer, or not as it should.
    pub fn look(&mut self, request: ViewRequest) -> io::Result<Option<Snapshot>> {
        messages::ask(&mut self.0, Question::Look(request))
    }

    /// The session at the moment that is shown, without names; `None` once the recording is over.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn moment(&mut self) -> anyhow::Result<Option<SessionAt>> {
        self.0.set_read_timeout(Some(WHOLE_ANSWER_TIMEOUT))?;
        let answer = messages::ask::<Moment>(&mut self.0, Question::Moment);
        self.0.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(answer?.map(SessionAt::try_from).transpose()?)
    }
}
