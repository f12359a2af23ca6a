//! What threads hold and wait for when their process is over.

use std::sync::atomic::Ordering;

use lockprof_wire::{Flags, LockInfo};

use super::{Orders, how_of, lock_in_order, mode_of};
use crate::ingest::image::Image;
use crate::model::order::{Event, What};
use crate::model::{Session, StackId, ThreadId};

/// Held entries that are read of one thread; the segment may say anything.
const MOST_HELD: usize = 1 << 16;

impl Orders {
    /// What the thread in this slot holds will not be given back; what it waits for, it never had.
    pub fn left(&mut self, slot: u32, thread: ThreadId, image: &mut Image, session: &mut Session) {
        let Some(row) = image.segment.thread(slot) else { return };
        // Acquire: pairs with the shim's Release store; what belongs to the wait is there.
        let wanted = row.wait_lock.load(Ordering::Acquire);
        let wanted_stack = row.wait_stack.load(Ordering::Relaxed);
        let wanted_since = row.wait_since.load(Ordering::Relaxed);
        let wanted_flags = row.wait_flags.load(Ordering::Relaxed) as u8;
        let held: Vec<_> = (image.segment.held(row).take(MOST_HELD).zip(0u32..))
            .map(|(entry, position)| {
                let lock_and_stack = entry.lock_and_stack.load(Ordering::Relaxed);
                let flags = entry.flags.load(Ordering::Relaxed) as u8;
                (position, entry.ticks.load(Ordering::Relaxed), lock_and_stack, flags)
            })
            .filter(|(_, ticks, _, flags)| !matches!(*ticks, 0 | u64::MAX) && flags & Flags::REENTRY == 0)
            .collect();
        let mut restart = true;
        for (position, ticks, lock_and_stack, flags) in held {
            let Some(lock) = lock_in_order(image, session, lock_and_stack as u32) else { continue };
            let stack = image.stack(session, (lock_and_stack >> 32) as u32);
            let what = What::Acquired {
                lock,
                mode: mode_of(flags),
                how: how_of(flags),
                reacquired: flags & Flags::REACQUIRED != 0,
                position,
                restart: std::mem::take(&mut restart),
            };
            let event = Event { at_ns: image.ticks.moment_ns(ticks), stack, what };
            self.fold.apply(&mut session.order, thread, event);
        }
        if restart {
            // Nothing is held, whatever was read.
            let what = What::Reached { position: 0, restart };
            let event = Event { at_ns: image.ticks.moment_ns(wanted_since), stack: StackId(0), what };
            self.fold.apply(&mut session.order, thread, event);
        }
        if wanted == 0 || !image.segment.lock(wanted).is_some_and(LockInfo::blocks_others) {
            return;
        }
        image.tape.nested();
        let lock = image.lock(session, wanted);
        let stack = image.stack(session, wanted_stack);
        let what = What::Wanted { lock, mode: mode_of(wanted_flags), how: how_of(wanted_flags) };
        let event = Event { at_ns: image.ticks.moment_ns(wanted_since), stack, what };
        self.fold.apply(&mut session.order, thread, event);
    }
}
