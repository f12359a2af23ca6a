//! `lockprof report`: the tables.

use super::output::{Console, Target, write_stdout};
use super::trace;
use crate::analysis::Filter;
use crate::analysis::contention::{Contention, GroupBy, Query, SortKey};
use crate::analysis::findings;
use crate::cli::{By, ReportArgs, ReportFormat, Sort};
use crate::exit_code::ExitCode;
use crate::render::{json, text};

pub(super) fn report(console: &Console, args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let session = trace::load(console, args.trace.as_deref())?.session;
    let query = Query {
        filter: Filter::from(&args.filter),
        by: args.by.into(),
        sort: args.sort.into(),
        merge_alike: !args.every_lock,
    };
    let contention = Contention::of(&session, &query);
    let findings = findings::find(&session);
    let limit = args.limit.map(|limit| limit as usize);
    let out = match args.format {
        ReportFormat::Json => {
            write_stdout(|out| json::report(&session, &contention, &findings, limit, out))?;
            return Ok(ExitCode::Success);
        }
        ReportFormat::Md => text::markdown(&session, &contention, &findings, limit),
        ReportFormat::Text => text::report(
            &session,
            &contention,
            &findings,
            &text::Options { layout: console.stdout_layout(), limit, verbose: console.verbose() },
        ),
    };
    Target::Stdout.write(out.as_bytes())?;
    Ok(ExitCode::Success)
}

impl From<By> for GroupBy {
    fn from(by: By) -> Self {
        match by {
            By::Lock => Self::Lock,
            By::Class => Self::Class,
            By::Site => Self::Site,
            By::Thread => Self::Thread,
        }
    }
}

impl From<Sort> for SortKey {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Wait => Self::Wait,
            Sort::Max => Self::Max,
            Sort::P99 => Self::P99,
            Sort::Count => Self::Count,
            Sort::Hold => Self::Hold,
        }
    }
}
