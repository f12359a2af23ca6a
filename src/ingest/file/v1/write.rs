//! The model, table by table, into chunks.
//!
//! Maps are written in the order of their keys, so that the same session gives the same bytes.

use std::hash::Hash;
use std::io::Write;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::counts::{CallRow, ShareRow, SiteRow, WaitEventRow, WaitKeyRow, WaitRow};
use super::orders::{ChainRow, MissingRow, MisuseRow, OrderEventRow, RequestRow, SyncPointRow, TimelineRow};
use super::rows::{
    EndRow, FrameRow, LockRow1, MetaRow, ModuleRow, NodeRow, ProcessRow, RunRow, SymbolRow, ThreadRow, clip,
};
use super::{END, FRAMES_LIMIT, META, STRING_LIMIT, Table, hangs};
use crate::ingest::file::container::{CHUNK_TARGET, ChunkWriter, Tag};
use crate::ingest::file::error::WriteError;
use crate::ingest::file::{FORMAT_MAJOR, FORMAT_MINOR};
use crate::model::order::{Logged, SyncPoint};
use crate::model::{CallId, CallKey, Frame, Kind, Session, StackId, WaitKey};

/// See [`write`](crate::ingest::file::write).
pub fn write(session: &Session, out: &mut dyn Write) -> Result<(), WriteError> {
    let symbols = Symbols::collect(session);
    let wait_keys = wait_keys(session);
    // Single events are evidence about cycles only.
    let logged = session.order.is_cyclic(|lock| session.lock(lock).kind == Kind::Join);
    let Session { processes, threads, locks, stacks, profile, order, .. } = session;

    let mut writer = RowWriter::new(ChunkWriter::begin(out, FORMAT_MAJOR, FORMAT_MINOR)?);
    let totals = Table::ALL.map(|table| (table.tag(), rows_of(table, session, &symbols, &wait_keys, logged) as u64));
    writer.rows(META, [MetaRow::new(session, totals.to_vec())])?;

    for table in Table::ALL {
        let tag = table.tag();
        match table {
            Table::Arguments => writer.rows(tag, session.meta.command.iter().map(|word| clip(word))),
            Table::Notes => writer.rows(tag, session.coverage.notes.iter().map(|note| clip(note))),
            Table::Processes => writer.rows(tag, processes.iter().map(ProcessRow::from)),
            Table::Runs => writer.rows(tag, session.later_runs.iter().map(|first| RunRow { first_process: first.0 })),
            Table::Threads => writer.rows(tag, threads.iter().map(ThreadRow::from)),
            Table::Modules => writer.rows(
                tag,
                stacks.modules.iter().map(|module| ModuleRow {
                    path: clip(&module.path),
                    build_id: &module.build_id[..module.build_id.len().min(STRING_LIMIT)],
                }),
            ),
            Table::Nodes => writer.rows(
                tag,
                (1..stacks.len()).map(|at| {
                    let node = stacks.node(StackId::from(at));
                    let module = node.address.module.map(|module| module.0);
                    NodeRow { back: at as u32 - node.caller.0, module, address: node.address.address }
                }),
            ),
            Table::Locks => writer.rows(tag, locks.iter().map(LockRow1::from)),
            Table::Hangs => writer.rows(tag, hangs::hangs(session)),
            Table::HangWaits => writer.rows(tag, hangs::waits(session)),
            Table::HangHeld => writer.rows(tag, hangs::held(session)),
            Table::Sites => writer.rows(tag, profile.sites.iter().map(SiteRow::from)),
            Table::Strings => writer.rows(tag, symbols.strings.iter()),
            Table::FrameLists => writer.rows(tag, symbols.lists.iter()),
            Table::Symbols => {
                let mut last = 0;
                let step = |&(node, frames): &(u32, u32)| {
                    let node_step = node - std::mem::replace(&mut last, node);
                    SymbolRow { node_step, frames }
                };
                writer.rows(tag, symbols.nodes.iter().map(step))
            }
            Table::Chains => {
                let links = order.chains.links().iter().zip(1..);
                writer.rows(tag, links.map(|(link, number)| ChainRow::new(number, link)))
            }
            Table::SyncPoints => {
                let (mut last, mut last_ns) = (0, 0);
                let sync_points = order
                    .timelines
                    .iter()
                    .zip(0..)
                    .flat_map(|(timeline, at)| timeline.sync_points.iter().map(move |sync_point| (sync_point, at)));
                let row = |(sync_point, thread): (&SyncPoint, u32)| {
                    let step = thread - std::mem::replace(&mut last, thread);
                    SyncPointRow::new(step, std::mem::replace(&mut last_ns, sync_point.at_ns), sync_point)
                };
                writer.rows(tag, sync_points.map(row))
            }
            Table::Timelines => writer.rows(tag, order.timelines.iter().map(TimelineRow::from)),
            Table::Requests => writer.rows(tag, order.requests.iter().map(RequestRow::from)),
            Table::Misuses => {
                let mut misuses: Vec<_> = order.misuses.iter().map(|(misuse, count)| (*misuse, *count)).collect();
                misuses.sort_unstable_by_key(|(misuse, _)| *misuse);
                writer.rows(tag, misuses.into_iter().map(|(misuse, count)| MisuseRow::new(misuse, count)))
            }
            Table::Missing => writer.rows(tag, MissingRow::new(order, logged)),
            Table::OrderEvents => {
                let mut last_ns = 0;
                let events = order.log.events().filter(|_| logged);
                let row = |event: &Logged| OrderEventRow::new(std::mem::replace(&mut last_ns, event.at_ns), event);
                writer.rows(tag, events.map(row))
            }
            Table::Shares => {
                let mut shares: Vec<_> = profile.by_thread.iter().map(|(key, share)| (*key, *share)).collect();
                shares.sort_unstable_by_key(|(key, _)| *key);
                writer.rows(tag, shares.into_iter().map(|(key, share)| ShareRow::new(key, share)))
            }
            Table::WaitKeys => writer.rows(tag, wait_keys.iter().map(|key| WaitKeyRow::from(*key))),
            Table::Waits => {
                let totals = wait_keys.iter().enumerate();
                let totals = totals.filter_map(|(at, key)| Some((at, profile.waits.get(key)?)));
                writer.rows(tag, totals.map(|(at, stats)| WaitRow::new(at as u32, *stats)))
            }
            Table::CallNames => writer.rows(tag, call_names(session).into_iter().map(clip)),
            Table::Calls => {
                let names = call_names(session);
                let number = |call| names.partition_point(|name| *name < profile.call_name(call)) as u32;
                let renamed = |key: &CallKey| CallKey { call: CallId(number(key.call)), ..*key };
                let mut calls: Vec<_> = profile.calls.iter().map(|(key, stats)| (renamed(key), *stats)).collect();
                calls.sort_unstable_by_key(|(key, _)| *key);
                writer.rows(tag, calls.into_iter().map(|(key, stats)| CallRow::new(key, stats)))
            }
            Table::WaitEvents => {
                let numbers: FxHashMap<&WaitKey, u32> = wait_keys.iter().zip(0..).collect();
                let mut last = 0;
                writer.rows(
                    tag,
                    profile.wait_events.iter().map(|event| {
                        let start_step_ns = event.start_ns.wrapping_sub(std::mem::replace(&mut last, event.start_ns));
                        WaitEventRow {
                            key: numbers[&event.key],
                            start_step_ns: start_step_ns as i64,
                            wait_ns: event.wait_ns,
                            hold_ns: event.hold_ns,
                        }
                    }),
                )
            }
        }?;
    }
    let chunks = writer.out.chunks;
    writer.rows(END, [EndRow { chunks }])?;
    writer.out.flush()
}

fn rows_of(table: Table, session: &Session, symbols: &Symbols, wait_keys: &[WaitKey], logged: bool) -> usize {
    match table {
        Table::Arguments => session.meta.command.len(),
        Table::Notes => session.coverage.notes.len(),
        Table::Processes => session.processes.len(),
        Table::Runs => session.later_runs.len(),
        Table::Threads => session.threads.len(),
        Table::Modules => session.stacks.modules.len(),
        Table::Nodes => session.stacks.len() - 1,
        Table::Locks => session.locks.len(),
        Table::Hangs => session.hangs.len(),
        Table::HangWaits => hangs::waits(session).count(),
        Table::HangHeld => hangs::held(session).count(),
        Table::Sites => session.profile.sites.len(),
        Table::Strings => symbols.strings.len(),
        Table::FrameLists => symbols.lists.len(),
        Table::Symbols => symbols.nodes.len(),
        Table::Shares => session.profile.by_thread.len(),
        Table::WaitKeys => wait_keys.len(),
        Table::Waits => session.profile.waits.len(),
        Table::CallNames => session.profile.call_names.len(),
        Table::Calls => session.profile.calls.len(),
        Table::WaitEvents => session.profile.wait_events.len(),
        Table::Chains => session.order.chains.len(),
        Table::SyncPoints => session.order.timelines.iter().map(|timeline| timeline.sync_points.len()).sum(),
        Table::Timelines => session.order.timelines.len(),
        Table::Requests => session.order.requests.len(),
        Table::Misuses => session.order.misuses.len(),
        Table::Missing => usize::from(MissingRow::new(&session.order, logged).is_some()),
        Table::OrderEvents if logged => session.order.log.len(),
        Table::OrderEvents => 0,
    }
}

/// The names of calls in the order of their letters: the same for the same calls, in whichever order they were met.
fn call_names(session: &Session) -> Vec<&str> {
    let mut names: Vec<&str> = session.profile.call_names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Every key of a wait or of a wait event, once, ascending.
fn wait_keys(session: &Session) -> Vec<WaitKey> {
    let profile = &session.profile;
    let events = profile.wait_events.iter().map(|event| event.key);
    let mut keys: Vec<_> = profile.waits.keys().copied().chain(events).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The frames of all stack nodes, each string and each list of frames once.
struct Symbols<'a> {
    strings: Vec<&'a str>,
    lists: Vec<Vec<FrameRow>>,
    /// (node, list), ascending by node.
    nodes: Vec<(u32, u32)>,
}

impl<'a> Symbols<'a> {
    fn collect(session: &'a Session) -> Self {
        let mut strings = Numbered::default();
        let mut lists = Numbered::default();
        let mut rows = Vec::new();
        let mut nodes = Vec::new();
        for at in 1..session.stacks.len() {
            let frames = &session.stacks.node(StackId::from(at)).frames[..];
            if frames.is_empty() {
                continue;
            }
            let list = lists.number(frames);
            if list as usize == rows.len() {
                let mut row = |frame: &'a Frame| FrameRow {
                    function: frame.function.as_deref().map(|name| strings.number(clip(name))),
                    file: frame.file.as_deref().map(|path| strings.number(clip(path))),
                    line: frame.line,
                    column: frame.column,
                    inlined: frame.inlined,
                };
                rows.push(frames.iter().take(FRAMES_LIMIT).map(&mut row).collect());
            }
            nodes.push((at as u32, list));
        }
        Self { strings: strings.values, lists: rows, nodes }
    }
}

/// Gives each distinct value a number, in the order of first sight.
struct Numbered<T> {
    values: Vec<T>,
    numbers: FxHashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: FxHashMap::default() }
    }
}

impl<T: Copy + Eq + Hash> Numbered<T> {
    fn number(&mut self, value: T) -> u32 {
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(value);
            self.values.len() as u32 - 1
        })
    }
}

/// Packs rows into chunks of bounded size.
struct RowWriter<'a> {
    out: ChunkWriter<'a>,
    raw: Vec<u8>,
    row: Vec<u8>,
}

impl<'a> RowWriter<'a> {
    fn new(out: ChunkWriter<'a>) -> Self {
        Self { out, raw: Vec::new(), row: Vec::new() }
    }

    /// Writes a table; nothing for an empty one.
    fn rows<R: Serialize>(&mut self, tag: Tag, rows: impl IntoIterator<Item = R>) -> Result<(), WriteError> {
        let mut count = 0;
        for row in rows {
            self.row.clear();
            self.row = postcard::to_extend(&row, std::mem::take(&mut self.row)).map_err(std::io::Error::other)?;
            if count > 0 && self.raw.len() + self.row.len() > CHUNK_TARGET {
                self.flush(tag, &mut count)?;
            }
            // The length in front lets older readers pass over fields that they do not know.
            let mut raw = std::mem::take(&mut self.raw);
            raw = postcard::to_extend(&(self.row.len() as u32), raw).map_err(std::io::Error::other)?;
            raw.extend_from_slice(&self.row);
            self.raw = raw;
            count += 1;
        }
        if count > 0 { self.flush(tag, &mut count) } else { Ok(()) }
    }

    fn flush(&mut self, tag: Tag, count: &mut u32) -> Result<(), WriteError> {
        let revision = Table::of(tag).map_or(0, Table::revision);
        self.out.write(tag, revision, *count, &self.raw)?;
        self.raw.clear();
        *count = 0;
        Ok(())
    }
}
