//! The places in the code that stacks stand for.

use crate::model::lock_class::without_templates;
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

/// The place in the code that is to blame for what a lock does to others: the innermost own frame that does more than to take
/// a lock, as far as its name tells.
pub fn user_place(session: &Session, stack: StackId) -> Place {
    let takes_locks =
        |place: &Place| matches!(place, Place::Frame(frame) if frame.function.as_deref().is_some_and(takes_locks));
    let own = own_places(session, stack).map(|(_, place)| place).find(|place| !takes_locks(place));
    own.filter(|own| matches!(own, Place::Frame(_))).unwrap_or_else(|| place(session, stack))
}

/// Whether a function takes a lock, by its name: `lock`, `Db::lock_table`, `mutex_enter`, `AcquireLock`; but not `block`.
fn takes_locks(function: &str) -> bool {
    const WORDS: [&str; 9] = ["lock", "locked", "rdlock", "wrlock", "trylock", "acquire", "enter", "mutex", "spinlock"];
    let name = without_templates(function);
    let name = name.split('(').next().unwrap_or_default();
    let name = name.rsplit("::").next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    // Words, whether written_so or SoWritten.
    let mut words: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for sign in name.chars() {
        if !sign.is_alphabetic() || (was_lower && sign.is_uppercase()) {
            words.push(String::new());
        }
        was_lower = sign.is_lowercase();
        if let (true, Some(word)) = (sign.is_alphabetic(), words.last_mut()) {
            word.extend(sign.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    let is = |word: Option<&String>| word.is_some_and(|word| WORDS.contains(&word.as_str()));
    words.len() <= 3 && !words.iter().any(|word| word == "with") && (is(words.first()) || is(words.last()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_take_locks() {
        for name in
            ["lock", "Db::lock_table", "mutex_enter", "AcquireLock", "rw::Guard<T>::lock(int)", "main.lock", "my_lock"]
        {
            assert!(takes_locks(name), "{name}");
        }
        for name in
            ["block", "get_clock", "append", "run_with_lock", "Blocker::flush", "unlock", "pay_and_lock_the_account"]
        {
            assert!(!takes_locks(name), "{name}");
        }
    }
}
