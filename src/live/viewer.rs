//! One viewer of a recording, of this process or at the socket.

use std::time::{Duration, Instant};

use super::control::{ControlChannel, PAUSE_FACTOR, SessionCopy};
use super::snapshot::judged::judged;
use super::snapshot::{self, Judged, Snapshot, ViewRequest};

/// The order of locks is judged this seldom, or so many times more seldom than it takes.
const JUDGED_EVERY: Duration = Duration::from_secs(2);

/// Asks for what it wants to see, and keeps what takes longer to make.
pub struct Viewer {
    control: ControlChannel,
    /// The copy that a view which stands still is made of.
    copy: Option<Box<SessionCopy>>,
    judged: Option<Judged>,
    judge_next: Option<Instant>,
}

impl Viewer {
    /// A viewer of the recording behind this channel.
    pub fn new(control: ControlChannel) -> Self {
        Self { control, copy: None, judged: None, judge_next: None }
    }

    /// What it asks for; `None` once the recording is over.
    pub fn look(&mut self, request: ViewRequest) -> Option<Snapshot> {
        match (request.frozen, &self.copy) {
            (true, None) => self.copy = Some(self.control.session_copy()?),
            (false, Some(_)) => (self.copy, self.judge_next) = (None, None),
            _ => {}
        }
        let mut snapshot = match &self.copy {
            Some(copy) => snapshot::take(&copy.collected.session, &copy.now, request),
            None => (*self.control.snapshot(request.focus)?).clone(),
        };
        if request.judged {
            self.judge(snapshot.at_ns)?;
            snapshot.judged.clone_from(&self.judged);
        }
        Some(snapshot)
    }

    /// The session that the view shows: the kept one, or a copy of this moment.
    pub fn session(&self) -> Option<Box<SessionCopy>> {
        self.copy.clone().or_else(|| self.control.session_copy())
    }

    /// Judges the order of locks anew, if it is time for that. Done here and not by the collector, which has no time.
    fn judge(&mut self, at_ns: u64) -> Option<()> {
        let began = Instant::now();
        if self.judge_next.is_some_and(|next| began < next) {
            return Some(());
        }
        self.judged = Some(match &self.copy {
            Some(copy) => judged(&copy.collected.session, at_ns),
            None => {
                let copy = self.control.session_copy()?;
                judged(&copy.collected.session, copy.now.at_ns)
            }
        });
        let pause = JUDGED_EVERY.max(began.elapsed() * PAUSE_FACTOR);
        // What stands still needs to be judged once.
        let forever = Duration::from_secs(1 << 30);
        self.judge_next = Some(Instant::now() + if self.copy.is_some() { forever } else { pause });
        Some(())
    }
}
