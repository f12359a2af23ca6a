//! What other tools read: pprof, OTLP, speedscope, profiles for Firefox Profiler, traces for Perfetto, tables, Prometheus.
//!
//! One renderer for each format. Sums of waits are those of the report, to the nanosecond, whatever the format.
//! Folded stacks are those of the flame graph ([`flamegraph::folded`](super::flamegraph::folded)).

pub mod chrome;
pub mod firefox;
mod lanes;
pub mod otlp;
pub mod pprof;
pub mod prometheus;
pub mod speedscope;
pub mod tables;

use super::explain::notes as said;
use super::frames::code_label;
use super::style::printable;
use crate::analysis::Contention;
use crate::analysis::blame::Whose;
use crate::model::stacks::Node;
use crate::model::{Session, StackId, Stacks, ThreadId};

/// What stands for the stack that nobody saw.
fn unseen(whose: Whose) -> &'static str {
    match whose {
        Whose::Waiter => Stacks::UNKNOWN_WAITER,
        Whose::Holder => Stacks::UNKNOWN_HOLDER,
    }
}

/// A frame's name in full, or the file and offset of code without a symbol.
fn function_name(session: &Session, node: &Node, function: Option<&str>) -> String {
    function.filter(|name| !name.is_empty()).map_or_else(|| code_label(session, node), printable)
}

/// What a call instruction stands for, innermost first: name, file and line of each function that was inlined there, and of
/// the one that has the code.
fn lines_of(session: &Session, node: &Node) -> impl Iterator<Item = (String, String, u32)> {
    let bare = node.frames.is_empty().then(|| (function_name(session, node, None), String::new(), 0));
    let named = node.frames.iter().map(|frame| {
        let name = function_name(session, node, frame.function.as_deref());
        (name, printable(frame.file.as_deref().unwrap_or_default()), frame.line)
    });
    bare.into_iter().chain(named)
}

/// A thread's name; its number where it has none.
fn thread_name(session: &Session, id: ThreadId) -> String {
    let thread = session.thread(id);
    if thread.name.is_empty() { format!("thread {}", thread.tid) } else { printable(&thread.name) }
}

/// The nodes of a stack, outermost first.
fn outermost_first(session: &Session, stack: StackId) -> Vec<&Node> {
    let mut nodes: Vec<_> = session.stacks.walk(stack).collect();
    nodes.reverse();
    nodes
}

/// What a reader of any export has to know: how the view was cut, what the recording lacks.
fn notes(session: &Session, contention: &Contention) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    if session.coverage.lost > 0 {
        notes.push(format!("incomplete: {} acquisitions are lost", session.coverage.lost));
    }
    notes.extend(session.coverage.not_seen().map(|what| format!("incomplete: {what}")));
    if session.meta.cut {
        notes.push("incomplete: the trace was cut short".into());
    }
    let filter = contention.query.filter.describe();
    if !filter.is_empty() {
        notes.push(format!("only {}", filter.join(", ")));
    }
    if contention.query.filter.min_wait_ns > 0 {
        notes.push(format!("only locks waited for at least {} ns", contention.query.filter.min_wait_ns));
    }
    notes.extend(contention.notes.iter().map(|note| said::contention(*note)));
    notes.extend(session.coverage.notes.iter().map(|note| printable(note)));
    notes
}
