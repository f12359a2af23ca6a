//! Locks that another thread has given back than the one that had them.

use core::sync::atomic::Ordering;

use lockprof_wire::Flags;

use super::held::{Held, entry_at, live, row_of};
use super::release::release;
use crate::state::local::Local;

/// Takes off the list what another thread has given back meanwhile: its hold ended then.
#[cold]
pub fn drop_cross_thread_releases(local: &Local) {
    let Some(tables) = local.tables().filter(|tables| tables.cross_thread_releases.any()) else { return };
    let depth = local.slot().depth.load(Ordering::Relaxed);
    for at in (0..depth).rev() {
        let Some(entry) = entry_at(local, at).filter(|entry| live(entry) && row_of(entry) != 0) else { continue };
        let info = tables.segment.lock(row_of(entry));
        if !info.traits().is_handed_over() {
            continue;
        }
        let since = entry.ticks.load(Ordering::Relaxed);
        let until = tables.cross_thread_releases.last(row_of(entry)).filter(|until| *until > since);
        // A semaphore that was handed over once is no lock any more.
        let is_lock = info.kind().is_some_and(|kind| kind.blocks_others(info.traits()));
        if until.is_some() || !is_lock {
            release(local, Held { at, entry }, until.unwrap_or(since), Flags::NONE);
        }
    }
}
