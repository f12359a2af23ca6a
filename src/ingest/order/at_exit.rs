//! What threads hold and wait for when their process is over.

use lockprof_wire::LockInfo;

use super::apply;
use crate::ingest::decode;
use crate::ingest::reducer::Reducer;
use crate::model::order::What;
use crate::model::{SiteKey, StackId, ThreadId};

/// Held entries that are read of one thread; the segment may say anything.
const MOST_HELD: usize = 1 << 16;

/// What the thread in this slot holds will not be released; what it waits for, it never had.
pub fn left(slot: u32, thread: ThreadId, reducer: &mut Reducer) {
    let Some(row) = reducer.image.segment.thread(slot) else { return };
    let wait = decode::wait(row);
    let entries = reducer.image.segment.held(row).take(MOST_HELD).zip(0u32..);
    let held: Vec<_> = entries.filter_map(|(entry, position)| Some((position, decode::held(entry)?))).collect();
    let mut restart = true;
    for (position, held) in held.into_iter().filter(|(_, held)| !held.access.flags.is_reentry()) {
        let Some(lock) = reducer.lock_in_order(held.access.lock) else { continue };
        let SiteKey { stack, mode, .. } = reducer.site_key(held.access);
        let what = What::Acquired {
            lock,
            mode,
            how: held.access.how(),
            reacquired: held.access.flags.is_reacquired(),
            position,
            restart: std::mem::take(&mut restart),
        };
        apply(reducer.image.ticks.moment_ns(held.ticks), stack, what, thread, reducer);
    }
    let since_ns = reducer.image.ticks.moment_ns(wait.since);
    if restart {
        // Nothing is held, whatever was read.
        apply(since_ns, StackId(0), What::Reached { position: 0, restart }, thread, reducer);
    }
    let wanted = wait.access;
    if wanted.lock == 0 || !reducer.image.segment.lock(wanted.lock).is_some_and(LockInfo::blocks_others) {
        return;
    }
    reducer.image.recent.nested();
    let SiteKey { lock, stack, mode } = reducer.site_key(wanted);
    apply(since_ns, stack, What::Wanted { lock, mode, how: wanted.how() }, thread, reducer);
}
