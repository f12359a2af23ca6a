//! `lockprof flamegraph`: a recording as a picture.

use anyhow::bail;

use super::output::Console;
use super::trace;
use crate::analysis::Filter;
use crate::analysis::contention::{Contention, Query};
use crate::analysis::diff::Views;
use crate::cli::{self, FlamegraphArgs};
use crate::exit_code::ExitCode;
use crate::model::Session;
use crate::render::explain::notes as said;
use crate::render::flamegraph::{Metric, Options, Part, Picture, Side, View, draw, draw_differential};

pub(super) fn flamegraph(console: &Console, args: &FlamegraphArgs) -> anyhow::Result<ExitCode> {
    let options = Options { metric: args.metric.into(), side: args.by.map(Side::from), title: args.title.clone() };
    let filter = Filter::from(&args.filter);
    if let Some(reason) = View::meaningless(options.metric, options.side, &filter) {
        bail!(reason);
    }
    let (path, picture, notes) = match &args.diff {
        Some(old) => {
            let (old, new) = trace::load_two(console, old, args.trace.as_deref())?;
            let (picture, notes) = differential(&old.session, &new.session, filter, args.absolute, &options);
            (new.path, picture, notes)
        }
        None => {
            let trace = trace::load(console, args.trace.as_deref())?;
            let contention = Contention::of(&trace.session, &Query { filter, ..Query::default() });
            let notes = contention.notes.iter().map(|note| said::contention(*note)).collect();
            (trace.path, draw(&trace.session, &contention, &options), notes)
        }
    };
    for notice in picture.notice.iter().chain(&notes) {
        console.say(notice);
    }
    let target = super::picture::target(args.output.as_deref(), args.open, path.with_extension("svg"))?;
    target.write(&picture.svg)?;
    super::picture::present(console, &target, args.open)?;
    Ok(ExitCode::Success)
}

/// The picture of what changed since an older recording, and what a reader has to know about it.
fn differential(
    old: &Session,
    new: &Session,
    filter: Filter,
    absolute: bool,
    options: &Options,
) -> (Picture, Vec<String>) {
    let views = Views::of(old, new, filter, absolute);
    let old = Part { session: old, contention: &views.old };
    let new = Part { session: new, contention: &views.new };
    (draw_differential(old, new, views.scale, options), views.notes.iter().map(said::comparison).collect())
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
