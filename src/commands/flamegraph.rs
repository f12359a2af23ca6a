//! `lockprof flamegraph`: a recording as a picture.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::bail;

use super::output::{Console, Target};
use super::trace::{self, Trace};
use crate::analysis::Filter;
use crate::analysis::contention::{Contention, GroupBy, Query};
use crate::analysis::diff;
use crate::cli::{self, FlamegraphArgs};
use crate::exit_code::ExitCode;
use crate::render::flamegraph::{Metric, Options, Part, Picture, Side, View, draw, draw_differential};

pub(super) fn flamegraph(console: &Console, args: &FlamegraphArgs) -> anyhow::Result<ExitCode> {
    let options = Options { metric: args.metric.into(), side: args.by.map(Side::from), title: args.title.clone() };
    let filter = Filter::from(&args.filter);
    if let Some(reason) = View::meaningless(options.metric, options.side, &filter) {
        bail!(reason);
    }
    let trace = trace::load(console, args.trace.as_deref())?;
    let (picture, notes) = match &args.diff {
        Some(old) => differential(console, old, &trace, filter, args.absolute, &options)?,
        None => {
            let contention = Contention::of(&trace.session, &Query { filter, ..Query::default() });
            (draw(&trace.session, &contention, &options), contention.notes)
        }
    };
    for notice in picture.notice.iter().chain(&notes) {
        console.say(notice);
    }
    let target = match &args.output {
        Some(path) if path.as_os_str() == "-" => Target::Stdout,
        Some(path) => Target::File(path.clone()),
        None if std::io::stdout().is_terminal() => Target::File(trace.path.with_extension("svg")),
        None => Target::Stdout,
    };
    target.write(&picture.svg)?;
    if let Target::File(path) = &target {
        console.say(&format!("wrote {}: open it in a browser", path.display()));
    }
    Ok(ExitCode::Success)
}

/// The picture of what changed since an older recording, and what a reader has to know about it.
fn differential(
    console: &Console,
    old: &Path,
    new: &Trace,
    filter: Filter,
    absolute: bool,
    options: &Options,
) -> anyhow::Result<(Picture, Vec<String>)> {
    let old = trace::load(console, Some(old))?;
    let (old, new) = (&old.session, &new.session);
    let query = Query { filter, by: GroupBy::Class, ..Query::default() };
    let views = [old, new].map(|session| Contention::of(session, &query));
    let mut notes = diff::cautions(old, new);
    let scale = diff::scale(old, new, absolute, &mut notes);
    for note in views.iter().flat_map(|view| &view.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    let [before, after] =
        [(old, &views[0]), (new, &views[1])].map(|(session, contention)| Part { session, contention });
    Ok((draw_differential(before, after, scale, options), notes))
}

impl From<cli::Metric> for Metric {
    fn from(metric: cli::Metric) -> Self {
        match metric {
            cli::Metric::Wait => Self::Wait,
            cli::Metric::Hold => Self::Hold,
            cli::Metric::Count => Self::Count,
        }
    }
}

impl From<cli::Side> for Side {
    fn from(side: cli::Side) -> Self {
        match side {
            cli::Side::Waiter => Self::Waiter,
            cli::Side::Holder => Self::Holder,
            cli::Side::Both => Self::Both,
        }
    }
}
