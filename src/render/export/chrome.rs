//! Chrome's trace event format, which Perfetto and chrome://tracing open: a track for each thread with its waits and
//! holds, and an arrow from the release that ended a wait to the one who waited.
//!
//! Only single events can be drawn: waits are kept one by one within a budget, holds are the latest ones. What was
//! counted only is reported in `otherData`. Times are in µs since the start of the recording, with three decimals.
//! Format: "Trace Event Format" by the Chromium authors.

mod ids;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::{Value, json};

use ids::Ids;

use super::lanes::lanes;
use super::{notes, thread_name};
use crate::analysis::Contention;
use crate::analysis::contention::Cut;
use crate::analysis::seen_holds::seen_holds;
use crate::model::order::LoggedWhat;
use crate::model::{LockId, Mode, Session, StackId, Stacks, ThreadId};
use crate::render::frames::{Line, first_lines, headline};
use crate::render::style::printable;

/// A wait's end and the acquisition that followed are one moment; their clocks may differ by this, ns.
const SAME_MOMENT_NS: u64 = 2_000;
/// Frames of a stack in a tooltip.
const FRAMES: usize = 12;

/// A time in which a thread waited for a lock, or had it.
pub(super) struct Slice {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) lock: LockId,
    pub(super) mode: Mode,
    pub(super) stack: StackId,
    pub(super) what: What,
    lane: usize,
}

pub(super) enum What {
    Waited {
        holder: StackId,
        holder_thread: Option<ThreadId>,
    },
    Held,
    /// Held while others waited; when it began is not known.
    SeenHeld,
}

/// The file, ending in a line break.
pub fn chrome(session: &Session, contention: &Contention) -> String {
    let mut tracks = Tracks::default();
    tracks.waits(session, contention);
    let waits = tracks.count();
    tracks.holds(session, contention);
    let holds = tracks.count() - waits;
    for slices in tracks.by_thread.values_mut() {
        let times: Vec<(u64, u64)> = slices.iter().map(|slice| (slice.start, slice.end)).collect();
        for (slice, lane) in slices.iter_mut().zip(lanes(&times)) {
            slice.lane = lane;
        }
    }
    let ids = Ids::of(session, &tracks);
    let mut events = Vec::new();
    ids.names(session, &tracks, &mut events);
    slices(session, contention, &tracks, &ids, &mut events);
    let arrows = arrows(&tracks, &ids, &mut events);
    let file = File { events, display: "ns", other: other(session, contention, &tracks, [waits, holds, arrows]) };
    // Plain structs of numbers, strings and lists: this cannot fail. One event a line: no quote inside of a string is
    // written without a backslash, so only the events' own beginnings are met.
    serde_json::to_string(&file).unwrap_or_default().replace("},{\"name\"", "},\n{\"name\"") + "\n"
}

#[derive(Serialize)]
struct File {
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
    #[serde(rename = "displayTimeUnit")]
    display: &'static str,
    #[serde(rename = "otherData")]
    other: Value,
}

#[derive(Serialize)]
struct Event {
    name: String,
    ph: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    pid: u64,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Value>,
}

/// The shortest decimal number that is this one has at most three decimals, up to 2^50 ns (13 days).
fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

#[derive(Default)]
pub(super) struct Tracks {
    pub(super) by_thread: BTreeMap<ThreadId, Vec<Slice>>,
    /// Sum of the waits, ns.
    wait_ns: u64,
}

impl Tracks {
    fn count(&self) -> u64 {
        self.by_thread.values().map(|slices| slices.len() as u64).sum()
    }

    pub(super) fn waits(&mut self, session: &Session, contention: &Contention) {
        let cut = Cut::new(session, contention.query.filter.thread.as_ref());
        for event in &session.profile.wait_events {
            let (key, start) = (event.key, event.start_ns);
            let shown = contention.row_of(key.lock).is_some_and(|row| contention.shows_waits(row));
            if shown && cut.keeps_thread(key.thread) {
                let what = What::Waited { holder: key.holder, holder_thread: key.holder_thread };
                let end = start.saturating_add(event.wait_ns);
                let slice = Slice { start, end, lock: key.lock, mode: key.mode, stack: key.waiter, what, lane: 0 };
                self.by_thread.entry(key.thread).or_default().push(slice);
                self.wait_ns = self.wait_ns.saturating_add(event.wait_ns);
            }
        }
    }

    /// The holds that the log still has, and those that followed the waits that were kept.
    pub(super) fn holds(&mut self, session: &Session, contention: &Contention) {
        let cut = Cut::new(session, contention.query.filter.thread.as_ref());
        let mut found = logged_holds(session);
        found.retain(|(thread, hold)| {
            contention.row_of(hold.lock).is_some_and(|row| contention.shows_waits(row)) && cut.keeps_thread(*thread)
        });
        let mut starts: FxHashMap<(ThreadId, LockId), BTreeMap<u64, usize>> = FxHashMap::default();
        for (at, (thread, hold)) in found.iter().enumerate() {
            starts.entry((*thread, hold.lock)).or_default().insert(hold.start, at);
        }
        for event in &session.profile.wait_events {
            let woken = event.start_ns.saturating_add(event.wait_ns);
            let near = woken.saturating_sub(SAME_MOMENT_NS)..=woken.saturating_add(SAME_MOMENT_NS);
            let known = starts.get(&(event.key.thread, event.key.lock));
            match known.and_then(|starts| starts.range(near).min_by_key(|(start, _)| start.abs_diff(woken))) {
                // One moment, read from two records.
                Some((_, at)) => found[*at].1.start = woken.min(found[*at].1.end),
                None if event.hold_ns > 0 => {
                    let shown = contention.row_of(event.key.lock).is_some_and(|row| contention.shows_waits(row));
                    if shown && cut.keeps_thread(event.key.thread) {
                        let (lock, mode, stack) = (event.key.lock, event.key.mode, event.key.waiter);
                        let end = woken.saturating_add(event.hold_ns);
                        let hold = Slice { start: woken, end, lock, mode, stack, what: What::Held, lane: 0 };
                        found.push((event.key.thread, hold));
                    }
                }
                None => {}
            }
        }
        self.seen_holds(session, contention, &mut found);
        for (thread, hold) in found {
            self.by_thread.entry(thread).or_default().push(hold);
        }
    }

    /// Adds what only those saw who waited.
    fn seen_holds(&self, session: &Session, contention: &Contention, found: &mut Vec<(ThreadId, Slice)>) {
        let cut = Cut::new(session, contention.query.filter.thread.as_ref());
        let shown = |lock| contention.row_of(lock).is_some_and(|row| contention.shows_waits(row));
        let mut known: FxHashMap<(ThreadId, LockId), BTreeMap<u64, u64>> = FxHashMap::default();
        for (thread, hold) in found.iter() {
            let ends = known.entry((*thread, hold.lock)).or_default();
            let end = ends.entry(hold.start).or_default();
            *end = hold.end.max(*end);
        }
        let seen = seen_holds(session, |event| shown(event.key.lock));
        for hold in seen.into_iter().filter(|hold| cut.keeps_thread(hold.thread)) {
            let before = known.get(&(hold.thread, hold.lock)).and_then(|ends| ends.range(..hold.end_ns).next_back());
            if before.is_some_and(|(_, end)| *end > hold.start_ns) {
                continue;
            }
            let (start, end, mode) = (hold.start_ns, hold.end_ns, Mode::Exclusive);
            let slice = Slice { start, end, lock: hold.lock, mode, stack: hold.stack, what: What::SeenHeld, lane: 0 };
            found.push((hold.thread, slice));
        }
    }

    fn iter(&self) -> impl Iterator<Item = (ThreadId, &Slice)> {
        self.by_thread.iter().flat_map(|(thread, slices)| slices.iter().map(|slice| (*thread, slice)))
    }
}

/// Holds of the log: sections as they are, others from their acquisition to their release or the end.
fn logged_holds(session: &Session) -> Vec<(ThreadId, Slice)> {
    let mut holds = Vec::new();
    let mut open: FxHashMap<(ThreadId, LockId), Vec<Slice>> = FxHashMap::default();
    let known =
        |lock: LockId, thread: ThreadId| lock.index() < session.locks.len() && thread.index() < session.threads.len();
    for event in session.order.log.events() {
        let (thread, lock, stack) = (event.thread, event.lock, event.stack);
        if event.what == LoggedWhat::SyncPoint || !known(lock, thread) {
            continue;
        }
        let hold = |mode, end: u64| {
            let start = event.at_ns;
            Slice { start, end: end.max(start), lock, mode, stack, what: What::Held, lane: 0 }
        };
        match event.what {
            LoggedWhat::Section(mode) => holds.push((thread, hold(mode, event.until_ns))),
            LoggedWhat::Acquired(mode) | LoggedWhat::Tried(mode, _) => {
                open.entry((thread, lock)).or_default().push(hold(mode, 0));
            }
            LoggedWhat::Released => {
                if let Some(mut slice) = open.get_mut(&(thread, lock)).and_then(Vec::pop) {
                    slice.end = event.at_ns.max(slice.start);
                    holds.push((thread, slice));
                }
            }
            LoggedWhat::SyncPoint => {}
        }
    }
    for ((thread, _), slices) in open {
        let end = session.thread(thread).end_ns.unwrap_or(session.meta.duration_ns);
        holds.extend(slices.into_iter().map(|slice| (thread, Slice { end: end.max(slice.start), ..slice })));
    }
    holds.sort_by_key(|(thread, hold)| (hold.start, *thread, hold.end, hold.lock, hold.stack));
    holds
}

fn slices(session: &Session, contention: &Contention, tracks: &Tracks, ids: &Ids, events: &mut Vec<Event>) {
    let stack_of =
        |stack: StackId| -> Vec<String> { first_lines(session, stack, FRAMES).iter().map(Line::one).collect() };
    for (thread, slice) in tracks.iter() {
        let Some(row) = contention.row_of(slice.lock) else { continue };
        let name = printable(&row.name);
        let mut args = json!({
            "lock": name, "class": printable(&row.class), "kind": row.kind.name(),
            "mode": match slice.mode { Mode::Exclusive => "exclusive", Mode::Shared => "shared" },
            "stack": stack_of(slice.stack),
        });
        let (verb, cat) = match slice.what {
            What::Waited { holder, holder_thread } => {
                if holder != Stacks::UNKNOWN {
                    args["held by"] = headline(session, holder).into();
                }
                if let Some(thread) = holder_thread {
                    args["holder thread"] = thread_name(session, thread).into();
                }
                ("wait", "wait")
            }
            What::Held => ("hold", "hold"),
            What::SeenHeld => {
                args["began"] = "earlier: seen by those who waited".into();
                ("hold", "hold")
            }
        };
        events.push(Event {
            name: format!("{verb} {name}"),
            ph: "X",
            cat: Some(cat),
            pid: ids.process(thread),
            tid: ids.track(thread, slice.lane),
            ts: Some(micros(slice.start)),
            dur: Some(micros(slice.end - slice.start)),
            id: None,
            bp: None,
            args: Some(args),
        });
    }
}

/// From the last release of the lock before a wait was over to the wait's end; how many.
fn arrows(tracks: &Tracks, ids: &Ids, events: &mut Vec<Event>) -> u64 {
    let mut releases: FxHashMap<LockId, Vec<(ThreadId, &Slice)>> = FxHashMap::default();
    for (thread, slice) in tracks.iter().filter(|(_, slice)| !matches!(slice.what, What::Waited { .. })) {
        releases.entry(slice.lock).or_default().push((thread, slice));
    }
    for slices in releases.values_mut() {
        slices.sort_by_key(|(thread, slice)| (slice.end, *thread, slice.start));
    }
    let mut number = 0;
    for (waiter, wait) in tracks.iter().filter(|(_, slice)| matches!(slice.what, What::Waited { .. })) {
        let Some(held) = releases.get(&wait.lock) else { continue };
        let before = held.partition_point(|(_, slice)| slice.end <= wait.end);
        let others = held[..before].iter().rev().take_while(|(_, slice)| slice.end > wait.start);
        let Some((holder, hold)) = others.into_iter().find(|(thread, _)| *thread != waiter) else { continue };
        number += 1;
        // Just inside the slices, so that viewers see which ones are meant.
        let ends = [
            ("s", None, *holder, *hold, hold.end.saturating_sub(1).max(hold.start)),
            ("f", Some("e"), waiter, wait, wait.end.saturating_sub(1).max(wait.start)),
        ];
        for (ph, bp, thread, slice, at) in ends {
            events.push(Event {
                name: "released".into(),
                ph,
                cat: Some("release"),
                pid: ids.process(thread),
                tid: ids.track(thread, slice.lane),
                ts: Some(micros(at)),
                dur: None,
                id: Some(number),
                bp,
                args: None,
            });
        }
    }
    number
}

/// What the picture is of and what it lacks.
fn other(session: &Session, contention: &Contention, tracks: &Tracks, [waits, holds, arrows]: [u64; 3]) -> Value {
    let (mut wait_ns, mut contended) = (0u64, 0u64);
    for row in contention.locks.iter().filter(|row| contention.shows_waits(row)) {
        wait_ns = wait_ns.saturating_add(row.wait.total);
        contended = contended.saturating_add(row.contended);
    }
    let log = &session.order.log;
    json!({
        "tool": format!("lockprof {}", printable(&session.meta.version)),
        "command": printable(&session.meta.command.join(" ")),
        "machine": printable(&session.meta.host),
        "waits": waits, "holds": holds, "arrows": arrows,
        "wait_ns": tracks.wait_ns,
        "waits_counted_only": contended.saturating_sub(waits),
        "wait_ns_counted_only": wait_ns.saturating_sub(tracks.wait_ns),
        // Nobody needs a log of a program that never holds two locks.
        "holds_complete_from_ns": (log.complete_from_ns < session.meta.duration_ns).then_some(log.complete_from_ns),
        "holds_dropped": log.dropped,
        "notes": notes(session, contention),
    })
}
