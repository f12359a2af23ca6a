//! `lockprof explain`: what findings and verdicts mean.

use anyhow::bail;

use super::output::{Console, Target};
use crate::analysis::findings::Rule;
use crate::cli::ExplainArgs;
use crate::exit_code::ExitCode;
use crate::render::explain::pages;

pub(super) fn explain(console: &Console, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let layout = console.stdout_layout();
    let text = match &args.kind {
        None => pages::list(&layout),
        Some(kind) => {
            let kind = kind.strip_prefix("finding:").unwrap_or(kind);
            let Some(rule) = Rule::of(kind) else {
                bail!("no finding and no verdict is called {kind}: `lockprof explain` lists them")
            };
            pages::shown(rule, &layout)
        }
    };
    Target::Stdout.write(text.as_bytes())?;
    Ok(ExitCode::Success)
}
