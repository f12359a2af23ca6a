//! Places in the code that a person can open.

use super::frames::{Line, code_label, lines};
use super::names::{short_file, short_function};
use super::sources::Sources;
use super::style::printable;
use crate::model::lock_frames::own_frames;
use crate::model::{Frame, Session, StackId};

/// A place in the code that a person can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeLocation<'a> {
    /// The function, or the module and offset of code without a symbol.
    pub function: String,
    /// The file as the debug information has it.
    pub file: Option<&'a str>,
    /// From 1; 0 is unknown.
    pub line: u32,
    /// From 1; 0 is unknown.
    pub column: u32,
}

/// Where a stack is, for people: the innermost frame of the program's own that lies in the repository, else the
/// innermost one with a line, else the innermost one.
pub(crate) fn location<'a>(session: &'a Session, stack: StackId, sources: &Sources) -> Option<CodeLocation<'a>> {
    let own = || own_frames(&session.stacks, stack).map(|(_, frame)| frame);
    let inside =
        |frame: &&Frame| frame.file.as_deref().and_then(|file| sources.get(file)).is_some_and(|source| source.inside);
    let named = |frame: &Frame| frame.function.as_deref().map(|name| printable(&short_function(name)));
    let best = own()
        .find(|frame| frame.line > 0 && inside(frame))
        .or_else(|| own().find(|frame| frame.line > 0 && frame.file.is_some()))
        .filter(|frame| frame.function.is_some());
    if let Some(frame) = best {
        return Some(CodeLocation {
            function: named(frame).unwrap_or_default(),
            file: frame.file.as_deref(),
            line: frame.line,
            column: frame.column,
        });
    }
    let node = session.stacks.walk(stack).next()?;
    let function = own().next().and_then(named).unwrap_or_else(|| code_label(session, node));
    Some(CodeLocation { function, file: None, line: 0, column: 0 })
}

/// The callers of a stack's location, innermost first, at most so many.
pub(crate) fn callers(session: &Session, stack: StackId, location: &CodeLocation<'_>, most: usize) -> Vec<String> {
    let all = lines(session, stack);
    let at = all.iter().position(|line| is_at(line, location)).map_or(0, |at| at + 1);
    all[at.min(all.len())..].iter().take(most).map(Line::one).collect()
}

fn is_at(line: &Line, location: &CodeLocation<'_>) -> bool {
    let place =
        location.file.map_or_else(String::new, |file| format!("{}:{}", printable(short_file(file)), location.line));
    line.function == location.function && (line.place == place || location.file.is_none())
}
