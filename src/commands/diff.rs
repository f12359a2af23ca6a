//! `lockprof diff`: what got better and worse between two recordings.

use super::output::{Console, Target};
use super::trace;
use crate::analysis::Filter;
use crate::analysis::diff::{DEFAULT_FLOOR_NS, Diff, Measure, Question};
use crate::cli::{DiffArgs, DiffMetric, Format};
use crate::exit_code::ExitCode;
use crate::render::json::{self, Judgement};
use crate::render::style::printable;
use crate::render::text::{self, DiffOptions, Labelled, growth};
use crate::render::units::duration;

pub(super) fn diff(console: &Console, args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (old, new) = trace::load_two(console, &args.old, Some(&args.new))?;
    let question = Question {
        filter: Filter::from(&args.filter),
        measure: args.metric.into(),
        absolute: args.absolute,
        floor_ns: args.filter.min_wait.unwrap_or(DEFAULT_FLOOR_NS),
    };
    let result = Diff::of(&old.session, &new.session, &question);
    let judgement =
        args.fail_if_worse.map(|limit| Judgement { limit, worse: result.worse(limit), all: result.all_worse(limit) });
    let names = [&old, &new].map(|trace| trace.path.display().to_string());
    let [before, after] =
        [(&names[0], &old.session), (&names[1], &new.session)].map(|(name, session)| Labelled { name, session });
    let limit = args.limit.map(|limit| limit as usize);
    let out = match args.format {
        Format::Json => json::diff(before, after, &result, judgement.as_ref(), limit),
        Format::Text => text::diff(before, after, &result, &DiffOptions { layout: console.stdout_layout(), limit }),
    };
    Target::Stdout.write(out.as_bytes())?;
    let Some(judgement) = judgement else { return Ok(ExitCode::Success) };
    console.say(&answer(&result, &judgement));
    Ok(match judgement.fails() {
        true => args.error_exitcode.map_or(ExitCode::Findings, ExitCode::FindingsAs),
        false => ExitCode::Success,
    })
}

/// The gate's answer in a sentence.
fn answer(diff: &Diff, judgement: &Judgement<'_>) -> String {
    let limit = format!("more than {}%", (judgement.limit * 1000.0).round() / 10.0);
    let floor = duration(diff.question.floor_ns);
    if !judgement.fails() {
        return format!("passes: nothing got worse by {limit} (changes below {floor} are noise)");
    }
    let mut worse: Vec<String> = (judgement.worse.iter())
        .take(3)
        .map(|lock| {
            let (before, after) = lock.values(diff.question.measure);
            format!("{} ({})", printable(&lock.name), growth(before, after))
        })
        .collect();
    if judgement.worse.len() > worse.len() {
        worse.push(format!("{} more", judgement.worse.len() - worse.len()));
    }
    if judgement.all {
        worse.push("all locks together".into());
    }
    format!("fails: worse by {limit}: {}", worse.join(", "))
}

impl From<DiffMetric> for Measure {
    fn from(metric: DiffMetric) -> Self {
        match metric {
            DiffMetric::Wait => Self::Wait,
            DiffMetric::Hold => Self::Hold,
            DiffMetric::Count => Self::Count,
            DiffMetric::P99 => Self::P99,
        }
    }
}
