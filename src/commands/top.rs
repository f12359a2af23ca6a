//! `lockprof top`: watches a recording while it is made; its own, or one that another process makes.

mod plain;
mod program;

use std::io::{IsTerminal, stdin, stdout};

use super::output::Console;
use crate::cli::{Format, TopArgs};
use crate::exit_code::ExitCode;
use crate::record::desk::Viewer;
use crate::record::serve::Remote;
use crate::snapshot::{Snapshot, Want};
use program::Watched;

pub(super) fn top(console: &Console, args: &TopArgs) -> anyhow::Result<ExitCode> {
    if let Some(pid) = args.pid {
        let mut source = Source::Remote(Remote::connect(pid)?);
        plain::print(console, args, &mut source)?;
        return Ok(ExitCode::Success);
    }
    let watched = Watched::start(args)?;
    let mut source = Source::Own(Viewer::new(watched.desk().clone()));
    let printed = plain::print(console, args, &mut source);
    if printed.is_err() || args.count.is_some() {
        watched.desk().stop(crate::record::desk::Stop::End);
    }
    let code = watched.finish(console)?;
    printed.map(|()| code)
}

/// Whether there is a screen, and nobody wants lines.
fn has_screen(args: &TopArgs) -> bool {
    let lines = args.interval.is_some() || args.count.is_some() || args.format.is_some();
    !lines && stdout().is_terminal() && stdin().is_terminal()
}

/// Where snapshots come from.
enum Source {
    /// A recording of this process.
    Own(Viewer),
    /// One of another.
    Remote(Remote),
}

impl Source {
    /// `None` once the recording is over.
    fn look(&mut self, want: Want) -> anyhow::Result<Option<Snapshot>> {
        match self {
            Self::Own(viewer) => Ok(viewer.look(want)),
            Self::Remote(remote) => Ok(remote.look(want)?),
        }
    }
}
