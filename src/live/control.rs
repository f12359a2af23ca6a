//! The control channel of a recording: how it is asked, named and stopped while it runs. The collector answers between two
//! looks at the rings, so that what it tells belongs to one moment; nobody else touches what it collects.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::snapshot::{self, Snapshot, ViewRequest};
use crate::ingest::collector::{Collected, Collector, Names, Unnamed};
use crate::model::Now;

/// Snapshots are shared by all who ask within this time.
const SHARED_AT_LEAST: Duration = Duration::from_millis(150);
/// A snapshot that took long is paid for by a pause of so many times its length.
pub(super) const PAUSE_FACTOR: u32 = 30;
/// But no longer than this: a view that stands still says nothing.
const SHARED_AT_MOST: Duration = Duration::from_millis(400);

/// How a recording ends before the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The program, with all that it started, is asked to end (`SIGTERM`), and killed if it does not.
    End,
    /// The program goes on, recorded no more.
    Leave,
}

/// A copy of the session at one moment.
#[derive(Clone)]
pub struct SessionCopy {
    /// The session so far.
    pub collected: Collected,
    /// The moment.
    pub now: Now,
}

enum Request {
    Snapshot(Option<u32>, Sender<Arc<Snapshot>>),
    Copy(Sender<Box<SessionCopy>>),
    Unnamed(Sender<Option<Box<Unnamed>>>),
    Names(Box<Names>),
    Stop(Stop),
}

/// The side of whoever asks.
#[derive(Clone)]
pub struct ControlChannel(Sender<Request>);

impl ControlChannel {
    /// A channel: this side, and the collector's.
    pub fn new() -> (Self, CollectorHandle) {
        let (sender, requests) = channel();
        (Self(sender), CollectorHandle { requests, last: None, watched: false })
    }

    /// Ends the recording.
    pub fn stop(&self, how: Stop) {
        // Only a recording that is over hears nothing any more.
        let _ = self.0.send(Request::Stop(how));
    }

    /// A copy of the session so far; `None` once the recording is over.
    pub fn session_copy(&self) -> Option<Box<SessionCopy>> {
        self.ask(Request::Copy)
    }

    /// Some rows without names: outer `None` once the recording is over, inner where all have theirs.
    pub fn unnamed(&self) -> Option<Option<Box<Unnamed>>> {
        self.ask(Request::Unnamed)
    }

    /// Gives rows their names.
    pub fn name(&self, named: Names) {
        let _ = self.0.send(Request::Names(Box::new(named)));
    }

    /// A snapshot with the stacks of this lock; `None` once the recording is over.
    pub(super) fn snapshot(&self, focus: Option<u32>) -> Option<Arc<Snapshot>> {
        self.ask(|reply| Request::Snapshot(focus, reply))
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = channel();
        self.0.send(request(reply)).ok()?;
        answer.recv().ok()
    }
}

/// The collector's side of a [`ControlChannel`].
pub struct CollectorHandle {
    requests: Receiver<Request>,
    last: Option<Last>,
    watched: bool,
}

struct Last {
    focus: Option<u32>,
    snapshot: Arc<Snapshot>,
    until: Instant,
}

impl CollectorHandle {
    /// Answers what was asked since the last call; how to stop, if somebody wants that. `watched` is called when somebody
    /// looks for the first time.
    pub fn answer(&mut self, collector: &mut Collector, watched: &mut dyn FnMut()) -> Option<Stop> {
        let mut stop = None;
        while let Ok(request) = self.requests.try_recv() {
            // Who does not wait for the answer any more does not need it.
            match request {
                Request::Snapshot(focus, reply) => {
                    if !std::mem::replace(&mut self.watched, true) {
                        watched();
                    }
                    let _ = reply.send(self.snapshot(collector, focus));
                }
                Request::Copy(reply) => {
                    let mut now = collector.now();
                    let collected = collector.so_far(&mut now);
                    let _ = reply.send(Box::new(SessionCopy { collected, now }));
                }
                Request::Unnamed(reply) => {
                    let _ = reply.send(collector.unnamed().map(Box::new));
                }
                Request::Names(named) => collector.name(*named),
                Request::Stop(how) => stop = Some(how),
            }
        }
        stop
    }

    fn snapshot(&mut self, collector: &mut Collector, focus: Option<u32>) -> Arc<Snapshot> {
        let began = Instant::now();
        if let Some(last) = self.last.as_ref().filter(|last| last.focus == focus && began < last.until) {
            return Arc::clone(&last.snapshot);
        }
        let now = collector.now();
        let request = ViewRequest { focus, ..ViewRequest::default() };
        let snapshot = Arc::new(snapshot::take(&collector.session, &now, request));
        let until = Instant::now() + (began.elapsed() * PAUSE_FACTOR).clamp(SHARED_AT_LEAST, SHARED_AT_MOST);
        self.last = Some(Last { focus, snapshot: Arc::clone(&snapshot), until });
        snapshot
    }
}
