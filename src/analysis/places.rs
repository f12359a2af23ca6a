//! The places in the code that stacks stand for.

use crate::model::lock_frames::is_library;
use crate::model::stacks::Node;
use crate::model::{Frame, ModuleId, Session, StackId};

/// A place in the code: the innermost frame that is not a locking library's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The function there, with its line.
    Frame(Frame),
    /// Code without a symbol: the file that holds it and the address in it.
    Code(Option<ModuleId>, u64),
    /// The first is a function of the program's own that locks what its callers hand it; the second called it.
    Called(Box<Place>, Box<Place>),
    /// No stack was seen.
    Unknown,
}

/// The place in the code that a stack stands for.
pub fn place(session: &Session, stack: StackId) -> Place {
    let own = own_places(session, stack).next().map(|(_, place)| place);
    let innermost = || session.stacks.walk(stack).next().map(|node| place_of(node, node.frames.first()));
    own.or_else(innermost).unwrap_or(Place::Unknown)
}

/// The places of a stack that are no locking library's, innermost first, each with where it stands.
pub(super) fn own_places(session: &Session, stack: StackId) -> impl Iterator<Item = (&Node, Place)> {
    session.stacks.walk(stack).flat_map(move |node| {
        let bare = node.frames.is_empty().then_some(None);
        let own = node.frames.iter().filter(|frame| !is_library(&session.stacks, node, frame)).map(Some);
        bare.into_iter().chain(own).map(move |frame| (node, place_of(node, frame)))
    })
}

fn place_of(node: &Node, frame: Option<&Frame>) -> Place {
    match frame.filter(|frame| frame.function.is_some()) {
        Some(frame) => Place::Frame(frame.clone()),
        None => Place::Code(node.address.module, node.address.address),
    }
}
