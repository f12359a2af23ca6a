//! One lock: who waited for it, who held it meanwhile, and what to do about it.

use super::overview::label;
use crate::analysis::contention::{Contention, GroupBy, HeldCalls, LockReport, share};
use crate::analysis::sum_of;
use crate::model::{Origin, Session, StackId, Stacks};
use crate::render::explain::contention::advice;
use crate::render::frames::{headline, lines};
use crate::render::names::fit_start;
use crate::render::style::{Layout, Style, columns, fill, wrap};
use crate::render::units::{duration, percent, plural, short_count};

/// Stacks shown of each side.
const STACKS: usize = 3;
/// Stacks with less than this share are left out, unless they are the first.
const LEAST_SHARE: f64 = 0.01;
/// Callers shown of each stack.
const CALLERS: usize = 5;

pub(super) fn detail(session: &Session, view: &Contention, row: &LockReport, layout: &Layout) -> String {
    let mut out = String::new();
    let title = layout.paint(Style::Heading, &format!("{} {}", row.id, label(row)));
    out.push_str(&wrap(&format!("{title} · {}", facts(session, view, row)), layout.width, "", "   "));

    let waits: Vec<_> = (row.waiters.iter())
        .map(|waiter| Entry { ns: waiter.wait_ns, times: waiter.count, stack: waiter.stack, more: String::new() })
        .collect();
    let title = if row.kind.is_lock() { "who waited" } else { "who was blocked" };
    out.push_str(&side(session, layout, title, &waits, row.wait.total));
    if !row.kind.is_lock() {
        return out;
    }

    let mut holds: Vec<_> = (row.holders.iter())
        .filter(|holder| holder.blocked_ns > 0)
        .map(|holder| {
            let mean = holder.hold_ns.checked_div(holder.acquisitions).unwrap_or(0);
            let more = format!(
                "held {}× for {} on average; longest wait for it {}",
                short_count(holder.acquisitions),
                duration(mean),
                duration(holder.longest_ns)
            );
            let more = if session.coverage.contended_only { String::new() } else { more };
            Entry { ns: holder.blocked_ns, times: holder.count, stack: holder.stack, more }
        })
        .collect();
    if row.unattributed.wait_ns > 0 {
        let (ns, times) = (row.unattributed.wait_ns, row.unattributed.count);
        let at = holds.partition_point(|entry| entry.ns >= ns);
        holds.insert(at, Entry { ns, times, stack: Stacks::UNKNOWN, more: String::new() });
    }
    out.push_str(&side(session, layout, "who held it meanwhile", &holds, row.wait.total));
    out.push_str(&calls(session, layout, row));
    // Advice weighs how often and how long the lock is held.
    if let Some(text) = advice(session, row).filter(|_| !session.coverage.contended_only) {
        let arrow = layout.paint(Style::Good, "  → ");
        out.push_str(&wrap(&text, layout.width, &arrow, "    "));
    }
    out
}

/// Kind, origin and the figures that the table has no room for.
fn facts(session: &Session, view: &Contention, row: &LockReport) -> String {
    let mut facts = vec![row.kind.name().to_owned()];
    if session.processes.len() > 1 {
        let several = row.members.iter().any(|lock| session.lock(*lock).process != row.process);
        let pid = session.process(row.process).pid;
        facts.push(if several { "of several processes".to_owned() } else { format!("process {pid}") });
    }
    let contended_only = session.coverage.contended_only;
    if row.kind.has_readers() && !contended_only {
        facts.push(format!(
            "{} reads, {} writes",
            short_count(row.read_acquisitions),
            short_count(row.write_acquisitions)
        ));
    }
    let waited = if row.kind.is_lock() { "waited" } else { "blocked" };
    facts.push(if contended_only {
        format!("{} {waited}", short_count(row.contended))
    } else {
        let (contended, all) = (short_count(row.contended), short_count(row.acquisitions));
        format!("{contended} of {all} {waited}, half of them over {}", duration(row.wait.p50))
    });
    if row.try_failures > 0 {
        facts.push(format!("{} failed tries", short_count(row.try_failures)));
    }
    if row.timeouts > 0 {
        facts.push(format!("{} timeouts", short_count(row.timeouts)));
    }
    if let Some(lock) = row.members.first().map(|id| session.lock(*id))
        && lock.origin_stack != Stacks::UNKNOWN
    {
        let verb = if lock.origin == Origin::Initialised { "initialised" } else { "first taken" };
        facts.push(format!("{verb} in {}", headline(session, lock.origin_stack)));
    }
    let is_class = view.query.by == GroupBy::Class && (row.members.len() > 1 || !view.query.lone_locks);
    if is_class && !row.class.is_empty() && row.class != row.name {
        facts.push(format!("class {}", row.class));
    }
    facts.join(" · ")
}

struct Entry {
    ns: u64,
    times: u64,
    stack: StackId,
    more: String,
}

/// One side's stacks: time, share and count, then the frames, innermost first.
fn side(session: &Session, layout: &Layout, title: &str, entries: &[Entry], total: u64) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut out = format!("  {}\n", layout.paint(Style::Dim, title));
    let shown: Vec<_> = (entries.iter().enumerate())
        .take(STACKS)
        .filter(|(at, entry)| *at == 0 || share(entry.ns, total) >= LEAST_SHARE)
        .map(|(_, entry)| entry)
        .collect();
    for entry in &shown {
        let figures =
            format!("{:>9} {:>5} {:>7}  ", duration(entry.ns), percent(share(entry.ns, total)), times(entry.times));
        let indent = " ".repeat(columns(&figures));
        let room = layout.width.saturating_sub(columns(&figures)).max(20);
        let frames = lines(session, entry.stack);
        let Some((first, callers)) = frames.split_first() else {
            let text = "not seen: the holder let go, or its stack is unknown";
            out.push_str(&wrap(text, layout.width, &figures, &indent));
            continue;
        };
        let place = if first.place.is_empty() { String::new() } else { format!(" {}", first.place) };
        let function = fit_start(&first.function, room.saturating_sub(columns(&place)).max(12));
        out.push_str(&format!(
            "{figures}{}{}\n",
            layout.paint(Style::Strong, &function),
            layout.paint(Style::Dim, &place)
        ));
        if !callers.is_empty() {
            let room = layout.width.saturating_sub(columns(&indent)).max(12);
            let mut words: Vec<String> =
                (callers.iter().take(CALLERS)).map(|line| fit_start(&format!("← {}", line.one()), room)).collect();
            if callers.len() > CALLERS {
                words.push(format!("← {} more", callers.len() - CALLERS));
            }
            out.push_str(&layout.paint(Style::Dim, &fill(&words, layout.width, &indent, &indent)));
        }
        if !entry.more.is_empty() {
            out.push_str(&wrap(&entry.more, layout.width, &indent, &indent));
        }
    }
    let rest = &entries[shown.len()..];
    if !rest.is_empty() {
        let ns = sum_of(rest.iter().map(|entry| entry.ns));
        let text = format!(
            "{:>9} {:>5}          {}",
            duration(ns),
            percent(share(ns, total)),
            plural(rest.len() as u64, "more stack", "more stacks")
        );
        out.push_str(&layout.paint(Style::Dim, &text));
        out.push('\n');
    }
    out
}

/// The calls that may block which were made with the lock held, where that took time that counts.
fn calls(session: &Session, layout: &Layout, row: &LockReport) -> String {
    let counts = |held: &&HeldCalls| {
        let stats = &held.stats;
        share(stats.blocked_ns, row.wait.total) >= LEAST_SHARE || share(stats.took_ns, row.hold.total) >= LEAST_SHARE
    };
    let mut out = String::new();
    for held in row.calls.iter().filter(counts).take(STACKS) {
        if out.is_empty() {
            out = format!("  {}\n", layout.paint(Style::Dim, "what was called with it held"));
        }
        let stats = &held.stats;
        let figures = format!(
            "{:>9} {:>5} {:>7}  ",
            duration(stats.took_ns),
            percent(share(stats.took_ns, row.hold.total).min(1.0)),
            times(stats.count)
        );
        let indent = " ".repeat(columns(&figures));
        let room = layout.width.saturating_sub(columns(&figures)).max(20);
        let name = session.profile.call_name(held.call);
        let place = format!(" in {}", headline(session, held.stack));
        let place = fit_start(&place, room.saturating_sub(columns(name)).max(12));
        let (name, place) = (layout.paint(Style::Strong, name), layout.paint(Style::Dim, &place));
        out.push_str(&format!("{figures}{name}{place}\n"));
        let mean = duration(stats.took_ns / stats.count.max(1));
        let more = format!(
            "{mean} on average, {} at most; others waited {} meanwhile",
            duration(stats.max_ns),
            duration(stats.blocked_ns)
        );
        out.push_str(&wrap(&more, layout.width, &indent, &indent));
    }
    out
}

fn times(count: u64) -> String {
    format!("{}×", short_count(count))
}
