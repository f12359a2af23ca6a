//! Where a recording is asked questions while it runs. The collector answers between two looks at the rings, so that what it
//! tells belongs to one moment; nobody else touches what it collects.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::Event;
use crate::ingest::live::{Collected, Collector, Named, Unnamed};
use crate::model::Now;
use crate::snapshot::judged::judged;
use crate::snapshot::{self, Judged, Snapshot, Want};

/// Snapshots are shared by all who ask within this time.
const FRESH: Duration = Duration::from_millis(150);
/// A snapshot that took long is paid for by a pause of so many times its length.
const SHARE: u32 = 30;
/// But no longer than this: a view that stands still says nothing.
const STALE: Duration = Duration::from_millis(400);
/// The order of locks is judged this seldom, or so many times more seldom than it takes.
const JUDGED_EVERY: Duration = Duration::from_secs(2);

/// How a recording ends before the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The program, with all that it started, is asked to end (`SIGTERM`), and killed if it does not.
    End,
    /// The program goes on, recorded no more.
    Leave,
}

/// A copy of the session at one moment.
pub struct Frozen {
    /// The session so far.
    pub collected: Collected,
    /// The moment.
    pub now: Now,
}

enum Ask {
    Snapshot(Option<u32>, Sender<Arc<Snapshot>>),
    Frozen(Sender<Box<Frozen>>),
    Unnamed(Sender<Option<Box<Unnamed>>>),
    Named(Box<Named>),
    Stop(Stop),
}

/// For whoever asks.
#[derive(Clone)]
pub struct Desk(Sender<Ask>);

impl Desk {
    /// A desk, and the collector's side of it.
    pub fn new() -> (Self, Clerk) {
        let (sender, questions) = channel();
        (Self(sender), Clerk { questions, last: None, watched: false })
    }

    /// Ends the recording.
    pub fn stop(&self, how: Stop) {
        // Only a recording that is over hears nothing any more.
        let _ = self.0.send(Ask::Stop(how));
    }

    /// A copy of the session so far; `None` once the recording is over.
    pub fn frozen(&self) -> Option<Box<Frozen>> {
        self.ask(Ask::Frozen)
    }

    /// Some rows without names: outer `None` once the recording is over, inner where all have theirs.
    pub fn unnamed(&self) -> Option<Option<Box<Unnamed>>> {
        self.ask(Ask::Unnamed)
    }

    /// Gives rows their names.
    pub fn name(&self, named: Named) {
        let _ = self.0.send(Ask::Named(Box::new(named)));
    }

    fn snapshot(&self, focus: Option<u32>) -> Option<Arc<Snapshot>> {
        self.ask(|reply| Ask::Snapshot(focus, reply))
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = channel();
        self.0.send(question(reply)).ok()?;
        answer.recv().ok()
    }
}

/// The collector's side of a [`Desk`].
pub struct Clerk {
    questions: Receiver<Ask>,
    last: Option<Last>,
    watched: bool,
}

struct Last {
    focus: Option<u32>,
    snapshot: Arc<Snapshot>,
    until: Instant,
}

impl Clerk {
    /// Answers what was asked since the last call; how to stop, if somebody wants that. Tells when somebody looks for
    /// the first time.
    pub(super) fn answer(&mut self, collector: &mut Collector, tell: &mut dyn FnMut(Event)) -> Option<Stop> {
        let mut stop = None;
        while let Ok(question) = self.questions.try_recv() {
            // Who does not wait for the answer any more does not need it.
            match question {
                Ask::Snapshot(focus, reply) => {
                    if !std::mem::replace(&mut self.watched, true) {
                        tell(Event::Watched);
                    }
                    let _ = reply.send(self.snapshot(collector, focus));
                }
                Ask::Frozen(reply) => {
                    let mut now = collector.now();
                    let collected = collector.so_far(&mut now);
                    let _ = reply.send(Box::new(Frozen { collected, now }));
                }
                Ask::Unnamed(reply) => {
                    let _ = reply.send(collector.unnamed().map(Box::new));
                }
                Ask::Named(named) => collector.name(*named),
                Ask::Stop(how) => stop = Some(how),
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
        let want = Want { focus, ..Want::default() };
        let snapshot = Arc::new(snapshot::take(&collector.session, &now, want));
        let until = Instant::now() + (began.elapsed() * SHARE).clamp(FRESH, STALE);
        self.last = Some(Last { focus, snapshot: Arc::clone(&snapshot), until });
        snapshot
    }
}

/// One viewer: asks for what it wants to see, and keeps what takes longer to make.
pub struct Viewer {
    desk: Desk,
    frozen: Option<Box<Frozen>>,
    judged: Option<Judged>,
    judge_next: Option<Instant>,
}

impl Viewer {
    /// A viewer at this desk.
    pub fn new(desk: Desk) -> Self {
        Self { desk, frozen: None, judged: None, judge_next: None }
    }

    /// What it wants to see; `None` once the recording is over.
    pub fn look(&mut self, want: Want) -> Option<Snapshot> {
        match (want.frozen, &self.frozen) {
            (true, None) => self.frozen = Some(self.desk.frozen()?),
            (false, Some(_)) => (self.frozen, self.judge_next) = (None, None),
            _ => {}
        }
        let mut snapshot = match &self.frozen {
            Some(frozen) => snapshot::take(&frozen.collected.session, &frozen.now, want),
            None => (*self.desk.snapshot(want.focus)?).clone(),
        };
        if want.judged {
            self.judge(snapshot.at_ns)?;
            snapshot.judged.clone_from(&self.judged);
        }
        Some(snapshot)
    }

    /// The session that the view shows: the kept one, or a copy of this moment.
    pub fn session(&self) -> Option<Box<Frozen>> {
        match &self.frozen {
            Some(frozen) => Some(Box::new(Frozen {
                collected: Collected {
                    session: frozen.collected.session.clone(),
                    data_addresses: frozen.collected.data_addresses.clone(),
                    oracle: frozen.collected.oracle,
                    images: frozen.collected.images.clone(),
                    loaded: frozen.collected.loaded.clone(),
                },
                now: frozen.now.clone(),
            })),
            None => self.desk.frozen(),
        }
    }

    /// Judges the order of locks anew, if it is time for that. Done here and not by the collector, which has no time.
    fn judge(&mut self, at_ns: u64) -> Option<()> {
        let began = Instant::now();
        if self.judge_next.is_some_and(|next| began < next) {
            return Some(());
        }
        self.judged = Some(match &self.frozen {
            Some(frozen) => judged(&frozen.collected.session, at_ns),
            None => {
                let frozen = self.desk.frozen()?;
                judged(&frozen.collected.session, frozen.now.at_ns)
            }
        });
        let pause = JUDGED_EVERY.max(began.elapsed() * SHARE);
        // What stands still needs to be judged once.
        let forever = Duration::from_secs(1 << 30);
        self.judge_next = Some(Instant::now() + if self.frozen.is_some() { forever } else { pause });
        Some(())
    }
}
