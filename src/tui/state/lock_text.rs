//! One lock: histograms, stacks, who blocks whom. A text of which the screen shows a part.

use super::{State, rows};
use crate::live::snapshot::{LockRow, Spread, StackRow};
use crate::model::histogram::{LAST_BUCKET, bucket_low};
use crate::render::names::{columns, fit_end, fit_start, pad_end};
use crate::render::style::wrap;
use crate::render::units::{count, percent, short_count};
use crate::tui::figures::{bar, time};

/// Columns of a histogram's bar; two histograms fit side by side into 80 columns.
const BAR: usize = 18;
/// Threads shown that wait now.
const WAITING: usize = 5;
/// Bounds of the histogram's lines, ns: the one before is the lower one.
const BOUNDS: [(u64, &str); 9] = [
    (1_000, "< 1 µs"),
    (10_000, "1–10 µs"),
    (100_000, "10–100 µs"),
    (1_000_000, ".1–1 ms"),
    (10_000_000, "1–10 ms"),
    (100_000_000, "10–100 ms"),
    (1_000_000_000, ".1–1 s"),
    (10_000_000_000, "1–10 s"),
    (u64::MAX, "> 10 s"),
];

fn row(state: &State) -> Option<&LockRow> {
    let id = state.lock?;
    state.part.locks.iter().find(|row| row.id == id)
}

/// Its name and what it is.
pub fn title(state: &State) -> String {
    match row(state) {
        Some(row) => {
            let at = format!("{:#x}", row.address);
            let place = if row.name.contains(&at) { String::new() } else { format!(" at {at}") };
            format!("{} · {} of process {}{place}", row.name, row.kind().name(), row.pid)
        }
        None => "no lock".into(),
    }
}

/// The whole text.
pub fn lines(state: &State) -> Vec<String> {
    let Some(row) = row(state) else {
        return vec![String::new(), " no lock is chosen: 1 shows the locks, Enter opens one".into()];
    };
    let width = usize::from(state.size.0);
    let per_second = |events: u64| short_count((events as f64 * 1e9 / state.part_ns.max(1) as f64).round() as u64);
    let mut out = Vec::new();
    if !row.class.is_empty() && row.class != row.name {
        out.push(format!(" class {}", row.class));
    }
    out.push(format!(
        " {} taken ({}/s), {} waited · waiting now: {} · held now by: {}",
        count(row.acquisitions),
        per_second(row.acquisitions),
        count(row.contended),
        row.waiters,
        rows::owner(state, row),
    ));
    out.push(String::new());
    out.extend(histograms(&row.wait, &row.hold, row.kind().is_lock()));
    waiting_now(&mut out, state, row);
    let Some(detail) = state.now.detail.as_ref().filter(|detail| detail.lock == row.id) else {
        out.push(String::new());
        out.push(" its stacks are being fetched …".into());
        return out;
    };
    // Stacks are sums over the whole recording.
    let total: u64 = detail.waiters.iter().map(|waiter| waiter.ns).sum();
    let who = if row.kind().is_lock() { "who waited (since the start)" } else { "who was blocked (since the start)" };
    stacks(&mut out, who, &detail.waiters, total, width);
    let mut holders = detail.holders.clone();
    if detail.unattributed_ns > 0 {
        holders.push(StackRow { count: 0, ns: detail.unattributed_ns, frames: Vec::new() });
    }
    stacks(&mut out, "who held it meanwhile", &holders, total, width);
    if !detail.blocking.is_empty() {
        out.push(String::new());
        out.push(" who blocks whom".into());
        let side = (width.saturating_sub(34) / 2).clamp(12, 40);
        for pair in &detail.blocking {
            let holder = if pair.holder.is_empty() { "a thread not seen" } else { &pair.holder };
            let (waiter, holder) = (pad_end(&fit_start(&pair.waiter, side), side), fit_start(holder, side));
            out.push(format!(" {:>9} {:>7}×  {waiter} ← {holder}", time(pair.ns), short_count(pair.count)));
        }
    }
    if !detail.advice.is_empty() {
        out.push(String::new());
        out.extend(wrap(&detail.advice, width, " → ", "   ").lines().map(str::to_owned));
    }
    out
}

/// Who waits for it this moment, the longest first.
fn waiting_now(out: &mut Vec<String>, state: &State, row: &LockRow) {
    let mut waiting: Vec<_> = state.now.threads.iter().filter(|thread| thread.waits_for == Some(row.id)).collect();
    if waiting.is_empty() {
        return;
    }
    waiting.sort_by_key(|thread| (thread.waits_since_ns, thread.id));
    out.push(String::new());
    out.push(" who waits now".into());
    for thread in waiting.iter().take(WAITING) {
        let time = time(state.now.at_ns.saturating_sub(thread.waits_since_ns));
        out.push(format!(" {time:>9}  {} ({})", thread.name, thread.tid));
    }
    if waiting.len() > WAITING {
        out.push(format!("            … and {} more", waiting.len() - WAITING));
    }
}

/// Counts by the lines of [`BOUNDS`]. A bucket that crosses a bound counts where it begins.
fn lines_of(spread: &Spread) -> [u64; BOUNDS.len()] {
    let mut lines = [0u64; BOUNDS.len()];
    for (bucket, count) in &spread.buckets {
        let low = bucket_low((*bucket).min(LAST_BUCKET));
        let at = BOUNDS.iter().position(|(bound, _)| low < *bound).unwrap_or(BOUNDS.len() - 1);
        lines[at] = lines[at].saturating_add(*count);
    }
    lines
}

fn histograms(wait: &Spread, hold: &Spread, is_lock: bool) -> Vec<String> {
    let (waits, holds) = (lines_of(wait), lines_of(hold));
    let used = |at: &usize| waits[*at] > 0 || holds[*at] > 0;
    let first = (0..BOUNDS.len()).find(used).unwrap_or(0);
    let last = (0..BOUNDS.len()).rev().find(used).unwrap_or(0);
    let head = |spread: &Spread| {
        let of = spread.histogram();
        if spread.count == 0 {
            return "none".to_owned();
        }
        format!("{}/{}/{}", time(of.quantile(0.5)), time(of.quantile(0.99)), time(of.max))
    };
    let word = if is_lock { "wait" } else { "blocked" };
    let left = format!("{word} {}", head(wait));
    let mut out = vec![format!(" p50/p99/max  {left:<31} hold {}", head(hold))];
    if wait.count == 0 && hold.count == 0 {
        return out;
    }
    let most = |lines: &[u64]| lines.iter().copied().max().unwrap_or(0).max(1);
    let line = |lines: &[u64], at: usize| {
        let share = lines[at] as f64 / most(lines) as f64;
        let count = if lines[at] == 0 { String::new() } else { short_count(lines[at]) };
        format!("{} {count:>6}", bar(share, BAR))
    };
    for (at, (_, label)) in BOUNDS.iter().enumerate().take(last + 1).skip(first) {
        out.push(format!(" {label:>9} {}        {}", line(&waits, at), line(&holds, at)).trim_end().to_owned());
    }
    out
}

fn stacks(out: &mut Vec<String>, title: &str, stacks: &[StackRow], total: u64, width: usize) {
    if stacks.is_empty() {
        return;
    }
    out.push(String::new());
    out.push(format!(" {title}"));
    for stack in stacks {
        let share = if total == 0 { 0.0 } else { stack.ns as f64 / total as f64 };
        let times = if stack.count == 0 { String::new() } else { format!("{}×", short_count(stack.count)) };
        let figures = format!(" {:>9} {:>5} {times:>7}  ", time(stack.ns), percent(share.min(1.0)));
        let indent = columns(&figures);
        let room = width.saturating_sub(indent).max(12);
        let Some((first, callers)) = stack.frames.split_first() else {
            out.push(format!("{figures}not seen: the holder let go, or its stack is unknown"));
            continue;
        };
        out.push(format!("{figures}{}", fit_end(first, room)));
        out.extend(callers.iter().map(|caller| format!("{}← {}", " ".repeat(indent), fit_end(caller, room - 2))));
    }
}
