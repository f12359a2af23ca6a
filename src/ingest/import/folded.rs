//! Folded stacks: lines of `frame;frame;frame value`, outermost frame first.
//!
//! The first frame is taken for the lock: in what `lockprof export --to folded` writes it is.

use rustc_hash::FxHashMap;

use super::rows::{LockKey, Rows, Side, Waits};
use crate::model::{CodeAddress, Frame, Kind, Mode, NameSource, Session, StackId, Stacks};

/// What stands for a stack that nobody saw.
const UNSEEN: [&str; 2] = [Stacks::UNKNOWN_WAITER, Stacks::UNKNOWN_HOLDER];

/// The frames and the value of each line; `None` where some line is of another kind.
pub(super) fn lines(text: &str) -> Option<Vec<(Vec<&str>, u64)>> {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with("# "));
    let lines: Vec<_> = lines.map(split).collect::<Option<_>>()?;
    // A list of words with numbers is no stack.
    lines.iter().any(|(frames, _)| frames.len() > 1).then_some(lines)
}

fn split(line: &str) -> Option<(Vec<&str>, u64)> {
    let (stack, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    (!stack.trim().is_empty()).then(|| (stack.split(';').collect(), value))
}

pub(super) fn session(lines: &[(Vec<&str>, u64)]) -> Session {
    let mut rows = Rows::default();
    rows.session.meta.command = vec!["folded stacks".into()];
    let process = rows.process(0, "");
    let mut addresses: FxHashMap<&str, u64> = FxHashMap::default();
    for (frames, value) in lines {
        let Some((lock, stack)) = frames.split_first() else { continue };
        let name = (*lock).to_owned();
        let key = LockKey { class: name.clone(), name, kind: Kind::Mutex, source: NameSource::User, process };
        let lock = rows.lock(key);
        let mut at = Stacks::UNKNOWN;
        if !matches!(stack, [only] if UNSEEN.contains(only)) {
            for frame in stack {
                at = call(&mut rows.session, &mut addresses, at, frame);
            }
        }
        let (side, mode) = (Side::Waiter, Mode::Exclusive);
        rows.add(&Waits { lock, side, mode, stack: at, thread: None, count: 1, wait_ns: *value });
    }
    rows.finish([
        "imported from folded stacks: the first frame is taken for the lock, the values for nanoseconds waited.".into(),
        "How often threads waited is not known: each stack counts once. Holds, single waits and acquisitions \
         without contention are not known, either."
            .into(),
    ])
}

/// Each name has an address of its own, so that one call by one caller is one node.
fn call<'a>(session: &mut Session, addresses: &mut FxHashMap<&'a str, u64>, caller: StackId, name: &'a str) -> StackId {
    let next = addresses.len() as u64 + 1;
    let address = *addresses.entry(name).or_insert(next);
    let id = session.stacks.intern(caller, CodeAddress { module: None, address });
    let node = session.stacks.node_mut(id);
    if node.frames.is_empty() {
        node.frames = vec![Frame { function: Some(name.to_owned()), ..Frame::default() }].into();
    }
    id
}
