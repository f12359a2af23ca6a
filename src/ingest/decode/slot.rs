//! What a thread shows of itself in its slot: what it holds, and what it waits for.

use std::sync::atomic::Ordering;

use lockprof_wire::record::{CALL_LOCKS, PAYLOAD_MAX};
use lockprof_wire::{Flags, HeldEntry, ThreadSlot, blocking};

use super::{Access, Blocked, Hold, Holder, Waited, WireEvent};

/// An acquisition that was not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it was acquired, ticks.
    pub ticks: u64,
    /// What is held.
    pub access: Access,
    /// How long it had waited, ticks.
    pub wait: u64,
    /// Who had it then.
    pub holder: Holder,
}

impl Held {
    /// Its wait, where it had to wait.
    pub fn waited(&self) -> Option<WireEvent> {
        let waited = Waited {
            ticks: self.ticks.saturating_sub(self.wait),
            access: self.access,
            wait: self.wait.min(PAYLOAD_MAX),
            holder: self.holder,
        };
        self.access.flags.is_contended().then_some(WireEvent::Waited(waited))
    }

    /// A hold that goes on until the end of the process (`now`, ticks).
    pub fn until_the_end(&self, now: u64) -> WireEvent {
        let access = Access { flags: self.access.flags.with(Flags::UNRELEASED), ..self.access };
        let held = now.saturating_sub(self.ticks).min(PAYLOAD_MAX);
        WireEvent::Hold(Hold { ticks: self.ticks, access, held, position: 0, published_early: false })
    }
}

/// What an entry of a thread's list of held locks says; `None` for one that is empty or being written.
pub fn held(entry: &HeldEntry) -> Option<Held> {
    let ticks = entry.ticks.load(Ordering::Relaxed);
    if matches!(ticks, 0 | u64::MAX) {
        return None;
    }
    let flags = entry.record_flags();
    Some(Held {
        ticks,
        access: Access::packed(entry.lock_and_stack.load(Ordering::Relaxed), flags),
        wait: entry.wait.load(Ordering::Relaxed),
        holder: Holder::packed(entry.holder.load(Ordering::Relaxed)),
    })
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it was requested, ticks. It tells of the last wait where the thread does not wait.
    pub since: u64,
    /// What was requested; its row is 0 where the thread does not wait.
    pub access: Access,
}

/// What a thread's slot says that it waits for.
pub fn wait(slot: &ThreadSlot) -> Wait {
    // Acquire: pairs with the shim's Release store; what belongs to the wait is there.
    let lock = slot.wait_lock.load(Ordering::Acquire);
    let access = Access { lock, stack: slot.wait_stack.load(Ordering::Relaxed), flags: slot.request_flags() };
    Wait { since: slot.wait_since.load(Ordering::Relaxed), access }
}

/// The call that may block which a thread is in until the end of the process (`now`, ticks): once for each of the locks
/// that it holds.
pub fn open_call(slot: &ThreadSlot, held: &[Held], now: u64) -> Vec<WireEvent> {
    // Acquire: pairs with the shim's Release store; what belongs to the call is there.
    let word = slot.call.load(Ordering::Acquire);
    let name = (word as u32).checked_sub(1).and_then(blocking::name);
    let hold = slot.call_hold.load(Ordering::Relaxed);
    let (Some(call), true) = (name, held.last().is_some_and(|last| last.ticks == hold)) else { return Vec::new() };
    let (ticks, stack) = (slot.call_since.load(Ordering::Relaxed), (word >> 32) as u32);
    let took = now.saturating_sub(ticks).min(PAYLOAD_MAX);
    let under = |held: &Held| {
        WireEvent::Blocked(Blocked { ticks, took, lock: held.access.lock, call, stack, taken: held.access.stack })
    };
    held.iter().rev().take(CALL_LOCKS).map(under).collect()
}
