//! Tables and JSON lines, one for each interval.

use std::time::{Duration, Instant};

use super::super::output::{Console, Target};
use super::Source;
use crate::cli::{Format, TopArgs};
use crate::live::snapshot::ViewRequest;
use crate::render::text::DEFAULT_ROWS;
use crate::tui::plain;

/// Where nobody said otherwise.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prints until the recording or the asked number is over.
pub(super) fn print(console: &Console, args: &TopArgs, source: &mut Source) -> anyhow::Result<()> {
    let interval = args.interval.unwrap_or(INTERVAL);
    let format = args.format.unwrap_or(Format::Text);
    let limit = args.limit.map(|limit| limit as usize);
    let mut left = args.count;
    // The first interval begins now, also where the recording began long ago.
    let Some(mut before) = source.look(ViewRequest::default())? else { return Ok(()) };
    let mut next = Instant::now() + interval;
    loop {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        // After a pause (the machine was asleep or busy) nothing is made up for: many lines at once would say nothing.
        next = (next + interval).max(Instant::now() + interval / 2);
        let Some(snapshot) = source.look(ViewRequest::default())? else { return Ok(()) };
        let text = match format {
            Format::Json => plain::json_line(&snapshot, Some(&before), limit.unwrap_or(usize::MAX)),
            Format::Text => {
                let layout = console.stdout_layout();
                plain::table(&snapshot, Some(&before), &layout, limit.unwrap_or(DEFAULT_ROWS)) + "\n"
            }
        };
        Target::Stdout.write(text.as_bytes())?;
        before = snapshot;
        if let Some(left) = &mut left {
            *left -= 1;
            if *left == 0 {
                return Ok(());
            }
        }
    }
}
