//! Figures of fixed width: bars, sparklines, durations.

use crate::render::names::columns;
use crate::render::units::duration;

/// A share as a bar of so many columns: `██▌  `.
pub fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let mut out = "█".repeat(eighths / 8);
    if let Some(part) = (eighths % 8).checked_sub(1) {
        out.push(EIGHTHS[part]);
    }
    let used = columns(&out);
    out + &" ".repeat(width.saturating_sub(used))
}

/// The last values as a line of bars, the newest at the right; the highest is the greatest shown.
pub fn spark<'a>(values: impl DoubleEndedIterator<Item = &'a u64>, width: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut last: Vec<u64> = values.rev().take(width * 2).copied().collect();
    last.reverse();
    // Two snapshots to a column: a minute in 60 of them.
    let pairs: Vec<u64> = last.rchunks(2).map(|pair| pair.iter().sum()).collect();
    let most = pairs.iter().copied().max().unwrap_or(0);
    let level = |value: &u64| match (*value, most) {
        (0, _) | (_, 0) => ' ',
        (value, most) => LEVELS[((value as f64 / most as f64 * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    let line: String = pairs.iter().rev().map(level).collect();
    format!("{line:>width$}")
}

/// A duration in at most eight columns.
pub fn time(ns: u64) -> String {
    match ns / 1_000_000_000 {
        0..100 => duration(ns),
        seconds @ 100..6_000 => format!("{:.1} min", seconds as f64 / 60.0),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

/// The same; nothing for nothing.
pub fn time_or_none(ns: u64) -> String {
    if ns == 0 { "–".into() } else { time(ns) }
}
