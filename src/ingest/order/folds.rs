//! What was folded when a ring was full: nested acquisitions hang together in the fold tables as a tree, so no
//! request is lost; marks and single events are, and that is counted.

use std::sync::atomic::Ordering;

use lockprof_wire::fold::{ANY_SEGMENT, CLAIMED, FoldTable};
use lockprof_wire::record::misuse;
use lockprof_wire::{Flags, FoldEntry, Op, Record};
use rustc_hash::FxHashMap;

use super::{Orders, count_misuse, how_of, lock_in_order, mode_of};
use crate::ingest::image::Image;
use crate::ingest::segment::Segment;
use crate::model::order::{ChainId, Link, RequestKey};
use crate::model::{Kind, Session, StackId, ThreadId};

/// How full a ring was each time that it was read: into a full one, records are folded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    full: bool,
    folded_until: u64,
}

impl Looks {
    /// Records were read; `full`: there was no room for more.
    pub fn saw(&mut self, records: &[Record], full: bool) {
        if self.full
            && let Some(first) = records.first()
        {
            self.folded_until = first.ticks.saturating_add(first.payload());
        }
        self.full = full;
    }

    /// Nothing was folded after this time, ticks; `None` where that is not known.
    fn folded_until(&self) -> Option<u64> {
        (!self.full && self.folded_until > 0).then_some(self.folded_until)
    }
}

/// Tables hang on one another; a ring of them is not believed.
const MOST_TABLES: usize = 4096;

/// The fold tables of a slot, from the one at this offset on.
pub fn tables(segment: &Segment, first: u64) -> impl Iterator<Item = (u64, &[FoldEntry])> {
    let mut offset = first;
    let next = move || {
        let at = offset;
        let (table, entries) = segment.folds(at)?;
        // Acquire: pairs with the shim's Release store; the table is there. It was carved later, so it lies behind.
        let next = table.next.load(Ordering::Acquire);
        offset = if next > at { next } else { 0 };
        Some((at, entries))
    };
    std::iter::from_fn(next).take(MOST_TABLES)
}

/// A folded `Open`, copied out.
#[derive(Clone, Copy)]
struct Nested {
    lock: u32,
    stack: u32,
    flags: u8,
    /// Offset of the entry of the acquisition around it; 0 for the outermost one.
    outer: u64,
    /// Marks that must hold before it, or [`ANY_SEGMENT`].
    must: u32,
}

impl Orders {
    /// Reads what a thread's folds tell beside counts and times. `looks`: at its ring; `now`: ticks.
    pub fn folded(
        &mut self,
        first_table: u64,
        thread: ThreadId,
        looks: Looks,
        now: u64,
        image: &mut Image,
        session: &mut Session,
    ) {
        let mut nested: FxHashMap<u64, Nested> = FxHashMap::default();
        let mut requests: Vec<(u64, u64)> = Vec::new();
        let mut others: Vec<(Record, u32, u64)> = Vec::new();
        let mut misuses: Vec<(Record, u32, [u64; misuse::END as usize])> = Vec::new();
        for (offset, entries) in tables(&image.segment, first_table) {
            for (entry, number) in entries.iter().zip(0u64..) {
                // Acquire: pairs with the shim's Release store; the key is there.
                let word = entry.op_and_flags.load(Ordering::Acquire);
                if matches!(word, 0 | CLAIMED) {
                    continue;
                }
                let record = Record {
                    lock: entry.lock.load(Ordering::Relaxed),
                    stack: entry.stack.load(Ordering::Relaxed),
                    word: u64::from(word),
                    ..Record::default()
                };
                let holder = entry.holder.load(Ordering::Relaxed);
                let count = image.believe(entry.count.load(Ordering::Relaxed));
                match record.op() {
                    Some(Op::Open) => {
                        let at = offset + size_of::<FoldTable>() as u64 + number * size_of::<FoldEntry>() as u64;
                        let Record { lock, stack, .. } = record;
                        let must = entry.segment.load(Ordering::Relaxed);
                        nested
                            .insert(at, Nested { lock, stack, flags: record.flags(), outer: u64::from(holder), must });
                        if count > 0 {
                            entry.count.store(0, Ordering::Relaxed);
                            requests.push((at, count));
                        }
                    }
                    Some(Op::Misuse) => {
                        // Numbers this small have a bucket each.
                        let counts =
                            std::array::from_fn(|number| u64::from(entry.buckets[number].load(Ordering::Relaxed)));
                        misuses.push((record, holder, counts));
                    }
                    Some(Op::Hold | Op::Done | Op::Created | Op::Posted) if count > 0 => {
                        others.push((record, holder, count));
                    }
                    _ => {}
                }
            }
        }
        if !requests.is_empty() || !others.is_empty() {
            let until = image.ticks.moment_ns(looks.folded_until().unwrap_or(now));
            session.order.log.missing_until(until);
        }
        for (record, _, count) in others {
            miss_mark(record, thread, count, image, session);
        }
        for (record, holder, counts) in misuses {
            let holder = image.stack(session, holder);
            for (number, count) in (0u64..).zip(counts) {
                if count > 0 {
                    count_misuse(record, holder, number, (thread, count), image, session);
                }
            }
        }
        if !requests.is_empty() {
            image.tape.nested();
        }
        let mut lists = Lists { nested, known: FxHashMap::default() };
        for (at, count) in requests {
            if lists.request(at, count, thread, image, session).is_none() {
                session.order.dropped += count;
            }
        }
    }
}

/// A mark that was only counted.
fn miss_mark(record: Record, thread: ThreadId, count: u64, image: &mut Image, session: &mut Session) {
    let must = match record.op() {
        Some(Op::Created) => true,
        Some(Op::Posted) => false,
        Some(Op::Done) => {
            let lock = image.lock(session, record.lock);
            match session.lock(lock).kind {
                Kind::Join | Kind::Barrier => true,
                Kind::Semaphore | Kind::Condvar => false,
                _ => return,
            }
        }
        _ => return,
    };
    let life = session.order.life(thread);
    if must {
        life.must_dropped += count;
    } else {
        life.soft_dropped += count;
    }
}

/// The lists of held locks that the entries stand for.
struct Lists {
    nested: FxHashMap<u64, Nested>,
    /// The list with the entry's lock on top, by the entry's offset.
    known: FxHashMap<u64, ChainId>,
}

impl Lists {
    /// Counts an entry's requests; `None` where it cannot be told what was held, or there is no room for it.
    fn request(
        &mut self,
        at: u64,
        count: u64,
        thread: ThreadId,
        image: &mut Image,
        session: &mut Session,
    ) -> Option<()> {
        let entry = *self.nested.get(&at)?;
        if entry.outer == 0 || entry.flags & (Flags::REENTRY | Flags::TRY | Flags::CONTINUED) != 0 {
            return Some(());
        }
        let held = self.held(entry.outer, image, session)?;
        let lock = lock_in_order(image, session, entry.lock)?;
        if held == ChainId::EMPTY {
            return Some(());
        }
        let key = RequestKey {
            thread,
            lock,
            mode: mode_of(entry.flags),
            how: how_of(entry.flags),
            reacquired: entry.flags & Flags::REACQUIRED != 0,
            stack: image.stack(session, entry.stack),
            held,
        };
        let life = session.order.life(thread);
        let segments = match entry.must {
            ANY_SEGMENT => (0, life.marks.len() as u32),
            must => life.segments(must),
        };
        session.order.requested(key, segments, count);
        Some(())
    }

    /// The list with this entry's lock on top.
    fn held(&mut self, at: u64, image: &mut Image, session: &mut Session) -> Option<ChainId> {
        let mut missing = Vec::new();
        let mut next = at;
        let mut list = loop {
            if next == 0 {
                break ChainId::EMPTY;
            }
            if let Some(known) = self.known.get(&next) {
                break *known;
            }
            // A way that is longer than there are entries goes round in a ring.
            if missing.len() > self.nested.len() {
                return None;
            }
            missing.push(next);
            next = self.nested.get(&next)?.outer;
        };
        for at in missing.into_iter().rev() {
            let entry = *self.nested.get(&at)?;
            if entry.flags & Flags::REENTRY == 0 {
                let lock = lock_in_order(image, session, entry.lock)?;
                let stack: StackId = image.stack(session, entry.stack);
                let link = Link { outer: list, lock, mode: mode_of(entry.flags), stack };
                list = session.order.chains.try_intern(link)?;
            }
            self.known.insert(at, list);
        }
        Some(list)
    }
}
