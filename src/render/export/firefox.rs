//! Firefox Profiler's processed profile format, version 55: for each thread what it waited, as samples that weigh as much as
//! the time waited, and its waits and holds as markers.
//!
//! A wait that was kept by itself is a sample at its end; what was only counted is one sample at the end of the recording, so
//! the weights sum to the report's waits. The lock is the outermost frame, as in a flame graph. Times are in ms. The format
//! is described in `docs-developer/CHANGELOG-formats.md` and `src/types/profile.ts` of github.com/firefox-devtools/profiler,
//! whose newer versions read it too.

mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::chrome::{Slice, Tracks, What};
use super::{notes, thread_name, unseen};
use crate::analysis::Contention;
use crate::analysis::blame::{Whose, parts};
use crate::model::{Mode, Session, StackId, Stacks, ThreadId};
use crate::render::flamegraph::labels;
use crate::render::frames::headline;
use crate::render::style::printable;
use tables::{Libs, Tables};

/// The version of the format.
const VERSION: u32 = 55;
/// Categories of frames and markers: positions in `meta.categories`.
const LOCKS: usize = 1;
const CODE: usize = 2;
const WAITS: usize = 3;
const HOLDS: usize = 4;
/// A marker with a beginning and an end.
const INTERVAL: u32 = 1;

#[derive(Serialize)]
struct File {
    meta: Value,
    libs: Vec<Value>,
    threads: Vec<Thread>,
    pages: [u32; 0],
    #[serde(rename = "profilerOverhead")]
    overhead: [u32; 0],
    counters: [u32; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Thread {
    process_type: &'static str,
    process_name: String,
    process_startup_time: f64,
    process_shutdown_time: Option<f64>,
    register_time: f64,
    unregister_time: Option<f64>,
    paused_ranges: [u32; 0],
    name: String,
    is_main_thread: bool,
    show_markers_in_timeline: bool,
    pid: String,
    tid: String,
    samples: Samples,
    markers: Markers,
    #[serde(flatten)]
    tables: Tables,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    length: usize,
    stack: Vec<Option<usize>>,
    time: Vec<f64>,
    /// Time waited, ms.
    weight: Vec<f64>,
    weight_type: &'static str,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Markers {
    length: usize,
    category: Vec<usize>,
    data: Vec<Value>,
    name: Vec<usize>,
    phase: Vec<u32>,
    start_time: Vec<f64>,
    end_time: Vec<f64>,
}

/// A whole number of ns is found again, up to 2^50 ns (13 days).
fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// A stack of a thread that waited: when it ended, how long.
struct Sample {
    at_ns: u64,
    row: usize,
    stack: StackId,
    wait_ns: u64,
}

/// The file, ending in a line break.
pub fn firefox(session: &Session, contention: &Contention) -> String {
    let mut tracks = Tracks::default();
    tracks.waits(session, contention);
    let mut samples = samples(session, contention, &tracks);
    tracks.holds(session, contention);
    let mut libs = Libs::default();
    let mut ids: Vec<Option<ThreadId>> =
        samples.keys().copied().chain(tracks.by_thread.keys().copied().map(Some)).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = labels(contention);
    let threads = ids.into_iter().map(|id| {
        let slices = id.and_then(|id| tracks.by_thread.remove(&id)).unwrap_or_default();
        thread(session, contention, &names, &mut libs, id, samples.remove(&id).unwrap_or_default(), slices)
    });
    let threads = threads.collect();
    let meta = meta(session, contention);
    let file = File { meta, libs: libs.all, threads, pages: [], overhead: [], counters: [] };
    // Plain structs of numbers, strings and lists: this cannot fail.
    serde_json::to_string(&file).unwrap_or_default() + "\n"
}

/// The waits of each thread: those that were kept one by one, and the rest of each stack as one.
fn samples(session: &Session, contention: &Contention, waits: &Tracks) -> BTreeMap<Option<ThreadId>, Vec<Sample>> {
    let mut out: BTreeMap<Option<ThreadId>, Vec<Sample>> = BTreeMap::new();
    let mut kept: FxHashMap<(ThreadId, usize, StackId), Vec<(u64, u64)>> = FxHashMap::default();
    for (thread, slice) in
        waits.by_thread.iter().flat_map(|(thread, all)| all.iter().map(move |slice| (*thread, slice)))
    {
        if let Some(row) = contention.row_index(slice.lock) {
            kept.entry((thread, row, slice.stack)).or_default().push((slice.end, slice.end - slice.start));
        }
    }
    for part in parts(session, contention, Whose::Waiter) {
        let events = part.thread.and_then(|thread| kept.remove(&(thread, part.row, part.stack))).unwrap_or_default();
        let sum = events.iter().fold(0u64, |sum, (_, wait_ns)| sum.saturating_add(*wait_ns));
        let of_thread = out.entry(part.thread).or_default();
        let sample = |at_ns, wait_ns| Sample { at_ns, row: part.row, stack: part.stack, wait_ns };
        // Where they are not parts of the sum (a cut trace), the sum is what counts.
        let rest = part.wait_ns.checked_sub(sum);
        if rest.is_some() {
            of_thread.extend(events.into_iter().map(|(end, wait_ns)| sample(end, wait_ns)));
        }
        let rest = rest.unwrap_or(part.wait_ns);
        if rest > 0 {
            of_thread.push(sample(session.meta.duration_ns, rest));
        }
    }
    out.values_mut().for_each(|samples| samples.sort_by_key(|sample| (sample.at_ns, sample.row, sample.stack)));
    out
}

fn thread(
    session: &Session,
    contention: &Contention,
    names: &[String],
    libs: &mut Libs,
    id: Option<ThreadId>,
    samples: Vec<Sample>,
    slices: Vec<Slice>,
) -> Thread {
    let mut tables = Tables::default();
    let mut list = Samples { weight_type: "tracing-ms", ..Samples::default() };
    for sample in samples {
        let lock = tables.named(None, &names[sample.row], LOCKS);
        let stack = match sample.stack {
            Stacks::UNKNOWN => tables.named(Some(lock), unseen(Whose::Waiter), CODE),
            stack => tables.stack(session, libs, Some(lock), stack),
        };
        list.length += 1;
        list.stack.push(Some(stack));
        list.time.push(millis(sample.at_ns));
        list.weight.push(millis(sample.wait_ns));
    }
    let markers = markers(session, contention, libs, &mut tables, slices);
    let seen = id.map(|id| session.thread(id));
    let process = seen.map(|seen| session.process(seen.process)).or(session.processes.first());
    let pid = process.map_or(0, |process| process.pid);
    Thread {
        process_type: "default",
        process_name: printable(process.map_or("", |process| process.exe.rsplit('/').next().unwrap_or_default())),
        process_startup_time: 0.0,
        process_shutdown_time: None,
        register_time: millis(seen.map_or(0, |seen| seen.start_ns)),
        unregister_time: seen.and_then(|seen| seen.end_ns).map(millis),
        paused_ranges: [],
        name: id.map_or_else(|| "threads that are not known".into(), |id| thread_name(session, id)),
        is_main_thread: seen.is_some_and(|seen| seen.tid == pid),
        show_markers_in_timeline: true,
        pid: pid.to_string(),
        tid: seen.map_or_else(|| "0".into(), |seen| seen.tid.to_string()),
        samples: list,
        markers,
        tables,
    }
}

fn markers(
    session: &Session,
    contention: &Contention,
    libs: &mut Libs,
    tables: &mut Tables,
    mut slices: Vec<Slice>,
) -> Markers {
    slices.sort_by_key(|slice| (slice.start, slice.end, slice.lock));
    let mut list = Markers::default();
    for slice in slices {
        let Some(row) = contention.row_of(slice.lock) else { continue };
        let (lock, mode) = (
            printable(&row.name),
            match slice.mode {
                Mode::Exclusive => "exclusive",
                Mode::Shared => "shared",
            },
        );
        let (kind, word, category) = match slice.what {
            What::Waited { .. } => ("LockWait", "wait", WAITS),
            What::Held | What::SeenHeld => ("LockHold", "hold", HOLDS),
        };
        let mut data = json!({
            "type": kind, "lock": lock, "class": printable(&row.class), "kind": row.kind.name(), "mode": mode,
        });
        if slice.stack != Stacks::UNKNOWN {
            data["cause"] = json!({ "stack": tables.stack(session, libs, None, slice.stack) });
        }
        if let What::Waited { holder, holder_thread } = slice.what {
            let at = (holder != Stacks::UNKNOWN).then(|| headline(session, holder));
            let thread = holder_thread.map(|thread| thread_name(session, thread));
            let holder: Vec<String> = thread.into_iter().chain(at).collect();
            if !holder.is_empty() {
                data["holder"] = holder.join(": ").into();
            }
        }
        list.length += 1;
        list.category.push(category);
        list.data.push(data);
        // Markers of one name have a row of the marker chart.
        list.name.push(tables.text(&format!("{word} {lock}")));
        list.phase.push(INTERVAL);
        list.start_time.push(millis(slice.start));
        list.end_time.push(millis(slice.end));
    }
    list
}

fn meta(session: &Session, contention: &Contention) -> Value {
    let meta = &session.meta;
    let category = |name: &str, color: &str| json!({ "name": name, "color": color, "subcategories": ["Other"] });
    let field = |key: &str, label: &str| json!({ "key": key, "label": label, "format": "string" });
    let schema = |name: &str, label: &str, more: &[Value]| {
        let mut fields =
            vec![field("lock", "Lock"), field("class", "Class"), field("kind", "Kind"), field("mode", "Mode")];
        fields.extend_from_slice(more);
        json!({
            "name": name,
            "display": ["marker-chart", "marker-table", "timeline-overview"],
            "chartLabel": "{marker.data.lock}",
            "tooltipLabel": label,
            "tableLabel": label,
            "fields": fields,
        })
    };
    let command = printable(&meta.command.join(" "));
    let info = |label: &str, value: &str| json!({ "label": label, "format": "string", "value": value });
    let mut about = vec![
        info("command", &command),
        info("machine", &printable(&meta.host)),
        info("samples", "time that threads waited for locks, by the stack that waited"),
    ];
    about.extend(notes(session, contention).iter().map(|note| info("note", note)));
    json!({
        "preprocessedProfileVersion": VERSION,
        "version": 24,
        "product": command,
        "importedFrom": format!("lockprof {}", printable(&meta.version)),
        "interval": 1,
        "startTime": (meta.started_unix_ns / 1_000_000) as f64,
        "processType": 0,
        "stackwalk": 1,
        "debug": false,
        "oscpu": "Linux",
        "platform": "Linux",
        "symbolicated": true,
        "usesOnlyOneStackType": true,
        "sourceCodeIsNotOnSearchfox": true,
        "categories": [
            category("Other", "grey"),
            category("Lock", "orange"),
            category("Code", "blue"),
            category("Wait", "red"),
            category("Hold", "green"),
        ],
        "sampleUnits": { "time": "ms", "eventDelay": "ms", "threadCPUDelta": "µs" },
        "extensions": { "length": 0, "baseURL": [], "id": [], "name": [] },
        "extra": [{ "label": "Recording", "entries": about }],
        "markerSchema": [
            schema("LockWait", "waits for {marker.data.lock}", &[field("holder", "Held by")]),
            schema("LockHold", "holds {marker.data.lock}", &[]),
        ],
    })
}
