//! `lockprof html`: everything as one page.

use super::output::Console;
use super::picture;
use super::trace;
use crate::analysis::contention::{Contention, GroupBy, Query};
use crate::analysis::findings;
use crate::cli::HtmlArgs;
use crate::exit_code::ExitCode;
use crate::render::html::page;

pub(super) fn html(console: &Console, args: &HtmlArgs) -> anyhow::Result<ExitCode> {
    let trace = trace::load(console, args.trace.as_deref())?;
    let target = picture::target(args.output.as_deref(), args.open, trace.path.with_extension("html"))?;
    let contention =
        Contention::of(&trace.session, &Query { by: GroupBy::Class, lone_locks: true, ..Query::default() });
    let page = page(&trace.session, &contention, &findings::find(&trace.session));
    if let Some(notice) = &page.notice {
        console.say(notice);
    }
    target.write(page.html.as_bytes())?;
    picture::present(console, &target, args.open)?;
    Ok(ExitCode::Success)
}
