//! `lockprof merge`: many recordings as one.

use anyhow::{Context, bail};

use super::output::Console;
use super::trace;
use crate::cli::MergeArgs;
use crate::exit_code::ExitCode;
use crate::ingest::merge;
use crate::model::Session;
use crate::render::units::{count, plural};

pub(super) fn merge(console: &Console, args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let mut traces: Vec<Session> = Vec::new();
    for path in &args.traces {
        let trace = trace::load(console, Some(path)).with_context(|| format!("cannot merge {}", path.display()))?;
        if trace.session.coverage.contended_only {
            bail!(
                "cannot merge {}: it is a profile of another tool, and only recordings can be merged",
                path.display()
            );
        }
        traces.push(trace.session);
    }
    let merged = merge::merge(&traces)?;
    super::run::write_trace(&merged, &args.output, None)?;
    let runs = plural(merged.runs() as u64, "run", "runs");
    console.say(&format!(
        "wrote {}: {runs} of {}",
        args.output.display(),
        plural(traces.len() as u64, "trace", "traces")
    ));
    let dropped = merged.order.log.dropped;
    if dropped > 0 {
        console.detail(&format!(
            "left out {} single events of the lock order: `check` tells schedules from the single recordings",
            count(dropped)
        ));
    }
    if merged.meta.cut || !merged.coverage.complete() {
        console.say("at least one of them is incomplete, so the merged one is");
    }
    Ok(ExitCode::Success)
}
