//! Frames of Go code, out of the table that every Go program has for its tracebacks: stripped ones too, and with what was
//! inlined.

use rustc_hash::FxHashMap;

use super::elf::Located;
use crate::model::{Frame, Session, StackId, Thread, ThreadId};
use crate::sites::go::pclntab::Pclntab;
use crate::sites::image::Image;

/// The frames of each *return address* of a Go program; what is not Go code there, or if it is no Go program, stays as it
/// is.
pub fn resolve(located: &Located, addresses: &[u64], found: &mut [Vec<Frame>]) {
    let Some(binary) = &located.binary else { return };
    let Ok(image) = Image::parse(binary.bytes()) else { return };
    let Ok(index) = Pclntab::read(&image) else { return };
    for (address, found) in addresses.iter().zip(found) {
        let frames = index.frames(address.saturating_sub(1));
        let last = frames.len().saturating_sub(1);
        let frame = |(at, frame): (usize, &crate::sites::go::pclntab::Frame<'_>)| Frame {
            function: Some(frame.function.to_string()),
            file: (frame.file != "?").then(|| frame.file.to_owned()),
            line: frame.line,
            column: 0,
            inlined: at < last,
        };
        if !frames.is_empty() {
            *found = frames.iter().enumerate().map(frame).collect();
        }
    }
}

/// Names goroutines by the function that they began with, as far as a stack of theirs shows it.
pub fn name_goroutines(session: &mut Session) {
    let is_unnamed = |thread: &Thread| [Thread::GOROUTINE, Thread::GOROUTINES].contains(&thread.name.as_str());
    if !session.threads.iter().any(is_unnamed) {
        return;
    }
    let mut stacks: FxHashMap<ThreadId, StackId> = FxHashMap::default();
    stacks.extend(session.order.requests.iter().map(|request| (request.key.thread, request.key.stack)));
    for (thread, site) in session.profile.by_thread.keys() {
        stacks.insert(*thread, session.profile.sites[site.index()].key.stack);
    }
    for waiting in session.hangs.iter().flat_map(|hang| hang.waiting()) {
        stacks.insert(waiting.thread, waiting.stack);
        let of_owner = |held: &crate::model::HeldLock| (waiting.thread, held.stack);
        stacks.extend(waiting.held.iter().map(of_owner));
    }
    for (thread, stack) in stacks {
        let row = &session.threads[thread.index()];
        if is_unnamed(row)
            && let Some(name) = first_function(session, stack)
        {
            let row = &mut session.threads[thread.index()];
            row.name = if row.name == Thread::GOROUTINES { format!("{name}, others") } else { name };
        }
    }
}

/// The outermost function that is not the runtime's, if the stack is whole.
fn first_function(session: &Session, stack: StackId) -> Option<String> {
    let nodes: Vec<_> = session.stacks.walk(stack).collect();
    let mut frames =
        nodes.iter().rev().flat_map(|node| node.frames.iter().rev()).map(|frame| frame.function.as_deref());
    // What starts every goroutine.
    if frames.next()?? != "runtime.goexit" {
        return None;
    }
    let first = frames.next()??;
    // It has run the runtime's and the packages' own beginnings before.
    Some(if first == "runtime.main" { "main.main".to_owned() } else { first.to_owned() })
}
