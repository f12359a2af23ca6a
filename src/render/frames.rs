//! Call stacks for people's eyes: library frames skipped, names shortened.

use super::names::{short_file, short_function};
use super::style::printable;
use crate::analysis::places::{Place, place};
use crate::model::lock_frames::is_library;
use crate::model::stacks::Node;
use crate::model::{Frame, Session, StackId};

/// A frame as two pieces of text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Line {
    /// The function, or the file and offset of code without a symbol.
    pub function: String,
    /// `journal.cc:42`; empty where unknown.
    pub place: String,
}

impl Line {
    /// `append (journal.cc:42)`.
    pub fn one(&self) -> String {
        if self.place.is_empty() { self.function.clone() } else { format!("{} ({})", self.function, self.place) }
    }
}

/// `module+0x1234`, inside the call instruction.
pub fn code_label(session: &Session, node: &Node) -> String {
    let address = node.address.address.saturating_sub(1);
    match node.address.module {
        Some(module) => format!("{}+{address:#x}", printable(session.stacks.modules[module.index()].name())),
        None => format!("{address:#x}"),
    }
}

fn line(session: &Session, node: &Node, frame: &Frame) -> Line {
    let function = match &frame.function {
        Some(name) => printable(&short_function(name)),
        None => code_label(session, node),
    };
    Line { function, place: place_of(frame) }
}

fn place_of(frame: &Frame) -> String {
    match &frame.file {
        Some(file) if frame.line > 0 => format!("{}:{}", printable(short_file(file)), frame.line),
        Some(file) => printable(short_file(file)),
        None => String::new(),
    }
}

/// All frames of one node, innermost first, each with whether it belongs to a locking or threading library.
pub fn of_node(session: &Session, node: &Node) -> Vec<(Line, bool)> {
    if node.frames.is_empty() {
        return vec![(Line { function: code_label(session, node), place: String::new() }, false)];
    }
    node.frames.iter().map(|frame| (line(session, node, frame), is_library(&session.stacks, node, frame))).collect()
}

/// The frames of a stack that say something about the program, innermost first. A stack of library frames
/// only is shown by its innermost one.
pub fn lines(session: &Session, stack: StackId) -> Vec<Line> {
    first_lines(session, stack, usize::MAX)
}

/// The first ones of these.
pub fn first_lines(session: &Session, stack: StackId, most: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut first = None;
    for node in session.stacks.walk(stack) {
        if lines.len() >= most {
            break;
        }
        for (line, library) in of_node(session, node) {
            if library {
                first.get_or_insert(line);
            } else {
                lines.push(line);
            }
        }
    }
    if lines.is_empty() {
        lines.extend(first);
    }
    lines.truncate(most);
    lines
}

/// The innermost of these in one piece; what to call a stack in a sentence.
pub fn headline(session: &Session, stack: StackId) -> String {
    place_label(session, &place(session, stack))
}

/// A place in one piece.
pub fn place_label(session: &Session, place: &Place) -> String {
    match place {
        Place::Frame(frame) => {
            let function = frame.function.as_deref().map_or_else(|| "?".into(), short_function);
            Line { function: printable(&function), place: place_of(frame) }.one()
        }
        Place::Code(Some(module), address) => {
            let module = printable(session.stacks.modules[module.index()].name());
            format!("{module}+{:#x}", address.saturating_sub(1))
        }
        Place::Code(None, address) => format!("{:#x}", address.saturating_sub(1)),
        Place::Called(inner, outer) => format!("{} ← {}", place_label(session, inner), place_label(session, outer)),
        Place::Unknown => "a call stack that was not seen".into(),
    }
}
