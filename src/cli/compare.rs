//! `lockprof diff` and `lockprof merge`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FilterArgs, Format};

/// Heading of the options that make a gate of a comparison.
const GATE: &str = "What fails";

/// `lockprof diff`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof diff before.lockprof after.lockprof\n  \
                        lockprof diff main.lockprof branch.lockprof --fail-if-worse 10%\n  \
                        lockprof diff old.lockprof new.lockprof --metric p99 --lock 'cache*'\n  \
                        lockprof diff a.lockprof b.lockprof --format json | jq '.locks[0].change'\n\n\
                        Locks are matched by class, over all locks of the class, then by name. OLD is scaled to the\n\
                        duration of NEW. Exit codes: 0, 1 with --fail-if-worse (--error-exitcode), 2 lockprof could\n\
                        not do it.")]
pub struct DiffArgs {
    /// The recording before
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The recording after
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What is compared: the total wait, the total time held, the number of acquisitions, or the waits'
    /// 99th percentile
    #[arg(long, value_enum, default_value_t = DiffMetric::Wait)]
    pub metric: DiffMetric,
    /// Compare totals as they are, not scaled to the same duration
    #[arg(long)]
    pub absolute: bool,
    /// Show N locks that got worse, and as many that got better [default: 5 as text, all as JSON]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Fail where a lock, or all together, got worse by more than this share; waits and changes below
    /// --min-wait (1ms where it is not given, 0 for none) are noise
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = GATE)]
    pub fail_if_worse: Option<f64>,
    /// The exit code in place of 1
    #[arg(long, value_name = "N", help_heading = GATE)]
    pub error_exitcode: Option<u8>,
    /// What to leave out.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum DiffMetric {
    Wait,
    Hold,
    Count,
    P99,
}

/// `lockprof merge`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof merge run1.lockprof run2.lockprof -o runs.lockprof\n  \
                        lockprof merge *.lockprof -o all.lockprof && lockprof check all.lockprof\n\n\
                        The order of the recordings, and how they were merged before, does not show in the result. \
                        Each run keeps its processes and locks; a recording that is named twice counts twice.")]
pub struct MergeArgs {
    /// The recordings
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<PathBuf>,
    /// Write the merged recording to FILE
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// A share such as `10%` or `7.5`, 0 to 1.
fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().trim_end_matches('%').trim_end().parse().ok();
    let share = number.filter(|number| number.is_finite() && *number >= 0.0).map(|number| number / 100.0);
    share.ok_or_else(|| "give a percentage, such as 10%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        for (text, want) in [("10%", 0.1), ("7.5", 0.075), ("0 %", 0.0), ("250%", 2.5)] {
            assert!((percent(text).unwrap() - want).abs() < 1e-12, "{text}");
        }
        for text in ["", "-1%", "a", "inf", "nan%"] {
            assert!(percent(text).unwrap_err().contains("such as 10%"), "{text}");
        }
    }
}
