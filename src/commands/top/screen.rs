//! The screen's glue: a thread that fetches what the screen wants to show, and does what the person wants.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::super::names::kept_names;
use super::super::output::{Console, Target};
use super::Source;
use super::program::{Finished, Watched};
use crate::analysis::contention::{Contention, Query};
use crate::analysis::findings;
use crate::cli::TopArgs;
use crate::ingest::file;
use crate::live::control::Stop;
use crate::live::moment::SessionAt;
use crate::live::snapshot::ViewRequest;
use crate::record::{cost, shim, signals};
use crate::render::style::{Layout, Style};
use crate::render::text;
use crate::symbols;
use crate::tui::input::Input;
use crate::tui::state::{Effect, Setting, State};
use crate::tui::{self, Feed};

/// Time between two snapshots.
const PACE: Duration = Duration::from_millis(500);
/// Columns of the summary on the screen.
const SUMMARY: Layout = Layout { color: false, width: 79 };

/// Shows the screen until it is left; then what became of the program, if it was ours.
pub(super) fn show(
    console: &Console,
    args: &TopArgs,
    source: Source,
    watched: Option<Watched>,
) -> anyhow::Result<Option<Finished>> {
    let log = watched.as_ref().and_then(|watched| watched.log.as_ref());
    let log = log.map_or_else(String::new, |log| log.display().to_string());
    let color = console.stdout_layout().paint(Style::Bad, "x") != "x";
    // Somebody else's program is never ended from here.
    let own = watched.is_some() && args.pid.is_none();
    let setting = Setting { own, log, color, ascii: args.ascii };
    let control = watched.as_ref().map(|watched| watched.control().clone());
    let (wishes, asked) = channel();
    let (news, arrived) = channel();
    measure_cost(news.clone());
    let fetcher = Fetcher { console: *console, source, watched, own, asked, news };
    let thread =
        Builder::new().name("fetching".to_owned()).spawn(move || fetcher.work()).context("cannot start a thread")?;
    let mut link = Link { wishes, arrived };
    let shown = tui::run(State::new(setting), &mut link).context("cannot use the terminal");
    drop(link);
    if shown.is_err()
        && let Some(control) = control
    {
        control.stop(Stop::End);
    }
    let finished = joined(thread)?;
    shown?;
    finished
}

fn joined<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow!("the screen's helper ended unexpectedly"))
}

/// What recording costs is measured beside: the screen does not wait for it.
fn measure_cost(news: Sender<Input>) {
    let _ = Builder::new().name("cost".to_owned()).spawn(move || {
        if let Some(ns) = shim::install().ok().and_then(|library| cost::ns_per_pair(&library)) {
            let _ = news.send(Input::Cost(ns));
        }
    });
}

enum Wish {
    See(ViewRequest),
    Do(Effect),
}

/// The screen's side.
struct Link {
    wishes: Sender<Wish>,
    arrived: Receiver<Input>,
}

impl Feed for Link {
    fn news(&mut self) -> Option<Input> {
        self.arrived.try_recv().ok()
    }

    // A fetcher that has ended hears nothing: the recording is over.
    fn request(&mut self, request: ViewRequest) {
        let _ = self.wishes.send(Wish::See(request));
    }

    fn act(&mut self, effect: Effect) {
        let _ = self.wishes.send(Wish::Do(effect));
    }

    fn is_interrupted(&self) -> bool {
        signals::asked_to_end()
    }
}

/// The other side.
struct Fetcher {
    console: Console,
    source: Source,
    watched: Option<Watched>,
    /// The program was started here.
    own: bool,
    asked: Receiver<Wish>,
    news: Sender<Input>,
}

impl Fetcher {
    /// Until the recording is over, or (where it is not ours) the screen is left.
    fn work(mut self) -> anyhow::Result<Option<Finished>> {
        let mut request = ViewRequest::default();
        loop {
            match self.source.look(request) {
                Ok(Some(snapshot)) => self.tell(Input::Snapshot(Box::new(snapshot))),
                Ok(None) => return self.over(),
                Err(error) => {
                    self.tell(Input::Over(format!("{error:#}"), Vec::new()));
                    return Ok(None);
                }
            }
            let next = Instant::now() + PACE;
            loop {
                match self.asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(Wish::See(new)) => {
                        request = new;
                        break;
                    }
                    Ok(Wish::Do(effect)) => self.act(effect),
                    Err(RecvTimeoutError::Timeout) => break,
                    // The screen was left. What is ours is recorded to its end.
                    Err(RecvTimeoutError::Disconnected) if self.watched.is_none() => return Ok(None),
                    Err(RecvTimeoutError::Disconnected) => {
                        if !self.own {
                            self.act(Effect::Leave);
                        }
                        return self.over();
                    }
                }
            }
        }
    }

    fn tell(&self, input: Input) {
        let _ = self.news.send(input);
    }

    fn over(&mut self) -> anyhow::Result<Option<Finished>> {
        let Some(watched) = self.watched.take() else {
            self.tell(Input::Over("the recording is over".into(), Vec::new()));
            return Ok(None);
        };
        let finished = watched.finish(&self.console)?;
        let summary = finished.summary(&SUMMARY, false);
        self.tell(Input::Over(finished.how(), summary.lines().map(str::to_owned).collect()));
        Ok(Some(finished))
    }

    fn act(&mut self, effect: Effect) {
        let control = self.watched.as_ref().map(Watched::control);
        match effect {
            Effect::End => control.into_iter().for_each(|control| control.stop(Stop::End)),
            Effect::Leave => control.into_iter().for_each(|control| control.stop(Stop::Leave)),
            Effect::Export => self.export(),
            Effect::None | Effect::Close => {}
        }
    }

    /// Writes what is shown, in a thread of its own: symbols take time.
    fn export(&mut self) {
        let moment = match self.source.moment() {
            Ok(Some(moment)) => moment,
            Ok(None) => return,
            Err(error) => return self.tell(Input::Message(format!("cannot write: {error:#}"))),
        };
        let stem = self.source.trace.with_extension("");
        let stem = format!("{}.at-{:.0}s", stem.display(), moment.at_ns as f64 / 1e9);
        let news = self.news.clone();
        let _ = Builder::new().name("writing".to_owned()).spawn(move || {
            let text = match write(moment, &stem) {
                Ok(()) => format!("wrote {stem}.lockprof and {stem}.txt"),
                Err(error) => format!("{error:#}"),
            };
            let _ = news.send(Input::Message(text));
        });
    }
}

/// A recording and its report.
fn write(moment: SessionAt, stem: &str) -> anyhow::Result<()> {
    let SessionAt { mut session, data_addresses, .. } = moment;
    symbols::name(&mut session, &data_addresses, &kept_names());
    file::write_to_path(&session, Path::new(&format!("{stem}.lockprof")))?;
    let contention = Contention::of(&session, &Query::default());
    let options = text::Options { layout: SUMMARY, ..text::Options::default() };
    let report = text::report(&session, &contention, &findings::find(&session), &options);
    Target::File(format!("{stem}.txt").into()).write(report.as_bytes())
}
