//! `lockprof flamegraph`: a recording as a picture.

use std::io::IsTerminal;

use super::output::{Console, Target};
use super::trace;
use crate::analysis::Filter;
use crate::analysis::contention::{Contention, Query};
use crate::cli::{self, FlamegraphArgs};
use crate::exit_code::ExitCode;
use crate::render::flamegraph::{Metric, Options, Side, draw};

pub(super) fn flamegraph(console: &Console, args: &FlamegraphArgs) -> anyhow::Result<ExitCode> {
    let trace = trace::load(console, args.trace.as_deref())?;
    let query = Query { filter: Filter::from(&args.filter), ..Query::default() };
    let contention = Contention::of(&trace.session, &query);
    let options = Options { metric: args.metric.into(), side: args.by.map(Side::from), title: args.title.clone() };
    let picture = draw(&trace.session, &contention, &options);
    for notice in picture.notice.iter().chain(&contention.notes) {
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
