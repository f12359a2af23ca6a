//! How much memory a file may ask for.
//!
//! Compression, and references to what is there once, let a file of some kilobytes ask for any amount: when it is read,
//! and again when a view writes every stack in full. A recording needs a bounded amount for each of its bytes; what asks
//! for more is refused as a whole.

use crate::model::{Frame, Session, StackId};

/// Memory that any file may ask for, bytes.
pub const MEMORY_FLOOR: u64 = 64 << 20;
/// And for each byte of the file. 100,000 locks, each taken once, are the densest recording seen: about 60 bytes in memory
/// for one in the file.
pub const MEMORY_PER_BYTE: u64 = 256;

/// What a view writes of a frame beside its names, bytes.
const FRAME_IN_VIEW: u64 = 64;
/// What views of any file may write, bytes: a function that takes a lock at each of 2,048 levels of its recursion, the
/// deepest that is recorded, has a third of a gigabyte in one lock.
const VIEW_FLOOR: u64 = 2 << 30;

/// Memory that a file of this size may ask for, bytes.
pub fn allowance(file_bytes: u64) -> u64 {
    file_bytes.saturating_mul(MEMORY_PER_BYTE).saturating_add(MEMORY_FLOOR)
}

/// What views of a file of this size may write, bytes.
pub fn view_allowance(file_bytes: u64) -> u64 {
    file_bytes.saturating_mul(MEMORY_PER_BYTE).saturating_add(VIEW_FLOOR)
}

/// What a view of everything would write, bytes: every stack in full wherever it is referred to. A tree of stacks is
/// small however often its deepest leaf is shown.
pub fn view_size(session: &Session) -> u64 {
    let stacks = &session.stacks;
    let mut of_node = vec![0u64; stacks.len()];
    for at in 1..stacks.len() {
        let node = stacks.node(StackId::from(at));
        let names =
            |frame: &Frame| [&frame.function, &frame.file].into_iter().flatten().map(String::len).sum::<usize>();
        let frames = node.frames.iter().map(|frame| FRAME_IN_VIEW + names(frame) as u64);
        // Callers come before those whom they call.
        of_node[at] = of_node[node.caller.index()].saturating_add(frames.fold(FRAME_IN_VIEW, u64::saturating_add));
    }
    let (profile, order) = (&session.profile, &session.order);
    let sites = profile.sites.iter().map(|site| site.key.stack);
    let waits = profile.waits.keys().flat_map(|key| [key.waiter, key.holder]);
    let origins = session.locks.iter().map(|lock| lock.origin_stack);
    let requests = order.requests.iter().map(|request| request.key.stack);
    let misuses = order.misuses.keys().flat_map(|misuse| [misuse.stack, misuse.holder]);
    let calls = profile.calls.keys().flat_map(|key| [key.stack, key.taken]);
    let all = sites.chain(waits).chain(calls).chain(origins).chain(requests).chain(misuses);
    all.fold(0u64, |sum, stack| sum.saturating_add(of_node[stack.index()]))
}
