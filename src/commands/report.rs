//! `lockprof report`: the tables.

use super::output::{Console, Target, write_stdout};
use super::trace;
use crate::analysis::Filter;
use crate::analysis::contention::{Contention, GroupBy, Query, SortKey};
use crate::analysis::findings;
use crate::cli::{By, ReportArgs, ReportFormat, Sort, StackOption};
use crate::exit_code::ExitCode;
use crate::render::json::{self, StackForm};
use crate::render::text;

pub(super) fn report(console: &Console, args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let session = trace::load(console, args.trace.as_deref())?.session;
    let filter = Filter::from(&args.filter);
    // Many locks of one kind would hide the others; who asks for a row of them wants to see each.
    let in_classes =
        args.by.is_none() && args.format != ReportFormat::Json && !args.every_lock && filter.lock.is_none();
    let query = Query {
        filter,
        by: if in_classes { GroupBy::Class } else { args.by.map_or(GroupBy::Lock, GroupBy::from) },
        lone_locks: in_classes,
        sort: args.sort.into(),
        merge_alike: !args.every_lock,
    };
    let contention = Contention::of(&session, &query);
    let findings = findings::find(&session);
    let limit = args.limit.map(|limit| limit as usize);
    let out = match args.format {
        ReportFormat::Json => {
            let form = args.stacks.map(StackForm::from);
            write_stdout(|out| json::report(&session, &contention, &findings, limit, form, out))?;
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

impl From<StackOption> for StackForm {
    fn from(form: StackOption) -> Self {
        match form {
            StackOption::Inline => Self::Inline,
            StackOption::Table => Self::Table,
        }
    }
}
