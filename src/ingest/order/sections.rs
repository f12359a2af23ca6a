//! Single sections, and whether the order of locks is complete: what is written down when a process is over.

use std::sync::atomic::Ordering;

use lockprof_wire::layout::note;

use crate::ingest::decode::{self, Hold, WireEvent};
use crate::ingest::reducer::Reducer;
use crate::model::order::{How, Logged, LoggedWhat};
use crate::model::{SiteKey, ThreadId};

/// Writes the single sections down that were read last, and whether the order of locks was seen whole.
pub fn finish(reducer: &mut Reducer) {
    let recent = std::mem::take(&mut reducer.image.recent);
    // Those of patched programs were handed on at once.
    if let Some(missing_until) = recent.missing_until().filter(|_| !reducer.image.is_patched) {
        reducer.session.order.log.missing_until(reducer.image.ticks.moment_ns(missing_until));
        for (thread, record) in recent.into_records() {
            // Decoded a second time, since 32 bytes of a record are kept for little and its event is larger.
            if let Some(WireEvent::Hold(hold)) = decode::decode(&record)
                && hold.is_section()
            {
                section(hold, thread, reducer);
            }
        }
    }
    let notes = reducer.image.segment.header().notes.load(Ordering::Relaxed);
    // Of what is counted without its lock, or with others', no order is known.
    let apart = notes & (note::ORDER_CUT | note::LOCKS_FULL) == 0 && reducer.image.unrecorded() == 0;
    reducer.session.order.dropped += u64::from(!apart);
}

/// A hold without anything beside it: only single events tell of it.
fn section(hold: Hold, thread: ThreadId, reducer: &mut Reducer) {
    let Some(lock) = reducer.lock_in_order(hold.access.lock) else { return };
    let SiteKey { stack, mode, .. } = reducer.site_key(hold.access);
    let at_ns = reducer.image.ticks.moment_ns(hold.ticks);
    let until_ns = at_ns + reducer.image.ticks.duration_ns(hold.held);
    let mut log = |at_ns, until_ns, what| {
        reducer.session.order.log.push(Logged { at_ns, until_ns, thread, lock, stack, what });
    };
    match hold.access.how() {
        How::Block => log(at_ns, until_ns, LoggedWhat::Section(mode)),
        how => {
            log(at_ns, 0, LoggedWhat::Tried(mode, how));
            log(until_ns, 0, LoggedWhat::Released);
        }
    }
}
