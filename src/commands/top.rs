//! `lockprof top`: watches a recording while it is made; its own, or one that another process makes.

mod plain;
mod program;
mod screen;

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;

use anyhow::bail;

use super::output::Console;
use super::past::keep_past;
use super::run;
use crate::cli::TopArgs;
use crate::exit_code::ExitCode;
use crate::live::control::Stop;
use crate::live::moment::SessionAt;
use crate::live::snapshot::{Snapshot, ViewRequest};
use crate::live::socket::Remote;
use crate::live::viewer::Viewer;
use crate::record::attach;
use crate::record::folder;
use crate::record::launch::Program;
use program::Watched;

pub(super) fn top(console: &Console, args: &TopArgs) -> anyhow::Result<ExitCode> {
    let (mut source, watched) = match args.pid {
        Some(pid) if !attach::is_free(pid) => {
            if args.output.is_some() {
                bail!("-o: only the lockprof that records process {pid} can write: it does so at the program's end");
            }
            let trace = run::expand(&Watched::OUTPUT.into(), &Program::of_process(pid)?, pid);
            (Source { view: View::Remote(Remote::connect(pid, &folder::of_recorded(pid)?)?), trace }, None)
        }
        Some(pid) => {
            keep_past(console, pid)?;
            let watched = Watched::wake(pid, args)?;
            (watched.source(), Some(watched))
        }
        None => {
            let watched = Watched::start(args)?;
            (watched.source(), Some(watched))
        }
    };
    let finished = if has_screen(args) {
        screen::show(console, args, source, watched)?
    } else {
        let printed = plain::print(console, args, &mut source);
        if let Some(watched) = &watched
            && (printed.is_err() || args.count.is_some())
        {
            watched.control().stop(Stop::End);
        }
        let finished = watched.map(|watched| watched.finish(console)).transpose()?;
        printed?;
        finished
    };
    Ok(finished.map_or(ExitCode::Success, |finished| finished.report(console)))
}

/// Whether there is a screen, and nobody wants lines.
fn has_screen(args: &TopArgs) -> bool {
    let lines = args.interval.is_some() || args.count.is_some() || args.format.is_some();
    !lines && stdout().is_terminal() && stdin().is_terminal()
}

/// Where snapshots come from.
struct Source {
    view: View,
    /// Where the whole recording goes, or would go if it were ours.
    trace: PathBuf,
}

enum View {
    /// A recording of this process.
    Own(Viewer),
    /// One of another.
    Remote(Remote),
}

impl Source {
    /// `None` once the recording is over.
    fn look(&mut self, request: ViewRequest) -> anyhow::Result<Option<Snapshot>> {
        match &mut self.view {
            View::Own(viewer) => Ok(viewer.look(request)),
            View::Remote(remote) => Ok(remote.look(request)?),
        }
    }

    /// The session at the moment that is shown; `None` once the recording is over.
    fn moment(&mut self) -> anyhow::Result<Option<SessionAt>> {
        match &mut self.view {
            View::Own(viewer) => Ok(viewer.session().map(|copy| SessionAt::from(*copy))),
            View::Remote(remote) => remote.moment(),
        }
    }
}
