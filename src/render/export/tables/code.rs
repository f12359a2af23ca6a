//! Stacks and frames: the same ids wherever the same code runs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rows, Table, TableInput, hash, hex};
use crate::model::stacks::Node;
use crate::model::{Frame, Session, StackId, Stacks};
use crate::render::style::printable;

/// The id of a stack: that of its frames, in their order; 0 for the stack that nobody saw.
pub(super) fn stack(session: &Session, id: StackId) -> u64 {
    if id == Stacks::UNKNOWN {
        return 0;
    }
    let frames = session.stacks.walk(id).flat_map(|node| frames_of(node).map(|frame| frame_id(session, node, frame)));
    frames.fold(super::Fnv::new(), super::Fnv::number).end()
}

/// The frames of a node, innermost first; one without a name where it has none.
fn frames_of(node: &Node) -> impl Iterator<Item = Option<&Frame>> {
    let bare = node.frames.is_empty().then_some(None);
    node.frames.iter().map(Some).chain(bare)
}

fn frame_id(session: &Session, node: &Node, frame: Option<&Frame>) -> u64 {
    let module = node.address.module.and_then(|id| session.stacks.modules.get(id.index()));
    // A build-id is the same file on every machine; without one, its name has to do.
    let build_id = module.map_or(&[][..], |module| &module.build_id);
    let name = module.filter(|module| module.build_id.is_empty()).map_or("", |module| module.name());
    let (function, file) = frame.map_or((None, None), |frame| (frame.function.as_deref(), frame.file.as_deref()));
    hash(&[name, function.unwrap_or_default(), file.unwrap_or_default()])
        .bytes(build_id)
        .number(node.address.address)
        .number(frame.map_or(0, |frame| u64::from(frame.line)))
        .number(u64::from(frame.is_some_and(|frame| frame.inlined)))
        .end()
}

/// The stacks that the other tables name.
fn used(input: &TableInput<'_>) -> BTreeSet<StackId> {
    let (session, contention) = (input.session, input.contention);
    let shown = |lock| contention.row_of(lock).is_some();
    let sites = session.profile.sites.iter().filter(|site| shown(site.key.lock)).map(|site| site.key.stack);
    let waits = session.profile.waits.keys().filter(|key| shown(key.lock));
    let waits = waits.flat_map(|key| [key.waiter, key.holder]);
    let events = session.profile.wait_events.iter().map(|event| &event.key).filter(|key| shown(key.lock));
    let events = events.flat_map(|key| [key.waiter, key.holder]);
    let origins = contention.locks.iter().flat_map(|row| &row.members).map(|id| session.lock(*id).origin_stack);
    let edges = input.graph.edges.iter().flat_map(|edge| [edge.stacks.0, edge.stacks.1]);
    let mut used: BTreeSet<StackId> = sites.chain(waits).chain(events).chain(origins).chain(edges).collect();
    used.remove(&Stacks::UNKNOWN);
    used
}

/// `stacks`: a row for each frame of each stack.
pub fn stacks(input: &TableInput<'_>) -> Table {
    let session = input.session;
    let mut rows: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for id in used(input) {
        let own = stack(session, id);
        let frames = session.stacks.walk(id).flat_map(|node| frames_of(node).map(move |frame| (node, frame)));
        for (position, (node, frame)) in (0..).zip(frames) {
            rows.insert((own, position), frame_id(session, node, frame));
        }
    }
    let rows: Vec<_> = rows.into_iter().collect();
    Rows::new(input, &rows)
        .id("stack", |row| row.0.0)
        .int("position", |row| row.0.1)
        .id("frame", |row| row.1)
        .table("stacks")
}

/// `frames`: a row for each function at each address.
pub fn frames(input: &TableInput<'_>) -> Table {
    let session = input.session;
    let mut rows: BTreeMap<u64, (&Node, Option<&Frame>)> = BTreeMap::new();
    for id in used(input) {
        for node in session.stacks.walk(id) {
            rows.extend(frames_of(node).map(|frame| (frame_id(session, node, frame), (node, frame))));
        }
    }
    let rows: Vec<_> = rows.into_iter().map(|(id, (node, frame))| (id, node, frame)).collect();
    let module = |node: &Node| node.address.module.and_then(|id| session.stacks.modules.get(id.index()));
    Rows::new(input, &rows)
        .id("frame", |row| row.0)
        .maybe_text("function", |row| row.2.and_then(|frame| frame.function.as_deref()).map(printable))
        .maybe_text("file", |row| row.2.and_then(|frame| frame.file.as_deref()).map(printable))
        .maybe_int("line", |row| row.2.filter(|frame| frame.line > 0).map(|frame| u64::from(frame.line)))
        .maybe_text("module", |row| module(row.1).map(|module| printable(module.name())))
        .maybe_text("build_id", |row| module(row.1).and_then(|module| hex(&module.build_id)))
        .int("offset", |row| row.1.address.address.saturating_sub(1))
        .flag("inlined", |row| row.2.is_some_and(|frame| frame.inlined))
        .table("frames")
}
