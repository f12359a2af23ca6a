//! The private parts of all threads, by the numbers of their slots.

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use lockprof_wire::thread::state;

use super::local::{Local, Visible};
use crate::sys::backoff::Backoff;
use crate::tables::Tables;
use crate::tables::thread_ids::{CHUNK, CHUNKS};

/// All `Local`s of the process: number n belongs to slot n. Valid when zero.
#[repr(C)]
pub struct Locals {
    chunks: [AtomicPtr<Chunk>; CHUNKS],
    ended_count: AtomicU32,
    /// Threads that came so far.
    serials: AtomicU32,
    backoff: Backoff,
}

/// What belongs to some slots, and as many places of the list of ended ones.
#[repr(C)]
struct Chunk {
    locals: [AtomicPtr<Local>; CHUNK],
    /// Slots whose thread ended: a stack, whose depth is `ended_count`.
    ended: [AtomicU32; CHUNK],
}

impl Locals {
    fn chunk(&self, number: u32) -> Option<&'static Chunk> {
        // Acquire: pairs with the Release store in `make`.
        let at = self.chunks.get(number as usize / CHUNK)?.load(Ordering::Acquire);
        // SAFETY: chunks are never given back, and zeros are a valid one.
        unsafe { at.as_ref() }
    }

    /// Makes what so many new threads need. Call under the inner lock.
    pub fn make_ready(&self, tables: &Tables, threads: u32) {
        let next = tables.header().thread_count.load(Ordering::Relaxed);
        (next..next + threads).all(|number| self.make(tables, number).is_some());
    }

    /// The `Local` of a slot, made where it is new. Call under the inner lock.
    fn make(&self, tables: &Tables, number: u32) -> Option<&'static Local> {
        let chunk = self.chunk(number).or_else(|| {
            let at = tables.take(size_of::<Chunk>())?;
            // Release: who finds the chunk sees zeros.
            self.chunks.get(number as usize / CHUNK)?.store(at.cast(), Ordering::Release);
            self.chunk(number)
        })?;
        let local = &chunk.locals[number as usize % CHUNK];
        if local.load(Ordering::Relaxed).is_null() {
            local.store(tables.take(size_of::<Local>())?.cast(), Ordering::Release);
        }
        // SAFETY: memory of its size, never given back; zeros are a valid one.
        unsafe { local.load(Ordering::Relaxed).as_ref() }
    }

    /// What may be seen of the thread of a slot, if the slot was ever used.
    fn visible(&self, number: u32) -> Option<&'static Visible> {
        let at = self.chunk(number)?.locals[number as usize % CHUNK].load(Ordering::Acquire);
        // SAFETY: never given back; its owner has shared references only.
        (!at.is_null()).then(|| unsafe { &(*at).visible })
    }

    /// A number that no other thread of the process has; the first one has 1.
    pub fn next_serial(&self) -> u32 {
        self.serials.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether it is worth the trouble to ask for a slot: where there was none, a thread would ask at each lock.
    pub fn may_have_room(&self) -> bool {
        self.ended_count.load(Ordering::Relaxed) > 0 || self.backoff.is_over()
    }

    /// A slot for a new thread, with its `Local`: that of one that ended, or a new one. Call under the inner lock.
    pub fn take(&self, tables: &Tables) -> Option<(u32, &'static Local)> {
        if let Some(number) = self.take_ended(tables) {
            return Some((number, self.make(tables, number)?));
        }
        // The private part first: a slot in the segment cannot be given back.
        let next = tables.header().thread_count.load(Ordering::Relaxed);
        self.backoff.attempt(|| {
            let local = self.make(tables, next)?;
            tables.thread_ids.make(tables, next)?;
            Some((tables.segment.carve_thread()?, local))
        })
    }

    /// A place in the list of ended slots.
    fn ended(&self, place: u32) -> Option<&'static AtomicU32> {
        Some(&self.chunk(place)?.ended[place as usize % CHUNK])
    }

    /// The thread of a slot has ended. Call under the inner lock.
    pub fn put_ended(&self, number: u32) {
        let count = self.ended_count.load(Ordering::Relaxed);
        if let Some(place) = self.ended(count) {
            place.store(number, Ordering::Relaxed);
            self.ended_count.store(count + 1, Ordering::Relaxed);
        }
    }

    /// A slot whose thread ended. Call under the inner lock.
    fn take_ended(&self, tables: &Tables) -> Option<u32> {
        const LOOKS: u32 = 8;
        let count = self.ended_count.load(Ordering::Relaxed);
        for back in 1..=count.min(LOOKS) {
            let place = self.ended(count - back)?;
            let number = place.load(Ordering::Relaxed);
            // Acquire: what the slot's last thread wrote is seen.
            if tables.segment.thread(number).state.load(Ordering::Acquire) == state::ENDED {
                place.store(self.ended(count - 1)?.load(Ordering::Relaxed), Ordering::Relaxed);
                self.ended_count.store(count - 1, Ordering::Relaxed);
                return Some(number);
            }
        }
        None
    }

    /// Code went away: sends every thread through the slow path once, where it forgets what it remembered.
    pub fn forget_code(&self, tables: &Tables) {
        for number in 0..tables.header().thread_count.load(Ordering::Acquire) {
            if let Some(visible) = self.visible(number) {
                visible.make_stale();
            }
        }
    }
}
